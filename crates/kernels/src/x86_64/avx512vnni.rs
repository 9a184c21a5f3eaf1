//! AVX-512 with F, BW, VL and VNNI.
//!
//! It knows no threads, allocation or errors.
#![expect(unsafe_code, reason = "vector loads and stores take pointers")]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_srai_epi32, _mm512_srli_epi16, _mm512_storeu_si512,
};

pub(crate) use super::attention::attend_block_avx512 as attend_block;
use crate::prefetch::prefetch_stream;
use crate::ternary::{BLOCK_BYTES, Layout, TILE_ROWS, expand_base_three};

pub(crate) use super::avx512_quantized::quantized_tiles;

pub(crate) use super::probe::vpdpbusd_dots as int8_dots;

compile_definitions!("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c");

/// See [`scalar::ternary_tiles`].
///
/// `vpdpbusd` wraps only past i32, which `MAX_COLUMNS` in `ops` excludes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(crate) fn ternary_tiles<const R: usize, const M: usize>(
    layout: Layout,
    tiles: [&[[u8; BLOCK_BYTES]]; R],
    x: &[[[i8; 4]; M]],
    sums: &mut [[[i32; TILE_ROWS]; M]; R],
) {
    match layout {
        Layout::TwoBit if M == 1 => two_bit_row(tiles, x, sums),
        Layout::TwoBit => two_bit_panel(tiles, x, sums),
        Layout::BaseThree => base_three(tiles, x, sums),
    }
}

/// One token: digits stay where they are in their bytes, each in a chain of its own, and the
/// chains are shifted at the end.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn two_bit_row<const R: usize, const M: usize>(
    tiles: [&[[u8; BLOCK_BYTES]]; R],
    x: &[[[i8; 4]; M]],
    sums: &mut [[[i32; TILE_ROWS]; M]; R],
) {
    let masks = digit_masks();
    let mut chains = [[_mm512_setzero_si512(); 4]; R];
    let count = tiles[0].len();
    let tiles = tiles.map(|tile| &tile[..count]);
    for (b, x) in x.as_chunks::<4>().0[..count].iter().enumerate() {
        let x: [__m512i; 4] = std::array::from_fn(|digit| broadcast(x[digit][0]));
        for r in 0..R {
            prefetch_stream(&tiles[r][b]);
            let bytes = load(&tiles[r][b]);
            for digit in 0..4 {
                let codes = _mm512_and_si512(bytes, masks[digit]);
                chains[r][digit] = _mm512_dpbusd_epi32(chains[r][digit], codes, x[digit]);
            }
        }
    }
    for r in 0..R {
        store(&mut sums[r][0], sum_of_digits(chains[r]));
    }
}

/// Masks of the four digits of a byte, in place.
#[target_feature(enable = "avx512f")]
pub(super) fn digit_masks() -> [__m512i; 4] {
    [_mm512_set1_epi8(3), _mm512_set1_epi8(0x0c), _mm512_set1_epi8(0x30), _mm512_set1_epi8(0xc0u8 as i8)]
}

/// The sum of four chains, chain `d` of digits that stand `2 d` bits too high.
#[target_feature(enable = "avx512f")]
pub(super) fn sum_of_digits([a, b, c, d]: [__m512i; 4]) -> __m512i {
    let (b, c) = (_mm512_srai_epi32::<2>(b), _mm512_srai_epi32::<4>(c));
    let d = _mm512_srai_epi32::<6>(d);
    _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn two_bit_panel<const R: usize, const M: usize>(
    tiles: [&[[u8; BLOCK_BYTES]]; R],
    x: &[[[i8; 4]; M]],
    sums: &mut [[[i32; TILE_ROWS]; M]; R],
) {
    let digit_mask = _mm512_set1_epi8(3);
    let mut chains = [[_mm512_setzero_si512(); M]; R];
    let count = tiles[0].len();
    let tiles = tiles.map(|tile| &tile[..count]);
    for (b, x) in x.as_chunks::<4>().0[..count].iter().enumerate() {
        let mut bytes: [__m512i; R] = std::array::from_fn(|r| load(&tiles[r][b]));
        for x in x {
            let codes = bytes.map(|bytes| _mm512_and_si512(bytes, digit_mask));
            bytes = bytes.map(|bytes| _mm512_srli_epi16::<2>(bytes));
            for t in 0..M {
                let x = broadcast(x[t]);
                for r in 0..R {
                    chains[r][t] = _mm512_dpbusd_epi32(chains[r][t], codes[r], x);
                }
            }
        }
    }
    store_sums(chains, sums);
}

/// Without byte permutes a block is first expanded by a table in memory.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn base_three<const R: usize, const M: usize>(
    tiles: [&[[u8; BLOCK_BYTES]]; R],
    x: &[[[i8; 4]; M]],
    sums: &mut [[[i32; TILE_ROWS]; M]; R],
) {
    let digit_mask = _mm512_set1_epi8(3);
    for (tile, sums) in tiles.into_iter().zip(sums) {
        let mut chains = [_mm512_setzero_si512(); M];
        for (block, x) in tile.iter().zip(x.as_chunks::<5>().0) {
            let [four, fifth] = expand_base_three(block);
            let (mut bytes, fifth) = (load(&four), load(&fifth));
            for (digit, x) in x.iter().enumerate() {
                let codes = if digit < 4 { _mm512_and_si512(bytes, digit_mask) } else { fifth };
                bytes = _mm512_srli_epi16::<2>(bytes);
                for t in 0..M {
                    chains[t] = _mm512_dpbusd_epi32(chains[t], codes, broadcast(x[t]));
                }
            }
        }
        for t in 0..M {
            store(&mut sums[t], chains[t]);
        }
    }
}

/// Four activations in every 32-bit lane.
#[target_feature(enable = "avx512f")]
pub(super) fn broadcast(four: [i8; 4]) -> __m512i {
    _mm512_set1_epi32(i32::from_le_bytes(four.map(|x| x as u8)))
}

#[target_feature(enable = "avx512f")]
pub(super) fn load(bytes: &[u8; BLOCK_BYTES]) -> __m512i {
    // SAFETY: the array is 64 readable bytes; `loadu` needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Stores the chains of a panel.
#[target_feature(enable = "avx512f")]
pub(super) fn store_sums<const R: usize, const M: usize>(
    chains: [[__m512i; M]; R],
    sums: &mut [[[i32; TILE_ROWS]; M]; R],
) {
    for (sums, chains) in sums.as_flattened_mut().iter_mut().zip(chains.as_flattened()) {
        store(sums, *chains);
    }
}

#[target_feature(enable = "avx512f")]
pub(super) fn store(lanes: &mut [i32; TILE_ROWS], value: __m512i) {
    // SAFETY: the array is 64 writable bytes; `storeu` needs no alignment.
    unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), value) }
}
