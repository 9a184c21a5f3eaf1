//! Text from tokens as they are generated, in whole characters.

use super::Tokenizer;

/// What an unfinished or invalid UTF-8 sequence is decoded to.
const REPLACEMENT: char = '\u{FFFD}';

/// Turns tokens into text one at a time.
///
/// A token may hold part of a character, and how a token reads may depend on those before it
/// (a leading space), so text comes out when more tokens cannot change it.
///
/// ```text
/// ids:  … given out … | context | pending
///                       ^ decoded again each time, so that `pending` reads as it will in the end
/// ```
#[derive(Debug)]
pub struct TokenStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The context, whose text was given out, and after it the pending tokens.
    ids: Vec<u32>,
    /// Tokens of the context.
    context: usize,
}

impl<'a> TokenStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, ids: Vec::new(), context: 0 }
    }

    /// Takes the next token; returns the text that has become certain, if any.
    pub fn push(&mut self, id: u32) -> Option<String> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids);
        if text.ends_with(REPLACEMENT) {
            return None;
        }
        let new = self.after_context(&text)?;
        self.ids.drain(..self.context);
        self.context = self.ids.len();
        Some(new)
    }

    /// Ends the stream; returns the text of what was pending, with U+FFFD for unfinished
    /// characters.
    pub fn finish(self) -> String {
        let text = self.tokenizer.decode(&self.ids);
        self.after_context(&text).unwrap_or_default()
    }

    /// What `text`, that of all tokens, has beyond the text of the context, if that is anything.
    fn after_context(&self, text: &str) -> Option<String> {
        let (context, pending) = self.ids.split_at(self.context);
        let new = match text.strip_prefix(&self.tokenizer.decode(context)) {
            Some(new) => new.to_owned(),
            // Invalid bytes can make a decoder read the whole run of bytes before them as
            // invalid, also those already given out.
            None => self.tokenizer.decode(pending),
        };
        (!new.is_empty()).then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{byte_fallback, byte_level};
    use super::*;

    /// Streams tokens; returns what each push and the end gave.
    fn stream(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<Option<String>> {
        let mut stream = tokenizer.stream();
        let mut given: Vec<_> = ids.iter().map(|id| stream.push(*id)).collect();
        given.push(Some(stream.finish()));
        given
    }

    #[test]
    fn text_comes_out_in_whole_characters() {
        for tokenizer in [byte_level(), byte_fallback()] {
            let text = "the \u{1F600}é end";
            let ids = tokenizer.encode(text, false).unwrap();
            let given = stream(&tokenizer, &ids);
            assert!(given.iter().flatten().all(|piece| !piece.contains(REPLACEMENT)));
            assert_eq!(given.iter().flatten().cloned().collect::<String>(), text);
            assert!(given.iter().any(Option::is_none), "the emoji is several tokens");
        }
    }

    #[test]
    fn leading_spaces_are_kept_within_a_text() {
        let tokenizer = byte_fallback();
        let ids = tokenizer.encode("a b", false).unwrap();
        assert_eq!(stream(&tokenizer, &ids).into_iter().flatten().collect::<String>(), "a b");
    }

    #[test]
    fn an_unfinished_character_is_replaced_at_the_end() {
        for tokenizer in [byte_level(), byte_fallback()] {
            let mut ids = tokenizer.encode("a\u{1F600}", false).unwrap();
            ids.pop();
            let text: String = stream(&tokenizer, &ids).into_iter().flatten().collect();
            assert!(text.starts_with('a') && text.ends_with(REPLACEMENT), "{text:?}");
        }
    }

    #[test]
    fn invalid_bytes_do_not_hold_up_what_follows() {
        for tokenizer in [byte_level(), byte_fallback()] {
            let smile = tokenizer.encode("\u{1F600}", false).unwrap();
            let first_byte = smile[smile.len() - 4];
            let mut ids = smile.clone();
            ids.push(first_byte);
            ids.extend(tokenizer.encode("x", false).unwrap().last());
            let given = stream(&tokenizer, &ids);
            let text: String = given.iter().flatten().cloned().collect();
            assert!(text.starts_with('\u{1F600}') && text.ends_with('x'), "{text:?}");
            assert_eq!(given.last(), Some(&Some(String::new())), "nothing is left over");
        }
    }

    #[test]
    fn special_tokens_have_no_text() {
        let tokenizer = byte_level();
        let ids = tokenizer.encode("<bos>a<eos>b", true).unwrap();
        assert_eq!(stream(&tokenizer, &ids).into_iter().flatten().collect::<String>(), "ab");
    }
}
