//! How much memory training takes, before any of it is taken.

use tercet::config::{Config, Linears};
use tercet_kernels::{KV_BLOCK, Layout};

use super::head::{gradient_sizes, window_rows};
use super::{NetworkSize, ParameterLayout, Shape};

/// Bytes of memory that a network and its optimizer take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Parameters, gradients and the optimizer's two moments, in f32.
    pub parameter_bytes: u64,
    /// Ternary codes of the current step, which are made in the memory of the last ones.
    pub code_bytes: u64,
    /// What is kept from forward to backward.
    pub activation_bytes: u64,
    /// Room for one layer's pass and one window of logits.
    pub scratch_bytes: u64,
    /// A sample: the model packed and loaded beside the network, its cache and session.
    pub sample_bytes: u64,
    /// The teacher: its weights, caches and session, and a window of its logits.
    pub teacher_bytes: u64,
}

impl MemoryNeed {
    /// What [`Network`](super::Network) and an AdamW of this size take, without samples and a teacher; `u64::MAX` where
    /// it is more, as sizes that a configuration may have can ask for.
    ///
    /// Sequences are counted as if each were one segment. A segment's keys and values of one layer take whole blocks of
    /// positions, so many short ones take more.
    pub fn new(config: &Config, size: &NetworkSize) -> Self {
        let shape = Shape { config, rows: size.rows, precision: size.precision };
        let parameters = ParameterLayout::new(config).len() as u64;
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let (attention, key_value) = (config.attention_size(), shape.key_value_size());
        let m = size.rows as u64;
        let is_dense = config.linears == Linears::Dense;
        let quantized = match (is_dense, config.norms.in_linear_eps) {
            (true, _) => 0,
            (false, Some(_)) => 5 * hidden + attention + intermediate,
            (false, None) => 2 * hidden + attention + intermediate,
        };
        let saved = 4 * (2 * attention + 2 * key_value + hidden + 2 * intermediate) + quantized;
        let kept_layers = if size.recompute { 1 } else { config.num_hidden_layers as u64 };
        let layers = config.num_hidden_layers as u64;
        let activations = m.saturating_mul(kept_layers * saved as u64 + (layers + 2) * 4 * hidden as u64);
        let wide = if is_dense { 2 } else { 3 } + 2 * usize::from(config.norms.in_linear_eps.is_some());
        let row = 4 * (3 * hidden + wide * shape.widest() + 3 * intermediate + 2 * attention + 2 * key_value);
        let sequences = size.rows.div_ceil(size.context.max(1)) as u64;
        let cached = sequences.saturating_mul((size.context as u64).next_multiple_of(KV_BLOCK as u64));
        let weight = if is_dense { 0 } else { 4 * shape.largest_matrix() as u64 };
        let window_rows = window_rows(config.vocab_size, size.rows);
        let window = window_rows * 4 * (4 * hidden + config.vocab_size);
        let operands = [shape.gradient_sizes(), gradient_sizes(config, window_rows)]
            .map(|sizes| sizes.bytes(size.precision) as u64);
        let operands = operands[0].saturating_add(operands[1]);
        let matrix =
            |name: &str| Layout::TwoBit.matrix_bytes(tercet::config::linear_shape(config, name)) as u64;
        let layer_codes: u64 = tercet::model::Layer::LINEARS.iter().map(|name| matrix(name)).sum();
        MemoryNeed {
            parameter_bytes: parameters.saturating_mul(16),
            code_bytes: if is_dense { 0 } else { layers * layer_codes },
            activation_bytes: activations,
            scratch_bytes: m
                .saturating_mul(row as u64)
                .saturating_add(cached.saturating_mul(4 * 2 * key_value as u64))
                .saturating_add(weight + window as u64)
                .saturating_add(operands),
            sample_bytes: 0,
            teacher_bytes: 0,
        }
    }

    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        let Self {
            parameter_bytes,
            code_bytes,
            activation_bytes,
            scratch_bytes,
            sample_bytes,
            teacher_bytes,
        } = *self;
        [code_bytes, activation_bytes, scratch_bytes, sample_bytes, teacher_bytes]
            .into_iter()
            .fold(parameter_bytes, u64::saturating_add)
    }
}
