//! Quantisation exactly as BitNet b1.58 was trained: `absmean` for weights, `absmax` for tokens.
//!
//! One function makes codes and scales for loader, converter and trainer. A scale kept is the
//! number that multiplies: real = integer × scale. It knows no layout and no file.
//!
//! ```text
//! weights     s_w = 1 / max(mean|W|, 1e-5)       T = clip(rte(W · s_w), -1, 1)
//! a token     s_x = 127 / max(absmax, 1e-5)      q = clip(rte(x · s_x), -128, 127)
//! ```
//!
//! `rte` rounds half to even; both multiply by the reciprocal, as the reference code does
//! (BitNet b1.58, arXiv:2402.17764, Eq. 1–3, with the ε of its training tips).

use std::sync::{Mutex, PoisonError};

use crate::pool::{Pool, Worker};
use crate::scalar;

/// Floor of `mean|W|` and of a token's largest magnitude: the ε of the reference code.
pub const SCALE_MIN: f32 = 1e-5;
/// Largest magnitude of an activation code.
pub(crate) const ACTIVATION_MAX: f32 = 127.0;
/// Elements of a block of the `mean|W|` sum.
pub const ABSMEAN_BLOCK: usize = 4096;

/// What the scale of a matrix is made from: one block of at most [`ABSMEAN_BLOCK`] weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockStatistics {
    /// Sum of the magnitudes, ascending, in f64.
    pub sum: f64,
    /// Smallest magnitude that is not 0; infinite where all are 0.
    pub least: f32,
    /// Largest magnitude.
    pub greatest: f32,
    /// Place of the first NaN or infinity in the block.
    pub not_finite: Option<usize>,
}

/// The statistics of one block.
///
/// # Panics
/// If there are more than [`ABSMEAN_BLOCK`] weights.
pub fn block_statistics(weights: &[f32]) -> BlockStatistics {
    statistics_of([weights])[0]
}

/// The statistics of blocks of one length, side by side: no block's sum waits for another's.
pub(crate) fn statistics_of<const N: usize>(blocks: [&[f32]; N]) -> [BlockStatistics; N] {
    const LANES: usize = 16;
    let len = blocks[0].len();
    assert!(len <= ABSMEAN_BLOCK, "block_statistics: one block");
    let blocks = blocks.map(|block| &block[..len]);
    let mut sums = [0.0; N];
    for i in 0..len {
        for (sum, block) in sums.iter_mut().zip(blocks) {
            *sum += f64::from(block[i].abs());
        }
    }
    std::array::from_fn(|b| {
        let (mut least, mut greatest) = ([f32::INFINITY; LANES], [0.0f32; LANES]);
        for group in blocks[b].chunks(LANES) {
            for ((w, least), greatest) in group.iter().zip(&mut least).zip(&mut greatest) {
                let magnitude = w.abs();
                let or_infinity = if magnitude == 0.0 { f32::INFINITY } else { magnitude };
                *least = if or_infinity < *least { or_infinity } else { *least };
                *greatest = if magnitude > *greatest { magnitude } else { *greatest };
            }
        }
        // The sum of finite magnitudes is far from the greatest f64.
        let is_finite = sums[b].is_finite();
        BlockStatistics {
            sum: sums[b],
            least: least.into_iter().fold(f32::INFINITY, f32::min),
            greatest: greatest.into_iter().fold(0.0, f32::max),
            not_finite: if is_finite { None } else { blocks[b].iter().position(|w| !w.is_finite()) },
        }
    })
}

/// Why weights have no ternary codes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantizeError {
    /// A weight is NaN or infinite.
    #[error("element {index} is not finite")]
    NotFinite {
        /// Its place in the row-major matrix.
        index: usize,
    },
}

/// The scale of a whole matrix from the statistics of its blocks, in ascending order.
///
/// `max(mean|W|, 1e-5)`: the blocks' sums added in f64, divided by the count and rounded once to
/// f32. A tensor whose values are all exactly `-s`, `0` or `+s` has the scale `s` instead: it was
/// quantized before, and its mean magnitude would be a different function.
///
/// # Errors
/// [`QuantizeError::NotFinite`] with the place of the first NaN or infinity.
pub fn scale(blocks: &[BlockStatistics], elements: usize) -> Result<f32, QuantizeError> {
    for (block, statistics) in blocks.iter().enumerate() {
        if let Some(index) = statistics.not_finite {
            return Err(QuantizeError::NotFinite { index: block * ABSMEAN_BLOCK + index });
        }
    }
    let least = blocks.iter().map(|block| block.least).fold(f32::INFINITY, f32::min);
    let greatest = blocks.iter().map(|block| block.greatest).fold(0.0, f32::max);
    if least == greatest {
        return Ok(greatest);
    }
    let sum: f64 = blocks.iter().map(|block| block.sum).sum();
    Ok(((sum / elements.max(1) as f64) as f32).max(SCALE_MIN))
}

