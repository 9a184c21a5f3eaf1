//! The definition of every operation of the backward pass on rows, and of the optimizer's steps.
//!
//! These are gradients: `d_x` is that of the loss by `x`. They are free of the order of
//! arithmetic of the forward pass; being the same text on every instruction set, they still give
//! the same bits on each. What multiplies matrices is `gemm.rs`.

use super::softmax::exponentials;
use super::{LANES, add_lanes, padded};

/// `sums[r] = Σ_c a[r][c] · b[r][c]` of rows that lie `stride` apart.
#[inline(always)]
pub(crate) fn row_dots(a: &[f32], b: &[f32], stride: usize, cols: usize, sums: &mut [f32]) {
    for (row, sum) in sums.iter_mut().enumerate() {
        *sum = dot(&a[row * stride..][..cols], &b[row * stride..][..cols]);
    }
}

/// `Σ a · b`, in 16 lanes.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.iter().chain([&padded(a_tail)]).zip(b.iter().chain([&padded(b_tail)])) {
        for i in 0..LANES {
            lanes[i] = a[i].mul_add(b[i], lanes[i]);
        }
    }
    add_lanes(lanes)
}

/// `d_x = r (g · d_y - x r² / n Σ g · d_y · x)` with `r = 1 / sqrt(mean(x²) + eps)`, or added to `d_x`;
/// and `d_gain += d_y · x · r`.
#[inline(always)]
pub(crate) fn rms_norm_backward(
    x: &[f32],
    gain: &[f32],
    eps: f32,
    d_y: &[f32],
    is_added: bool,
    [d_x, d_gain]: [&mut [f32]; 2],
) {
    let n = x.len();
    let (gain, d_y, d_x, d_gain) = (&gain[..n], &d_y[..n], &mut d_x[..n], &mut d_gain[..n]);
    let (mut squares, mut products) = ([0.0f32; LANES], [0.0f32; LANES]);
    let whole = n / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            let i = first + lane;
            squares[lane] = x[i].mul_add(x[i], squares[lane]);
            products[lane] = (gain[i] * d_y[i]).mul_add(x[i], products[lane]);
        }
    }
    for i in whole..n {
        let lane = i - whole;
        squares[lane] = x[i].mul_add(x[i], squares[lane]);
        products[lane] = (gain[i] * d_y[i]).mul_add(x[i], products[lane]);
    }
    let root = (add_lanes(squares) / n as f32 + eps).sqrt();
    let inv_rms = if root == 0.0 { 0.0 } else { 1.0 / root };
    let along = add_lanes(products) * inv_rms * inv_rms / n as f32;
    for i in 0..n {
        let d = inv_rms * (gain[i] * d_y[i] - along * x[i]);
        d_x[i] = if is_added { d_x[i] + d } else { d };
        d_gain[i] += d_y[i] * (x[i] * inv_rms);
    }
}

/// Gradients of `silu(gate) · up`: with `s = 1 / (1 + e^-g)`,
/// `d_gate = d · up · s (1 + g (1 - s))`, `d_up = d · g · s`.
#[inline(always)]
pub(crate) fn silu_gate_backward(
    gate: &[f32],
    up: &[f32],
    d_out: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    let inputs = gate.iter().zip(up).zip(d_out);
    for (((gate, up), d), (d_gate, d_up)) in inputs.zip(d_gate.iter_mut().zip(d_up)) {
        let sigmoid = 1.0 / (1.0 + super::exp(-*gate));
        *d_gate = d * up * (sigmoid * (1.0 + gate * (1.0 - sigmoid)));
        *d_up = d * (gate * sigmoid);
    }
}

/// Gradients of `max(gate, 0)² · up`: with `p = max(g, 0)`, `d_gate = 2 d · up · p`, `d_up = d · p²`.
#[inline(always)]
pub(crate) fn relu2_gate_backward(
    gate: &[f32],
    up: &[f32],
    d_out: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    let inputs = gate.iter().zip(up).zip(d_out);
    for (((gate, up), d), (d_gate, d_up)) in inputs.zip(d_gate.iter_mut().zip(d_up)) {
        let positive = if *gate > 0.0 { *gate } else { 0.0 };
        *d_gate = 2.0 * d * up * positive;
        *d_up = d * (positive * positive);
    }
}

