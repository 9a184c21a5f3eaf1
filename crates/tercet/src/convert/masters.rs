//! Floats from which the one function of the kernels makes wanted codes and a wanted scale.
//!
//! Rounding weights to bf16 moves their mean magnitude, which is the scale, and some over the border between two
//! codes. Here each weight goes to the nearest number that keeps its code under the *wanted* scale, and then some
//! go one step further until the mean magnitude is the wanted scale to the last bit. Steps are small where weights are,
//! so that a few small weights settle the last of it.
//!
//! ```text
//! wanted   |Σ|W| - n s| ≤ n ulp(s) / 4        code(W[i]) = T[i] under s
//! ```
//!
//! It knows one matrix, and no file.

use std::sync::atomic::{AtomicBool, Ordering};

use tercet_kernels::Pool;
use tercet_kernels::quantize::{self, ABSMEAN_BLOCK};

use super::rows;

/// The numbers that weights may have: those of f32 without some of their last bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grid {
    /// All of f32.
    F32,
    /// Those of bf16: the sixteen high bits.
    Bf16,
}

impl Grid {
    /// The bits that numbers of the grid have not.
    fn dropped_bits(self) -> u32 {
        match self {
            Grid::F32 => 0,
            Grid::Bf16 => 16,
        }
    }

    /// The greatest number of the grid that is not above a magnitude.
    fn floor(self, magnitude: f32) -> f32 {
        f32::from_bits(magnitude.to_bits() >> self.dropped_bits() << self.dropped_bits())
    }

    /// The number next to one of the grid, farther from 0.
    fn above(self, magnitude: f32) -> f32 {
        f32::from_bits(magnitude.to_bits() + (1 << self.dropped_bits()))
    }

    /// The number next to one of the grid, nearer to 0; that of 0 is 0.
    fn below(self, magnitude: f32) -> f32 {
        f32::from_bits(magnitude.to_bits().saturating_sub(1 << self.dropped_bits()))
    }

    fn nearest(self, magnitude: f32) -> f32 {
        let below = self.floor(magnitude);
        let above = self.above(below);
        if magnitude - below <= above - magnitude { below } else { above }
    }
}

/// Weights for codes and a scale: each code's sign, and magnitudes whose mean is the scale.
///
/// Nothing where the grid has none such: without a weight that is 0 there may be too few numbers to choose from.
/// Where all codes are 0, so are the weights.
pub(super) fn of_codes(pool: &Pool, grid: Grid, codes: &[u8], scale: f32) -> Option<Vec<f32>> {
    let nonzero = codes.iter().filter(|code| **code != 1).count();
    if nonzero == 0 {
        return Some(vec![0.0; codes.len()]);
    }
    if nonzero == codes.len() {
        let weights: Vec<f32> =
            codes.iter().map(|code| (f32::from(*code) - 1.0) * grid.floor(scale)).collect();
        return is_wanted(pool, &weights, codes, scale).then_some(weights);
    }
    // Of one magnitude alone, weights would be read as codes of that scale.
    let other = grid.floor(scale / 8.0);
    let rest = f64::from(scale) * codes.len() as f64 - f64::from(other);
    let magnitude = grid.below(grid.floor((rest / nonzero as f64) as f32));
    let mut weights: Vec<f32> = codes.iter().map(|code| (f32::from(*code) - 1.0) * magnitude).collect();
    let zero = codes.iter().position(|code| *code == 1).expect("of_codes: not all codes are ±1");
    weights[zero] = other;
    settle(grid, &mut weights, codes, scale);
    is_wanted(pool, &weights, codes, scale).then_some(weights)
}

