//! The way from tokens to text that is certain: whole characters, and no part of a stop text.

use super::stop::StopScanner;
use crate::tokenizer::{TokenStream, Tokenizer};

/// Tokens of the prompt that decide how the first new one reads.
const PROMPT_TOKENS: usize = 16;

/// Turns tokens into text until a stop text comes.
pub struct TextStream<'a> {
    tokens: Option<TokenStream<'a>>,
    scanner: StopScanner,
}

/// Text that has become certain.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// The text, without the stop text.
    pub text: String,
    /// Which stop text ended it, if one did, by its place among them.
    pub stop: Option<usize>,
}

impl<'a> TextStream<'a> {
    /// The text after `prompt`, whose last tokens decide how the first new one reads. Without a tokenizer the text of
    /// a token is its number and a space.
    pub fn new(tokenizer: Option<&'a Tokenizer>, prompt: &[u32], stop: Vec<String>) -> Self {
        let mut tokens = tokenizer.map(Tokenizer::stream);
        if let Some(stream) = &mut tokens {
            for token in &prompt[prompt.len().saturating_sub(PROMPT_TOKENS)..] {
                // The text of the prompt is known to whoever wrote it.
                let _ = stream.push(*token);
            }
        }
        TextStream { tokens, scanner: StopScanner::new(stop) }
    }

    /// What a token makes certain.
    pub fn push(&mut self, token: u32) -> Piece {
        let text = match &mut self.tokens {
            Some(tokens) => tokens.push(token),
            None => Some(format!("{token} ")),
        };
        let text = text.map(|text| self.scanner.push(&text)).unwrap_or_default();
        Piece { text, stop: self.scanner.stop() }
    }

    /// What was held back; nothing, if a stop text ended the text.
    pub fn finish(mut self) -> Piece {
        if self.scanner.stop().is_some() {
            return Piece { text: String::new(), stop: self.scanner.stop() };
        }
        let rest = self.tokens.map(TokenStream::finish).unwrap_or_default();
        let mut text = self.scanner.push(&rest);
        let stop = self.scanner.stop();
        if stop.is_none() {
            text += &self.scanner.finish();
        }
        Piece { text, stop }
    }
}