/// The rotation back: `(a, b) = (a cos + b sin, b cos - a sin)` over the two halves.
#[inline(always)]
pub(crate) fn rotate_backward(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (a, b) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos + *b * sin, *b * cos - *a * sin);
    }
}

/// Scores become probabilities in place, as by [`softmax`](super::softmax()), and `d` their gradient by the scores
/// times `scale`: `d_s = p (d_p - along) · scale`, with `along = Σ p · d_p`. Both are 0 from `valid` on.
#[inline(always)]
pub(crate) fn softmax_gradient(scores: &mut [f32], d: &mut [f32], valid: usize, along: f32, scale: f32) {
    let (scores, masked) = scores.split_at_mut(valid);
    masked.fill(0.0);
    let (d, masked) = d.split_at_mut(valid);
    masked.fill(0.0);
    let (_, sum) = exponentials(scores);
    let inv_sum = 1.0 / sum;
    for (score, d) in scores.iter_mut().zip(d) {
        *score *= inv_sum;
        *d = *score * (*d - along) * scale;
    }
}

/// `out = codes · scale`.
#[inline(always)]
pub(crate) fn dequantize(codes: &[i8], scale: f32, out: &mut [f32]) {
    for (out, code) in out.iter_mut().zip(codes) {
        *out = f32::from(*code) * scale;
    }
}

/// `x + λ (quantized - x)`, in place of `quantized`.
#[inline(always)]
pub(crate) fn blend(x: &[f32], lambda: f32, quantized: &mut [f32]) {
    for (quantized, x) in quantized.iter_mut().zip(x) {
        *quantized = x + lambda * (*quantized - x);
    }
}

/// `y = y · a + x · b`.
#[inline(always)]
pub(crate) fn combine(y: &mut [f32], a: f32, x: &[f32], b: f32) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = *y * a + x * b;
    }
}

/// `Σ x²` in f64, for norms over millions of numbers.
#[inline(always)]
pub(crate) fn squares(x: &[f32]) -> f64 {
    const WIDE: usize = 8;
    let (groups, tail) = x.as_chunks::<WIDE>();
    let mut lanes = [0.0f64; WIDE];
    for group in groups {
        for i in 0..WIDE {
            lanes[i] += f64::from(group[i]) * f64::from(group[i]);
        }
    }
    let tail: f64 = tail.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    lanes.iter().sum::<f64>() + tail
}

/// One step of AdamW for some parameters of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamwStep {
    /// Multiplies gradients before they are used: the clipping.
    pub gradient_scale: f32,
    /// β₁.
    pub beta1: f32,
    /// β₂.
    pub beta2: f32,
    /// ε.
    pub eps: f32,
    /// `learning_rate / (1 - β₁ᵗ)`.
    pub step_size: f32,
    /// `1 / sqrt(1 - β₂ᵗ)`.
    pub inv_root_correction: f32,
    /// What a parameter is multiplied with first: `1 - learning_rate · weight_decay`.
    pub keep: f32,
}

/// `m = β₁ m + (1 - β₁) g`, `v = β₂ v + (1 - β₂) g²`,
/// `w = w · keep - step_size · m / (sqrt(v) · inv_root_correction + ε)`.
///
/// AdamW (arXiv:1711.05101, Algorithm 2), in the order in which PyTorch writes it.
#[inline(always)]
pub(crate) fn adamw(step: &AdamwStep, gradients: &[f32], m: &mut [f32], v: &mut [f32], weights: &mut [f32]) {
    let moments = m.iter_mut().zip(v);
    for ((weight, gradient), (m, v)) in weights.iter_mut().zip(gradients).zip(moments) {
        let gradient = gradient * step.gradient_scale;
        *m += (gradient - *m) * (1.0 - step.beta1);
        *v = *v * step.beta2 + gradient * gradient * (1.0 - step.beta2);
        let denominator = v.sqrt() * step.inv_root_correction + step.eps;
        *weight = *weight * step.keep - step.step_size * *m / denominator;
    }
}
