//! The definition of every operation, on one thread.
//!
//! The order of arithmetic is fixed here, so that the logits have the same bits everywhere:
//!
//! - a *row reduction* keeps 16 lanes; element `i` goes to lane `i mod 16` by one fused
//!   multiply-add, ascending, the tail padded with +0; then lanes are added 8-4-2-1;
//! - an attention score is one fused chain over the head dimension, an output element one fused
//!   chain over the positions of a block;
//! - everything else is a separate multiplication and addition, and true division.
//!
//! The float definitions are marked `inline(always)`: an arch file compiles the same text for its
//! instruction set, and Rust changes no float expression. Only the integer products are written
//! anew there. Where the CPU has no fused multiply-add, `mul_add` is a slow library call.

pub(crate) mod backward;
pub(crate) mod probe;

use half::{bf16, f16};

use crate::aligned::Element;
use crate::quantize::{ACTIVATION_MAX, SCALE_MIN};
use crate::ternary::{BLOCK_BYTES, Layout, TILE_ROWS};

// The arch files find every operation in this module.
pub(crate) use backward::{
    adamw, blend, combine, dequantize, relu2_gate_backward, rms_norm_backward, rms_norm_gain_backward,
    rotate_backward, silu_gate_backward, softmax, softmax_backward, squares,
};
pub(crate) use probe::{int8_dots, multiply_adds, sum_streams};

/// Lanes of a row reduction.
pub(crate) const LANES: usize = 16;
/// Absolute positions of a block of the key and value cache.
pub const KV_BLOCK: usize = 64;

/// `sums[t][r] = Σ_c code(r, c) · x[t][c]` for the 16 rows of one tile, exactly.
///
/// The codes are 0, 1, 2: the caller subtracts `Σ_c x[t][c]`. `rows[t]` holds at least the
/// columns of all blocks. |sum| ≤ 2 · 128 · columns, checked against `MAX_COLUMNS` in `ops`.
pub(crate) fn ternary_tile<const M: usize>(
    layout: Layout,
    blocks: &[[u8; BLOCK_BYTES]],
    rows: [&[i8]; M],
    sums: &mut [[i32; TILE_ROWS]; M],
) {
    let columns = layout.block_columns();
    for (row, sums) in rows.iter().zip(sums) {
        *sums = [0; TILE_ROWS];
        for (block, x) in blocks.iter().zip(row.chunks_exact(columns)) {
            for (r, bytes) in block.as_chunks::<4>().0.iter().enumerate() {
                for (digit, x) in x.as_chunks::<4>().0.iter().enumerate() {
                    for (byte, x) in bytes.iter().zip(x) {
                        sums[r] += i32::from(layout.digit(*byte, digit)) * i32::from(*x);
                    }
                }
            }
        }
    }
}

/// Adds 16 lanes: 8-4-2-1.
#[inline(always)]
pub(crate) fn add_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The last, partial group of a row, padded with +0.
#[inline(always)]
fn padded<T: Copy + Default>(tail: &[T]) -> [T; LANES] {
    let mut lanes = [T::default(); LANES];
    for (lane, value) in lanes.iter_mut().zip(tail) {
        *lane = *value;
    }
    lanes
}

/// `Σ x²`, a row reduction.
#[inline(always)]
pub(crate) fn sum_of_squares(x: &[f32]) -> f32 {
    let (groups, tail) = x.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for group in groups.iter().chain([&padded(tail)]) {
        for i in 0..LANES {
            lanes[i] = group[i].mul_add(group[i], lanes[i]);
        }
    }
    add_lanes(lanes)
}

/// A stored number of a dense matrix.
pub(crate) trait Stored: Element + Default {
    fn to_f32(self) -> f32;
}

impl Stored for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Stored for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Stored for f16 {
    /// Exact for every half: the exponent is rebiased by a multiplication, which also makes
    /// subnormal halves right, without a branch.
    #[inline(always)]
    fn to_f32(self) -> f32 {
        const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
        let bits = u32::from(self.to_bits());
        let sign = (bits & 0x8000) << 16;
        let magnitude = (bits & 0x7fff) << 13;
        let finite = (f32::from_bits(magnitude) * REBIAS).to_bits();
        let special = 0x7f80_0000 | magnitude;
        f32::from_bits(sign | if bits & 0x7c00 == 0x7c00 { special } else { finite })
    }
}

/// `y[t][r] = Σ_c w[r][c] · x[t][c]` for `R` rows and `M` tokens, row reductions.
#[inline(always)]
pub(crate) fn dense_dots<T: Stored, const R: usize, const M: usize>(
    w: [&[T]; R],
    x: [&[f32]; M],
) -> [[f32; R]; M] {
    let k = x[0].len();
    let mut lanes = [[[0.0f32; LANES]; R]; M];
    let w_groups = w.map(|w| &w.as_chunks::<LANES>().0[..k / LANES]);
    let x_groups = x.map(|x| &x.as_chunks::<LANES>().0[..k / LANES]);
    for group in 0..k / LANES {
        for r in 0..R {
            for t in 0..M {
                add_products(&mut lanes[t][r], &w_groups[r][group], &x_groups[t][group]);
            }
        }
    }
    let tail = k / LANES * LANES..k;
    for r in 0..R {
        for t in 0..M {
            add_products(&mut lanes[t][r], &padded(&w[r][tail.clone()]), &padded(&x[t][tail.clone()]));
        }
    }
    lanes.map(|rows| rows.map(add_lanes))
}

