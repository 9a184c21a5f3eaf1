//! How much memory training takes, before any of it is taken.

use tercet::config::{Config, Linears};
use tercet_kernels::Layout;

use super::head::{gradient_sizes, window_rows};
use super::{NetworkSize, ParameterLayout, Shape};

/// Bytes of memory that a network and its optimizer take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Parameters, gradients and the optimizer's two moments, in f32.
    pub parameter_bytes: u64,
    /// Ternary codes of the current step and, while they are made, of the last.
    pub code_bytes: u64,
    /// What is kept from forward to backward.
    pub activation_bytes: u64,
    /// Room for one layer's pass and one window of logits.
    pub scratch_bytes: u64,
    /// The teacher: its weights, caches and session.
    pub teacher_bytes: u64,
}

impl MemoryNeed {
    /// What [`Network`](super::Network) and an AdamW of this size take, without a teacher; `u64::MAX` where it is more,
    /// as sizes that a configuration may have can ask for.
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
        let row = 4 * (3 * hidden + wide * shape.widest() + 3 * intermediate + 2 * attention + 4 * key_value);
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
            code_bytes: if is_dense { 0 } else { 2 * layers * layer_codes },
            activation_bytes: activations,
            scratch_bytes: m
                .saturating_mul(row as u64)
                .saturating_add(weight + window as u64)
                .saturating_add(operands),
            teacher_bytes: 0,
        }
    }

    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        [self.code_bytes, self.activation_bytes, self.scratch_bytes, self.teacher_bytes]
            .into_iter()
            .fold(self.parameter_bytes, u64::saturating_add)
    }
}
