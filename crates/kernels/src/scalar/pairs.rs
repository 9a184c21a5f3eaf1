//! Products of matrices of bf16, which the backward pass multiplies, and how they are packed.
//!
//! ```text
//! word   = two numbers that are multiplied together: the earlier in the low half
//! lanes  = 16 words of 16 columns side by side
//! panel  = the lanes of 16 columns, one a pair of rows, rows ascending
//! ```
//!
//! Sums are in f32, in an order that an instruction set may choose, and subnormal operands may
//! count as 0: the tolerance is the rounding of the operands to bf16, 2⁻⁸ of each product.

use std::ops::Range;

use crate::ternary::BLOCK_BYTES;

/// Columns of a panel: the 32-bit lanes of an AVX-512 register.
pub(crate) const PAIR_LANES: usize = 16;
/// The words of one pair of rows of a panel.
pub(crate) type PairLanes = [u32; PAIR_LANES];
/// Rows of a tile of the product.
pub(crate) const TILE_HEIGHT: usize = 8;
/// Panels in groups as wide as a tile: three, which make 24 sums in registers, and two where one
/// would be left, since eight sums wait for each other. The first panel of each, and how many.
pub(crate) fn panel_groups(panels: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    let mut first = panels.start;
    std::iter::from_fn(move || {
        let left = panels.end.saturating_sub(first);
        let count = if left == 2 || left == 4 { 2 } else { left.min(3) };
        first += count;
        (count > 0).then(|| (first - count, count))
    })
}

/// The left operand of a tile: [`TILE_HEIGHT`] rows of words along what is summed.
#[derive(Clone, Copy)]
pub(crate) enum PairRows<'a> {
    /// Each row by itself.
    Rows([&'a [u32]; TILE_HEIGHT]),
    /// The columns of a panel, in its lower or upper half.
    Panel(&'a [PairLanes], bool),
}

/// What becomes of the sums of a tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TileStore {
    /// Multiplies them.
    pub(crate) scale: f32,
    /// Whether they are added to what is there.
    pub(crate) is_added: bool,
}

/// `y[r][16 c + i] = scale · Σ_p a[r][p] · b[c][p][i]`, over both numbers of each word, or added to it.
///
/// Each row has the columns that exist, up to `16 C`, and none where the row does not exist.
pub(crate) fn bf16_tile<const C: usize>(
    a: PairRows<'_>,
    b: [&[PairLanes]; C],
    store: TileStore,
    y: [&mut [f32]; TILE_HEIGHT],
) {
    for (r, y) in y.into_iter().enumerate() {
        for (column, y) in y.iter_mut().enumerate() {
            let mut sum = 0.0f32;
            for p in 0..b[0].len() {
                let a = match a {
                    PairRows::Rows(rows) => rows[r][p],
                    PairRows::Panel(panel, is_upper) => panel[p][r + TILE_HEIGHT * usize::from(is_upper)],
                };
                let b = b[column / PAIR_LANES][p][column % PAIR_LANES];
                sum = high(a).mul_add(high(b), sum);
                sum = low(a).mul_add(low(b), sum);
            }
            *y = if store.is_added { *y + sum * store.scale } else { sum * store.scale };
        }
    }
}

/// Neighbours of a row become words: those along which `x` is summed. An odd last one is paired
/// with 0.
///
/// Rows of `x` lie `stride` apart, those of `out` side by side.
#[inline(always)]
pub(crate) fn pair_columns(x: &[f32], stride: usize, rows: usize, cols: usize, out: &mut [u32]) {
    for (row, out) in out.chunks_exact_mut(cols.div_ceil(2).max(1)).take(rows).enumerate() {
        let (pairs, last) = x[row * stride..][..cols].as_chunks::<2>();
        for (out, pair) in out.iter_mut().zip(pairs) {
            *out = neighbours(pair);
        }
        if let ([last], Some(out)) = (last, out.last_mut()) {
            *out = word(*last, 0.0);
        }
    }
}

/// Neighbouring rows become the words of one panel, each row times its scale. An odd last row is
/// paired with 0.
///
/// `x` begins at the first element of the panel, rows lie `stride` apart, `cols` of the 16 columns
/// exist; a scale a row, and lanes a pair of rows.
#[inline(always)]
pub(crate) fn pair_rows(x: &[f32], stride: usize, scales: &[f32], cols: usize, out: &mut [PairLanes]) {
    let row = |row: usize, scales: &[f32]| (&x[row * stride..][..cols], scales[0]);
    for ((pair, scales), out) in scales.chunks(2).enumerate().zip(out) {
        let earlier = row(2 * pair, scales);
        let later = if scales.len() == 2 { row(2 * pair + 1, &scales[1..]) } else { (earlier.0, 0.0) };
        if let (Some(a), Some(b)) = (earlier.0.first_chunk(), later.0.first_chunk()) {
            *out = scaled_words::<PAIR_LANES>(a, earlier.1, b, later.1);
        } else {
            for ((out, a), b) in out.iter_mut().zip(earlier.0).zip(later.0) {
                *out = word(a * earlier.1, if later.1 == 0.0 { 0.0 } else { b * later.1 });
            }
        }
    }
}

#[inline(always)]
fn scaled_words<const N: usize>(a: &[f32; N], a_scale: f32, b: &[f32; N], b_scale: f32) -> [u32; N] {
    let mut words = [0; N];
    for i in 0..N {
        words[i] = word(a[i] * a_scale, if b_scale == 0.0 { 0.0 } else { b[i] * b_scale });
    }
    words
}

/// As [`pair_rows`], of int8 codes, which are exact.
#[inline(always)]
pub(crate) fn pair_codes(codes: &[i8], stride: usize, rows: usize, cols: usize, out: &mut [PairLanes]) {
    for (pair, out) in out.iter_mut().enumerate() {
        let earlier = &codes[2 * pair * stride..][..cols];
        let later = if 2 * pair + 1 < rows { &codes[(2 * pair + 1) * stride..][..cols] } else { &[] };
        if let (Some(a), Some(b)) = (earlier.first_chunk::<PAIR_LANES>(), later.first_chunk::<PAIR_LANES>()) {
            for i in 0..PAIR_LANES {
                out[i] = exact(f32::from(a[i])) | exact(f32::from(b[i])) << 16;
            }
        } else {
            for (i, out) in out.iter_mut().enumerate().take(cols) {
                let later = later.get(i).map_or(0.0, |code| f32::from(*code));
                *out = exact(f32::from(earlier[i])) | exact(later) << 16;
            }
        }
    }
}

/// One block of a ternary matrix of two bits a weight: 16 columns of 8 pairs of rows, or of fewer
/// where `out` has fewer.
#[inline(always)]
pub(crate) fn pair_ternary(block: &[u8; BLOCK_BYTES], out: &mut [PairLanes]) {
    for (bytes, out) in block.as_chunks::<8>().0.iter().zip(out) {
        for digit in 0..4 {
            for j in 0..4 {
                let weight = |byte: u8| {
                    let code = u32::from(byte) >> (2 * digit) & 3;
                    // 0x3f80 is 1 in bf16, and code 1 is 0.
                    (code & 1 ^ 1) * (0x3f80 | (code & 2 ^ 2) << 14)
                };
                out[4 * digit + j] = weight(bytes[j]) | weight(bytes[4 + j]) << 16;
            }
        }
    }
}

/// Two numbers rounded to bf16, half to even.
#[inline(always)]
fn word(earlier: f32, later: f32) -> u32 {
    rounded(earlier) >> 16 | rounded(later) & 0xffff_0000
}

/// The bits of `x`, the upper half of which is the nearest bf16.
///
/// A NaN that arithmetic makes stays one; of others only those with all bits set do not.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1))
}

