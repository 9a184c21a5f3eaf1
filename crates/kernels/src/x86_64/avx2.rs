//! AVX2 with FMA and F16C.
//!
//! It knows no threads, allocation or errors.
#![expect(unsafe_code, reason = "vector loads and stores take pointers")]

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256,
    _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_sub_epi32,
};

use half::f16;

pub(crate) use super::attention::attend_block_avx2 as attend_block;
use crate::prefetch::prefetch_stream;
use crate::quantized::{GROUP_DIGITS, QuantizedTile, QuantizedType};
use crate::ternary::{BLOCK_BYTES, Layout, TILE_ROWS, expand_base_three};

pub(crate) use super::probe::maddubs_dots as int8_dots;

compile_definitions!("avx2,fma,f16c");

/// Blocks whose products an i16 lane may sum before it is widened to i32.
///
/// Each of the 4 digits of a block adds two products of a code in 0..=2 and a value in -128..=127.
const WIDEN_EVERY: usize = 15;
const _: () = assert!(WIDEN_EVERY * 4 * 2 * 2 * 128 <= i16::MAX as usize);

/// Halves of tiles whose sums registers hold together, for one token.
const ROW_HALVES: usize = 4;

/// See [`scalar::ternary_tiles`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn ternary_tiles<const R: usize, const M: usize>(
    layout: Layout,
    tiles: [&[[u8; BLOCK_BYTES]]; R],
    x: &[[[i8; 4]; M]],
    sums: &mut [[[i32; TILE_ROWS]; M]; R],
) {
    if layout == Layout::BaseThree {
        for (tile, sums) in tiles.into_iter().zip(sums) {
            base_three(tile, x, sums);
        }
        return;
    }
    let halves = |pair: usize| -> [Half<'_>; ROW_HALVES] {
        std::array::from_fn(|i| (tiles[(2 * pair + i / 2).min(R - 1)], i % 2))
    };
    if M <= 2 {
        for pair in 0..R.div_ceil(2) {
            let wide = two_bit::<ROW_HALVES, M>(halves(pair), x);
            for (i, wide) in wide.iter().enumerate().take(2 * (R - 2 * pair)) {
                for (t, wide) in wide.iter().enumerate() {
                    store(&mut sums[2 * pair + i / 2][t].as_chunks_mut::<8>().0[i % 2], *wide);
                }
            }
        }
    } else {
        for (tile, sums) in tiles.into_iter().zip(sums) {
            for half in 0..2 {
                let [wide] = two_bit::<1, M>([(tile, half)], x);
                for (t, wide) in wide.iter().enumerate() {
                    store(&mut sums[t].as_chunks_mut::<8>().0[half], *wide);
                }
            }
        }
    }
}

/// Eight rows of a tile.
type Half<'a> = (&'a [[u8; BLOCK_BYTES]], usize);

