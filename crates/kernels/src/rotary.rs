//! Cosines and sines of the rotary embedding.
//!
//! The angle is formed in f32 as transformers does (`inv_freq` rounded, position × `inv_freq`
//! rounded); the functions are the `libm` crate's, so that the table is the same everywhere.

use crate::aligned::AlignedVec;

/// `cos` and `sin` of every position's angles (RoPE, arXiv:2104.09864).
pub struct RotaryTable {
    half: usize,
    cos: AlignedVec<f32>,
    sin: AlignedVec<f32>,
}

impl RotaryTable {
    /// Angles `position / theta^(2i / head_dim)` for `i < head_dim / 2` and every position below
    /// `positions`.
    pub fn new(head_dim: usize, theta: f64, positions: usize) -> Self {
        let half = head_dim / 2;
        let mut table = RotaryTable {
            half,
            cos: AlignedVec::zeroed(positions * half),
            sin: AlignedVec::zeroed(positions * half),
        };
        for i in 0..half {
            let exponent = (2 * i) as f32 / head_dim as f32;
            let inv_freq = 1.0 / libm::pow(theta, f64::from(exponent)) as f32;
            for position in 0..positions {
                let angle = f64::from(position as f32 * inv_freq);
                table.cos[position * half + i] = libm::cos(angle) as f32;
                table.sin[position * half + i] = libm::sin(angle) as f32;
            }
        }
        table
    }

    /// The cosines and sines of one position.
    pub(crate) fn position(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }

    /// `head_dim / 2`.
    pub(crate) fn half(&self) -> usize {
        self.half
    }
}
