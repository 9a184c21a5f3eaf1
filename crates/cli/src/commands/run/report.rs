//! What a run says when it is over: the last line on stderr, or a JSON object on stdout.

use std::time::Duration;

use serde::Serialize;
use tercet::generate::{FinishReason, Generated, SamplingParams};
use tercet_kernels::Pool;

use crate::{ceilings, figures};

/// How fast a run was, as far as that can be said.
pub(super) struct Speed {
    prompt_per_second: Option<f64>,
    text_per_second: Option<f64>,
    read_bytes_per_second: Option<f64>,
    ceiling_bytes_per_second: Option<f64>,
}

impl Speed {
    /// Measures the machine's bandwidth where it is not known and `may_measure`.
    pub(super) fn of(generated: &Generated, pool: &Pool, may_measure: bool) -> Self {
        let per_second = |count: u64, time: Duration| {
            (count > 0 && !time.is_zero()).then(|| count as f64 / time.as_secs_f64())
        };
        let read_bytes_per_second = per_second(generated.decode_bytes, generated.decode_time);
        let ceiling_bytes_per_second = match read_bytes_per_second {
            Some(_) if may_measure => Some(ceilings::recall_or_measure_bandwidth(pool)),
            Some(_) => ceilings::recall_bandwidth(pool),
            None => None,
        };
        let decoded = generated.decode_steps + generated.accepted;
        Speed {
            prompt_per_second: per_second(generated.prompt_tokens as u64, generated.prompt_time),
            text_per_second: per_second(decoded as u64, generated.decode_time),
            read_bytes_per_second,
            ceiling_bytes_per_second,
        }
    }

    fn fraction(&self) -> Option<f64> {
        Some(self.read_bytes_per_second? / self.ceiling_bytes_per_second?)
    }
}

/// `prompt 5 tokens 812.3/s · text 200 tokens 310.2/s · 550 MB/s, 1.3 % of 43.1 GB/s · seed 42`.
pub(super) fn last_line(generated: &Generated, speed: &Speed, sampling: &SamplingParams) -> String {
    let tokens = |name: &str, count: usize, per_second: Option<f64>| {
        let rate = per_second.map(|rate| format!(" {rate:.1}/s")).unwrap_or_default();
        format!("{name} {count} tokens{rate}")
    };
    let mut parts = vec![
        tokens("prompt", generated.prompt_tokens, speed.prompt_per_second),
        tokens("text", generated.tokens.len(), speed.text_per_second),
    ];
    if let Some(read) = speed.read_bytes_per_second {
        let of_ceiling = speed.ceiling_bytes_per_second.zip(speed.fraction()).map(|(ceiling, fraction)| {
            let ceiling = figures::bytes_per_second(ceiling);
            if fraction > 1.0 {
                // A small model lies in the processor's cache, which is faster than memory.
                return format!(", from the cache (memory: {ceiling})");
            }
            format!(", {} of {ceiling}", figures::percent(fraction))
        });
        parts.push(figures::bytes_per_second(read) + &of_ceiling.unwrap_or_default());
    }
    if generated.drafted > 0 {
        parts.push(format!("{} of {} drafted tokens right", generated.accepted, generated.drafted));
    }
    match generated.finish_reason {
        FinishReason::Context => parts.push("context full".to_owned()),
        FinishReason::Cancelled => parts.push("interrupted".to_owned()),
        FinishReason::Stop | FinishReason::Length => {}
    }
    // The likeliest token is the same whatever the seed.
    if sampling.temperature > 0.0 {
        parts.push(format!("seed {}", sampling.seed));
    }
    parts.join(" · ")
}

/// The object that `--json` prints.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    pub(super) model: String,
    pub(super) family: &'static str,
    pub(super) prompt: &'a str,
    /// Null where there is no tokenizer.
    pub(super) text: Option<&'a str>,
    pub(super) tokens: &'a [u32],
    pub(super) finish_reason: &'static str,
    pub(super) seed: u64,
    pub(super) sampling: Sampling,
    pub(super) timings: Timings,
    pub(super) bandwidth: Bandwidth,
    pub(super) isa: &'static str,
    pub(super) threads: usize,
    pub(super) weights: &'static str,
    pub(super) head: &'static str,
    pub(super) kv: &'static str,
    pub(super) logits_sha256: Option<&'a str>,
    pub(super) version: &'static str,
}

