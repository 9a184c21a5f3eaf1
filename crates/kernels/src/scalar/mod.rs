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
//! instruction set, and Rust changes no float expression. Only the integer products and, on x86-64,
//! attention, dense products of several tokens and tiles of bf16 are written anew there. Where the CPU
//! has no fused multiply-add, `mul_add` is a slow library call.

mod attention;
pub(crate) mod backward;
pub(crate) mod pairs;
pub(crate) mod probe;
mod softmax;

use half::{bf16, f16};

use crate::aligned::Element;
use crate::prefetch::prefetch_stream;
use crate::quantize::{ACTIVATION_MAX, SCALE_MIN};
use crate::quantized::{GROUP_COLUMNS, GROUP_DIGITS, QuantizedTile, QuantizedType};
use crate::ternary::{BLOCK_BYTES, Layout, TILE_ROWS};

// The arch files find every operation in this module.
pub(crate) use crate::ternary::pack_masters;
pub use attention::KV_BLOCK;
#[cfg(target_arch = "x86_64")]
pub(crate) use attention::greatest_lane;
pub(crate) use attention::{BlockSoftmax, KvBlock, attend_block, merge_blocks};
pub(crate) use backward::{
    adamw, blend, combine, dequantize, relu2_gate_backward, rms_norm_backward, rotate_backward, row_dots,
    silu_gate_backward, softmax_gradient, squares,
};
pub(crate) use pairs::{pair_codes, pair_columns, pair_rows, pair_ternary};
pub(crate) use probe::{int8_dots, multiply_adds, sum_streams};
pub(crate) use softmax::softmax;

/// Lanes of a row reduction.
pub(crate) const LANES: usize = 16;
/// Rows and tokens of a dense product that are computed together.
pub(crate) const DENSE_TILE: usize = 4;

/// `sums[r][t][i] = Σ_c code(i, c) · x[t][c]` for the 16 rows of each of `R` tiles, exactly.
///
/// The codes are 0, 1, 2: the caller subtracts `Σ_c x[t][c]`. `x` is a panel of `M` tokens, for each
/// 4 columns `[M, 4]`, with at least the columns of all blocks. |sum| ≤ 2 · 128 · columns, checked
/// against `MAX_COLUMNS` in `ops`.
pub(crate) fn ternary_tiles<const R: usize, const M: usize>(
    layout: Layout,
    tiles: [&[[u8; BLOCK_BYTES]]; R],
    x: &[[[i8; 4]; M]],
    sums: &mut [[[i32; TILE_ROWS]; M]; R],
) {
    for (tile, sums) in tiles.into_iter().zip(sums) {
        *sums = [[0; TILE_ROWS]; M];
        for (block, x) in tile.iter().zip(x.chunks_exact(layout.digits())) {
            for (i, bytes) in block.as_chunks::<4>().0.iter().enumerate() {
                for (digit, x) in x.iter().enumerate() {
                    let codes = bytes.map(|byte| i32::from(layout.digit(byte, digit)));
                    for (sums, x) in sums.iter_mut().zip(x) {
                        sums[i] += codes.iter().zip(x).map(|(code, x)| code * i32::from(*x)).sum::<i32>();
                    }
                }
            }
        }
    }
}

