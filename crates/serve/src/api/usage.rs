//! What answers took, as the wire says it.

use std::time::Duration;

use super::wire::{PromptTokensDetails, Timings, Usage};
use crate::engine;

/// What all answers of one call took together.
#[derive(Debug)]
pub(super) struct Totals {
    /// Answers that each prompt has; the prompt is counted once.
    answers_per_prompt: usize,
    prompt_tokens: usize,
    cached_tokens: usize,
    completion_tokens: usize,
    joules: Option<f64>,
}

impl Totals {
    /// Nothing yet, of prompts that have so many answers each.
    pub(super) fn new(answers_per_prompt: usize) -> Self {
        Totals { answers_per_prompt, prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0, joules: None }
    }

    /// Adds what an answer took.
    pub(super) fn add(&mut self, index: usize, usage: &engine::Usage) {
        if index.is_multiple_of(self.answers_per_prompt) {
            self.prompt_tokens += usage.prompt_tokens;
            self.cached_tokens += usage.cached_tokens;
        }
        self.completion_tokens += usage.completion_tokens;
        if let Some(joules) = usage.joules {
            *self.joules.get_or_insert(0.0) += joules;
        }
    }

    /// As it is written.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            total_tokens: self.prompt_tokens + self.completion_tokens,
            prompt_tokens_details: PromptTokensDetails { cached_tokens: self.cached_tokens },
            joules: self.joules,
        }
    }
}

/// How long one answer took.
pub(super) fn timings(usage: &engine::Usage) -> Timings {
    let prompt_n = usage.prompt_tokens - usage.cached_tokens;
    let after_first = usage.completion_tokens.saturating_sub(1);
    Timings {
        cache_n: usage.cached_tokens,
        prompt_n,
        prompt_ms: ms(usage.prefill),
        prompt_per_token_ms: quotient(ms(usage.prefill), prompt_n as f64),
        prompt_per_second: quotient(prompt_n as f64, usage.prefill.as_secs_f64()),
        predicted_n: usage.completion_tokens,
        predicted_ms: ms(usage.decode),
        predicted_per_token_ms: quotient(ms(usage.decode), after_first as f64),
        predicted_per_second: quotient(after_first as f64, usage.decode.as_secs_f64()),
        queue_ms: ms(usage.queued),
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// 0 where there is nothing to divide by, as JSON has no infinity.
fn quotient(dividend: f64, divisor: f64) -> f64 {
    if divisor > 0.0 { dividend / divisor } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_counted_once_for_all_its_choices() {
        let mut totals = Totals::new(2);
        for index in 0..4 {
            let usage = engine::Usage {
                prompt_tokens: 10,
                cached_tokens: index,
                completion_tokens: 3,
                joules: (index == 1).then_some(0.5),
                ..engine::Usage::default()
            };
            totals.add(index, &usage);
        }
        let usage = totals.usage();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (20, 12, 32));
        assert_eq!(usage.prompt_tokens_details.cached_tokens, 2, "of the first choice of each prompt");
        assert_eq!(usage.joules, Some(0.5));
    }

    #[test]
    fn timings_of_nothing_are_finite() {
        let timings = serde_json::to_value(timings(&engine::Usage::default())).unwrap();
        assert!(timings.as_object().unwrap().values().all(serde_json::Value::is_number), "{timings}");
    }

    #[test]
    fn the_first_token_is_of_the_prompt() {
        let usage = engine::Usage {
            prompt_tokens: 12,
            cached_tokens: 2,
            completion_tokens: 5,
            prefill: Duration::from_millis(20),
            decode: Duration::from_millis(40),
            ..engine::Usage::default()
        };
        let timings = timings(&usage);
        assert_eq!((timings.prompt_n, timings.cache_n), (10, 2));
        assert!((timings.prompt_per_second - 500.0).abs() < 1e-9);
        assert!((timings.predicted_per_second - 100.0).abs() < 1e-9);
    }
}
