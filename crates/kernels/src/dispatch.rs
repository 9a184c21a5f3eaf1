//! The one place that chooses by an [`Isa`] what runs; which of them this CPU has, [`crate::isa`] finds out.
//!
//! `operations!` lists every float operation of `scalar` once. From that list
//! `compile_definitions!(features)` gives an arch file its text compiled with those features, and
//! this file a function of the same name that takes an [`Isa`] first and calls the right one.
#![expect(unsafe_code, reason = "calling a function compiled for an instruction set that was detected")]

use crate::isa::{Isa, Kind};
use crate::quantized::{QuantizedTile, QuantizedType};
use crate::scalar::backward::AdamwStep;
use crate::scalar::pairs::{PairLanes, PairRows, TILE_HEIGHT, TileStore};
use crate::scalar::{BlockSoftmax, DENSE_TILE, KvBlock, Stored};
use crate::ternary::{BLOCK_BYTES, Layout, TILE_ROWS};

macro_rules! operations {
    ($callback:ident $($argument:literal)?) => {
        $callback! { $($argument)?
            fn rms_norm[](x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]);
            fn absmax[](x: &[f32], codes: &mut [i8]) -> (f32, i32);
            fn scale_sums[const M: usize](
                sums: &[[i32; crate::ternary::TILE_ROWS]; M], code_sums: &[i32; M], scales: &[f32; M],
                y: [&mut [f32]; M]
            );
            fn add[](x: &[f32], y: &[f32], out: &mut [f32]);
            fn add_assign[](x: &mut [f32], y: &[f32]);
            fn silu_gate[](gate: &[f32], up: &[f32], out: &mut [f32]);
            fn relu2_gate[](gate: &[f32], up: &[f32], out: &mut [f32]);
            fn rotate[](head: &mut [f32], cos: &[f32], sin: &[f32]);
            fn merge_blocks[](total: &mut BlockSoftmax, out: &mut [f32], block: BlockSoftmax, block_out: &[f32]);
            fn rms_norm_backward[](
                x: &[f32], gain: &[f32], eps: f32, d_y: &[f32], is_added: bool, gradients: [&mut [f32]; 2]
            );
            fn silu_gate_backward[](
                gate: &[f32], up: &[f32], d_out: &[f32], d_gate: &mut [f32], d_up: &mut [f32]
            );
            fn relu2_gate_backward[](
                gate: &[f32], up: &[f32], d_out: &[f32], d_gate: &mut [f32], d_up: &mut [f32]
            );
            fn rotate_backward[](head: &mut [f32], cos: &[f32], sin: &[f32]);
            fn softmax[](scores: &mut [f32], valid: usize) -> (f32, f32);
            fn softmax_gradient[](scores: &mut [f32], d: &mut [f32], valid: usize, along: f32, scale: f32);
            fn row_dots[](a: &[f32], b: &[f32], stride: usize, cols: usize, sums: &mut [f32]);
            fn dequantize[](codes: &[i8], scale: f32, out: &mut [f32]);
            fn blend[](x: &[f32], lambda: f32, quantized: &mut [f32]);
            fn combine[](y: &mut [f32], a: f32, x: &[f32], b: f32);
            fn pair_columns[](x: &[f32], stride: usize, rows: usize, cols: usize, out: &mut [u32]);
            fn pair_rows[](
                x: &[f32], stride: usize, scales: &[f32], cols: usize, out: &mut [crate::scalar::pairs::PairLanes]
            );
            fn pair_codes[](
                codes: &[i8], stride: usize, rows: usize, cols: usize, out: &mut [crate::scalar::pairs::PairLanes]
            );
            fn pair_ternary[](
                block: &[u8; crate::ternary::BLOCK_BYTES], out: &mut [crate::scalar::pairs::PairLanes]
            );
            fn pack_masters[](
                masters: &[f32], cols: usize, inv_scale: f32, blocks: &mut [[u8; crate::ternary::BLOCK_BYTES]]
            ) -> crate::ternary::CodeChanges;
            fn squares[](x: &[f32]) -> f64;
            fn adamw[](
                step: &AdamwStep, gradients: &[f32], m: &mut [f32], v: &mut [f32], weights: &mut [f32]
            );
            fn multiply_adds[const N: usize](rounds: usize, chains: &mut [f32; N]);
            fn sum_streams[const S: usize](streams: [&[u32]; S], lines_ahead: usize) -> u32;
            fn to_f32[T: Stored](values: &[T], out: &mut [f32]);
            fn dense_dots[T: Stored, const R: usize, const M: usize](w: [&[T]; R], x: [&[f32]; M]) -> [[f32; R]; M];
        }
    };
}