/// `out[r][t][i] = Σ_g scale(i, g) · Σ_c (code(i, c) - offset) · x[t][c]` for `R` tiles: the inner
/// sums exactly, the outer one a fused chain over the groups, ascending.
///
/// `x` is a panel as for [`ternary_tiles`], `group_sums` the sums of its values in each group.
pub(crate) fn quantized_tiles<const R: usize, const M: usize>(
    quantized_type: QuantizedType,
    tiles: [QuantizedTile<'_>; R],
    x: &[[[i8; 4]; M]],
    group_sums: &[[i32; M]],
    out: &mut [[[f32; TILE_ROWS]; M]; R],
) {
    for (tile, out) in tiles.into_iter().zip(out) {
        *out = [[0.0; TILE_ROWS]; M];
        let groups = tile.codes.chunks_exact(quantized_type.group_bytes()).zip(tile.scales);
        for ((codes, scales), (x, group_sums)) in groups.zip(x.chunks_exact(GROUP_DIGITS).zip(group_sums)) {
            for t in 0..M {
                for i in 0..TILE_ROWS {
                    let products = (0..GROUP_COLUMNS).map(|column| {
                        let code = i32::from(quantized_type.code(codes, i, column));
                        code * i32::from(x[column / 4][t][column % 4])
                    });
                    let sum = products.sum::<i32>() - quantized_type.offset() * group_sums[t];
                    out[t][i] = Stored::to_f32(scales[i]).mul_add(sum as f32, out[t][i]);
                }
            }
        }
    }
}

/// Adds 16 lanes: 8-4-2-1.
#[inline(always)]
pub(crate) fn add_lanes(lanes: [f32; LANES]) -> f32 {
    fold_lanes(lanes, |a, b| a + b)
}

/// One value of 16 lanes: 8-4-2-1.
#[inline(always)]
fn fold_lanes(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The last, partial group of a row, padded with +0.
#[inline(always)]
pub(crate) fn padded<T: Copy + Default>(tail: &[T]) -> [T; LANES] {
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

/// The type of a [`Stored`] number, for an arch file that loads vectors of it.
pub(crate) enum Number {
    F32,
    F16,
    Bf16,
    I8,
}

/// A stored number of a dense matrix or of the cache.
pub(crate) trait Stored: Element + Default {
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only attention on x86-64 asks"))]
    const NUMBER: Number;
    fn to_f32(self) -> f32;
}

impl Stored for i8 {
    const NUMBER: Number = Number::I8;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}

impl Stored for f32 {
    const NUMBER: Number = Number::F32;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Stored for bf16 {
    const NUMBER: Number = Number::Bf16;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Stored for f16 {
    const NUMBER: Number = Number::F16;
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
            if M == 1 {
                prefetch_stream(&w_groups[r][group]);
            }
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
/// See [`crate::quantize`]. `codes` may be longer than `x`: the rest becomes 0. A token with a NaN or an
/// infinity has codes of 0 and a scale that is NaN, so that all that is computed from it is NaN.
#[inline(always)]
pub(crate) fn absmax(x: &[f32], codes: &mut [i8]) -> (f32, i32) {
    const WITHOUT_SIGN: u32 = 0x7fff_ffff;
    // Magnitudes compare as their bits do, and NaN is then the greatest: no comparison passes over it.
    // Four sets of lanes, so that none waits for another; the greatest is the greatest.
    let mut lanes = [SCALE_MIN.to_bits(); 4 * LANES];
    let (groups, tail) = x.as_chunks::<{ 4 * LANES }>();
    for group in groups {
        for i in 0..4 * LANES {
            lanes[i] = lanes[i].max(group[i].to_bits() & WITHOUT_SIGN);
        }
    }
    let tail = tail.iter().map(|x| x.to_bits() & WITHOUT_SIGN);
    let largest = f32::from_bits(lanes.into_iter().chain(tail).fold(0, u32::max));
    if !largest.is_finite() {
        codes.fill(0);
        return (f32::NAN, 0);
    }
    let inv_scale = ACTIVATION_MAX / largest;
    let (codes, padding) = codes.split_at_mut(x.len());
    let mut sum = 0;
    for (code, x) in codes.iter_mut().zip(x) {
        // Adding it rounds half to even, and leaves the integer in the lowest bits.
        let rounded = (x * inv_scale).clamp(-128.0, 127.0) + EXP_ROUND;
        let integer = rounded.to_bits().wrapping_sub(EXP_ROUND.to_bits()) as i32;
        *code = integer as i8;
        sum += i32::from(*code);
    }
    padding.fill(0);
    (largest / ACTIVATION_MAX, sum)
}

/// `y = (sum - code_sum) · scale`: the epilogue of a ternary product of a tile and `M` tokens.
///
/// A scale is `w_scale · x_scale`; each `y` has the rows of the tile that exist.
#[inline(always)]
pub(crate) fn scale_sums<const M: usize>(
    sums: &[[i32; TILE_ROWS]; M],
    code_sums: &[i32; M],
    scales: &[f32; M],
    y: [&mut [f32]; M],
) {
    for (t, y) in y.into_iter().enumerate() {
        let scaled = |sum: i32| (sum - code_sums[t]) as f32 * scales[t];
        if let Some(y) = y.first_chunk_mut::<TILE_ROWS>() {
            for i in 0..TILE_ROWS {
                y[i] = scaled(sums[t][i]);
            }
        } else {
            for (y, sum) in y.iter_mut().zip(&sums[t]) {
                *y = scaled(*sum);
            }
        }
    }
}

/// `out = x + y`.
#[inline(always)]
pub(crate) fn add(x: &[f32], y: &[f32], out: &mut [f32]) {
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = x + y;
    }
}

/// `x = x + y`.
#[inline(always)]
pub(crate) fn add_assign(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// The code (0, 1, 2 for -1, 0, +1) of one weight under `inv_scale = 1 / scale`.
#[inline(always)]
pub(crate) fn ternary_code(weight: f32, inv_scale: f32) -> u32 {
    // Rounding what is clipped gives what is rounded and clipped: the bounds are integers.
    let clipped = (weight * inv_scale).clamp(-1.0, 1.0);
    (clipped + EXP_ROUND).to_bits().wrapping_sub((EXP_ROUND - 1.0).to_bits())
}

/// Adding it rounds to an integer: 1.5 · 2^23.
pub(crate) const EXP_ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts: 355 / 512, which is exact in 9 bits, and the rest.
pub(crate) const EXP_LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// 1 / 7!, …, 1 / 1!, 1 / 0!.
pub(crate) const EXP_TAYLOR: [f32; 8] =
    [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];

/// `e^x` with a relative error below 2 ulp; below -87 it is +0, above 88 it stays at `e^88`.
///
/// `n = rte(x / ln 2)`, `r = x - n ln 2` in two fused steps, a Taylor polynomial of degree 7
/// (|r| ≤ 0.347, so the remainder is below 2^-27), then the exponent field.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let clamped = if x > 88.0 { 88.0 } else { x };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, EXP_ROUND);
    let n = shifted - EXP_ROUND;
    let mut r = clamped;
    for part in EXP_LN2 {
        r = n.mul_add(-part, r);
    }
    let mut p = EXP_TAYLOR[0];
    for coefficient in &EXP_TAYLOR[1..] {
        p = r.mul_add(p, *coefficient);
    }
    let exponent = shifted.to_bits().wrapping_sub(EXP_ROUND.to_bits()).wrapping_add(127) << 23;
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
        // NaN stays NaN.
        let positive = if *gate < 0.0 { 0.0 } else { *gate };
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
