//! From files to batches of tokens.

/// One micro-batch: sequences one after another, `rows` tokens in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// `[rows]`: the tokens that are read.
    pub tokens: Vec<u32>,
    /// `[rows]`: the token after each.
    pub targets: Vec<u32>,
    /// `[rows]`: whether the loss of a target counts.
    pub counts: Vec<bool>,
    /// Lengths of the parts that attend within themselves alone; they add up to `rows`. Each
    /// starts at position 0.
    pub segments: Vec<usize>,
}
