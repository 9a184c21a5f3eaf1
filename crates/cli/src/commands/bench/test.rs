//! What is timed: some tokens of a prompt, or some decoded ones, after so many positions.
//!
//! Names are llama-bench's.

use std::fmt;

use tercet::config::Config;
use tercet::model::{MemoryNeed, PROMPT_ROWS, SessionSize};
use tercet_kernels::KvType;

use crate::ceilings::Rates;

/// One test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) kind: Kind,
    /// Tokens, of each sequence.
    pub(super) tokens: usize,
    /// Positions that each sequence has before.
    pub(super) depth: usize,
    /// Sequences that are decoded together.
    pub(super) parallel: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A prompt, its tokens together.
    Prompt,
    /// Generated tokens, one after the other.
    Decode,
}

impl Test {
    /// All tests of some lengths at some depths; a length of 0 is none.
    pub(super) fn all(
        prompts: &[usize],
        decodes: &[usize],
        depths: &[usize],
        parallel: &[usize],
    ) -> Vec<Test> {
        let mut tests = Vec::new();
        for depth in depths.iter().copied() {
            for tokens in prompts.iter().copied() {
                tests.push(Test { kind: Kind::Prompt, tokens, depth, parallel: 1 });
            }
            for tokens in decodes.iter().copied() {
                tests.extend(parallel.iter().map(|parallel| Test {
                    kind: Kind::Decode,
                    tokens,
                    depth,
                    parallel: *parallel,
                }));
            }
        }
        tests.retain(|test| test.tokens > 0);
        tests
    }

    /// Tokens of all sequences.
    pub(super) fn total_tokens(&self) -> usize {
        self.tokens * self.parallel
    }

    /// Positions of each sequence at the end.
    pub(super) fn positions(&self) -> usize {
        self.depth + self.tokens
    }

    /// Passes of one repetition.
    pub(super) fn passes(&self) -> usize {
        match self.kind {
            Kind::Prompt => self.tokens.div_ceil(PROMPT_ROWS),
            Kind::Decode => self.tokens,
        }
    }

    /// The room of the session that is timed.
    pub(super) fn session_size(&self, context: usize) -> SessionSize {
        let max_rows = match self.kind {
            Kind::Prompt => self.tokens.min(PROMPT_ROWS),
            Kind::Decode => self.parallel,
        };
        SessionSize { context: context.max(self.positions()), max_rows, max_logit_rows: self.parallel }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Prompt => "pp",
            Kind::Decode => "tg",
        };
        write!(f, "{kind}{}", self.tokens)?;
        if self.depth > 0 {
            write!(f, " @ d{}", self.depth)?;
        }
        Ok(())
    }
}

/// What a token of a test takes at least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Need {
    /// Bytes that must come from memory: all weights once a pass, the cache once a pass and
    /// sequence, and the buffers of a token once.
    pub(super) bytes: f64,
    /// Operations with ternary weights, two to a weight.
    pub(super) int8_ops: f64,
    /// Operations of dense linears, attention and head, two to a multiply-add.
    pub(super) float_ops: f64,
}

/// What a model gives to a [`Need`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ModelSizes<'a> {
    pub(super) config: &'a Config,
    /// Bytes of weights that one pass reads.
    pub(super) weight_bytes: u64,
    /// Numbers of the cache.
    pub(super) kv_type: KvType,
}

impl Need {
    /// How long it takes at the ceilings: reading and arithmetic go on at the same time.
    pub(super) fn seconds(&self, ceilings: &Rates) -> f64 {
        let reading = self.bytes / ceilings.read_bytes_per_s;
        let arithmetic = self.int8_ops / ceilings.int8_ops_per_s + self.float_ops / ceilings.f32_ops_per_s;
        reading.max(arithmetic)
    }

    /// For one token of a test.
    pub(super) fn of(test: &Test, sizes: &ModelSizes<'_>) -> Self {
        let ModelSizes { config, weight_bytes, kv_type } = *sizes;
        let [passes, tokens] = [test.passes(), test.total_tokens()].map(|count| count as f64);
        // The mean of the positions that a token attends to, itself among them.
        let attended = test.depth as f64 + (test.tokens + 1) as f64 / 2.0;
        // Of those that a pass reads: the last token of a pass attends to all of its sequence's.
        let read = test.depth as f64 + (test.tokens as f64 + test.tokens as f64 / passes) / 2.0;
        let cache_bytes = MemoryNeed::cache_bytes_per_position(config, kv_type) as f64
            * read
            * passes
            * test.parallel as f64;
        let logit_rows = match test.kind {
            Kind::Prompt => 1.0,
            Kind::Decode => tokens,
        };
        let head_ops = 2.0 * (config.vocab_size * config.hidden_size) as f64 * logit_rows / tokens;
        let attention_ops = 4.0 * (config.num_hidden_layers * config.attention_size()) as f64 * attended;
        let linear_ops = 2.0 * config.linear_parameters() as f64;
        let int8_ops = 2.0 * config.ternary_parameters() as f64;
        let activation_bytes = MemoryNeed::activation_bytes_per_token(config) as f64;
        Need {
            bytes: (weight_bytes as f64 * passes + cache_bytes) / tokens + activation_bytes,
            int8_ops,
            float_ops: linear_ops - int8_ops + attention_ops + head_ops,
        }
    }
}

#[cfg(test)]
mod tests {
    use tercet::presets::Preset;

    use super::*;

    #[test]
    fn tests_are_named_as_llama_bench_names_them() {
        let tests = Test::all(&[512, 0], &[128], &[0, 3968], &[1, 16]);
        let names: Vec<_> = tests.iter().map(Test::to_string).collect();
        let want = ["pp512", "tg128", "tg128", "pp512 @ d3968", "tg128 @ d3968", "tg128 @ d3968"];
        assert_eq!(names, want);
        assert_eq!(tests[2].parallel, 16);
    }

    #[test]
    fn a_token_needs_what_the_sizes_say() {
        let config = Preset::by_name("2b4t").unwrap().config();
        let sizes = ModelSizes { config: &config, weight_bytes: 1_000_000, kv_type: KvType::F16 };
        // 30 layers with a key and a value of 5 heads of 128 numbers.
        let position = 30.0 * 2.0 * 5.0 * 128.0 * 2.0;
        let activations = MemoryNeed::activation_bytes_per_token(&config) as f64;
        let test = |kind, tokens, depth, parallel| Test { kind, tokens, depth, parallel };
        let decode = Need::of(&test(Kind::Decode, 3, 10, 1), &sizes);
        // Positions 11, 12 and 13 are read in the three passes.
        assert_eq!(decode.bytes, 1_000_000.0 + position * 12.0 + activations);
        assert_eq!(decode.int8_ops, 2.0 * 2_084_044_800.0);
        let head = 2.0 * 328_335_360.0;
        assert_eq!(decode.float_ops, 4.0 * 30.0 * 2560.0 * 12.0 + head);

        let together = Need::of(&test(Kind::Decode, 3, 10, 4), &sizes);
        assert_eq!(together.bytes, 250_000.0 + position * 12.0 + activations);
        assert_eq!(together.float_ops, decode.float_ops);

        // Eight passes, which read 128, 256, … 1024 positions.
        let prompt = Need::of(&test(Kind::Prompt, 1024, 0, 1), &sizes);
        assert_eq!(prompt.bytes, (8e6 + position * 4608.0) / 1024.0 + activations);
        assert_eq!(prompt.float_ops, 4.0 * 30.0 * 2560.0 * 512.5 + head / 1024.0);
    }
}
