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

/// Floor of `mean|W|` and of a token's largest magnitude: the ε of the reference code.
pub const SCALE_MIN: f32 = 1e-5;
/// Largest magnitude of an activation code.
pub const ACTIVATION_MAX: f32 = 127.0;
/// Elements of a block of the `mean|W|` sum.
pub const ABSMEAN_BLOCK: usize = 4096;

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

/// Sum of the magnitudes of one block of at most [`ABSMEAN_BLOCK`] weights, ascending, in f64.
///
/// Blocks are added in ascending order, so that the sum does not depend on who adds it.
pub fn absmean_block(weights: &[f32]) -> f64 {
    debug_assert!(weights.len() <= ABSMEAN_BLOCK);
    weights.iter().map(|w| f64::from(w.abs())).sum()
}

/// The scale from the sum of all magnitudes: `max(mean|W|, 1e-5)`, rounded once to f32.
pub fn absmean_scale(sum: f64, elements: usize) -> f32 {
    ((sum / elements as f64) as f32).max(SCALE_MIN)
}

/// The code (0, 1, 2 for -1, 0, +1) of one weight under `inv_scale = 1 / scale`.
#[inline]
pub fn ternary_code(weight: f32, inv_scale: f32) -> u8 {
    ((weight * inv_scale).round_ties_even().clamp(-1.0, 1.0) + 1.0) as u8
}

/// Quantizes a matrix to ternary codes by its mean magnitude.
///
/// `scale = max(mean|W|, 1e-5)`, `code - 1 = clip(rte(W / scale), -1, 1)`, so
/// `W ≈ scale · (code - 1)`.
///
/// # Errors
/// [`QuantizeError::NotFinite`] with the place of the first NaN or infinity.
pub fn absmean(weights: &[f32]) -> Result<(Vec<u8>, f32), QuantizeError> {
    if let Some(index) = weights.iter().position(|w| !w.is_finite()) {
        return Err(QuantizeError::NotFinite { index });
    }
    let sum = weights.chunks(ABSMEAN_BLOCK).map(absmean_block).sum();
    let scale = absmean_scale(sum, weights.len());
    let inv_scale = 1.0 / scale;
    Ok((weights.iter().map(|w| ternary_code(*w, inv_scale)).collect(), scale))
}

/// The scale `s` of a tensor whose values are all exactly `-s`, `0` or `+s`, if it is one.
///
/// Such a tensor is read as those codes: its mean magnitude is smaller than `s`, and would be a
/// different function. A tensor of zeros has none.
pub fn ternary_values_scale(weights: &[f32]) -> Option<f32> {
    let scale = weights.iter().find(|w| **w != 0.0)?.abs();
    let is_ternary = weights.iter().all(|w| *w == 0.0 || w.abs() == scale);
    (is_ternary && scale.is_finite()).then_some(scale)
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
        // In f32 the sum of 2^24 + 1 ones would stop at 2^24.
        let sum = (0..4097).map(|_| absmean_block(&vec![1.0; ABSMEAN_BLOCK])).sum();
        assert_eq!(absmean_scale(sum, 4097 * ABSMEAN_BLOCK), 1.0);
    }

    #[test]
    fn exact_ternary_values_keep_their_scale() {
        assert_eq!(ternary_values_scale(&[0.0, 0.25, -0.25, -0.0]), Some(0.25));
        assert_eq!(ternary_values_scale(&[0.0, 0.25, -0.5]), None);
        assert_eq!(ternary_values_scale(&[0.0, 0.0]), None);
        assert_eq!(ternary_values_scale(&[f32::INFINITY]), None);
    }
}
