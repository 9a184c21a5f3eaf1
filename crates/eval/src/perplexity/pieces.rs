//! The tokens of a text of any length, a piece at a time.
//!
//! A text is cut where it makes no difference: the characters around the cut give the same tokens
//! apart as together. That is tried, not assumed, so it holds for any tokenizer: after the end of a line, or
//! before a space that the next piece then begins without, for tokenizers that put one there themselves.

use std::io::{self, BufRead};

use tercet::tokenizer::{Tokenizer, TokenizerError};

/// Bytes of a piece, at least.
const PIECE_BYTES: usize = 1 << 20;
/// A text in which no cut is found is not held in memory beyond this.
const PIECE_MAX_BYTES: usize = 64 << 20;
/// Characters on either side that a cut is tried with.
const AROUND: usize = 200;
/// Cuts that are tried before a piece is made longer.
const TRIES: usize = 64;

/// Why a text could not be encoded in pieces.
#[derive(Debug, thiserror::Error)]
pub enum PieceError {
    /// It could not be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is not UTF-8.
    #[error("byte {at} is not UTF-8, expected a text")]
    NotText {
        /// The first byte that is not.
        at: u64,
    },
    /// It could not be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// There is no place to cut it.
    #[error("no place in {bytes} bytes from byte {at} where the text may be cut, expected lines or words")]
    NoCut {
        /// Where the piece begins.
        at: u64,
        /// Its length.
        bytes: usize,
    },
}

/// Reads a text and encodes it, without the tokens around it.
pub struct Pieces<'a, R> {
    reader: R,
    tokenizer: &'a Tokenizer,
    /// Read and not encoded yet; whole characters but for `rest`.
    text: String,
    rest: Vec<u8>,
    /// Bytes that were encoded.
    done: u64,
    piece_bytes: usize,
    has_ended: bool,
}

impl<'a, R: BufRead> Pieces<'a, R> {
    /// Reads from `reader`.
    pub fn new(reader: R, tokenizer: &'a Tokenizer) -> Self {
        Pieces {
            reader,
            tokenizer,
            text: String::new(),
            rest: Vec::new(),
            done: 0,
            piece_bytes: PIECE_BYTES,
            has_ended: false,
        }
    }

    /// The tokens of the next piece, with its bytes; none at the end.
    ///
    /// # Errors
    /// [`PieceError`] if there is no more text where there should be.
    pub fn next_piece(&mut self) -> Result<Option<(Vec<u32>, u64)>, PieceError> {
        let mut wanted = self.piece_bytes;
        loop {
            self.fill(wanted)?;
            if self.text.is_empty() {
                return Ok(None);
            }
            let cut =
                if self.has_ended { Some(Cut { end: self.text.len(), skipped: 0 }) } else { self.cut()? };
            if let Some(Cut { end, skipped }) = cut {
                let tokens = self.tokenizer.encode(&self.text[..end], false)?;
                let bytes = (end + skipped) as u64;
                self.text.drain(..end + skipped);
                self.done += bytes;
                return Ok(Some((tokens, bytes)));
            }
            wanted *= 2;
            if wanted > PIECE_MAX_BYTES {
                return Err(PieceError::NoCut { at: self.done, bytes: self.text.len() });
            }
        }
    }

    /// Reads until there are `wanted` bytes of text, or the end.
    fn fill(&mut self, wanted: usize) -> Result<(), PieceError> {
        while !self.has_ended && self.text.len() < wanted {
            let bytes = self.reader.fill_buf()?;
            let read = bytes.len();
            self.has_ended = read == 0;
            self.rest.extend_from_slice(bytes);
            self.reader.consume(read);
            let valid = match str::from_utf8(&self.rest) {
                Ok(text) => text.len(),
                // A character that is cut off may be whole with the next bytes.
                Err(error) if error.error_len().is_none() && !self.has_ended => error.valid_up_to(),
                Err(error) => {
                    let at = self.done + (self.text.len() + error.valid_up_to()) as u64;
                    return Err(PieceError::NotText { at });
                }
            };
            let rest = self.rest.split_off(valid);
            let text = String::from_utf8(std::mem::replace(&mut self.rest, rest));
            self.text += &text.expect("fill: the bytes were checked");
        }
        Ok(())
    }

