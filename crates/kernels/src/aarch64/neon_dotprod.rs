//! NEON with the int8 dot product.
//!
//! It knows no threads, allocation or errors.
#![expect(unsafe_code, reason = "vector loads take pointers; `sdot` has no stable intrinsic")]

use std::arch::aarch64::{
    int8x16_t, int32x4_t, uint8x16_t, vandq_u8, vdupq_n_s32, vdupq_n_u8, vld1q_u8, vreinterpretq_s8_s32,
    vreinterpretq_s8_u8, vshrq_n_u8, vst1q_s32,
};
use std::arch::asm;

use crate::scalar::KvBlock;
use crate::ternary::{BLOCK_BYTES, Layout, TILE_ROWS, expand_base_three};

compile_definitions!("neon,dotprod");

/// See [`scalar::attend_block`].
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn attend_block<T: Stored, const G: usize>(
    q: [&[f32]; G],
    block: &KvBlock<'_, T>,
    valid: [usize; G],
    scale: f32,
    out: &mut [f32],
) -> [BlockSoftmax; G] {
    scalar::attend_block(q, block, valid, scale, out)
}

/// See [`scalar::ternary_tiles`].
///
/// `sdot` wraps only past i32, which `MAX_COLUMNS` in `ops` excludes.
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn ternary_tiles<const R: usize, const M: usize>(
    layout: Layout,
    tiles: [&[[u8; BLOCK_BYTES]]; R],
    x: &[[[i8; 4]; M]],
    sums: &mut [[[i32; TILE_ROWS]; M]; R],
) {
    for (tile, sums) in tiles.into_iter().zip(sums) {
        for quarter in 0..4 {
            let chains = match layout {
                Layout::TwoBit => two_bit(tile, quarter, x),
                Layout::BaseThree => base_three(tile, quarter, x),
            };
            for t in 0..M {
                store(&mut sums[t].as_chunks_mut::<4>().0[quarter], chains[t]);
            }
        }
    }
}

#[target_feature(enable = "neon,dotprod")]
fn two_bit<const M: usize>(tile: &[[u8; BLOCK_BYTES]], quarter: usize, x: &[[[i8; 4]; M]]) -> [int32x4_t; M] {
    let digit_mask = vdupq_n_u8(3);
    let mut chains = [vdupq_n_s32(0); M];
    for (block, x) in tile.iter().zip(x.as_chunks::<4>().0) {
        let mut bytes = load(&block.as_chunks::<16>().0[quarter]);
        for x in x {
            let codes = vreinterpretq_s8_u8(vandq_u8(bytes, digit_mask));
            bytes = vshrq_n_u8::<2>(bytes);
            for t in 0..M {
                chains[t] = sdot(chains[t], codes, broadcast(x[t]));
            }
        }
    }
    chains
}

/// Each block is expanded by a table first.
#[target_feature(enable = "neon,dotprod")]
fn base_three<const M: usize>(
    tile: &[[u8; BLOCK_BYTES]],
    quarter: usize,
    x: &[[[i8; 4]; M]],
) -> [int32x4_t; M] {
    let digit_mask = vdupq_n_u8(3);
    let mut chains = [vdupq_n_s32(0); M];
    for (block, x) in tile.iter().zip(x.as_chunks::<5>().0) {
        let [four, fifth] = expand_base_three(block).map(|bytes| load(&bytes.as_chunks::<16>().0[quarter]));
        let mut bytes = four;
        for (digit, x) in x.iter().enumerate() {
            let codes = if digit < 4 { vandq_u8(bytes, digit_mask) } else { fifth };
            bytes = vshrq_n_u8::<2>(bytes);
            for t in 0..M {
                chains[t] = sdot(chains[t], vreinterpretq_s8_u8(codes), broadcast(x[t]));
            }
        }
    }
    chains
}

/// `sum[i] + Σ_j a[4i + j] · b[4i + j]`.
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
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

/// Four activations in every 32-bit lane.
#[target_feature(enable = "neon")]
fn broadcast(four: [i8; 4]) -> int8x16_t {
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