/// Sums of `H` halves of tiles for `M` tokens.
#[target_feature(enable = "avx2")]
fn two_bit<const H: usize, const M: usize>(halves: [Half<'_>; H], x: &[[[i8; 4]; M]]) -> [[__m256i; M]; H] {
    let digit_mask = _mm256_set1_epi8(3);
    let ones = _mm256_set1_epi16(1);
    let mut wide = [[_mm256_setzero_si256(); M]; H];
    let count = halves[0].0.len();
    let halves = halves.map(|(tile, half)| (&tile[..count], half));
    let x = &x.as_chunks::<4>().0[..count];
    for first in (0..count).step_by(WIDEN_EVERY) {
        let mut narrow = [[_mm256_setzero_si256(); M]; H];
        for b in first..count.min(first + WIDEN_EVERY) {
            let mut bytes = halves.map(|(tile, half)| {
                prefetch_stream(&tile[b]);
                load(&tile[b].as_chunks::<32>().0[half])
            });
            for x in &x[b] {
                let codes = bytes.map(|bytes| _mm256_and_si256(bytes, digit_mask));
                bytes = bytes.map(|bytes| _mm256_srli_epi16::<2>(bytes));
                for t in 0..M {
                    let x = broadcast(x[t]);
                    for h in 0..H {
                        let products = _mm256_maddubs_epi16(codes[h], x);
                        narrow[h][t] = _mm256_add_epi16(narrow[h][t], products);
                    }
                }
            }
        }
        for h in 0..H {
            for t in 0..M {
                wide[h][t] = _mm256_add_epi32(wide[h][t], _mm256_madd_epi16(narrow[h][t], ones));
            }
        }
    }
    wide
}

// Each of the 5 digits of a block adds two products of a code in 0..=2 and a value in -128..=127.
const _: () = assert!(5 * 2 * 2 * 128 <= i16::MAX as usize);

/// A tile in base three, each block expanded by a table first.
#[target_feature(enable = "avx2")]
fn base_three<const M: usize>(
    tile: &[[u8; BLOCK_BYTES]],
    x: &[[[i8; 4]; M]],
    sums: &mut [[i32; TILE_ROWS]; M],
) {
    let digit_mask = _mm256_set1_epi8(3);
    let ones = _mm256_set1_epi16(1);
    let mut wide = [[_mm256_setzero_si256(); 2]; M];
    for (block, x) in tile.iter().zip(x.as_chunks::<5>().0) {
        let [four, fifth] = expand_base_three(block).map(|bytes| {
            let halves = bytes.as_chunks::<32>().0;
            [load(&halves[0]), load(&halves[1])]
        });
        for half in 0..2 {
            let mut bytes = four[half];
            let mut narrow = [_mm256_setzero_si256(); M];
            for (digit, x) in x.iter().enumerate() {
                let codes = if digit < 4 { _mm256_and_si256(bytes, digit_mask) } else { fifth[half] };
                bytes = _mm256_srli_epi16::<2>(bytes);
                for t in 0..M {
                    let products = _mm256_maddubs_epi16(codes, broadcast(x[t]));
                    narrow[t] = _mm256_add_epi16(narrow[t], products);
                }
            }
            for t in 0..M {
                wide[t][half] = _mm256_add_epi32(wide[t][half], _mm256_madd_epi16(narrow[t], ones));
            }
        }
    }
    for (sums, wide) in sums.iter_mut().zip(wide) {
        for (sums, wide) in sums.as_chunks_mut::<8>().0.iter_mut().zip(wide) {
            store(sums, wide);
        }
    }
}

/// See [`scalar::quantized_tiles`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn quantized_tiles<const R: usize, const M: usize>(
    quantized_type: QuantizedType,
    tiles: [QuantizedTile<'_>; R],
    x: &[[[i8; 4]; M]],
    group_sums: &[[i32; M]],
    out: &mut [[[f32; TILE_ROWS]; M]; R],
) {
    match quantized_type {
        QuantizedType::Q8 => tiles_of::<R, M, 8>(tiles, x, group_sums, out),
        QuantizedType::Q6 => tiles_of::<R, M, 6>(tiles, x, group_sums, out),
        QuantizedType::Q4 => tiles_of::<R, M, 4>(tiles, x, group_sums, out),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn tiles_of<const R: usize, const M: usize, const BITS: usize>(
    tiles: [QuantizedTile<'_>; R],
    x: &[[[i8; 4]; M]],
    group_sums: &[[i32; M]],
    out: &mut [[[f32; TILE_ROWS]; M]; R],
) {
    for (tile, out) in tiles.into_iter().zip(out) {
        quantized_tile::<M, BITS>(tile, x, group_sums, out);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn quantized_tile<const M: usize, const BITS: usize>(
    tile: QuantizedTile<'_>,
    x: &[[[i8; 4]; M]],
    group_sums: &[[i32; M]],
    out: &mut [[f32; TILE_ROWS]; M],
) {
    let mut chains = [[_mm256_setzero_ps(); M]; 2];
    let groups = tile.codes.as_chunks::<BLOCK_BYTES>().0.as_chunks::<BITS>().0.iter().zip(tile.scales);
    let x = x.as_chunks::<GROUP_DIGITS>().0.iter().zip(group_sums);
    for ((codes, scales), (x, group_sums)) in groups.zip(x) {
        codes.iter().for_each(prefetch_stream);
        for (half, chains) in chains.iter_mut().enumerate() {
            let mut sums = [_mm256_setzero_si256(); M];
            for (digit, x) in x.iter().enumerate() {
                let codes = quantized_digit(codes, digit, half);
                for t in 0..M {
                    sums[t] = _mm256_add_epi32(sums[t], dot(codes, broadcast(x[t]), BITS == 8));
                }
            }
            let scales = load_scales(&scales.as_chunks::<8>().0[half]);
            for t in 0..M {
                let offset = _mm256_set1_epi32(group_sums[t] << (BITS - 1));
                let sum = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums[t], offset));
                chains[t] = _mm256_fmadd_ps(scales, sum, chains[t]);
            }
        }
    }
    for (half, chains) in chains.into_iter().enumerate() {
        for (out, chain) in out.iter_mut().zip(chains) {
            store_floats(&mut out.as_chunks_mut::<8>().0[half], chain);
        }
    }
}

/// The codes of 8 rows and 4 columns.
#[target_feature(enable = "avx2")]
fn quantized_digit<const BITS: usize>(
    group: &[[u8; BLOCK_BYTES]; BITS],
    digit: usize,
    half: usize,
) -> __m256i {
    let vector = |index: usize| load(&group[index].as_chunks::<32>().0[half]);
    if BITS == 8 {
        return vector(digit);
    }
    let pair = vector(digit / 2);
    let pair = if digit.is_multiple_of(2) { pair } else { _mm256_srli_epi16::<4>(pair) };
    let low = _mm256_and_si256(pair, _mm256_set1_epi8(15));
    if BITS == 4 {
        return low;
    }
    let high = vector(4 + digit / 4);
    let high = match digit % 4 {
        0 => _mm256_slli_epi16::<4>(high),
        1 => _mm256_slli_epi16::<2>(high),
        2 => high,
        _ => _mm256_srli_epi16::<2>(high),
    };
    _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(0x30)))
}

// Two products with a code of six bits or of a nibble, and a value in -128..=127.
const _: () = assert!(2 * 63 * 128 <= i16::MAX as usize);
const _: () = assert!(2 * 15 * 128 <= i16::MAX as usize);

/// Four products of each 32-bit lane, summed. Codes of all 8 bits would saturate `vpmaddubsw`: their
/// high nibbles are then multiplied by themselves.
#[target_feature(enable = "avx2")]
fn dot(codes: __m256i, x: __m256i, is_wide: bool) -> __m256i {
    let ones = _mm256_set1_epi16(1);
    if !is_wide {
        return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), ones);
    }
    let nibble = _mm256_set1_epi8(15);
    let low = _mm256_maddubs_epi16(_mm256_and_si256(codes, nibble), x);
    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble);
    let high = _mm256_maddubs_epi16(high, x);
    _mm256_add_epi32(_mm256_madd_epi16(low, ones), _mm256_madd_epi16(high, _mm256_set1_epi16(16)))
}

#[target_feature(enable = "avx2,f16c")]
fn load_scales(scales: &[f16; 8]) -> __m256 {
    // SAFETY: the array is 16 readable bytes; `loadu` needs no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(scales.as_ptr().cast()) })
}

#[target_feature(enable = "avx2")]
fn store_floats(lanes: &mut [f32; 8], value: __m256) {
    // SAFETY: the array is 32 writable bytes; `storeu` needs no alignment.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), value) }
}

/// Four activations in every 32-bit lane.
#[target_feature(enable = "avx2")]
fn broadcast(four: [i8; 4]) -> __m256i {
    _mm256_set1_epi32(i32::from_le_bytes(four.map(|x| x as u8)))
}

#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the array is 32 readable bytes; `loadu` needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn store(lanes: &mut [i32; 8], value: __m256i) {
    // SAFETY: the array is 32 writable bytes; `storeu` needs no alignment.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), value) }
}
