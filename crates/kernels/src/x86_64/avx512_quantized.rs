//! Quantized matrices with AVX-512 VNNI.
//!
//! It knows no threads, allocation or errors.
#![expect(unsafe_code, reason = "vector loads and stores take pointers")]

use std::arch::x86_64::{
    __m512, __m512i, _mm256_loadu_si256, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi16, _mm512_srli_epi16, _mm512_storeu_ps,
    _mm512_sub_epi32,
};

use half::f16;

use super::avx512vnni::{broadcast, load};
use crate::prefetch::prefetch_stream;
use crate::quantized::{GROUP_DIGITS, QuantizedTile, QuantizedType};
use crate::ternary::{BLOCK_BYTES, TILE_ROWS};

/// See [`crate::scalar::quantized_tiles`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
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

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,f16c")]
fn tiles_of<const R: usize, const M: usize, const BITS: usize>(
    tiles: [QuantizedTile<'_>; R],
    x: &[[[i8; 4]; M]],
    group_sums: &[[i32; M]],
    out: &mut [[[f32; TILE_ROWS]; M]; R],
) {
    let mut chains = [[_mm512_setzero_ps(); M]; R];
    let count = tiles[0].scales.len();
    let scales = tiles.map(|tile| &tile.scales[..count]);
    let codes = tiles.map(|tile| &tile.codes.as_chunks::<BLOCK_BYTES>().0.as_chunks::<BITS>().0[..count]);
    let x = &x.as_chunks::<GROUP_DIGITS>().0[..count];
    let group_sums = &group_sums[..count];
    for g in 0..count {
        let mut sums = [[_mm512_setzero_si512(); M]; R];
        for r in 0..R {
            codes[r][g].iter().for_each(prefetch_stream);
            let digits = decode(&codes[r][g]);
            for (digit, codes) in digits.into_iter().enumerate() {
                for t in 0..M {
                    sums[r][t] = _mm512_dpbusd_epi32(sums[r][t], codes, broadcast(x[g][digit][t]));
                }
            }
        }
        for r in 0..R {
            let scales = load_scales(&scales[r][g]);
            for t in 0..M {
                let offset = _mm512_set1_epi32(group_sums[g][t] << (BITS - 1));
                let sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[r][t], offset));
                chains[r][t] = _mm512_fmadd_ps(scales, sum, chains[r][t]);
            }
        }
    }
    for r in 0..R {
        for t in 0..M {
            store(&mut out[r][t], chains[r][t]);
        }
    }
}

/// The codes of a group, a vector for each 4 columns.
#[target_feature(enable = "avx512f,avx512bw")]
fn decode<const BITS: usize>(group: &[[u8; BLOCK_BYTES]; BITS]) -> [__m512i; GROUP_DIGITS] {
    let nibble = _mm512_set1_epi8(15);
    let high_bits = _mm512_set1_epi8(0x30);
    std::array::from_fn(|digit| {
        if BITS == 8 {
            return load(&group[digit]);
        }
        let pair = load(&group[digit / 2]);
        let pair = if digit.is_multiple_of(2) { pair } else { _mm512_srli_epi16::<4>(pair) };
        let low = _mm512_and_si512(pair, nibble);
        if BITS == 4 {
            return low;
        }
        let high = load(&group[4 + digit / 4]);
        let high = match digit % 4 {
            0 => _mm512_slli_epi16::<4>(high),
            1 => _mm512_slli_epi16::<2>(high),
            2 => high,
            _ => _mm512_srli_epi16::<2>(high),
        };
        _mm512_or_si512(low, _mm512_and_si512(high, high_bits))
    })
}

#[target_feature(enable = "avx512f,f16c")]
fn load_scales(scales: &[f16; TILE_ROWS]) -> __m512 {
    // SAFETY: the array is 32 readable bytes; `loadu` needs no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(scales.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f")]
fn store(lanes: &mut [f32; TILE_ROWS], value: __m512) {
    // SAFETY: the array is 64 writable bytes; `storeu` needs no alignment.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), value) }
}
