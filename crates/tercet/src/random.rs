//! Pseudo-random numbers from a counter, for models with random weights.

use half::bf16;

/// SplitMix64's output function: every bit of the result depends on every bit of `x`.
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// A number of an embedding: even between -0.035 and 0.035, the size that trained ones have.
pub(crate) fn embedding_value(bits: u64) -> bf16 {
    bf16::from_f32((bits as u32 as f32 / u32::MAX as f32 - 0.5) * 0.07)
}
