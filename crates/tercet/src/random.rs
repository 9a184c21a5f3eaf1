//! Pseudo-random numbers from a counter: SplitMix64 (Steele, Lea and Flood 2014), and tokens without meaning.

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

/// The token with this number in a text without meaning: Knuth's multiplicative hashing, which spreads tokens over the
/// vocabulary and always gives the same.
pub fn token(number: usize, vocab_size: usize) -> u32 {
    const MULTIPLIER: u64 = 2_654_435_761;
    (number as u64 * MULTIPLIER % vocab_size as u64) as u32
}

/// The first tokens of such a text, numbered from 1.
pub fn tokens(count: usize, vocab_size: usize) -> Vec<u32> {
    (1..=count).map(|number| token(number, vocab_size)).collect()
}

/// The numbers of an embedding lie between minus and plus this: the size that trained ones have.
pub(crate) const EMBEDDING_LIMIT: f32 = 0.035;

/// A number between `-limit` and `limit`, even where the bits are.
pub(crate) fn even(bits: u64, limit: f32) -> f32 {
    (bits as u32 as f32 / u32::MAX as f32 - 0.5) * (2.0 * limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_same_for_ever() {
        // Published digests and measurements were made with these.
        assert_eq!(tokens(4, 32_000), [3761, 7522, 11_283, 15_044]);
        assert_eq!((token(0, 512), token(1_000_000, 128_256)), (0, 76_096));
    }
}
