//! NEON with the int8 dot product.
//!
//! It knows no threads, allocation or errors.
#![expect(unsafe_code, reason = "vector loads take pointers; `sdot` has no stable intrinsic")]

use std::arch::aarch64::{
    int8x16_t, int32x4_t, uint8x16_t, vandq_u8, vdupq_n_s32, vdupq_n_u8, vld1q_u8, vreinterpretq_s8_s32,
    vreinterpretq_s8_u8, vshrq_n_u8, vst1q_s32,
};
use std::arch::asm;

use crate::ternary::{BLOCK_BYTES, Layout, TILE_ROWS};

pub(crate) use super::probe::sdot_dots as int8_dots;

compile_definitions!("neon,dotprod");

/// See [`scalar::ternary_tile`].
///
/// `sdot` wraps only past i32, which `MAX_COLUMNS` in `ops` excludes.
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn ternary_tile<const M: usize>(
    layout: Layout,
    blocks: &[[u8; BLOCK_BYTES]],
    rows: [&[i8]; M],
    sums: &mut [[i32; TILE_ROWS]; M],
) {
    if layout != Layout::TwoBit {
        return scalar::ternary_tile(layout, blocks, rows, sums);
    }
    let digit_mask = vdupq_n_u8(3);
    let rows = rows.map(|row| row.as_chunks::<16>().0);
    for quarter in 0..4 {
        let mut chains = [vdupq_n_s32(0); M];
        for (b, block) in blocks.iter().enumerate() {
            let mut bytes = load(&block.as_chunks::<16>().0[quarter]);
            for digit in 0..4 {
                let codes = vreinterpretq_s8_u8(vandq_u8(bytes, digit_mask));
                bytes = vshrq_n_u8::<2>(bytes);
                for t in 0..M {
                    chains[t] = sdot(chains[t], codes, broadcast(&rows[t][b], digit));
                }
            }
        }
        for t in 0..M {
            store(&mut sums[t].as_chunks_mut::<4>().0[quarter], chains[t]);
        }
    }
}

/// `sum[i] + Σ_j a[4i + j] · b[4i + j]`.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes only the three registers named, and `dotprod` is
    // enabled here.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Activations `4 · digit ..` of a block in every 32-bit lane.
#[target_feature(enable = "neon")]
fn broadcast(row: &[i8; 16], digit: usize) -> int8x16_t {
    let four = row.as_chunks::<4>().0[digit];
    vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(four.map(|x| x as u8))))
}

#[target_feature(enable = "neon")]
fn load(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the array is 16 readable bytes.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[target_feature(enable = "neon")]
fn store(lanes: &mut [i32; 4], value: int32x4_t) {
    // SAFETY: the array is 16 writable bytes.
    unsafe { vst1q_s32(lanes.as_mut_ptr(), value) }
}