/// The sampling parameters, with the names of the arguments.
#[derive(Serialize)]
pub(super) struct Sampling {
    temp: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    repeat_penalty: f32,
    frequency_penalty: f32,
    presence_penalty: f32,
}

impl From<&SamplingParams> for Sampling {
    fn from(params: &SamplingParams) -> Self {
        Sampling {
            temp: params.temperature,
            top_k: params.top_k,
            top_p: params.top_p,
            min_p: params.min_p,
            repeat_penalty: params.repetition_penalty,
            frequency_penalty: params.frequency_penalty,
            presence_penalty: params.presence_penalty,
        }
    }
}

/// Times and speeds, with llama.cpp's names.
#[derive(Serialize)]
pub(super) struct Timings {
    prompt_n: usize,
    prompt_ms: f64,
    prompt_per_second: Option<f64>,
    predicted_n: usize,
    predicted_ms: f64,
    predicted_per_second: Option<f64>,
    draft_n: usize,
    draft_n_accepted: usize,
}

impl Timings {
    pub(super) fn new(generated: &Generated, speed: &Speed) -> Self {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        Timings {
            prompt_n: generated.prompt_tokens,
            prompt_ms: milliseconds(generated.prompt_time),
            prompt_per_second: speed.prompt_per_second,
            predicted_n: generated.tokens.len(),
            predicted_ms: milliseconds(generated.decode_time),
            predicted_per_second: speed.text_per_second,
            draft_n: generated.drafted,
            draft_n_accepted: generated.accepted,
        }
    }
}

/// What decoding read, against what this machine can read.
#[derive(Serialize)]
pub(super) struct Bandwidth {
    read_bytes_per_second: Option<f64>,
    ceiling_bytes_per_second: Option<f64>,
    fraction: Option<f64>,
}

impl From<&Speed> for Bandwidth {
    fn from(speed: &Speed) -> Self {
        Bandwidth {
            read_bytes_per_second: speed.read_bytes_per_second,
            ceiling_bytes_per_second: speed.ceiling_bytes_per_second,
            fraction: speed.fraction(),
        }
    }
}

/// Why a run ended, with OpenAI's names where it has one.
pub(super) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Context => "context",
        FinishReason::Cancelled => "interrupted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(finish_reason: FinishReason) -> Generated {
        Generated {
            tokens: vec![1; 200],
            finish_reason,
            prompt_tokens: 12,
            prompt_time: Duration::from_millis(10),
            decode_steps: 199,
            drafted: 0,
            accepted: 0,
            decode_time: Duration::from_secs(1),
            decode_bytes: 550_000_000,
        }
    }

    #[test]
    fn the_last_line_says_how_fast_and_how_to_repeat() {
        let speed = Speed {
            prompt_per_second: Some(1200.0),
            text_per_second: Some(199.04),
            read_bytes_per_second: Some(550e6),
            ceiling_bytes_per_second: Some(43.1e9),
        };
        let sampled = SamplingParams { temperature: 0.8, seed: 42, ..SamplingParams::greedy() };
        assert_eq!(
            last_line(&generated(FinishReason::Length), &speed, &sampled),
            "prompt 12 tokens 1200.0/s · text 200 tokens 199.0/s · 550 MB/s, 1.3 % of 43.1 GB/s · seed 42"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let speed = Speed {
            prompt_per_second: None,
            text_per_second: None,
            read_bytes_per_second: Some(1e9),
            ceiling_bytes_per_second: None,
        };
        assert_eq!(
            last_line(&generated(FinishReason::Cancelled), &speed, &SamplingParams::greedy()),
            "prompt 12 tokens · text 200 tokens · 1.00 GB/s · interrupted"
        );
    }
}
