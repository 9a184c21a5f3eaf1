//! What all parts of a network are told: the pass that they work for, and the sizes that they are made for.

use tercet::config::{Config, Linears};
use tercet_kernels::ops::backward::{GradientPrecision, GradientSizes};
use tercet_kernels::{Buffer, Destination, RotaryTable, Sequence};

use super::StageClock;

/// What one pass over one micro-batch does not change.
pub(super) struct Pass<'a> {
    pub(super) config: &'a Config,
    pub(super) rotary: &'a RotaryTable,
    pub(super) parameters: &'a Buffer<f32>,
    pub(super) gradients: &'a Buffer<f32>,
    /// What becomes of the gradients of the layers' matrices: those of the first micro-batch replace
    /// what was there.
    pub(super) matrices: Destination,
    pub(super) lambda: f32,
    pub(super) sequences: &'a [Sequence<'a>],
    pub(super) segments: &'a [usize],
    pub(super) rows: usize,
    pub(super) clock: &'a StageClock,
}

impl Pass<'_> {
    /// Whether weights and activations are quantized fully.
    pub(super) fn is_quantized(&self) -> bool {
        self.lambda >= 1.0
    }

    /// Whether what enters a linear is wanted as int8 rows alone, and never as floats.
    pub(super) fn is_int8_alone(&self) -> bool {
        let config = self.config;
        self.is_quantized() && config.linears != Linears::Dense && config.norms.in_linear_eps.is_none()
    }
}

/// The sizes that buffers are made for.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    pub(super) config: &'a Config,
    pub(super) rows: usize,
    pub(super) precision: GradientPrecision,
}

impl Shape<'_> {
    pub(super) fn is_dense(&self) -> bool {
        self.config.linears == Linears::Dense
    }

    pub(super) fn key_value_size(&self) -> usize {
        self.config.num_key_value_heads * self.config.head_dim
    }

    /// The widest input of a linear.
    pub(super) fn widest(&self) -> usize {
        self.config.hidden_size.max(self.config.intermediate_size).max(self.config.attention_size())
    }

    pub(super) fn largest_matrix(&self) -> usize {
        let sizes = self.linear_shapes().map(|[n, k]| n * k);
        sizes.into_iter().max().expect("a layer has linears")
    }

    /// `[n, k]` of the linears of a layer.
    pub(super) fn linear_shapes(&self) -> [[usize; 2]; 7] {
        tercet::model::Layer::LINEARS.map(|name| tercet::config::linear_shape(self.config, name))
    }

    /// The products of a layer's backward pass.
    pub(super) fn gradient_sizes(&self) -> GradientSizes {
        let (rows, is_quantized) = (self.rows, !self.is_dense());
        GradientSizes { rows, matrices: self.linear_shapes().to_vec(), is_quantized }
    }
}
