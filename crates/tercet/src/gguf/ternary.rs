//! Blocks of ternary codes 0, 1, 2 for weights -1, 0, 1. It knows no scales but those inside a block.
//!
//! ```text
//! I2_S   128 codes, 32 bytes    byte p = c[p] << 6 | c[32 + p] << 4 | c[64 + p] << 2 | c[96 + p]
//!        after the last block 32 bytes, of which the first four are the tensor's scale, f32
//! TQ1_0  256 codes, 54 bytes    qs[48], qh[4], d f16: five codes a byte in base 3, the first the highest digit
//!        qs[m], m < 32: digit n is code 32 n + m;  qs[32 + m], m < 16: 160 + 16 n + m;  qh[m]: 240 + 4 n + m
//! TQ2_0  256 codes, 66 bytes    qs[64], d f16: code 128 g + 32 l + m is bits 2 l of qs[32 g + m]
//! ```
//!
//! In all of them a weight is its scale times the code minus 1. TQ1_0 stores the number `v` of five digits as
//! `ceil(256 v / 243)`, so that the highest digit is the high byte of three times the byte.

use half::f16;

/// Codes and bytes of a block.
pub(super) const I2_S_BLOCK: usize = 128;
pub(super) const I2_S_BYTES: usize = 32;
/// Bytes after the last block.
pub(super) const I2_S_TAIL_BYTES: usize = 32;

/// Codes of a block of TQ1_0 and TQ2_0.
pub const TQ_BLOCK: usize = 256;
/// Bytes of a block of TQ1_0.
pub const TQ1_0_BYTES: usize = 54;
/// Bytes of a block of TQ2_0.
pub const TQ2_0_BYTES: usize = 66;

const SCALE_BYTES: usize = 2;
const POWERS_OF_3: [u8; 5] = [1, 3, 9, 27, 81];

/// The runs of TQ1_0: its bytes, the code of digit 0 of the first of them, and digits of each.
const TQ1_0_RUNS: [(std::ops::Range<usize>, usize, usize); 3] =
    [(0..32, 0, 5), (32..48, 160, 5), (48..52, 240, 4)];

/// The codes of an I2_S tensor from element `first` on, as many as there is room for.
///
/// A code of 3, which no weight has, is given as it is.
///
/// # Panics
/// If the tensor ends before.
pub fn i2_s_codes(bytes: &[u8], first: usize, codes: &mut [u8]) {
    for (i, code) in (first..).zip(codes) {
        let (block, plane, p) = (i / I2_S_BLOCK, i % I2_S_BLOCK / I2_S_BYTES, i % I2_S_BYTES);
        *code = bytes[block * I2_S_BYTES + p] >> (6 - 2 * plane) & 3;
    }
}

/// The scale of an I2_S tensor, from its tail.
///
/// # Panics
/// If it is shorter than the tail.
pub fn i2_s_scale(bytes: &[u8]) -> f32 {
    let tail = &bytes[bytes.len() - I2_S_TAIL_BYTES..];
    f32::from_le_bytes(std::array::from_fn(|i| tail[i]))
}

/// Whether all weights of an I2_S tensor are 0, whatever its scale.
///
/// # Panics
/// If it is shorter than the tail.
pub fn i2_s_is_zero(bytes: &[u8]) -> bool {
    /// Four times code 1.
    const ZEROS: u8 = 0b01_01_01_01;
    bytes[..bytes.len() - I2_S_TAIL_BYTES].iter().all(|byte| *byte == ZEROS)
}

/// The codes and the scale of a block of TQ1_0.
///
/// Every byte stands for five digits, so no code is out of range.
pub fn tq1_0_block(block: &[u8; TQ1_0_BYTES]) -> ([u8; TQ_BLOCK], f16) {
    let mut codes = [0; TQ_BLOCK];
    for (bytes, first, digits) in TQ1_0_RUNS {
        let stride = bytes.len();
        for (m, byte) in block[bytes].iter().enumerate() {
            for n in 0..digits {
                let digit = (u16::from(byte.wrapping_mul(POWERS_OF_3[n])) * 3) >> 8;
                codes[first + n * stride + m] = digit as u8;
            }
        }
    }
    (codes, scale_of(block))
}

/// A block of TQ1_0 of these codes.
///
/// # Panics
/// If a code is above 2.
pub fn to_tq1_0_block(codes: &[u8; TQ_BLOCK], scale: f16) -> [u8; TQ1_0_BYTES] {
    let mut block = [0; TQ1_0_BYTES];
    for (bytes, first, digits) in TQ1_0_RUNS {
        let stride = bytes.len();
        for (m, byte) in block[bytes].iter_mut().enumerate() {
            let number = (0..digits).fold(0, |number, n| {
                let code = codes[first + n * stride + m];
                assert!(code <= 2, "to_tq1_0_block: found code {code}, expected 0, 1 or 2");
                number + u16::from(code) * u16::from(POWERS_OF_3[4 - n])
            });
            *byte = (number * 256).div_ceil(243) as u8;
        }
    }
    put_scale(&mut block, scale);
    block
}

/// The codes and the scale of a block of TQ2_0.
///
/// A code of 3, which no weight has, is given as it is.
pub fn tq2_0_block(block: &[u8; TQ2_0_BYTES]) -> ([u8; TQ_BLOCK], f16) {
    (std::array::from_fn(|i| block[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3), scale_of(block))
}

/// A block of TQ2_0 of these codes.
///
/// # Panics
/// If a code is above 2.
pub fn to_tq2_0_block(codes: &[u8; TQ_BLOCK], scale: f16) -> [u8; TQ2_0_BYTES] {
    let mut block = [0; TQ2_0_BYTES];
    for (i, code) in codes.iter().enumerate() {
        assert!(*code <= 2, "to_tq2_0_block: found code {code}, expected 0, 1 or 2");
        block[i / 128 * 32 + i % 32] |= code << (i % 128 / 32 * 2);
    }
    put_scale(&mut block, scale);
    block
}

/// A block of I2_S of these codes.
///
/// # Panics
/// If a code is above 2.
pub fn to_i2_s_block(codes: &[u8; I2_S_BLOCK]) -> [u8; I2_S_BYTES] {
    let mut block = [0; I2_S_BYTES];
    for (i, code) in codes.iter().enumerate() {
        assert!(*code <= 2, "to_i2_s_block: found code {code}, expected 0, 1 or 2");
        block[i % I2_S_BYTES] |= code << (6 - i / I2_S_BYTES * 2);
    }
    block
}

/// The tail of an I2_S tensor.
pub fn to_i2_s_tail(scale: f32) -> [u8; I2_S_TAIL_BYTES] {
    let mut tail = [0; I2_S_TAIL_BYTES];
    tail[..size_of::<f32>()].copy_from_slice(&scale.to_le_bytes());
    tail
}

/// The scale at the end of a block.
fn scale_of(block: &[u8]) -> f16 {
    let bytes = block.last_chunk::<SCALE_BYTES>().expect("a block ends with its scale");
    f16::from_le_bytes(*bytes)
}

fn put_scale(block: &mut [u8], scale: f16) {
    let bytes = block.last_chunk_mut::<SCALE_BYTES>().expect("a block ends with its scale");
    *bytes = scale.to_le_bytes();
}
