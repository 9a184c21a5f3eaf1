//! Dot products of registers with registers, for the arithmetic probe.
//!
//! Each product is volatile assembly, because a compiler that knows the operands would not do the
//! same work twice.
#![expect(unsafe_code, reason = "an instruction that must not be left out is `asm!`")]

use std::arch::asm;
use std::arch::x86_64::{
    __m256i, __m512, __m512i, _mm256_add_epi32, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_setzero_si256,
    _mm256_storeu_si256, _mm512_add_epi32, _mm512_add_ps, _mm512_reduce_add_epi32, _mm512_reduce_add_ps,
    _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512,
};

use crate::scalar::probe::{BF16_PRODUCTS, INT8_OPERANDS, INT8_PRODUCTS};

/// Independent sums: more than the latency of a dot product times the units that do it.
const CHAINS: usize = 12;
/// Fewer, where the sixteen registers also hold what lies between the steps of a product.
const YMM_CHAINS: usize = 8;

/// See [`crate::scalar::probe::int8_dots`]: `vpdpbusd` on 512 bits.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(crate) fn vpdpbusd_dots(rounds: usize) -> i32 {
    const _: () = assert!(CHAINS * 64 == INT8_PRODUCTS);
    let (codes, x) = (_mm512_set1_epi8(INT8_OPERANDS.0 as i8), _mm512_set1_epi8(INT8_OPERANDS.1));
    let mut chains = [_mm512_setzero_si512(); CHAINS];
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = vpdpbusd(*chain, codes, x);
        }
    }
    let sum = chains.into_iter().fold(_mm512_setzero_si512(), |sum, chain| _mm512_add_epi32(sum, chain));
    _mm512_reduce_add_epi32(sum)
}

/// See [`crate::scalar::probe::int8_dots`]: `vpmaddubsw`, `vpmaddwd` and `vpaddd` on 256 bits.
#[target_feature(enable = "avx2")]
pub(crate) fn maddubs_dots(rounds: usize) -> i32 {
    const REPEATS: usize = INT8_PRODUCTS / (YMM_CHAINS * 32);
    const _: () = assert!(REPEATS * YMM_CHAINS * 32 == INT8_PRODUCTS);
    let (codes, x) = (_mm256_set1_epi8(INT8_OPERANDS.0 as i8), _mm256_set1_epi8(INT8_OPERANDS.1));
    let ones = _mm256_set1_epi16(1);
    let mut chains = [_mm256_setzero_si256(); YMM_CHAINS];
    for _ in 0..rounds * REPEATS {
        for chain in &mut chains {
            *chain = maddubs(*chain, codes, x, ones);
        }
    }
    let sum = chains.into_iter().fold(_mm256_setzero_si256(), |sum, chain| _mm256_add_epi32(sum, chain));
    let mut lanes = [0i32; 8];
    // SAFETY: the array is 32 writable bytes; `storeu` needs no alignment.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) }
    lanes.into_iter().fold(0, i32::wrapping_add)
}

/// `rounds` times [`BF16_PRODUCTS`] products of ones by `vdpbf16ps`.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) fn vdpbf16ps_dots(rounds: usize) -> f32 {
    const _: () = assert!(CHAINS * 32 == BF16_PRODUCTS);
    /// Two ones in bf16.
    const ONES: i32 = 0x3f80_3f80;
    let ones = _mm512_set1_epi32(ONES);
    let mut chains = [_mm512_setzero_ps(); CHAINS];
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = vdpbf16ps(*chain, ones);
        }
    }
    _mm512_reduce_add_ps(chains.into_iter().fold(_mm512_setzero_ps(), |sum, chain| _mm512_add_ps(sum, chain)))
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn vpdpbusd(mut sum: __m512i, codes: __m512i, x: __m512i) -> __m512i {
    // SAFETY: the instruction touches only the three registers named, and is enabled here.
    unsafe {
        asm!(
            "vpdpbusd {sum}, {codes}, {x}",
            sum = inout(zmm_reg) sum, codes = in(zmm_reg) codes, x = in(zmm_reg) x,
            options(nomem, nostack, preserves_flags),
        );
    }
    sum
}

#[target_feature(enable = "avx2")]
fn maddubs(mut sum: __m256i, codes: __m256i, x: __m256i, ones: __m256i) -> __m256i {
    // SAFETY: the instructions touch only the registers named, and are enabled here.
    unsafe {
        asm!(
            "vpmaddubsw {products}, {codes}, {x}",
            "vpmaddwd {products}, {products}, {ones}",
            "vpaddd {sum}, {sum}, {products}",
            sum = inout(ymm_reg) sum, products = out(ymm_reg) _,
            codes = in(ymm_reg) codes, x = in(ymm_reg) x, ones = in(ymm_reg) ones,
            options(nomem, nostack, preserves_flags),
        );
    }
    sum
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn vdpbf16ps(mut sum: __m512, ones: __m512i) -> __m512 {
    // SAFETY: the instruction touches only the registers named, and is enabled here.
    unsafe {
        asm!(
            "vdpbf16ps {sum}, {ones}, {ones}",
            sum = inout(zmm_reg) sum, ones = in(zmm_reg) ones,
            options(nomem, nostack, preserves_flags),
        );
    }
    sum
}