/// [`scale()`] of a matrix that the workers of `pool` read block by block.
///
/// `read(worker, first, values)` fills `values` with the elements from `first` on.
///
/// # Errors
/// [`QuantizeError::NotFinite`] with the place of the first NaN or infinity.
pub fn scale_in_pool(
    pool: &Pool,
    elements: usize,
    read: impl Fn(&Worker<'_>, usize, &mut [f32]) + Sync,
) -> Result<f32, QuantizeError> {
    let collected = Mutex::new(Vec::new());
    pool.run(|worker| {
        let mut mine = Vec::new();
        let mut values = vec![0.0; ABSMEAN_BLOCK];
        let operation = worker.begin_operation();
        while let Some(block) = worker.claim(operation, elements.div_ceil(ABSMEAN_BLOCK)) {
            let first = block * ABSMEAN_BLOCK;
            let values = &mut values[..ABSMEAN_BLOCK.min(elements - first)];
            read(worker, first, values);
            mine.push((block, block_statistics(values)));
        }
        collected.lock().unwrap_or_else(PoisonError::into_inner).append(&mut mine);
    });
    let mut blocks = collected.into_inner().unwrap_or_else(PoisonError::into_inner);
    blocks.sort_unstable_by_key(|(block, _)| *block);
    let blocks: Vec<_> = blocks.into_iter().map(|(_, statistics)| statistics).collect();
    scale(&blocks, elements)
}

/// The code (0, 1, 2 for -1, 0, +1) of one weight under `inv_scale = 1 / scale`.
#[inline]
pub fn ternary_code(weight: f32, inv_scale: f32) -> u8 {
    scalar::ternary_code(weight, inv_scale) as u8
}

/// Quantizes a matrix to ternary codes by its mean magnitude.
///
/// `code - 1 = clip(rte(W / scale), -1, 1)`, so `W ≈ scale · (code - 1)`; see [`scale()`].
///
/// # Errors
/// [`QuantizeError::NotFinite`] with the place of the first NaN or infinity.
pub fn absmean(weights: &[f32]) -> Result<(Vec<u8>, f32), QuantizeError> {
    let blocks: Vec<_> = weights.chunks(ABSMEAN_BLOCK).map(block_statistics).collect();
    let scale = scale(&blocks, weights.len())?;
    let inv_scale = 1.0 / scale;
    Ok((weights.iter().map(|w| ternary_code(*w, inv_scale)).collect(), scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_even_and_clip() {
        // mean|W| = 1, so 0.5 rounds to 0, 1.5 to 2 and is clipped.
        let (codes, scale) = absmean(&[0.5, -0.5, 1.5, -1.5]).unwrap();
        assert_eq!((codes, scale), (vec![1, 1, 2, 0], 1.0));
    }

    #[test]
    fn zeros_have_the_least_scale() {
        assert_eq!(absmean(&[0.0; 5]).unwrap(), (vec![1; 5], SCALE_MIN));
    }

    #[test]
    fn a_nan_is_an_error_with_its_place() {
        assert_eq!(absmean(&[0.0, 1.0, f32::NAN]), Err(QuantizeError::NotFinite { index: 2 }));
    }

    #[test]
    fn the_mean_is_summed_in_f64() {
        // In f32 the sum of 2^24 + 1 numbers near 1 would stop at 2^24.
        let mut block = vec![1.0; ABSMEAN_BLOCK];
        block[0] = 0.5;
        block[1] = 1.5;
        let blocks = vec![block_statistics(&block); 4097];
        assert_eq!(scale(&blocks, 4097 * ABSMEAN_BLOCK), Ok(1.0));
    }

    #[test]
    fn exact_ternary_values_keep_their_scale() {
        assert_eq!(absmean(&[0.0, 0.25, -0.25, -0.0]).unwrap(), (vec![1, 2, 0, 1], 0.25));
        assert_eq!(absmean(&[0.0, 0.25, -0.5, 0.0]).unwrap().1, 0.1875);
    }
}
