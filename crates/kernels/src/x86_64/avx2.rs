//! AVX2 with FMA and F16C.
//!
//! It knows no threads, allocation or errors.
#![expect(unsafe_code, reason = "vector loads and stores take pointers")]

use std::arch::x86_64::{
    __m256i, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_srli_epi16, _mm256_storeu_si256,
};

use crate::ternary::{BLOCK_BYTES, Layout, TILE_ROWS};

pub(crate) use super::probe::maddubs_dots as int8_dots;

compile_definitions!("avx2,fma,f16c");

/// Blocks whose products an i16 lane may sum before it is widened to i32.
///
/// Each of the 4 digits of a block adds two products of a code in 0..=2 and a value in -128..=127.
const WIDEN_EVERY: usize = 15;
const _: () = assert!(WIDEN_EVERY * 4 * 2 * 2 * 128 <= i16::MAX as usize);

/// See [`scalar::ternary_tile`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn ternary_tile<const M: usize>(
    layout: Layout,
    blocks: &[[u8; BLOCK_BYTES]],
    rows: [&[i8]; M],
    sums: &mut [[i32; TILE_ROWS]; M],
) {
    if layout != Layout::TwoBit {
        return scalar::ternary_tile(layout, blocks, rows, sums);
    }
    let digit_mask = _mm256_set1_epi8(3);
    let ones = _mm256_set1_epi16(1);
    for half in 0..2 {
        let mut wide = [_mm256_setzero_si256(); M];
        for (run, blocks) in blocks.chunks(WIDEN_EVERY).enumerate() {
            let mut narrow = [_mm256_setzero_si256(); M];
            for (b, block) in blocks.iter().enumerate() {
                let mut bytes = load(&block.as_chunks::<32>().0[half]);
                let first = (run * WIDEN_EVERY + b) * Layout::TwoBit.block_columns();
                for digit in 0..4 {
                    let codes = _mm256_and_si256(bytes, digit_mask);
                    bytes = _mm256_srli_epi16::<2>(bytes);
                    for t in 0..M {
                        let products = _mm256_maddubs_epi16(codes, broadcast(rows[t], first + 4 * digit));
                        narrow[t] = _mm256_add_epi16(narrow[t], products);
                    }
                }
            }
            for t in 0..M {
                wide[t] = _mm256_add_epi32(wide[t], _mm256_madd_epi16(narrow[t], ones));
            }
        }
        for t in 0..M {
            store(&mut sums[t].as_chunks_mut::<8>().0[half], wide[t]);
        }
    }
}

/// Four activations in every 32-bit lane.
#[target_feature(enable = "avx2")]
fn broadcast(row: &[i8], first: usize) -> __m256i {
    let four: [i8; 4] = row[first..first + 4].try_into().expect("four activations");
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
