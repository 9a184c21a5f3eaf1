//! Comparing tokenizers on fixed texts.

use super::{Check, Outcome};
use crate::config::Config;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// What is compared: prose, code, numbers, other scripts, white space and what looks like markup.
pub const TEXTS: [&str; 6] = [
    "Once upon a time there was a little girl named Lily. She loved to play outside.",
    "def f(x):\n    return {'a': x[1] + 2}\n\n\n# a comment\twith a tab",
    "It's 12:30 on 2024-02-27; 3,141,592.65 people don't agree — or do they? That's 100%!",
    "naïve façade, Ünïcödé, Привет мир, 你好世界, こんにちは, مرحبا, 🦀🎉👩‍🔬",
    "  two spaces,   three,\r\n and trailing   ",
    "<s> [INST] markup </s> <|eot_id|> that is text",
];

/// Tokens of a text that are computed with at most.
const PROMPT_TOKENS: usize = 64;

/// The texts as tokens, special ones included; pseudo-random tokens for a model without a tokenizer.
///
/// # Errors
/// [`TokenizerError`] if the tokenizer cannot cope with a text.
pub fn prompts(tokenizer: Option<&Tokenizer>, config: &Config) -> Result<Vec<Vec<u32>>, TokenizerError> {
    let limit = PROMPT_TOKENS.min(config.max_position_embeddings);
    let Some(tokenizer) = tokenizer else {
        let token = |i: u64| (crate::random::mix(i) % config.vocab_size as u64) as u32;
        let length = limit as u64;
        return Ok((0..TEXTS.len() as u64)
            .map(|text| (0..length).map(|i| token(text << 32 | i)).collect())
            .collect());
    };
    let mut prompts = Vec::new();
    for text in TEXTS {
        let mut tokens = tokenizer.encode(text, true)?;
        tokens.truncate(limit);
        prompts.push(tokens);
    }
    Ok(prompts)
}

/// Compares the tokens of the texts, and the texts of these tokens.
///
/// # Errors
/// [`TokenizerError`] if a tokenizer cannot cope with a text.
pub fn compare(a: &Tokenizer, b: &Tokenizer) -> Result<Check, TokenizerError> {
    let mut different = Vec::new();
    for text in TEXTS {
        let (own, other) = (a.encode(text, true)?, b.encode(text, true)?);
        let is_same = own == other && a.decode(&own) == b.decode(&own);
        if !is_same {
            different.push(format!("{text:?}"));
        }
    }
    let (outcome, detail) = match different.first() {
        None => (Outcome::Equal, format!("{} texts have the same tokens", TEXTS.len())),
        Some(first) => (Outcome::Differs, format!("{first} has other tokens")),
    };
    let (compared, differing) = (TEXTS.len() as u64, different.len() as u64);
    Ok(Check { name: "tokenizer", outcome, compared, differing, largest_difference: 0.0, detail })
}
