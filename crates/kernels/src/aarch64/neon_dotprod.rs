//! NEON with the int8 dot product.
//!
//! It knows no threads, allocation or errors.
#![expect(unsafe_code, reason = "vector loads take pointers; `sdot` has no stable intrinsic")]

use std::arch::aarch64::{
    int8x16_t, int32x4_t, uint8x16_t, vandq_u8, vdupq_n_s32, vdupq_n_u8, veorq_u8, vld1q_u8, vorrq_u8,
    vreinterpretq_s8_s32, vreinterpretq_s8_u8, vshlq_n_u8, vshrq_n_u8, vst1q_s32,
};
use std::arch::asm;

use crate::quantized::{GROUP_DIGITS, QuantizedTile, QuantizedType};
use crate::scalar::KvBlock;
use crate::ternary::{BLOCK_BYTES, Layout, TILE_ROWS, expand_base_three};

pub(crate) use super::probe::sdot_dots as int8_dots;

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

/// See [`scalar::quantized_tiles`].
#[target_feature(enable = "neon,dotprod")]
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

#[target_feature(enable = "neon,dotprod")]
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

#[target_feature(enable = "neon,dotprod")]
fn quantized_tile<const M: usize, const BITS: usize>(
    tile: QuantizedTile<'_>,
    x: &[[[i8; 4]; M]],
    group_sums: &[[i32; M]],
    out: &mut [[f32; TILE_ROWS]; M],
) {
    *out = [[0.0; TILE_ROWS]; M];
    let groups = tile.codes.as_chunks::<BLOCK_BYTES>().0.as_chunks::<BITS>().0.iter().zip(tile.scales);
    let x = x.as_chunks::<GROUP_DIGITS>().0.iter().zip(group_sums);
    for ((codes, scales), (x, group_sums)) in groups.zip(x) {
        let scales = scales.map(scalar::Stored::to_f32);
        for quarter in 0..4 {
            let mut chains = [vdupq_n_s32(0); M];
            for (digit, x) in x.iter().enumerate() {
                let codes = quantized_digit(codes, digit, quarter);
                for t in 0..M {
                    chains[t] = sdot(chains[t], codes, broadcast(x[t]));
                }
            }
            for t in 0..M {
                let mut sums = [0; 4];
                store(&mut sums, chains[t]);
                // Codes of all 8 bits were made signed by taking their offset off.
                let offset = if BITS == 8 { 0 } else { group_sums[t] << (BITS - 1) };
                for (i, sum) in (4 * quarter..).zip(sums) {
                    out[t][i] = scales[i].mul_add((sum - offset) as f32, out[t][i]);
                }
            }
        }
    }
}

/// The codes of 4 rows and 4 columns; those of 8 bits less their offset.
#[target_feature(enable = "neon")]
fn quantized_digit<const BITS: usize>(
    group: &[[u8; BLOCK_BYTES]; BITS],
    digit: usize,
    quarter: usize,
) -> int8x16_t {
    let vector = |index: usize| load(&group[index].as_chunks::<16>().0[quarter]);
    if BITS == 8 {
        return vreinterpretq_s8_u8(veorq_u8(vector(digit), vdupq_n_u8(0x80)));
    }
    let pair = vector(digit / 2);
    let low = if digit.is_multiple_of(2) { vandq_u8(pair, vdupq_n_u8(15)) } else { vshrq_n_u8::<4>(pair) };
    if BITS == 4 {
        return vreinterpretq_s8_u8(low);
    }
    let high = vector(4 + digit / 4);
    let high = match digit % 4 {
        0 => vshlq_n_u8::<4>(high),
        1 => vshlq_n_u8::<2>(high),
        2 => high,
        _ => vshrq_n_u8::<2>(high),
    };
    vreinterpretq_s8_u8(vorrq_u8(low, vandq_u8(high, vdupq_n_u8(0x30))))
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
