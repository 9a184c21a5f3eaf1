//! Vectors of f32, so that one text of a kernel serves AVX2 and AVX-512.
#![expect(unsafe_code, reason = "vector instructions need a CPU that has them")]

use std::arch::x86_64::{
    __m256, __m512, _CMP_LT_OQ, _CMP_NLT_UQ, _MM_HINT_T0, _mm_loadl_epi64, _mm_loadu_si128, _mm_prefetch,
    _mm256_add_epi32, _mm256_add_ps, _mm256_andnot_ps, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_cmp_ps, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_sub_ps, _mm512_add_epi32,
    _mm512_add_ps, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi8_epi32,
    _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_slli_epi32, _mm512_storeu_ps, _mm512_sub_ps,
};

use crate::scalar::{Number, Stored};

/// The vectors of an instruction set. A value exists only where the CPU has the instructions.
pub(super) trait Vectors: Copy {
    type Vector: Copy;
    const LANES: usize;

    fn splat(self, x: f32) -> Self::Vector;
    /// The first [`LANES`](Self::LANES) of `values`.
    fn load<T: Stored>(self, values: &[T]) -> Self::Vector;
    /// To the first [`LANES`](Self::LANES) of `out`.
    fn store(self, vector: Self::Vector, out: &mut [f32]);
    /// `a · b + c`, rounded once.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a` where `a > b`, else `b`.
    fn greater(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a` where `a < b`, else `b`.
    fn lesser(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// +0 where `a < b`, else `otherwise`.
    fn zero_if_less(self, a: Self::Vector, b: Self::Vector, otherwise: Self::Vector) -> Self::Vector;
    /// The bits of `a`, plus `addend`, shifted left by 23.
    fn add_and_shift(self, a: Self::Vector, addend: u32) -> Self::Vector;

    /// Asks for the cache line that lies `offset` elements after the first of `values`.
    #[inline(always)]
    fn prefetch<T>(self, values: &[T], offset: isize) {
        // SAFETY: every x86-64 CPU has the instruction, and it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().wrapping_offset(offset).cast()) }
    }
}

/// AVX2 with FMA and F16C: 8 lanes.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn new() -> Self {
        Avx2(())
    }
}

impl Vectors for Avx2 {
    type Vector = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` exists only where the CPU has AVX2.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn load<T: Stored>(self, values: &[T]) -> __m256 {
        // SAFETY: `self` exists only where the CPU has AVX2 and F16C.
        unsafe { load_8(values) }
    }

    #[inline(always)]
    fn store(self, vector: __m256, out: &mut [f32]) {
        // SAFETY: 8 floats can be written; `self` exists only where the CPU has AVX2.
        unsafe { _mm256_storeu_ps(out[..Self::LANES].as_mut_ptr(), vector) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` exists only where the CPU has FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` exists only where the CPU has AVX2.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` exists only where the CPU has AVX2.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` exists only where the CPU has AVX2.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn greater(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` exists only where the CPU has AVX2.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn lesser(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` exists only where the CPU has AVX2.
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn zero_if_less(self, a: __m256, b: __m256, otherwise: __m256) -> __m256 {
        // SAFETY: `self` exists only where the CPU has AVX2.
        unsafe { zero_if_less_8(a, b, otherwise) }
    }

    #[inline(always)]
    fn add_and_shift(self, a: __m256, addend: u32) -> __m256 {
        // SAFETY: `self` exists only where the CPU has AVX2.
        unsafe { add_and_shift_8(a, addend) }
    }
}

/// AVX-512 F: 16 lanes.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    #[target_feature(enable = "avx512f")]
    pub(super) fn new() -> Self {
        Avx512(())
    }
}

impl Vectors for Avx512 {
    type Vector = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load<T: Stored>(self, values: &[T]) -> __m512 {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { load_16(values) }
    }

    #[inline(always)]
    fn store(self, vector: __m512, out: &mut [f32]) {
        // SAFETY: 16 floats can be written; `self` exists only where the CPU has AVX-512 F.
        unsafe { _mm512_storeu_ps(out[..Self::LANES].as_mut_ptr(), vector) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn greater(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn lesser(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn zero_if_less(self, a: __m512, b: __m512, otherwise: __m512) -> __m512 {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { zero_if_less_16(a, b, otherwise) }
    }

    #[inline(always)]
    fn add_and_shift(self, a: __m512, addend: u32) -> __m512 {
        // SAFETY: `self` exists only where the CPU has AVX-512 F.
        unsafe { add_and_shift_16(a, addend) }
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load_8<T: Stored>(values: &[T]) -> __m256 {
    let start = values[..8].as_ptr();
    match T::NUMBER {
        // SAFETY: 8 floats can be read from `start` on.
        Number::F32 => unsafe { _mm256_loadu_ps(start.cast()) },
        Number::F16 => {
            // SAFETY: 8 halves of 2 bytes can be read from `start` on.
            _mm256_cvtph_ps(unsafe { _mm_loadu_si128(start.cast()) })
        }
        Number::Bf16 => {
            // SAFETY: 8 halves of 2 bytes can be read from `start` on.
            let halves = unsafe { _mm_loadu_si128(start.cast()) };
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
        }
        Number::I8 => {
            // SAFETY: 8 bytes can be read from `start` on.
            let codes = unsafe { _mm_loadl_epi64(start.cast()) };
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes))
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_16<T: Stored>(values: &[T]) -> __m512 {
    let start = values[..16].as_ptr();
    match T::NUMBER {
        // SAFETY: 16 floats can be read from `start` on.
        Number::F32 => unsafe { _mm512_loadu_ps(start.cast()) },
        Number::F16 => {
            // SAFETY: 16 halves of 2 bytes can be read from `start` on.
            _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(start.cast()) })
        }
        Number::Bf16 => {
            // SAFETY: 16 halves of 2 bytes can be read from `start` on.
            let halves = unsafe { _mm256_loadu_si256(start.cast()) };
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
        Number::I8 => {
            // SAFETY: 16 bytes can be read from `start` on.
            let codes = unsafe { _mm_loadu_si128(start.cast()) };
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes))
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn zero_if_less_8(a: __m256, b: __m256, otherwise: __m256) -> __m256 {
    _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(a, b), otherwise)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn zero_if_less_16(a: __m512, b: __m512, otherwise: __m512) -> __m512 {
    _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(a, b), otherwise)
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_and_shift_8(a: __m256, addend: u32) -> __m256 {
    let sum = _mm256_add_epi32(_mm256_castps_si256(a), _mm256_set1_epi32(addend as i32));
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(sum))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add_and_shift_16(a: __m512, addend: u32) -> __m512 {
    let sum = _mm512_add_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(addend as i32));
    _mm512_castsi512_ps(_mm512_slli_epi32::<23>(sum))
}