/// The weights nearest to `weights` that have these codes under a scale which is their own.
///
/// Nothing where they cannot be found.
pub(super) fn near(
    pool: &Pool,
    grid: Grid,
    mut weights: Vec<f32>,
    codes: &[u8],
    scale: f32,
) -> Option<Vec<f32>> {
    let (inv_scale, has_none) = (1.0 / scale, AtomicBool::new(false));
    let moved = rows::make(
        pool,
        &mut weights,
        ABSMEAN_BLOCK,
        || (),
        |(), block, weights| {
            for (weight, code) in weights.iter_mut().zip(&codes[block * ABSMEAN_BLOCK..]) {
                match on_code(grid, *weight, *code, inv_scale) {
                    Some(near) => *weight = near,
                    None => has_none.store(true, Ordering::Relaxed),
                }
            }
            Ok(())
        },
    );
    moved.expect("near: moving weights does not fail");
    if has_none.into_inner() {
        return None;
    }
    // Those of one magnitude are read by it, and would not be any more if some moved.
    if is_wanted(pool, &weights, codes, scale) {
        return Some(weights);
    }
    settle(grid, &mut weights, codes, scale);
    is_wanted(pool, &weights, codes, scale).then_some(weights)
}

/// The number of the grid nearest to a weight that has this code.
fn on_code(grid: Grid, weight: f32, code: u8, inv_scale: f32) -> Option<f32> {
    let nearest = grid.nearest(weight.abs());
    let candidates = [nearest, grid.above(nearest), grid.below(nearest)].map(|near| near.copysign(weight));
    candidates.into_iter().find(|near| quantize::ternary_code(*near, inv_scale) == code)
}

/// Moves weights by a step until the mean magnitude is the scale, as near as steps allow; codes stay.
fn settle(grid: Grid, weights: &mut [f32], codes: &[u8], scale: f32) {
    /// Each goes over all weights, and the steps that are wanted get smaller.
    const ROUNDS: usize = 4;
    let inv_scale = 1.0 / scale;
    let wanted = f64::from(scale) * weights.len() as f64;
    let close_enough = weights.len() as f64 * f64::from(Grid::F32.above(scale) - scale) / 4.0;
    let mut missing = wanted - weights.iter().map(|weight| f64::from(weight.abs())).sum::<f64>();
    for _ in 0..ROUNDS {
        for (weight, code) in weights.iter_mut().zip(codes) {
            if missing.abs() <= close_enough {
                return;
            }
            let magnitude = weight.abs();
            let moved = if magnitude == 0.0 {
                // A zero takes what is missing, as far as it stays one.
                grid.floor(missing.max(0.0).min(f64::from(scale / 4.0)) as f32)
            } else if missing > 0.0 {
                grid.above(magnitude)
            } else {
                grid.below(magnitude)
            };
            let step = f64::from(moved) - f64::from(magnitude);
            let moved = moved.copysign(*weight);
            if step.abs() <= missing.abs() && quantize::ternary_code(moved, inv_scale) == *code {
                *weight = moved;
                missing -= step;
            }
        }
    }
}

