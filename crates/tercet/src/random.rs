//! Pseudo-random numbers from a counter: SplitMix64 (Steele, Lea and Flood 2014).

/// What the state of SplitMix64 grows by from a number to the next.
pub const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number that follows the state `x`: every bit of the result depends on every bit of `x`.
pub fn mix(x: u64) -> u64 {
    finalize(x.wrapping_add(INCREMENT))
}

/// The number of the state `x` itself: 0 stays 0.
pub fn finalize(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// The numbers of an embedding lie between minus and plus this: the size that trained ones have.
pub(crate) const EMBEDDING_LIMIT: f32 = 0.035;

/// A number between `-limit` and `limit`, even where the bits are.
pub(crate) fn even(bits: u64, limit: f32) -> f32 {
    (bits as u32 as f32 / u32::MAX as f32 - 0.5) * (2.0 * limit)
}
