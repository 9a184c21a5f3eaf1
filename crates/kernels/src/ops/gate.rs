//! The gate of an MLP: `out = activation(gate) · up`.

use crate::buffer::Buffer;
use crate::dispatch;
use crate::isa::Isa;
use crate::ops::rows::for_rows;
use crate::pool::Worker;

/// What a gate is put through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`: SwiGLU (arXiv:2002.05202).
    Silu,
    /// `max(x, 0)²`: BitNet b1.58 2B4T (arXiv:2504.12285).
    Relu2,
}

impl Activation {
    /// All there are.
    pub const ALL: [Activation; 2] = [Activation::Silu, Activation::Relu2];

    /// What it is called: `silu`, `relu2`.
    pub const fn name(self) -> &'static str {
        match self {
            Activation::Silu => "silu",
            Activation::Relu2 => "relu2",
        }
    }

    /// One row.
    pub(super) fn gate(self, isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) {
        match self {
            Activation::Silu => dispatch::silu_gate(isa, gate, up, out),
            Activation::Relu2 => dispatch::relu2_gate(isa, gate, up, out),
        }
    }
}

/// `out[t] = activation(gate[t]) · up[t]`.
///
/// # Shapes
/// `gate`, `up`, `out`: `[m, width]`
pub fn gate(
    worker: &Worker<'_>,
    activation: Activation,
    [gate, up]: [&Buffer<f32>; 2],
    [m, width]: [usize; 2],
    out: &Buffer<f32>,
) {
    let operation = worker.begin_operation();
    let (gate, up) = (gate.read(worker), up.read(worker));
    let mut rows = out.write(worker, operation);
    for_rows(worker, operation, m, |row| {
        let range = row * width..(row + 1) * width;
        let out = rows.slice(range.start, width);
        activation.gate(worker.isa(), &gate[range.clone()], &up[range], out);
    });
}
