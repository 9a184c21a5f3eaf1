//! AVX-512 with F, BW, VL and VNNI.
//!
//! It knows no threads, allocation or errors.
#![expect(unsafe_code, reason = "vector loads and stores take pointers")]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_srli_epi16, _mm512_storeu_si512,
};

use crate::ternary::{BLOCK_BYTES, Layout, TILE_ROWS};

pub(crate) use super::probe::{bf16_dots, vpdpbusd_dots as int8_dots};

compile_definitions!("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c");

/// See [`scalar::ternary_tile`].
///
/// `vpdpbusd` wraps only past i32, which `MAX_COLUMNS` in `ops` excludes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(crate) fn ternary_tile<const M: usize>(
    layout: Layout,
    blocks: &[[u8; BLOCK_BYTES]],
    rows: [&[i8]; M],
    sums: &mut [[i32; TILE_ROWS]; M],
) {
    if layout != Layout::TwoBit {
        return scalar::ternary_tile(layout, blocks, rows, sums);
    }
    let digit_mask = _mm512_set1_epi8(3);
    // One token alone needs four chains to hide the latency of `vpdpbusd`; more hide their own.
    let chain_mask = if M == 1 { 3 } else { 1 };
    let mut chains = [[_mm512_setzero_si512(); 4]; M];
    let rows = rows.map(|row| row.as_chunks::<16>().0);
    for (b, block) in blocks.iter().enumerate() {
        let mut bytes = load(block);
        for digit in 0..4 {
            let codes = _mm512_and_si512(bytes, digit_mask);
            bytes = _mm512_srli_epi16::<2>(bytes);
            for t in 0..M {
                let chain = &mut chains[t][digit & chain_mask];
                *chain = _mm512_dpbusd_epi32(*chain, codes, broadcast(&rows[t][b], digit));
            }
        }
    }
    for t in 0..M {
        let [a, b, c, d] = chains[t];
        let sum = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
        store(&mut sums[t], sum);
    }
}

/// Activations `4 · digit ..` of a block in every 32-bit lane.
#[target_feature(enable = "avx512f")]
fn broadcast(row: &[i8; 16], digit: usize) -> __m512i {
    let four = row.as_chunks::<4>().0[digit];
    _mm512_set1_epi32(i32::from_le_bytes(four.map(|x| x as u8)))
}

#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; BLOCK_BYTES]) -> __m512i {
    // SAFETY: the array is 64 readable bytes; `loadu` needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn store(lanes: &mut [i32; TILE_ROWS], value: __m512i) {
    // SAFETY: the array is 64 writable bytes; `storeu` needs no alignment.
    unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), value) }
}
