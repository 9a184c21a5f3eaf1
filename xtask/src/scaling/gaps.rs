//! The gap of a size: the loss of ternary minus that of dense, in nats a token. It draws nothing.
//!
//! A seed has a gap where both of its runs, each with its arm's chosen learning rate, have come and not diverged.

use super::fit;
use super::plan::{self, Arm, Outcome, Run, SIZES};

/// The gap of each of these seeds at a size.
pub(super) fn of_size(outcomes: &[Outcome], size: usize, seeds: &[u64]) -> Vec<f64> {
    let loss = |arm, seed| chosen(outcomes, arm, size, seed).map(Outcome::loss);
    let gap = |seed: &u64| Some(loss(Arm::Ternary, *seed)? - loss(Arm::Dense, *seed)?);
    seeds.iter().filter_map(gap).filter(|gap| gap.is_finite()).collect()
}

/// The sizes that have a gap, each with the mean over these seeds.
pub(super) fn means(outcomes: &[Outcome], seeds: &[u64]) -> Vec<(usize, f64)> {
    let of_size = |size| Some(of_size(outcomes, size, seeds)).filter(|gaps| !gaps.is_empty());
    (0..SIZES.len()).filter_map(|size| Some((size, fit::mean(&of_size(size)?).0))).collect()
}

/// The run of a seed with the chosen learning rate.
pub(super) fn chosen(outcomes: &[Outcome], arm: Arm, size: usize, seed: u64) -> Option<&Outcome> {
    let rate = plan::chosen_rate(outcomes, arm, size)?;
    plan::find(outcomes, &Run { size, arm, rate, seed })
}

/// A point of each gap: log10 of its size's parameters, and itself.
pub(super) fn points(gaps: impl IntoIterator<Item = (usize, f64)>) -> Vec<(f64, f64)> {
    gaps.into_iter().map(|(size, gap)| ((SIZES[size].parameters() as f64).log10(), gap)).collect()
}
