//! The bytes that single tokens stand for, by undoing a tokenizer's decoders one token at a time.
//!
//! It does not decode texts: what a decoder does only at the start of one, such as to drop a space, it leaves out.

use tokenizers::{Decoder, DecoderWrapper};

use super::Tokenizer;

/// A token on its way through the decoders.
enum Piece {
    Text(String),
    /// Bytes that need not be a text.
    Bytes(Vec<u8>),
}

impl Tokenizer {
    /// The bytes that a token stands for in the middle of a text; nothing for an id that no token has.
    ///
    /// Those of a whole text, one after the other, are what [`Tokenizer::decode`] gives, where they are UTF-8, but
    /// for what is dropped at its start. A special token, which has no text, gives its name; see
    /// [`Tokenizer::is_special`].
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let token = self.inner.id_to_token(id)?;
        if self.is_special(id) {
            return Some(token.into_bytes());
        }
        let Some(decoder) = self.inner.get_decoder() else {
            // Without decoders a text is its tokens with spaces between them.
            return Some(format!(" {token}").into_bytes());
        };
        let mut is_fused = false;
        Some(match decoded(decoder, Piece::Text(token), &mut is_fused) {
            Piece::Text(text) => text.into_bytes(),
            Piece::Bytes(bytes) => bytes,
        })
    }
}

/// What a decoder makes of a token that others come before. `is_fused` says whether the tokens are one text by then,
/// so that stripping concerns its start alone.
fn decoded(decoder: &DecoderWrapper, piece: Piece, is_fused: &mut bool) -> Piece {
    let of_one = |decoder: &dyn Fn(Vec<String>) -> tokenizers::Result<Vec<String>>, tokens: Vec<String>| {
        let decoded =
            decoder(tokens).expect("token_bytes: the decoders that `check` lets through cannot fail");
        Piece::Text(decoded.into_iter().next_back().unwrap_or_default())
    };
    match (decoder, piece) {
        (DecoderWrapper::Sequence(sequence), piece) => {
            sequence.get_decoders().iter().fold(piece, |piece, decoder| decoded(decoder, piece, is_fused))
        }
        (DecoderWrapper::ByteLevel(_), Piece::Text(text)) => {
            *is_fused = true;
            let bytes: Option<Vec<u8>> = text.chars().map(byte_of).collect();
            Piece::Bytes(bytes.unwrap_or_else(|| text.into_bytes()))
        }
        (DecoderWrapper::ByteFallback(_), Piece::Text(text)) => match byte_named(&text) {
            Some(byte) => Piece::Bytes(vec![byte]),
            None => Piece::Text(text),
        },
        (DecoderWrapper::Fuse(_), piece) => {
            *is_fused = true;
            piece
        }
        (DecoderWrapper::Strip(_), piece) if *is_fused => piece,
        // The first of several may read otherwise.
        (DecoderWrapper::Metaspace(metaspace), Piece::Text(text)) => {
            of_one(&|tokens| metaspace.decode_chain(tokens), vec![String::new(), text])
        }
        (decoder, Piece::Text(text)) => of_one(&|tokens| decoder.decode_chain(tokens), vec![text]),
        (_, piece @ Piece::Bytes(_)) => piece,
    }
}

/// The byte that a character of GPT-2's byte-level alphabet stands for.
///
/// Printable bytes are the characters of their own number; the others, in order, are those from U+0100 on.
fn byte_of(letter: char) -> Option<u8> {
    let number = u8::try_from(u32::from(letter)).ok();
    match letter {
        '!'..='~' | '\u{A1}'..='\u{AC}' | '\u{AE}'..='\u{FF}' => number,
        _ => {
            let place = u32::from(letter).checked_sub(0x100)?;
            (0..=b' ').chain(0x7F..=0xA0).chain([0xAD]).nth(place as usize)
        }
    }
}

/// The byte that a token such as `<0xE2>` names. The digits are two, and no sign is one.
pub(crate) fn byte_named(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::tests::{byte_fallback, byte_level};
    use super::*;

    #[test]
    fn the_byte_alphabet_is_the_librarys() {
        let letters = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let bytes: BTreeSet<u8> = letters.iter().map(|letter| byte_of(*letter).unwrap()).collect();
        assert_eq!((letters.len(), bytes.len()), (256, 256));
        assert_eq!(['Ġ', 'a', 'Ċ', 'Ń'].map(byte_of), [Some(b' '), Some(b'a'), Some(b'\n'), Some(0xAD)]);
        assert_eq!([' ', '\u{144}', '▁'].map(byte_of), [None; 3]);
    }

    #[test]
    fn tokens_give_their_bytes_in_the_middle_of_a_text() {
        let tokenizer = byte_fallback();
        let bytes = |token: &str| tokenizer.token_bytes(tokenizer.token_to_id(token).unwrap()).unwrap();
        assert_eq!(bytes("▁a"), b" a");
        assert_eq!(bytes("▁"), b" ");
        assert_eq!(bytes("<0xE2>"), [0xE2]);
        assert_eq!(tokenizer.token_bytes(9999), None);
    }

    #[test]
    fn a_byte_is_named_by_two_digits() {
        assert_eq!(["<0x00>", "<0xfF>"].map(byte_named), [Some(0), Some(255)]);
        for name in ["<0x+1>", "<0x-1>", "<0x1>", "<0x001>", "<0xG0>", "<0x 1>", "0x01", "<0X01>", "<0xé>"] {
            assert_eq!(byte_named(name), None, "{name}");
        }
    }

    #[test]
    fn a_special_token_gives_its_name() {
        let tokenizer = byte_level();
        assert_eq!(tokenizer.token_bytes(265).unwrap(), b"<eos>");
        assert_eq!(tokenizer.token_bytes(257).unwrap(), b"the");
    }

    proptest! {
        #[test]
        fn bytes_of_tokens_are_the_decoded_text(
            ids in proptest::collection::vec(0u32..269, 0..12),
            text in "[ -~é\u{1F600}\n]{0,12}",
        ) {
            for tokenizer in [byte_level(), byte_fallback()] {
                // The first is there so that nothing is dropped at the start.
                let first = *tokenizer.encode("x", false).unwrap().last().unwrap();
                for ids in [&ids, &tokenizer.encode(&text, false).unwrap()] {
                    let ids: Vec<u32> = std::iter::once(first)
                        .chain(ids.iter().copied().filter(|id| !tokenizer.is_special(*id)))
                        .collect();
                    let bytes = ids.iter().filter_map(|id| tokenizer.token_bytes(*id)).flatten().collect();
                    if let Ok(text) = String::from_utf8(bytes) {
                        prop_assert_eq!(text, tokenizer.decode(&ids));
                    }
                }
            }
        }
    }
}
