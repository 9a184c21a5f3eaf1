//! From text to the tokens that are scored, by the rules of lm-evaluation-harness.
//!
//! ```text
//! context + continuation   a b c | d e        the context by itself; then what both as one text have after
//!                                             as many tokens
//! input                    a b c   d          without the last, and at most the model's context from the right
//! targets                      d   e          what each of the last rows should have said
//! ```
//!
//! Spaces at the end of a context belong to the continuation. A text gets the tokens around it that the
//! tokenizer adds by itself, but for an end, and is not given a beginning twice. It knows no task.

use tercet::config::Config;
use tercet::tokenizer::{TextEnds, Tokenizer, TokenizerError};

use crate::python_space::is_python_space;

/// Tokens of which the last few rows are scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoredTokens {
    /// What the model reads.
    pub input: Vec<u32>,
    /// The right tokens after the last `targets.len()` tokens of the input; at most as many.
    pub targets: Vec<u32>,
}

impl ScoredTokens {
    /// The first row that is scored.
    pub fn first_row(&self) -> usize {
        self.input.len() - self.targets.len()
    }
}

/// Why a request has no tokens to score.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The text could not be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A continuation that is not a token of its own.
    #[error("the continuation {continuation:?} adds no token to its context, expected one at least")]
    NoContinuation {
        /// The continuation.
        continuation: String,
    },
    /// A context that is no token, before which the tokenizer puts none either.
    #[error("the context {context:?} is no token of this model, expected one at least, or no context at all")]
    NoContext {
        /// The context.
        context: String,
    },
    /// A continuation that no context has room for.
    #[error("a continuation of {found} tokens, expected at most {expected} in this context")]
    TooLong {
        /// Its tokens.
        found: usize,
        /// Positions there are.
        expected: usize,
    },
    /// Neither the tokenizer nor the model says how a text begins or ends.
    #[error(
        "the model has neither a token that begins a text nor one that ends it, expected one to score a text from its start"
    )]
    NoPrefix,
}

/// Encodes requests for one model.
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    /// What stands before a text that has no context: the token that begins a text, else one that ends it.
    prefix: Option<u32>,
    /// The prefix as text.
    prefix_text: Option<String>,
    eos: &'a [u32],
    max_length: usize,
}

impl<'a> Encoder<'a> {
    /// An encoder for a model that reads at most `max_length` tokens at once. The ends of a text are
    /// those that the tokenizer names, else those of the configuration.
    pub fn new(tokenizer: &'a Tokenizer, ends: TextEnds, config: &'a Config, max_length: usize) -> Self {
        let named = ends.bos.or(ends.eos);
        let prefix = named.or(config.bos_token_id).or(config.eos_token_ids.first().copied());
        let prefix_text = prefix.and_then(|id| tokenizer.id_to_token(id)).filter(|text| !text.is_empty());
        Encoder { tokenizer, prefix, prefix_text, eos: &config.eos_token_ids, max_length }
    }

    /// The token that stands before a text without a context.
    pub fn prefix(&self) -> Option<u32> {
        self.prefix
    }

    /// Tokens that the model reads at once, at most.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The tokens of a text as it is given to the model.
    ///
    /// # Errors
    /// [`TokenizerError`] if it cannot be encoded.
    pub fn text(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let begins_itself = self.prefix_text.as_ref().is_some_and(|prefix| text.starts_with(prefix.as_str()));
        self.encode(text, !begins_itself)
    }

    fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        let mut tokens = self.tokenizer.encode(text, add_special)?;
        if add_special && !self.ends_itself(text) {
            tokens.pop_if(|token| self.eos.contains(token));
        }
        Ok(tokens)
    }

    /// Whether an end of text is written out.
    fn ends_itself(&self, text: &str) -> bool {
        self.eos.iter().filter_map(|id| self.tokenizer.id_to_token(*id)).any(|eos| text.ends_with(&eos))
    }

    /// A continuation after a context.
    ///
    /// # Errors
    /// [`EncodeError`] if there is nothing to score, or no room for it.
    pub fn pair(&self, context: &str, continuation: &str) -> Result<ScoredTokens, EncodeError> {
        Ok(self.pair_and_whether_cut(context, continuation)?.0)
    }

    /// The same, and whether the context lost its beginning.
    pub(crate) fn pair_and_whether_cut(
        &self,
        context: &str,
        continuation: &str,
    ) -> Result<(ScoredTokens, bool), EncodeError> {
        if context.is_empty() {
            let tokens = self.encode(continuation, false)?;
            let prefix = self.prefix.ok_or(EncodeError::NoPrefix)?;
            return match tokens.split_first() {
                Some((first, rest)) if *first == prefix => self.scored(&[prefix], rest, continuation),
                _ => self.scored(&[prefix], &tokens, continuation),
            };
        }
        let (kept, spaces) = context.split_at(context.trim_end_matches(is_python_space).len());
        let whole = self.text(&[context, continuation].concat())?;
        let before = self.text(kept)?;
        if before.is_empty() {
            return Err(EncodeError::NoContext { context: context.to_owned() });
        }
        let targets = whole.get(before.len()..).unwrap_or_default();
        self.scored(&before, targets, &[spaces, continuation].concat())
    }

    /// A whole text, in windows as long as the context in which every token is scored once.
    ///
    /// # Errors
    /// [`EncodeError`] if it cannot be encoded, or has nothing to stand before it.
    pub fn rolling(&self, text: &str) -> Result<Vec<ScoredTokens>, EncodeError> {
        let prefix = self.prefix.ok_or(EncodeError::NoPrefix)?;
        let mut tokens = vec![prefix];
        tokens.extend(self.text(text)?);
        let mut windows = Vec::new();
        let mut scored = 1;
        while scored < tokens.len() {
            let end = tokens.len().min(scored + self.max_length);
            let first = (end - 1).saturating_sub(self.max_length);
            windows.push(ScoredTokens {
                input: tokens[first..end - 1].to_vec(),
                targets: tokens[scored..end].to_vec(),
            });
            scored = end;
        }
        Ok(windows)
    }

    /// The input and targets of a sequence that is split after a token at least, cut to the context from the left;
    /// and whether it had to be cut.
    fn scored(
        &self,
        context: &[u32],
        targets: &[u32],
        continuation: &str,
    ) -> Result<(ScoredTokens, bool), EncodeError> {
        let Some((_, all_but_last)) = targets.split_last() else {
            return Err(EncodeError::NoContinuation { continuation: continuation.to_owned() });
        };
        if targets.len() > self.max_length {
            return Err(EncodeError::TooLong { found: targets.len(), expected: self.max_length });
        }
        let whole: Vec<u32> = context.iter().chain(all_but_last).copied().collect();
        let first = whole.len().saturating_sub(self.max_length);
        Ok((ScoredTokens { input: whole[first..].to_vec(), targets: targets.to_vec() }, first > 0))
    }
}