    /// The last place in the second half of the text where it may be cut.
    fn cut(&self) -> Result<Option<Cut>, TokenizerError> {
        let bytes = self.text.as_bytes();
        let candidates = (bytes.len() / 2..bytes.len() - 1).rev().filter_map(|at| match bytes[at] {
            b'\n' if !bytes[at + 1].is_ascii_whitespace() => Some(Cut { end: at + 1, skipped: 0 }),
            b' ' if !bytes[at + 1].is_ascii_whitespace() && !bytes[at - 1].is_ascii_whitespace() => {
                Some(Cut { end: at, skipped: 1 })
            }
            _ => None,
        });
        for cut in candidates.take(TRIES) {
            if self.is_harmless(cut)? {
                return Ok(Some(cut));
            }
        }
        Ok(None)
    }

    /// Whether the characters around a cut give the same tokens apart as together.
    fn is_harmless(&self, cut: Cut) -> Result<bool, TokenizerError> {
        let first = self.text[..cut.end].char_indices().rev().nth(AROUND - 1).map_or(0, |(at, _)| at);
        let after = &self.text[cut.end + cut.skipped..];
        let last = cut.end + cut.skipped + after.char_indices().nth(AROUND).map_or(after.len(), |(at, _)| at);
        let mut apart = self.tokenizer.encode(&self.text[first..cut.end], false)?;
        apart.extend(self.tokenizer.encode(&self.text[cut.end + cut.skipped..last], false)?);
        Ok(apart == self.tokenizer.encode(&self.text[first..last], false)?)
    }
}

/// A piece ends before byte `end`, and the next begins `skipped` bytes later.
#[derive(Clone, Copy)]
struct Cut {
    end: usize,
    skipped: usize,
}

#[cfg(test)]
mod tests {
    use tercet::checkpoint::Checkpoint;
    use tercet::config::Config;
    use tercet::embedded;

    use super::*;

    fn tokenizer() -> Tokenizer {
        let source = embedded::stories();
        let config = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
        Tokenizer::read(&source, &config).unwrap()
    }

    /// All tokens, in pieces of about so many bytes, read a few bytes at a time.
    fn tokens(text: &[u8], piece_bytes: usize) -> Result<(Vec<u32>, usize), PieceError> {
        let tokenizer = tokenizer();
        let mut pieces = Pieces::new(io::BufReader::with_capacity(7, text), &tokenizer);
        pieces.piece_bytes = piece_bytes;
        let (mut tokens, mut count, mut bytes) = (Vec::new(), 0, 0);
        while let Some((piece, piece_bytes)) = pieces.next_piece()? {
            tokens.extend(piece);
            count += 1;
            bytes += piece_bytes;
        }
        assert_eq!(bytes, text.len() as u64);
        Ok((tokens, count))
    }

    #[test]
    fn pieces_give_the_tokens_of_the_whole() {
        let lines = "Lily saw a  big dog.\n\nThe dog — née Tom — said, \"Hello!\"\n  It ran.\nThey went home and slept.\n";
        for text in [lines.repeat(40), lines.replace('\n', " ").repeat(40)] {
            let whole = tokenizer().encode(&text, false).unwrap();
            let (got, count) = tokens(text.as_bytes(), 600).unwrap();
            assert!(count > 3, "{count} pieces");
            assert_eq!(got, whole);
        }
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_place() {
        let error = tokens(b"Lily \xff saw", 600).unwrap_err();
        assert_eq!(error.to_string(), "byte 5 is not UTF-8, expected a text");
        let error = tokens("Lily é".as_bytes().split_last().unwrap().1, 600).unwrap_err();
        assert_eq!(error.to_string(), "byte 5 is not UTF-8, expected a text");
        assert_eq!(tokens(b"", 600).unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn a_text_without_a_place_to_cut_is_read_to_its_end() {
        let text = "a".repeat(5000);
        let (got, count) = tokens(text.as_bytes(), 600).unwrap();
        assert_eq!(got, tokenizer().encode(&text, false).unwrap());
        assert_eq!(count, 1);
    }
}