/// The word of two neighbours, as [`word`], of which a compiler makes operations on both at once.
#[inline(always)]
fn neighbours(pair: &[f32; 2]) -> u32 {
    let bits = u64::from(pair[0].to_bits()) | u64::from(pair[1].to_bits()) << 32;
    let nearest = bits.wrapping_add(0x7fff_0000_7fff + (bits >> 16 & 0x1_0000_0001));
    (nearest >> 16 & 0xffff | nearest >> 32 & 0xffff_0000) as u32
}

/// The bf16 that an integer of at most 8 bits is.
#[inline(always)]
fn exact(x: f32) -> u32 {
    x.to_bits() >> 16
}

fn low(word: u32) -> f32 {
    f32::from_bits(word << 16)
}

fn high(word: u32) -> f32 {
    f32::from_bits(word & 0xffff_0000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn numbers_round_to_the_nearest_bf16() {
        for i in 0..1u32 << 16 {
            let x = f32::from_bits(i.wrapping_mul(0x9e37_79b9));
            let want = bf16::from_f32(x);
            let got = bf16::from_bits((rounded(x) >> 16) as u16);
            assert!(got == want || x.is_nan(), "{x}");
        }
        for nan in [f32::NAN, -f32::NAN] {
            assert!(low(word(nan, 0.0)).is_nan() && high(neighbours(&[1.0, nan])).is_nan());
        }
        assert_eq!(low(neighbours(&[f32::INFINITY, 1.0])), f32::INFINITY);
        assert_eq!(neighbours(&[1.01, -0.3]), word(1.01, -0.3));
        for code in i8::MIN..=i8::MAX {
            assert_eq!(low(exact(f32::from(code))), f32::from(code));
        }
    }

    #[test]
    fn a_block_of_codes_becomes_weights() {
        // Digits 0, 1, 2, 0 of byte 0, and 2 everywhere in row 1.
        let mut block = [0b0101_0101; BLOCK_BYTES];
        block[0] = 0b0010_0100;
        block[4..8].fill(0b1010_1010);
        let mut out = [[9; PAIR_LANES]; 8];
        pair_ternary(&block, &mut out);
        let lows: Vec<f32> = [0, 4, 8, 12].iter().map(|i| low(out[0][*i])).collect();
        assert_eq!(lows, [-1.0, 0.0, 1.0, -1.0]);
        assert!(out[0].iter().all(|word| high(*word) == 1.0));
        assert!(out[1..].as_flattened().iter().all(|word| *word == 0));
    }
}
