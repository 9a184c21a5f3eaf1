//! Products of several rows of a dense matrix with several tokens, on 512 bits.
//!
//! It knows no threads, allocation or errors.
#![expect(unsafe_code, reason = "a vector becomes an array of its lanes")]

use std::arch::x86_64::{__m512, _mm512_add_ps, _mm512_shuffle_f32x4, _mm512_shuffle_ps};

use super::vectors::{Avx512, Vectors};
use crate::scalar::{DENSE_TILE, LANES, Stored, padded};

/// See [`crate::scalar::dense_dots`], for as many tokens as make whole tiles; gives their number.
///
/// # Shapes
/// `x`: `[sums.len(), k]`
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(crate) fn dense_tiles<T: Stored>(
    w: [&[T]; DENSE_TILE],
    x: &[f32],
    sums: &mut [[f32; DENSE_TILE]],
) -> usize {
    let k = w[0].len();
    let w = groups(w, k);
    let (tiles, _) = sums.as_chunks_mut::<DENSE_TILE>();
    for (tile, sums) in tiles.iter_mut().enumerate() {
        let x = &x[tile * DENSE_TILE * k..][..DENSE_TILE * k];
        let (x, rest) = x.split_at(2 * k);
        let (rows, last) = (x.split_at(k), rest.split_at(k));
        *sums = dense_tile(w, groups([rows.0, rows.1, last.0, last.1], k), k);
    }
    tiles.len() * DENSE_TILE
}

type Groups<'a, T> = ([&'a [[T; LANES]]; DENSE_TILE], [&'a [T]; DENSE_TILE]);

/// A tile: the sixteen sums stay in registers, and their lanes are added together, sixteen sums at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn dense_tile<T: Stored>(
    (w, w_tails): Groups<'_, T>,
    (x, x_tails): Groups<'_, f32>,
    k: usize,
) -> [[f32; DENSE_TILE]; DENSE_TILE] {
    let vectors = Avx512::new();
    let mut sums = [[vectors.splat(0.0); DENSE_TILE]; DENSE_TILE];
    for group in 0..k / LANES {
        let w = [&w[0][group], &w[1][group], &w[2][group], &w[3][group]];
        let w = [vectors.load(w[0]), vectors.load(w[1]), vectors.load(w[2]), vectors.load(w[3])];
        for t in 0..DENSE_TILE {
            let x = vectors.load(&x[t][group]);
            for r in 0..DENSE_TILE {
                sums[r][t] = vectors.mul_add(w[r], x, sums[r][t]);
            }
        }
    }
    if k.is_multiple_of(LANES) {
        // A tail of zeros adds +0, which makes -0 to +0.
        for sum in sums.as_flattened_mut() {
            *sum = vectors.add(*sum, vectors.splat(0.0));
        }
        return lanes_of(add_lanes(sums));
    }
    for t in 0..DENSE_TILE {
        let x = vectors.load(&padded(x_tails[t]));
        for r in 0..DENSE_TILE {
            sums[r][t] = vectors.mul_add(vectors.load(&padded(w_tails[r])), x, sums[r][t]);
        }
    }
    lanes_of(add_lanes(sums))
}

/// The first `k` elements of each row in groups of lanes, and what is left.
#[target_feature(enable = "avx512f")]
fn groups<T>(rows: [&[T]; DENSE_TILE], k: usize) -> Groups<'_, T> {
    let (mut groups, mut tails) = ([&[][..]; DENSE_TILE], [&[][..]; DENSE_TILE]);
    for i in 0..DENSE_TILE {
        (groups[i], tails[i]) = rows[i][..k].as_chunks();
    }
    (groups, tails)
}

/// The sum over the lanes of each vector, as `scalar::add_lanes` adds them: that of `sums[r][t]` in
/// lane `4 t + r`.
///
/// Each step adds the halves of the lanes of a vector and halves the number of vectors.
#[target_feature(enable = "avx512f")]
fn add_lanes(sums: [[__m512; DENSE_TILE]; DENSE_TILE]) -> __m512 {
    let row = |[a, b, c, d]: [__m512; DENSE_TILE]| halves_of_8(halves_of_16(a, b), halves_of_16(c, d));
    let [a, b, c, d] = sums;
    halves_of_2(halves_of_4(row(a), row(b)), halves_of_4(row(c), row(d)))
}

/// Lanes `i` and `i + 8` of each.
#[target_feature(enable = "avx512f")]
fn halves_of_16(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(_mm512_shuffle_f32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b))
}

/// Lanes `i` and `i + 4` of each eight.
#[target_feature(enable = "avx512f")]
fn halves_of_8(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b))
}

/// Lanes `i` and `i + 2` of each four.
#[target_feature(enable = "avx512f")]
fn halves_of_4(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(_mm512_shuffle_ps::<0b01_00_01_00>(a, b), _mm512_shuffle_ps::<0b11_10_11_10>(a, b))
}

/// Lanes `i` and `i + 1` of each two.
#[target_feature(enable = "avx512f")]
fn halves_of_2(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(_mm512_shuffle_ps::<0b10_00_10_00>(a, b), _mm512_shuffle_ps::<0b11_01_11_01>(a, b))
}

#[target_feature(enable = "avx512f")]
fn lanes_of(vector: __m512) -> [[f32; DENSE_TILE]; DENSE_TILE] {
    // SAFETY: both are sixteen floats of any value.
    unsafe { std::mem::transmute::<__m512, [[f32; DENSE_TILE]; DENSE_TILE]>(vector) }
}
