//! Gradients of a gate, and of the norm behind it, in one pass over each row.
//!
//! ```text
//! gated = activation(gate) · up        normed = rms_norm(gated)
//! ```
//!
//! The gated row is computed again, and like its gradient it never leaves the first cache.

use super::rows::{GAIN_ROWS, GainParts};
use crate::buffer::Buffer;
use crate::dispatch;
use crate::ops::Activation;
use crate::ops::rows::for_rows;
use crate::pool::Worker;

/// A norm behind a gate.
#[derive(Clone, Copy)]
pub struct GatedNorm<'a> {
    /// `[width]`
    pub gain: &'a [f32],
    /// Added to the mean of the squares.
    pub eps: f32,
    /// Takes the gradient of the gain in parts, for [`add_gain_parts`](super::add_gain_parts).
    pub parts: &'a GainParts,
}

/// Gradients of a gate, from `d_out`, that by what comes out of the norm behind it, or out of the gate
/// where there is none.
///
/// # Shapes
/// all `[m, width]`
///
/// # Panics
/// If a buffer or the norm is of another shape, or both gradients are to be in one buffer.
pub fn gate_backward(
    worker: &Worker<'_>,
    activation: Activation,
    norm: Option<GatedNorm<'_>>,
    [gate, up, d_out]: [&Buffer<f32>; 3],
    [m, width]: [usize; 2],
    [d_gate, d_up]: [&Buffer<f32>; 2],
) {
    let is_whole = |x: &Buffer<f32>| m * width <= x.len();
    assert!(
        [gate, up, d_out].into_iter().all(is_whole),
        "gate_backward: inputs have one value a column and row"
    );
    assert!(
        [d_gate, d_up].into_iter().all(is_whole),
        "gate_backward: gradients have one value a column and row"
    );
    if let Some(norm) = norm {
        assert_eq!(norm.gain.len(), width, "gate_backward: the gain has one value a column");
        assert!(norm.parts.fits([m, width]), "gate_backward: the parts of the gain's gradient have room");
    }
    let isa = worker.isa();
    let operation = worker.begin_operation();
    let inputs = [gate, up, d_out].map(|input| input.read(worker));
    let [mut d_gate, mut d_up] = Buffer::write_each([d_gate, d_up], worker, operation);
    let mut parts = norm.map(|norm| norm.parts.write(worker, operation));
    let mut d_gated = vec![0.0; width];
    for_rows(worker, operation, m.div_ceil(GAIN_ROWS), |block| {
        let mut d_gain = parts.as_mut().map_or(&mut [][..], |parts| parts.slice(block * width, width));
        d_gain.fill(0.0);
        for row in block * GAIN_ROWS..m.min((block + 1) * GAIN_ROWS) {
            let first = row * width;
            let [gate, up, mut d_out] = inputs.map(|input| &input[first..first + width]);
            let (d_gate, d_up) = (d_gate.slice(first, width), d_up.slice(first, width));
            if let Some(GatedNorm { gain, eps, .. }) = norm {
                // `d_gate` holds the gated row until its gradient is known.
                activation.gate(isa, gate, up, d_gate);
                let gradients = [&mut d_gated[..], &mut d_gain];
                dispatch::rms_norm_backward(isa, d_gate, gain, eps, d_out, false, gradients);
                d_out = &d_gated;
            }
            match activation {
                Activation::Silu => dispatch::silu_gate_backward(isa, gate, up, d_out, d_gate, d_up),
                Activation::Relu2 => dispatch::relu2_gate_backward(isa, gate, up, d_out, d_gate, d_up),
            }
        }
    });
}
