//! What a run says when it is over: the last line on stderr, or a JSON object on stdout.

use std::time::Duration;

use serde::Serialize;
use tercet::generate::{FinishReason, Generated, SamplingParams};
use tercet_kernels::Pool;

use crate::origin::Origin;
use crate::teller::Told;
use crate::weight_types::Kv;
use crate::{ceilings, figures};

/// How fast a run was, as far as that can be said.
pub(crate) struct Speed {
    prompt_per_second: Option<f64>,
    text_per_second: Option<f64>,
    read_bytes_per_second: Option<f64>,
    ceiling_bytes_per_second: Option<f64>,
    /// The threads that the ceiling is for, where the machine has more.
    few_threads: Option<usize>,
}

impl Speed {
    /// Measures the machine's bandwidth where it is not known and `may_measure`.
    pub(crate) fn of(generated: &Generated, pool: &Pool, may_measure: bool) -> Self {
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
            few_threads: Some(pool.threads()).filter(|threads| *threads < Pool::default_threads()),
        }
    }

    fn fraction(&self) -> Option<f64> {
        Some(self.read_bytes_per_second? / self.ceiling_bytes_per_second?)
    }
}

/// `prompt 5 tokens 812.3/s · text 200 tokens 310.2/s · 550 MB/s, 1.3 % of 43.1 GB/s · seed 42`.
pub(crate) fn last_line(generated: &Generated, speed: &Speed, sampling: &SamplingParams) -> String {
    let tokens = |name: &str, count: usize, per_second: Option<f64>| {
        let rate = per_second.map(|rate| format!(" {rate:.1}/s")).unwrap_or_default();
        format!("{name} {}{rate}", figures::number_of(count, "token"))
    };
    let mut parts = vec![
        tokens("prompt", generated.prompt_tokens, speed.prompt_per_second),
        tokens("text", generated.tokens.len(), speed.text_per_second),
    ];
    if let Some(read) = speed.read_bytes_per_second {
        let of_ceiling = speed.ceiling_bytes_per_second.zip(speed.fraction()).map(|(ceiling, fraction)| {
            let threads = speed.few_threads.map(|threads| format!(" with {}", figures::threads(threads)));
            let ceiling = figures::bytes_per_second(ceiling) + &threads.unwrap_or_default();
            if fraction > 1.0 {
                // A small model lies in the processor's cache, which is faster than memory.
                return format!(", from the processor's cache (memory: {ceiling})");
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
pub(crate) struct Report<'a> {
    model: String,
    family: &'static str,
    prompt: &'a str,
    /// Null where there is no tokenizer.
    text: Option<&'a str>,
    tokens: &'a [u32],
    finish_reason: &'static str,
    seed: u64,
    sampling: Sampling,
    timings: Timings,
    bandwidth: Bandwidth,
    isa: &'static str,
    threads: usize,
    weights: &'static str,
    head: &'static str,
    kv: &'static str,
    logits_sha256: Option<&'a str>,
    version: &'static str,
}

impl<'a> Report<'a> {
    #[expect(clippy::too_many_arguments, reason = "it reports on all of a run")]
    pub(crate) fn new(
        origin: &Origin,
        pool: &Pool,
        kv: Kv,
        prompt: &'a str,
        sampling: &SamplingParams,
        generated: &'a Generated,
        told: &'a Told,
        speed: &Speed,
    ) -> Self {
        Report {
            model: origin.name(),
            family: origin.config.family.name(),
            prompt,
            text: origin.has_text().then_some(told.text.as_str()),
            tokens: &generated.tokens,
            finish_reason: finish_reason(generated.finish_reason),
            seed: sampling.seed,
            sampling: sampling.into(),
            timings: Timings::new(generated, speed),
            bandwidth: speed.into(),
            isa: pool.isa().name(),
            threads: pool.threads(),
            weights: origin.weights(),
            head: origin.head(),
            kv: kv.name(),
            logits_sha256: told.digest.as_deref(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// The sampling parameters, with the names of the arguments.
#[derive(Serialize)]
struct Sampling {
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
struct Timings {
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
    fn new(generated: &Generated, speed: &Speed) -> Self {
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
struct Bandwidth {
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
fn finish_reason(reason: FinishReason) -> &'static str {
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
            few_threads: None,
        };
        let sampled = SamplingParams { temperature: 0.8, seed: 42, ..SamplingParams::greedy() };
        assert_eq!(
            last_line(&generated(FinishReason::Length), &speed, &sampled),
            "prompt 12 tokens 1200.0/s · text 200 tokens 199.0/s · 550 MB/s, 1.3 % of 43.1 GB/s · seed 42"
        );
    }

    #[test]
    fn a_ceiling_of_few_threads_says_so() {
        let line = |read: f64| {
            let speed = Speed {
                prompt_per_second: None,
                text_per_second: None,
                read_bytes_per_second: Some(read),
                ceiling_bytes_per_second: Some(8e9),
                few_threads: Some(1),
            };
            last_line(&generated(FinishReason::Length), &speed, &SamplingParams::greedy())
        };
        let want = "16.0 GB/s, from the processor's cache (memory: 8.00 GB/s with 1 thread)";
        assert!(line(16e9).ends_with(want), "{}", line(16e9));
        assert!(line(4e9).ends_with("50 % of 8.00 GB/s with 1 thread"), "{}", line(4e9));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let speed = Speed {
            prompt_per_second: None,
            text_per_second: None,
            read_bytes_per_second: Some(1e9),
            ceiling_bytes_per_second: None,
            few_threads: Some(1),
        };
        assert_eq!(
            last_line(&generated(FinishReason::Cancelled), &speed, &SamplingParams::greedy()),
            "prompt 12 tokens · text 200 tokens · 1.00 GB/s · interrupted"
        );
    }
}
