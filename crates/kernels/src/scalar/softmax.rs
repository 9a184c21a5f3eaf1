//! The definition of the softmax of a row, as the probabilities of tokens and the loss take it.
//!
//! Published scores rest on its bits: the sum keeps 16 lanes, as every row reduction does. Attention over
//! blocks of positions has its own in `attention.rs`.

use super::{LANES, add_lanes};

/// Scores become probabilities in place: `p = e^(s - max) / Σ`; those from `valid` on become 0.
///
/// Returns the maximum and the sum.
#[inline(always)]
pub(crate) fn softmax(scores: &mut [f32], valid: usize) -> (f32, f32) {
    let (scores, masked) = scores.split_at_mut(valid);
    masked.fill(0.0);
    let (max, sum) = exponentials(scores);
    let inv_sum = 1.0 / sum;
    for score in scores {
        *score *= inv_sum;
    }
    (max, sum)
}

/// `e^(s - max)` in place; returns the maximum and the sum.
#[inline(always)]
pub(super) fn exponentials(scores: &mut [f32]) -> (f32, f32) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (groups, tail) = scores.as_chunks::<LANES>();
    for group in groups {
        for i in 0..LANES {
            lanes[i] = if group[i] > lanes[i] { group[i] } else { lanes[i] };
        }
    }
    let max = lanes.iter().chain(tail).fold(f32::NEG_INFINITY, |max, x| if *x > max { *x } else { max });
    let (groups, tail) = scores.as_chunks_mut::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for group in groups {
        for i in 0..LANES {
            group[i] = super::exp(group[i] - max);
            lanes[i] += group[i];
        }
    }
    for (lane, score) in lanes.iter_mut().zip(tail) {
        *score = super::exp(*score - max);
        *lane += *score;
    }
    (max, add_lanes(lanes))
}
