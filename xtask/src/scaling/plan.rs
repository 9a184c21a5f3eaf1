//! The runs of the comparison, and which of them are wanted next. It knows neither files nor processes.
//!
//! Learning rates are `1e-3 · 2^k`. For each arm, from the least size on, three neighbouring rates are tried with
//! the first seed, and while the best is the least or the greatest of them, one more beyond it, and so on. A run that
//! diverges has lost. The next size tries those around the best. Then come the other seeds.

use serde::{Deserialize, Serialize};

/// A size of model.
pub(super) struct Size {
    /// Parameters without the embedding, in words.
    pub(super) name: &'static str,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
}

impl Size {
    /// Weights of the linears, which are ternary or dense.
    pub(super) fn parameters(&self) -> usize {
        let layer = 4 * self.hidden_size * self.hidden_size + 3 * self.hidden_size * self.intermediate_size;
        self.num_hidden_layers * layer
    }
}

/// From the least to the greatest; heads have 32 dimensions.
pub(super) const SIZES: [Size; 5] = [
    size("0.33 M", [96, 256, 3, 3]),
    size("0.80 M", [128, 352, 4, 4]),
    size("1.8 M", [192, 512, 4, 6]),
    size("4.7 M", [256, 688, 6, 8]),
    size("9.9 M", [320, 864, 8, 10]),
];

pub(super) const SEEDS: [u64; 3] = [1, 2, 3];

const fn size(name: &'static str, [hidden, intermediate, layers, heads]: [usize; 4]) -> Size {
    Size {
        name,
        hidden_size: hidden,
        intermediate_size: intermediate,
        num_hidden_layers: layers,
        num_attention_heads: heads,
    }
}

/// What the linears are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Arm {
    Ternary,
    Dense,
}

impl Arm {
    pub(super) const ALL: [Arm; 2] = [Arm::Ternary, Arm::Dense];

    pub(super) fn name(self) -> &'static str {
        match self {
            Arm::Ternary => "ternary",
            Arm::Dense => "dense",
        }
    }

    /// The middle of the rates that the least size tries first, as `k`.
    fn first_rate(self) -> i32 {
        match self {
            Arm::Ternary => 2,
            Arm::Dense => 1,
        }
    }
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// Index into [`SIZES`].
    pub(super) size: usize,
    pub(super) arm: Arm,
    /// `k` of the learning rate `1e-3 · 2^k`.
    pub(super) rate: i32,
    pub(super) seed: u64,
}

impl Run {
    pub(super) fn learning_rate(&self) -> f64 {
        1e-3 * 2f64.powi(self.rate)
    }
}

/// What a run ended with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outcome {
    pub(super) run: Run,
    /// The last validation, in bits a byte; nothing if the run diverged.
    pub(super) bits_per_byte: Option<f64>,
    /// Steps and the loss of each validation, in nats a token. The last of a run that diverged is the step at which
    /// it did, without a loss.
    pub(super) validations: Vec<(u64, Option<f64>)>,
}

impl Outcome {
    /// The last validation, in nats a token; infinity if the run diverged.
    pub(super) fn loss(&self) -> f64 {
        self.validations.last().and_then(|(_, loss)| *loss).unwrap_or(f64::INFINITY)
    }

    pub(super) fn has_diverged(&self) -> bool {
        self.loss().is_infinite()
    }
}

/// The chosen rate of an arm at a size, as `k`; nothing while it is not known.
pub(super) fn chosen_rate(outcomes: &[Outcome], arm: Arm, size: usize) -> Option<i32> {
    search(outcomes, arm, size).ok()
}

/// The runs that are wanted and not done, the first to be begun first.
pub(super) fn wanted(outcomes: &[Outcome]) -> Vec<Run> {
    let mut wanted = Vec::new();
    for size in 0..SIZES.len() {
        for arm in Arm::ALL {
            if let Err(rates) = search(outcomes, arm, size) {
                wanted.extend(rates.into_iter().map(|rate| Run { size, arm, rate, seed: SEEDS[0] }));
            }
        }
    }
    for seed in SEEDS {
        for size in 0..SIZES.len() {
            for arm in Arm::ALL {
                let run = chosen_rate(outcomes, arm, size).map(|rate| Run { size, arm, rate, seed });
                let is_new = |run: &Run| find(outcomes, run).is_none() && !wanted.contains(run);
                wanted.extend(run.filter(is_new));
            }
        }
    }
    wanted
}