#[inline(always)]
fn add_products<T: Stored>(lanes: &mut [f32; LANES], w: &[T; LANES], x: &[f32; LANES]) {
    for i in 0..LANES {
        lanes[i] = w[i].to_f32().mul_add(x[i], lanes[i]);
    }
}

/// Numbers of a dense matrix as f32.
#[inline(always)]
pub(crate) fn to_f32<T: Stored>(values: &[T], out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = value.to_f32();
    }
}

/// `out = x · (1 / sqrt(mean(x²) + eps)) · gain`, in this order; a zero row with `eps` 0 gives 0.
///
/// RMSNorm (arXiv:1910.07467), as transformers' LLaMA computes it.
#[inline(always)]
pub(crate) fn rms_norm(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
    let mean = sum_of_squares(x) / x.len() as f32;
    let root = (mean + eps).sqrt();
    let inv_rms = if root == 0.0 { 0.0 } else { 1.0 / root };
    for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
        *out = x * inv_rms * gain;
    }
}

/// Quantizes one token by its largest magnitude; returns its scale and the sum of its codes.
///
/// See [`crate::quantize`]. `codes` may be longer than `x`: the rest becomes 0.
#[inline(always)]
pub(crate) fn absmax(x: &[f32], codes: &mut [i8]) -> (f32, i32) {
    let mut lanes = [0.0f32; LANES];
    let (groups, tail) = x.as_chunks::<LANES>();
    for group in groups.iter().chain([&padded(tail)]) {
        for i in 0..LANES {
            let magnitude = group[i].abs();
            lanes[i] = if magnitude > lanes[i] { magnitude } else { lanes[i] };
        }
    }
    let largest = lanes.into_iter().fold(SCALE_MIN, f32::max);
    let inv_scale = ACTIVATION_MAX / largest;
    let (codes, padding) = codes.split_at_mut(x.len());
    let mut sum = 0;
    for (code, x) in codes.iter_mut().zip(x) {
        let rounded = (x * inv_scale).round_ties_even().clamp(-128.0, 127.0);
        *code = rounded as i8;
        sum += i32::from(*code);
    }
    padding.fill(0);
    (largest / ACTIVATION_MAX, sum)
}

/// `y = (sum - code_sum) · (w_scale · x_scale)`: the epilogue of a ternary product.
#[inline(always)]
pub(crate) fn scale_sums(sums: &[i32], code_sum: i32, scale: f32, y: &mut [f32]) {
    for (y, sum) in y.iter_mut().zip(sums) {
        *y = (sum - code_sum) as f32 * scale;
    }
}

/// `x = x + y`.
#[inline(always)]
pub(crate) fn add_assign(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// `e^x` with a relative error below 2 ulp; below -87 it is +0, above 88 it stays at `e^88`.
///
/// `n = rte(x / ln 2)`, `r = x - n ln 2` in two fused steps, a Taylor polynomial of degree 7
/// (|r| ≤ 0.347, so the remainder is below 2^-27), then the exponent field.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to an integer
    const LN2_HIGH: f32 = 0.693_359_4; // 355 / 512, exact in 9 bits
    const LN2_LOW: f32 = -2.121_944_4e-4; // ln 2 - LN2_HIGH
    let clamped = if x > 88.0 { 88.0 } else { x };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_HIGH, clamped);
    let r = n.mul_add(-LN2_LOW, r);
    let mut p = 1.0 / 5040.0;
    p = r.mul_add(p, 1.0 / 720.0);
    p = r.mul_add(p, 1.0 / 120.0);
    p = r.mul_add(p, 1.0 / 24.0);
    p = r.mul_add(p, 1.0 / 6.0);
    p = r.mul_add(p, 0.5);
    p = r.mul_add(p, 1.0);
    p = r.mul_add(p, 1.0);
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    let value = p * f32::from_bits(exponent);
    if x < -87.0 { 0.0 } else { value }
}

/// `out = silu(gate) · up`, `silu(g) = g / (1 + e^-g)`.
#[inline(always)]
pub(crate) fn silu_gate(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = *gate / (1.0 + exp(-*gate)) * up;
    }
}

/// `out = max(gate, 0)² · up`.
#[inline(always)]
pub(crate) fn relu2_gate(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        let positive = if *gate > 0.0 { *gate } else { 0.0 };
        *out = positive * positive * up;
    }
}

