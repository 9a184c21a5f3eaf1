//! Text to tokens and back, and what a single token is called.
//!
//! Without a tokenizer, for random weights, a token's text is its number and a space, and a text's tokens are
//! pseudo-random, one a word.

use tercet::random;
use tercet::tokenizer::Tokenizer;

use super::ApiError;
use crate::served::Served;

/// The tokens of a text; `param` is the field it came in.
pub(super) fn encode(
    served: &Served,
    text: &str,
    add_special: bool,
    param: &str,
) -> Result<Vec<u32>, ApiError> {
    match &served.tokenizer {
        Some(tokenizer) => tokenizer
            .encode(text, add_special)
            .map_err(|error| ApiError::invalid(param, format!("`{param}`: {error}"))),
        None => Ok(pseudo_random(text, served.config.vocab_size)),
    }
}

/// The tokens of a prompt, of which a model needs at least one: where the text has none, the one that begins texts.
pub(super) fn encode_prompt(served: &Served, text: &str, param: &str) -> Result<Vec<u32>, ApiError> {
    let mut tokens = encode(served, text, true, param)?;
    if tokens.is_empty() {
        tokens.extend(served.text_ends.bos.or(served.config.bos_token_id));
    }
    match tokens.is_empty() {
        true => Err(ApiError::invalid(param, format!("`{param}` is empty, expected at least one token"))),
        false => Ok(tokens),
    }
}

/// Checks that tokens are the model's, and that there is one.
pub(super) fn check_tokens(served: &Served, tokens: &[u32], param: &str) -> Result<(), ApiError> {
    if tokens.is_empty() {
        return Err(ApiError::invalid(param, format!("`{param}` is empty, expected at least one token")));
    }
    let vocab_size = served.config.vocab_size;
    match tokens.iter().find(|token| **token as usize >= vocab_size) {
        Some(token) => {
            let message = format!("`{param}` has token {token}, expected less than {vocab_size}");
            Err(ApiError::invalid(param, message))
        }
        None => Ok(()),
    }
}

/// The text of tokens, without special ones.
pub(super) fn decode(served: &Served, tokens: &[u32]) -> String {
    match &served.tokenizer {
        Some(tokenizer) => tokenizer.decode(tokens),
        None => tokens.iter().map(|token| format!("{token} ")).collect(),
    }
}

/// The text of tokens, special ones written out.
pub(super) fn decode_all(served: &Served, tokens: &[u32]) -> String {
    let Some(tokenizer) = &served.tokenizer else { return decode(served, tokens) };
    let is_special = |token: &u32| tokenizer.is_special(*token);
    let mut text = String::new();
    for run in tokens.chunk_by(|a, b| is_special(a) == is_special(b)) {
        match is_special(&run[0]) {
            true => text.extend(run.iter().filter_map(|token| tokenizer.id_to_token(*token))),
            false => text.push_str(&tokenizer.decode(run)),
        }
    }
    text
}

/// The bytes that a token stands for; a special one's name; nothing for an id that no token has.
pub(super) fn token_bytes(served: &Served, token: u32) -> Vec<u8> {
    match &served.tokenizer {
        Some(tokenizer) => tokenizer.token_bytes(token).unwrap_or_default(),
        None => format!("{token} ").into_bytes(),
    }
}

/// A token as log-probabilities call it: its text, or `bytes:\xe2\x80` where that is no whole characters.
pub(super) fn token_name(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{escaped}")
        }
    }
}

/// Where tokens begin in a text, in characters. A token that has no text begins where the next one does.
#[derive(Debug, Clone, Default)]
pub(super) struct Offsets {
    next: usize,
    /// Characters that are in the tokens and not in the text, which some decoders drop at its start.
    dropped: usize,
}

impl Offsets {
    /// Offsets in the text of these tokens and of what follows them.
    pub(super) fn of_text_from(served: &Served, tokens: &[u32]) -> Self {
        let Some(tokenizer) = &served.tokenizer else { return Self::default() };
        let first = tokens.iter().find(|token| !tokenizer.is_special(**token));
        let dropped = first.is_some_and(|first| drops_space(tokenizer, *first));
        Offsets { next: 0, dropped: usize::from(dropped) }
    }

    /// Where this token begins; the next one begins after it.
    pub(super) fn push(&mut self, served: &Served, token: u32, bytes: &[u8]) -> usize {
        let begin = self.next;
        let has_text = served.tokenizer.as_ref().is_none_or(|tokenizer| !tokenizer.is_special(token));
        if has_text {
            let characters = bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
            let dropped = self.dropped.min(characters);
            self.dropped -= dropped;
            self.next += characters - dropped;
        }
        begin
    }
}

/// Whether a text that begins with this token lacks the space that the token has.
fn drops_space(tokenizer: &Tokenizer, token: u32) -> bool {
    let begins_with_space = tokenizer.token_bytes(token).is_some_and(|bytes| bytes.starts_with(b" "));
    begins_with_space && !tokenizer.decode(&[token]).starts_with(' ')
}

fn pseudo_random(text: &str, vocab_size: usize) -> Vec<u32> {
    random::tokens(text.split_whitespace().count(), vocab_size)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::stories_served;
    use super::*;

    #[test]
    fn bytes_that_are_no_characters_are_written_as_openai_does() {
        assert_eq!(token_name(b" the"), " the");
        assert_eq!(token_name(&[0xE2, 0x80]), "bytes:\\xe2\\x80");
    }

    #[test]
    fn offsets_are_where_tokens_begin_in_the_text() {
        let served = stories_served();
        for text in ["Once upon a time, there was a dog.", "caf\u{e9} \u{1F600} end", "  two spaces"] {
            let tokens = encode(&served, text, true, "prompt").unwrap();
            let whole = decode(&served, &tokens);
            let mut offsets = Offsets::of_text_from(&served, &tokens);
            for (i, token) in tokens.iter().enumerate() {
                let offset = offsets.push(&served, *token, &token_bytes(&served, *token));
                let before = decode(&served, &tokens[..i]);
                if whole.starts_with(&before) {
                    assert_eq!(offset, before.chars().count(), "token {i} of {text:?}");
                }
            }
            assert_eq!(offsets.next, whole.chars().count(), "{text:?}");
        }
    }

    #[test]
    fn special_tokens_are_written_out_where_asked_for() {
        let served = stories_served();
        let tokens = encode(&served, "Once upon", true, "prompt").unwrap();
        let bos =
            served.text_ends.bos.map(|bos| served.tokenizer.as_ref().unwrap().id_to_token(bos).unwrap());
        let written = decode_all(&served, &tokens);
        match bos.filter(|_| tokens.first() == served.text_ends.bos.as_ref()) {
            Some(bos) => assert_eq!(written, format!("{bos}Once upon")),
            None => assert_eq!(written, "Once upon"),
        }
    }

    #[test]
    fn without_a_tokenizer_every_word_is_a_token() {
        let served = crate::served::Served { tokenizer: None, ..stories_served() };
        let tokens = encode(&served, "a b  c", true, "prompt").unwrap();
        assert_eq!(tokens.len(), 3);
        check_tokens(&served, &tokens, "prompt").unwrap();
        assert_eq!(decode(&served, &[7, 12]), "7 12 ");
        let error = check_tokens(&served, &[u32::MAX], "prompt").unwrap_err();
        assert_eq!(error.param(), Some("prompt"));
    }
}