pub(super) fn find<'a>(outcomes: &'a [Outcome], run: &Run) -> Option<&'a Outcome> {
    outcomes.iter().find(|outcome| outcome.run == *run)
}

/// The best rate, or those that must be tried before it is known; none while a smaller size is not done.
fn search(outcomes: &[Outcome], arm: Arm, size: usize) -> Result<i32, Vec<i32>> {
    let middle = match size.checked_sub(1) {
        None => arm.first_rate(),
        Some(smaller) => search(outcomes, arm, smaller).map_err(|_| Vec::new())?,
    };
    let (mut least, mut greatest) = (middle - 1, middle + 1);
    loop {
        let outcome = |rate| find(outcomes, &Run { size, arm, rate, seed: SEEDS[0] });
        let missing: Vec<i32> = (least..=greatest).filter(|rate| outcome(*rate).is_none()).collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        let tried = (least..=greatest).filter_map(outcome);
        let best = tried.min_by(|a, b| a.loss().total_cmp(&b.loss())).map_or(middle, |best| best.run.rate);
        if best == least {
            least -= 1;
        } else if best == greatest {
            greatest += 1;
        } else {
            return Ok(best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs everything that is wanted until nothing is; without a loss a run diverges.
    fn run_all(loss: impl Fn(&Run) -> Option<f64>) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = Vec::new();
        while let Some(run) = wanted(&outcomes).first().copied() {
            assert!(find(&outcomes, &run).is_none(), "{run:?} is wanted twice");
            let loss = loss(&run);
            outcomes.push(Outcome { run, bits_per_byte: loss, validations: vec![(1, loss)] });
        }
        outcomes
    }

    #[test]
    fn tries_around_the_best_rate_and_then_runs_every_seed() {
        let outcomes = run_all(|run| Some(f64::from((run.rate - run.arm.first_rate()).pow(2))));
        // Three rates, of which one has two seeds more.
        assert_eq!(outcomes.len(), 2 * SIZES.len() * (3 + 2));
        for size in 0..SIZES.len() {
            assert_eq!(chosen_rate(&outcomes, Arm::Dense, size), Some(1));
        }
    }

    #[test]
    fn goes_beyond_an_edge_and_remembers_it_for_the_next_size() {
        let outcomes = run_all(|run| Some(f64::from((run.rate - 5).pow(2))));
        for arm in Arm::ALL {
            assert_eq!(chosen_rate(&outcomes, arm, 0), Some(5));
            let tried = |size| outcomes.iter().filter(|o| o.run.arm == arm && o.run.size == size).count();
            assert_eq!(tried(1), 3 + 2);
        }
        assert_eq!(outcomes.iter().map(|outcome| outcome.run.rate).max(), Some(6));
    }

    #[test]
    fn a_rate_that_diverges_has_lost_and_is_not_tried_again() {
        // The first three rates of the ternary arm all diverge, and of the others the greatest is the best.
        let loss = |run: &Run| (run.rate < 1).then(|| 3.0 - 0.1 * f64::from(run.rate));
        let outcomes = run_all(loss);
        for size in 0..SIZES.len() {
            for arm in Arm::ALL {
                assert_eq!(chosen_rate(&outcomes, arm, size), Some(0), "{arm:?} at {size}");
            }
        }
        let diverged = outcomes.iter().filter(|outcome| outcome.has_diverged());
        assert!(diverged.clone().all(|outcome| outcome.run.seed == SEEDS[0]));
        // Ternary 1, 2 and 3 and dense 1 and 2 at the least size, then one beyond the best at each other.
        assert_eq!(diverged.count(), 3 + 2 + 2 * (SIZES.len() - 1));
    }

    #[test]
    fn sizes_are_as_named() {
        for size in &SIZES {
            let millions: f64 = size.name.trim_end_matches(" M").parse().unwrap();
            assert!((size.parameters() as f64 / 1e6 / millions - 1.0).abs() < 0.03, "{}", size.name);
            assert_eq!(size.hidden_size, 32 * size.num_attention_heads);
        }
    }
}