/// Whether a reader makes these codes and this scale of the weights.
fn is_wanted(pool: &Pool, weights: &[f32], codes: &[u8], scale: f32) -> bool {
    let (inv_scale, has_other) = (1.0 / scale, AtomicBool::new(false));
    let found = quantize::scale_in_pool(pool, weights.len(), |_, first, values| {
        let range = first..first + values.len();
        values.copy_from_slice(&weights[range.clone()]);
        let is_other = |(weight, code): (&f32, &u8)| quantize::ternary_code(*weight, inv_scale) != *code;
        if values.iter().zip(&codes[range]).any(is_other) {
            has_other.store(true, Ordering::Relaxed);
        }
    });
    found == Ok(scale) && !has_other.into_inner()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use tercet_kernels::Isa;

    use super::*;

    fn pool() -> Pool {
        Pool::new(Isa::best(), 2)
    }

    fn on_grid(grid: Grid, weights: &[f32]) -> bool {
        weights.iter().all(|weight| grid.floor(weight.abs()) == weight.abs())
    }

    /// Codes of which about `zeros` in eight are 0.
    fn codes(seed: u64, count: usize, zeros: u64) -> Vec<u8> {
        let bits = (0..count as u64).map(|i| crate::random::mix(seed ^ i));
        bits.map(|bits| if bits >> 8 & 7 < zeros { 1 } else { (bits & 2) as u8 }).collect()
    }

    proptest! {
        #[test]
        fn codes_and_scale_come_back(
            seed in any::<u64>(), count in 64usize..6000, zeros in 1u64..8, scale in 1e-3f32..10.0,
        ) {
            let codes = codes(seed, count, zeros);
            prop_assume!(codes.contains(&1) && codes.iter().any(|code| *code != 1));
            for grid in [Grid::F32, Grid::Bf16] {
                let weights = of_codes(&pool(), grid, &codes, scale);
                prop_assert!(weights.is_some(), "{grid:?}");
                prop_assert!(on_grid(grid, &weights.unwrap()));
            }
        }

        #[test]
        fn masters_are_moved_by_few_steps(
            seed in any::<u64>(), count in 3000usize..9000, size in 1e-3f32..10.0,
        ) {
            let uniform = |i: u64| (crate::random::mix(seed ^ i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            let masters: Vec<f32> = (0..count as u64).map(|i| uniform(2 * i) * uniform(2 * i + 1) * size).collect();
            let blocks: Vec<_> = masters.chunks(ABSMEAN_BLOCK).map(quantize::block_statistics).collect();
            let scale = quantize::scale(&blocks, count).unwrap();
            let codes: Vec<u8> = masters.iter().map(|w| quantize::ternary_code(*w, 1.0 / scale)).collect();
            let weights = near(&pool(), Grid::Bf16, masters.clone(), &codes, scale);
            prop_assert!(weights.is_some());
            let weights = weights.unwrap();
            prop_assert!(on_grid(Grid::Bf16, &weights));
            for (weight, master) in weights.iter().zip(&masters) {
                prop_assert!((weight - master).abs() <= master.abs() / 32.0 + 1e-30, "{master} became {weight}");
            }
        }
    }

    #[test]
    fn without_zeros_a_scale_must_be_on_the_grid() {
        let codes = [0, 2, 2, 0];
        assert_eq!(of_codes(&pool(), Grid::Bf16, &codes, 0.5), Some(vec![-0.5, 0.5, 0.5, -0.5]));
        assert_eq!(of_codes(&pool(), Grid::Bf16, &codes, 0.1), None);
        assert_eq!(of_codes(&pool(), Grid::F32, &codes, 0.1), Some(vec![-0.1, 0.1, 0.1, -0.1]));
        assert_eq!(of_codes(&pool(), Grid::Bf16, &[1, 1], 0.1), Some(vec![0.0, 0.0]));
    }

    #[test]
    fn masters_of_one_magnitude_stay_as_they_are() {
        for weights in [vec![0.0; 8], vec![0.5, 0.0, -0.5, 0.0, 0.0, 0.5, 0.0, 0.0], vec![0.0, 0.0, 3.0, 0.0]]
        {
            let blocks = [quantize::block_statistics(&weights)];
            let scale = quantize::scale(&blocks, weights.len()).unwrap();
            let codes: Vec<u8> = weights.iter().map(|w| quantize::ternary_code(*w, 1.0 / scale)).collect();
            assert_eq!(near(&pool(), Grid::Bf16, weights.clone(), &codes, scale), Some(weights));
        }
    }

    #[test]
    fn a_scale_below_the_least_mean_has_no_floats() {
        assert_eq!(of_codes(&pool(), Grid::F32, &[0, 1, 2, 1], quantize::SCALE_MIN / 10.0), None);
    }

    #[test]
    fn a_weight_on_the_border_keeps_its_code() {
        // 0.75 / 1.5 is 0.5, which rounds to 0; the next f32 above rounds to 1, and so must its bf16.
        let above = f32::from_bits(0.75f32.to_bits() + 1);
        let mut masters = vec![above, -above];
        masters.extend((0..1000).flat_map(|i| [3.0 - i as f32 / 500.0, i as f32 / 4000.0]));
        let scale = 1.5;
        let codes: Vec<u8> = masters.iter().map(|w| quantize::ternary_code(*w, 1.0 / scale)).collect();
        assert_eq!(codes[..2], [2, 0]);
        let mut moved = masters.clone();
        for (weight, code) in moved.iter_mut().zip(&codes) {
            *weight = on_code(Grid::Bf16, *weight, *code, 1.0 / scale).unwrap();
        }
        assert!(moved[0] > 0.75 && moved[1] < -0.75, "{:?}", &moved[..2]);
    }
}
