//! Comparing tokenizers on fixed texts.

use super::{Check, Outcome};
use crate::config::Config;
use crate::source::Source;
use crate::tokenizer::{ChatTemplates, Tokenizer, TokenizerError};

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

/// Compares two vocabularies of at most so many tokens, the tokens of the texts, and the texts of these tokens.
///
/// # Errors
/// [`TokenizerError`] if a tokenizer cannot cope with a text.
pub fn compare(a: &Tokenizer, b: &Tokenizer, vocab_size: usize) -> Result<Check, TokenizerError> {
    let ids = 0..u32::try_from(vocab_size).unwrap_or(u32::MAX);
    let token = |tokenizer: &Tokenizer, id: u32| (tokenizer.id_to_token(id), tokenizer.is_special(id));
    let other_ids: Vec<u32> = ids.filter(|id| token(a, *id) != token(b, *id)).collect();
    let mut other_texts = Vec::new();
    for text in TEXTS {
        let (own, other) = (a.encode(text, true)?, b.encode(text, true)?);
        if own != other || a.decode(&own) != b.decode(&own) {
            other_texts.push(text);
        }
    }
    let (outcome, detail) = match (other_ids.first(), other_texts.first()) {
        (None, None) => {
            let detail = format!("{} tokens, and {} texts are cut alike", a.vocab_size(), TEXTS.len());
            (Outcome::Equal, detail)
        }
        (Some(id), _) => {
            let [own, other] = [a, b].map(|tokenizer| tokenizer.id_to_token(*id).unwrap_or_default());
            let detail =
                format!("{} tokens differ, the first is {id}: {own:?} and {other:?}", other_ids.len());
            (Outcome::Differs, detail)
        }
        (None, Some(text)) => (Outcome::Differs, format!("{text:?} is cut otherwise")),
    };
    let (compared, differing) = (vocab_size + TEXTS.len(), other_ids.len() + other_texts.len());
    let [compared, differing] = [compared, differing].map(|count| count as u64);
    Ok(Check { name: "tokenizer", outcome, compared, differing, largest_difference: 0.0, detail })
}

/// Compares the templates of chats.
///
/// # Errors
/// [`TokenizerError`] if one cannot be read.
pub fn compare_templates(a: &Source, b: &Source) -> Result<Check, TokenizerError> {
    let (own, other) = (ChatTemplates::read(a)?, ChatTemplates::read(b)?);
    let ((own_count, own_bytes), (other_count, _)) = (own.size(), other.size());
    let (outcome, detail) = match (own_count, other_count) {
        (0, 0) => return Ok(Check::skipped("template", "neither has one")),
        (_, 0) => (Outcome::Differs, "the second has none".to_owned()),
        (0, _) => (Outcome::Differs, "the first has none".to_owned()),
        _ if own != other => (Outcome::Differs, "each has its own".to_owned()),
        (1, _) => (Outcome::Equal, format!("{own_bytes} bytes")),
        _ => (Outcome::Equal, format!("{own_count} of {own_bytes} bytes")),
    };
    let differing = u64::from(outcome == Outcome::Differs);
    Ok(Check { name: "template", outcome, compared: 1, differing, largest_difference: 0.0, detail })
}
