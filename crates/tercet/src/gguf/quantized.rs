//! Blocks of numbers that are not ternary: those that embeddings and heads are stored in.
//!
//! ```text
//! Q8_0   32 values,  34 bytes   d f16, q[32] i8                      q d
//! Q4_0   32 values,  18 bytes   d f16, nibbles[16]                   (q - 8) d; value i < 16 low, i + 16 high
//! Q6_K  256 values, 210 bytes   low[128], high[64], s[16] i8, d f16  (q - 32) s d, a scale s for 16 values
//!        in each half: value 32 l + m has its low four bits in low[32 (l mod 2) + m], nibble l div 2,
//!        its high two in bits 2 l of high[m]
//! ```

use half::f16;

/// Values of a block of Q8_0 and Q4_0.
pub(super) const Q32_BLOCK: usize = 32;
pub(super) const Q8_0_BYTES: usize = 34;
pub(super) const Q4_0_BYTES: usize = 18;
pub(super) const Q6_K_BLOCK: usize = 256;
pub(super) const Q6_K_BYTES: usize = 210;

/// Where the parts of a block of Q6_K begin.
const Q6_K_HIGH: usize = 128;
const Q6_K_SCALES: usize = 192;
const Q6_K_SCALE: usize = 208;

/// The values of a block of Q8_0.
pub fn q8_0_block(block: &[u8; Q8_0_BYTES]) -> [f32; Q32_BLOCK] {
    let scale = scale_at(block, 0);
    std::array::from_fn(|i| f32::from(block[2 + i].cast_signed()) * scale)
}

/// The values of a block of Q4_0.
pub fn q4_0_block(block: &[u8; Q4_0_BYTES]) -> [f32; Q32_BLOCK] {
    let scale = scale_at(block, 0);
    std::array::from_fn(|i| {
        let nibble = block[2 + i % 16] >> (i / 16 * 4) & 15;
        (f32::from(nibble) - 8.0) * scale
    })
}

/// The values of a block of Q6_K.
pub fn q6_k_block(block: &[u8; Q6_K_BYTES]) -> [f32; Q6_K_BLOCK] {
    let scale = scale_at(block, Q6_K_SCALE);
    std::array::from_fn(|i| {
        let (half, l, m) = (i / 128, i % 128 / 32, i % 32);
        let low = block[half * 64 + l % 2 * 32 + m] >> (l / 2 * 4) & 15;
        let high = block[Q6_K_HIGH + half * 32 + m] >> (l * 2) & 3;
        let group_scale = f32::from(block[Q6_K_SCALES + i / 16].cast_signed());
        scale * group_scale * (f32::from(low | high << 4) - 32.0)
    })
}

fn scale_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

// TEMPORARY-ENCODERS
pub fn to_q8_0_block(values: &[f32; Q32_BLOCK]) -> [u8; Q8_0_BYTES] {
    let m = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let d = m / 127.0;
    let inv = if d > 0.0 { 1.0 / d } else { 0.0 };
    let mut b = [0; Q8_0_BYTES];
    b[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for i in 0..32 {
        b[2 + i] = ((values[i] * inv).round() as i8) as u8;
    }
    b
}
pub fn to_q6_k_block(_values: &[f32; Q6_K_BLOCK]) -> [u8; Q6_K_BYTES] {
    [0; Q6_K_BYTES]
}
