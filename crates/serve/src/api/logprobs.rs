//! How likely tokens were, as completions and as chats write it.

use serde_json::{Map, Value};

use super::text::{Offsets, token_bytes, token_name};
use super::wire::{ChatToken, CompletionLogprobs, TopToken};
use crate::engine::ScoredToken;
use crate::served::Served;

/// What OpenAI writes for a token that is too unlikely for a number; JSON has no minus infinity.
const UNLIKELIEST: f64 = -9999.0;

impl CompletionLogprobs {
    /// Adds a token; the first of a prompt has no score.
    pub(super) fn push(
        &mut self,
        served: &Served,
        offsets: &mut Offsets,
        token: u32,
        score: Option<&ScoredToken>,
    ) {
        let bytes = token_bytes(served, token);
        self.text_offset.push(offsets.push(served, token, &bytes));
        self.tokens.push(token_name(&bytes));
        self.token_logprobs.push(score.map(|score| written(score.log_probability)));
        self.top_logprobs.push(score.map(|score| top(served, score)));
    }

    /// Adds what comes after.
    pub(super) fn extend(&mut self, more: CompletionLogprobs) {
        self.tokens.extend(more.tokens);
        self.token_logprobs.extend(more.token_logprobs);
        self.top_logprobs.extend(more.top_logprobs);
        self.text_offset.extend(more.text_offset);
    }
}

/// A token as chats write it.
pub(super) fn chat_token(served: &Served, score: &ScoredToken) -> ChatToken {
    let of = |token: u32, log_probability: f64| {
        let bytes = token_bytes(served, token);
        TopToken { token: token_name(&bytes), logprob: written(log_probability), bytes }
    };
    let TopToken { token, logprob, bytes } = of(score.token, score.log_probability);
    let top_logprobs =
        score.top.iter().map(|(token, log_probability)| of(*token, *log_probability)).collect();
    ChatToken { token, logprob, bytes, top_logprobs }
}

/// The likeliest tokens by their text, and the token itself. Of tokens with one text the likeliest counts, so that
/// the greatest value is always that of the likeliest token.
fn top(served: &Served, score: &ScoredToken) -> Map<String, Value> {
    let mut top = Map::new();
    let own = (score.token, score.log_probability);
    for (token, log_probability) in score.top.iter().copied().chain([own]) {
        let logprob = written(log_probability);
        let entry = top.entry(token_name(&token_bytes(served, token))).or_insert(Value::Null);
        if entry.as_f64().is_none_or(|other| other < logprob) {
            *entry = logprob.into();
        }
    }
    top
}

fn written(log_probability: f64) -> f64 {
    // `max` also turns NaN into the number.
    log_probability.max(UNLIKELIEST)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::stories_served;
    use super::*;

    fn push(score: &ScoredToken) -> CompletionLogprobs {
        let mut logprobs = CompletionLogprobs::default();
        logprobs.push(&stories_served(), &mut Offsets::default(), score.token, Some(score));
        logprobs
    }

    #[test]
    fn the_likeliest_token_has_the_greatest_value_and_the_same_float() {
        let likeliest = -0.123_456_789_012_345_67;
        let score = ScoredToken { token: 7, log_probability: -3.5, top: vec![(9, likeliest), (11, -2.0)] };
        let logprobs = push(&score);
        let top = logprobs.top_logprobs[0].as_ref().unwrap();
        let text = serde_json::to_string(top).unwrap();
        let read: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let greatest = read.values().filter_map(Value::as_f64).fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(greatest.to_bits(), likeliest.to_bits());
        assert_eq!(top.len(), 3, "the token itself is among them");
    }

    #[test]
    fn minus_infinity_is_a_number() {
        let score = ScoredToken { token: 7, log_probability: f64::NEG_INFINITY, top: vec![(9, 0.0)] };
        let logprobs = push(&score);
        assert_eq!(logprobs.token_logprobs, [Some(-9999.0)]);
        assert!(!serde_json::to_string(&logprobs).unwrap().contains("null"));
    }

    #[test]
    fn of_two_tokens_with_one_text_the_likelier_counts() {
        let served = Served { tokenizer: None, ..stories_served() };
        let score = ScoredToken { token: 7, log_probability: -1.0, top: vec![(7, -1.0), (7, -4.0)] };
        assert_eq!(top(&served, &score), Map::from_iter([("7 ".to_owned(), Value::from(-1.0))]));
    }
}