macro_rules! compile {
    ($features:literal $(fn $name:ident [$($generics:tt)*] ($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        use crate::scalar::backward::AdamwStep;
        use crate::scalar::{self, BlockSoftmax, Stored};
        $(
            #[target_feature(enable = $features)]
            pub(crate) fn $name<$($generics)*>($($arg: $type),*) $(-> $result)? {
                scalar::$name($($arg),*)
            }
        )*
    };
}

/// Compiles the float definitions for an instruction set, under the same names.
macro_rules! compile_definitions {
    ($features:literal) => {
        operations! { compile $features }
    };
}

macro_rules! dispatchers {
    ($(fn $name:ident [$($generics:tt)*] ($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(
            pub(crate) fn $name<$($generics)*>(isa: Isa, $($arg: $type),*) $(-> $result)? {
                match isa.kind() {
                    Kind::Scalar => crate::scalar::$name($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: an `Isa` of this kind exists only where detection found AVX2, FMA
                    // and F16C.
                    Kind::Avx2 => unsafe { crate::x86_64::avx2::$name($($arg),*) },
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: an `Isa` of this kind exists only where detection found AVX-512 F,
                    // BW, VL and VNNI, and AVX2, FMA and F16C.
                    Kind::Avx512Vnni => unsafe { crate::x86_64::avx512vnni::$name($($arg),*) },
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: an `Isa` of these kinds exists only where detection found what
                    // `Avx512Vnni` needs, and VBMI. BF16 is for `bf16_tile` alone.
                    Kind::Avx512Vbmi | Kind::Avx512Bf16 => unsafe { crate::x86_64::avx512vbmi::$name($($arg),*) },
                    #[cfg(target_arch = "aarch64")]
                    // SAFETY: an `Isa` of this kind exists only where detection found the dot
                    // product.
                    Kind::NeonDotprod => unsafe { crate::aarch64::neon_dotprod::$name($($arg),*) },
                }
            }
        )*
    };
}

operations! { dispatchers }
dispatchers! {
    fn ternary_tiles[const R: usize, const M: usize](
        layout: Layout, tiles: [&[[u8; BLOCK_BYTES]]; R], x: &[[[i8; 4]; M]],
        sums: &mut [[[i32; TILE_ROWS]; M]; R]
    );
    fn quantized_tiles[const R: usize, const M: usize](
        quantized_type: QuantizedType, tiles: [QuantizedTile<'_>; R], x: &[[[i8; 4]; M]],
        group_sums: &[[i32; M]], out: &mut [[[f32; TILE_ROWS]; M]; R]
    );
    fn attend_block[T: Stored, const G: usize](
        q: [&[f32]; G], block: &KvBlock<'_, T>, valid: [usize; G], scale: f32, out: &mut [f32]
    ) -> [BlockSoftmax; G];
    fn int8_dots[](rounds: usize) -> i32;
}

/// Whether products of bf16 have instructions of their own.
pub(crate) fn has_bf16(isa: Isa) -> bool {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512Bf16 => true,
        _ => false,
    }
}

/// `rounds` rounds of the dot product of bf16, where the instruction set has one.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "no other set here has one"))]
pub(crate) fn bf16_dots(isa: Isa, rounds: usize) -> Option<f32> {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` of this kind exists only where detection found AVX-512 F and BF16.
        Kind::Avx512Bf16 => Some(unsafe { crate::x86_64::avx512bf16::bf16_dots(rounds) }),
        _ => None,
    }
}

/// See [`crate::scalar::dense_dots`], for a panel of tokens after each other.
///
/// # Shapes
/// `x`: `[sums.len(), k]`
pub(crate) fn dense_panel<T: Stored, const R: usize>(
    isa: Isa,
    w: [&[T]; R],
    x: &[f32],
    sums: &mut [[f32; R]],
) {
    let k = w[0].len();
    let token = |t: usize| &x[t * k..][..k];
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if let (Kind::Avx512Vnni | Kind::Avx512Vbmi | Kind::Avx512Bf16, Some(w)) = (isa.kind(), w.as_array()) {
        let (tiles, _) = sums.as_flattened_mut().as_chunks_mut::<DENSE_TILE>();
        // SAFETY: an `Isa` of these kinds exists only where detection found AVX-512 F, BW, VL and
        // VNNI, and AVX2, FMA and F16C.
        done = unsafe { crate::x86_64::avx512_dense::dense_tiles(*w, x, tiles) };
    }
    while done < sums.len() {
        if sums.len() - done >= DENSE_TILE {
            let x = std::array::from_fn(|t| token(done + t));
            sums[done..done + DENSE_TILE].copy_from_slice(&dense_dots::<T, R, DENSE_TILE>(isa, w, x));
            done += DENSE_TILE;
        } else {
            sums[done] = dense_dots::<T, R, 1>(isa, w, [token(done)])[0];
            done += 1;
        }
    }
}

/// See [`crate::scalar::pairs::bf16_tile`].
pub(crate) fn bf16_tile<const C: usize>(
    isa: Isa,
    a: PairRows<'_>,
    b: [&[PairLanes]; C],
    store: TileStore,
    y: [&mut [f32]; TILE_HEIGHT],
) {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` of this kind exists only where detection found AVX-512 F and BF16.
        Kind::Avx512Bf16 => unsafe { crate::x86_64::avx512bf16::bf16_tile(a, b, store, y) },
        _ => crate::scalar::pairs::bf16_tile(a, b, store, y),
    }
}