/// Rotary embedding of one head: `(a, b) = (a cos - b sin, b cos + a sin)` over the two halves.
#[inline(always)]
pub(crate) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (a, b) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

/// What one block of positions gives to the softmax of one head.
#[derive(Clone, Copy)]
pub(crate) struct BlockSoftmax {
    /// Largest score of the block.
    pub(crate) max: f32,
    /// `Σ e^(score - max)`, a row reduction over the 64 positions.
    pub(crate) sum: f32,
}

/// Attention of one query head over one block of the cache.
///
/// `keys` is `[head_dim, 64]`, `values` `[64, head_dim]`; only the first `valid` positions count.
/// `scores[p] = scale · Σ_d q[d] · keys[d][p]`, `out[d] = Σ_p e^(scores[p] - max) · values[p][d]`.
#[inline(always)]
pub(crate) fn attend_block<T: Stored>(
    q: &[f32],
    keys: &[T],
    values: &[T],
    valid: usize,
    scale: f32,
    out: &mut [f32],
) -> BlockSoftmax {
    let mut scores = [0.0f32; KV_BLOCK];
    let keys = keys.as_chunks::<KV_BLOCK>().0;
    for group in 0..KV_BLOCK / LANES {
        let mut chain = [0.0f32; LANES];
        for (q, keys) in q.iter().zip(keys) {
            for i in 0..LANES {
                chain[i] = q.mul_add(keys[group * LANES + i].to_f32(), chain[i]);
            }
        }
        for i in 0..LANES {
            scores[group * LANES + i] = chain[i] * scale;
        }
    }
    let mut max = f32::NEG_INFINITY;
    for score in &scores[..valid] {
        max = if *score > max { *score } else { max };
    }
    let mut lanes = [0.0f32; LANES];
    for group in 0..KV_BLOCK / LANES {
        for (i, lane) in lanes.iter_mut().enumerate() {
            let position = group * LANES + i;
            let weight = exp(scores[position] - max);
            scores[position] = if position < valid { weight } else { 0.0 };
            *lane += scores[position];
        }
    }
    out.fill(0.0);
    for (weight, values) in scores[..valid].iter().zip(values.chunks_exact(out.len())) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = weight.mul_add(value.to_f32(), *out);
        }
    }
    BlockSoftmax { max, sum: add_lanes(lanes) }
}

/// Merges a block into what the earlier blocks gave.
///
/// `M = max(m₁, m₂)`, `a = e^(m₁ - M)`, `b = e^(m₂ - M)`; sums and outputs become `s₁·a + s₂·b`.
#[inline(always)]
pub(crate) fn merge_blocks(
    total: &mut BlockSoftmax,
    out: &mut [f32],
    block: BlockSoftmax,
    block_out: &[f32],
) {
    let max = if block.max > total.max { block.max } else { total.max };
    let (a, b) = (exp(total.max - max), exp(block.max - max));
    *total = BlockSoftmax { max, sum: total.sum * a + block.sum * b };
    for (out, block) in out.iter_mut().zip(block_out) {
        *out = *out * a + *block * b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        let mut worst = 0.0f64;
        let mut x = -86.9f32;
        while x < 88.0 {
            let want = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - want) / want).abs());
            x += 0.000_37;
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!(exp(-87.01).to_bits(), 0);
        assert!(exp(f32::INFINITY).is_finite() && exp(f32::NAN).is_nan());
    }

    #[test]
    fn every_half_becomes_its_f32() {
        for bits in 0..=u16::MAX {
            let want = f16::from_bits(bits).to_f32();
            let got = Stored::to_f32(f16::from_bits(bits));
            assert!(want.to_bits() == got.to_bits() || want.is_nan() && got.is_nan(), "{bits:#x}");
        }
    }

    #[test]
    fn lanes_are_added_in_a_tree() {
        let lanes: [f32; LANES] = std::array::from_fn(|i| 1.0 + (i as f32) * 1e-7);
        let [a, b]: [[f32; 8]; 2] =
            [std::array::from_fn(|i| lanes[i]), std::array::from_fn(|i| lanes[i + 8])];
        let eight: [f32; 8] = std::array::from_fn(|i| a[i] + b[i]);
        let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
        assert_eq!(add_lanes(lanes), (four[0] + four[2]) + (four[1] + four[3]));
    }

    #[test]
    fn a_zero_row_without_eps_stays_zero() {
        let mut out = [1.0; 3];
        rms_norm(&[0.0; 3], &[1.0; 3], 0.0, &mut out);
        assert_eq!(out, [0.0; 3]);
    }

    #[test]
    fn absmax_codes_are_the_formula() {
        let mut codes = [9; 6];
        let (scale, sum) = absmax(&[0.5, -1.0, 0.25, 0.0], &mut codes);
        // 63.5 rounds to 64 (even), 31.75 to 32.
        assert_eq!(codes, [64, -127, 32, 0, 0, 0]);
        assert_eq!((scale, sum), (1.0 / 127.0, 64 - 127 + 32));
    }
}
