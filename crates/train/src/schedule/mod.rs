//! The learning rate, weight decay and λ of every step.
//!
//! Closed formulas in f64, so that a resumed run needs no state. It knows no weights.
//!
//! A run has `N` steps, counted from 0; `W` of them warm up, and `T` is the turn, the nearest step
//! to its share of `N`. The peak is reached exactly at the last step of the warm-up, `P = max(W, 1)
//! - 1`; `min` is the least share.
//!
//! ```text
//! s ≤ P                 peak(s) · (s + 1) / max(W, 1)
//! two-stage             peak(s) · (min + (1 - min) · left),                 left = (N - s) / (N - P)
//! cosine                peak · (min + (1 - min) · (1 + cos(π (1 - left))) / 2)
//! warmup-stable-decay   peak until T, then peak · (min + (1 - min) · (N - s) / (N - T + 1))
//! constant              peak
//! peak(s)               the first peak before T, the second from T on (two-stage; else the first)
//! weight decay          the first before T, the second from T on
//! λ                     min(s / quantization.warmup_steps, 1)
//! ```
//!
//! Zero would be reached at step `N`, which is never taken: the last step still learns.

use crate::config::{LinearKind, QuantizationConfig, ScheduleConfig, ScheduleKind};

/// Steps of warm-up in the paper.
const WARMUP_STEPS: u64 = 375;

/// A row of the table of the Training Tips.
struct Peaks {
    hidden_size: usize,
    /// The peaks of both stages.
    ternary: [f32; 2],
    /// The peak of the LLaMA baseline.
    dense: f32,
}

/// "The Era of 1-bit LLMs: Training Tips, Code, FAQ", learning rates by size.
const PEAKS: [Peaks; 3] = [
    Peaks { hidden_size: 1536, ternary: [1.5e-3, 1e-3], dense: 2.5e-4 },
    Peaks { hidden_size: 2048, ternary: [1.2e-3, 8e-4], dense: 2e-4 },
    Peaks { hidden_size: 3200, ternary: [1.2e-3, 8e-4], dense: 2e-4 },
];

/// What a step learns with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepRates {
    /// The learning rate.
    pub learning_rate: f32,
    /// The weight decay of matrices.
    pub weight_decay: f32,
}

/// The rates of all steps of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    kind: ScheduleKind,
    steps: u64,
    warmup_steps: u64,
    turn: u64,
    peaks: [f64; 2],
    min_share: f64,
    weight_decays: [f32; 2],
}

impl Schedule {
    /// The schedule of a run of so many steps.
    ///
    /// Peaks that are not given are those of the paper's size nearest in `hidden_size` (of two the
    /// smaller). Below 700M, its smallest, they stay 1.5e-3 and 1e-3: its peaks fall with size, so
    /// these are on the safe side, and no figure is published that would justify more. A dense
    /// model has the baseline's one peak, 2.5e-4 to 2e-4, in both stages, and one weight decay. A
    /// second peak that is not given beside the first is two thirds of it, as in every row of the
    /// table.
    ///
    /// Warm-up is 375 steps, the paper's, or a tenth of the run if that is less; one that is longer
    /// than the run is cut to it.
    pub fn new(config: &ScheduleConfig, steps: u64, hidden_size: usize, linears: LinearKind) -> Self {
        let warmup_steps = config.warmup_steps.unwrap_or_else(|| WARMUP_STEPS.min(steps / 10)).min(steps);
        let turn = config.turn.unwrap_or(match config.kind {
            ScheduleKind::WarmupStableDecay => 0.8,
            ScheduleKind::TwoStage | ScheduleKind::Cosine | ScheduleKind::Constant => 0.5,
        });
        let turn = libm::rint(f64::from(turn) * steps as f64) as u64;
        // A decay cannot begin before the peak is reached.
        let turn = match config.kind {
            ScheduleKind::WarmupStableDecay => turn.max(warmup_steps),
            ScheduleKind::TwoStage | ScheduleKind::Cosine | ScheduleKind::Constant => turn,
        };
        let weight_decay = config.weight_decay.unwrap_or(0.1);
        let second_weight_decay = config.second_weight_decay.unwrap_or(match (config.kind, linears) {
            (ScheduleKind::TwoStage, LinearKind::Ternary) => 0.0,
            _ => weight_decay,
        });
        let min_share = config.min_share.unwrap_or(match config.kind {
            ScheduleKind::Cosine => 0.1,
            ScheduleKind::TwoStage | ScheduleKind::WarmupStableDecay | ScheduleKind::Constant => 0.0,
        });
        Self {
            kind: config.kind,
            steps,
            warmup_steps,
            turn,
            peaks: peaks(config, hidden_size, linears),
            min_share: decimal(min_share),
            weight_decays: [weight_decay, second_weight_decay],
        }
    }

    /// The rates of a step, counted from 0. Past the end they stay those of the last step.
    pub fn at(&self, step: u64) -> StepRates {
        let step = step.min(self.steps.saturating_sub(1));
        let is_second = usize::from(step >= self.turn);
        StepRates {
            learning_rate: (self.peak(step) * self.share(step)) as f32,
            weight_decay: self.weight_decays[is_second],
        }
    }

    /// Steps of linear warm-up.
    pub fn warmup_steps(&self) -> u64 {
        self.warmup_steps
    }

    /// The first step after the turn.
    pub fn turn(&self) -> u64 {
        self.turn
    }

    fn peak(&self, step: u64) -> f64 {
        self.peaks[usize::from(self.kind == ScheduleKind::TwoStage && step >= self.turn)]
    }

    /// The learning rate as a share of the peak.
    fn share(&self, step: u64) -> f64 {
        let peak_step = self.warmup_steps.max(1) - 1;
        if step < peak_step {
            return (step + 1) as f64 / self.warmup_steps as f64;
        }
        let above_min = |share: f64| self.min_share + (1.0 - self.min_share) * share;
        // 1 at step `from`, 0 at the end of the run.
        let left = |from: u64| (self.steps - step) as f64 / (self.steps - from) as f64;
        match self.kind {
            // The peak is exact, whatever the rounding of `above_min(1)`.
            _ if step <= peak_step => 1.0,
            ScheduleKind::TwoStage => above_min(left(peak_step)),
            ScheduleKind::Cosine => {
                above_min((1.0 + libm::cos(std::f64::consts::PI * (1.0 - left(peak_step)))) / 2.0)
            }
            ScheduleKind::WarmupStableDecay if step < self.turn => 1.0,
            ScheduleKind::WarmupStableDecay => above_min(left(self.turn.max(1) - 1)),
            ScheduleKind::Constant => 1.0,
        }
    }
}

/// How far weights and activations are quantised at a step, counted from 0: `λ` in
/// `x + λ (q(x) - x)`.
///
/// `min(step / warmup_steps, 1)`, as in the warm-up of quantisation by Hugging Face ("Fine-tuning
/// LLMs to 1.58bit"); 1 from the start without warm-up.
pub fn lambda(config: &QuantizationConfig, step: u64) -> f32 {
    if step >= config.warmup_steps {
        return 1.0;
    }
    (step as f64 / config.warmup_steps as f64) as f32
}

/// The peaks of both stages.
fn peaks(config: &ScheduleConfig, hidden_size: usize, linears: LinearKind) -> [f64; 2] {
    let row = PEAKS.iter().min_by_key(|row| row.hidden_size.abs_diff(hidden_size));
    let row = row.expect("the table has rows");
    let of_table = match linears {
        LinearKind::Ternary => row.ternary,
        LinearKind::Dense => [row.dense; 2],
    };
    let second_of = |first: f64| match linears {
        LinearKind::Ternary => first * 2.0 / 3.0,
        LinearKind::Dense => first,
    };
    let (first, second) = match (config.learning_rate, config.second_learning_rate) {
        (None, None) => (decimal(of_table[0]), decimal(of_table[1])),
        (None, Some(second)) => (decimal(of_table[0]), decimal(second)),
        (Some(first), None) => (decimal(first), second_of(decimal(first))),
        (Some(first), Some(second)) => (decimal(first), decimal(second)),
    };
    [first, second]
}

/// The decimal that a person wrote for an f32, so that two thirds of 1.5e-3 are 1e-3.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(kind: ScheduleKind, steps: u64, warmup_steps: u64) -> Schedule {
        let config = ScheduleConfig {
            kind,
            learning_rate: Some(0.1),
            warmup_steps: Some(warmup_steps),
            ..ScheduleConfig::default()
        };
        Schedule::new(&config, steps, 256, LinearKind::Ternary)
    }

    #[track_caller]
    fn check(schedule: &Schedule, want: &[f32]) {
        let found: Vec<f32> = (0..want.len() as u64).map(|step| schedule.at(step).learning_rate).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn two_stages_by_hand() {
        // Warm-up over 2, so the peak is at step 1 and 9 steps are left; the turn is at 5.
        let mut config = ScheduleConfig {
            learning_rate: Some(0.9),
            second_learning_rate: Some(0.45),
            warmup_steps: Some(2),
            ..ScheduleConfig::default()
        };
        let found = Schedule::new(&config, 10, 256, LinearKind::Ternary);
        check(&found, &[0.45, 0.9, 0.8, 0.7, 0.6, 0.25, 0.2, 0.15, 0.1, 0.05]);
        let decays: Vec<f32> = (3..7).map(|step| found.at(step).weight_decay).collect();
        assert_eq!(decays, [0.1, 0.1, 0.0, 0.0]);
        config.min_share = Some(0.5);
        config.turn = Some(1.0);
        let found = Schedule::new(&config, 10, 256, LinearKind::Ternary);
        check(&found, &[0.45, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5]);
    }

    #[test]
    fn cosine_by_hand() {
        // The peak is at step 0; steps 2 and 3 of 4 are at a half and three quarters of the way.
        let found = schedule(ScheduleKind::Cosine, 4, 1);
        let half = std::f64::consts::FRAC_1_SQRT_2;
        let at = |cos: f64| (0.1 * (0.1 + 0.9 * (1.0 + cos) / 2.0)) as f32;
        check(&found, &[0.1, at(half), at(0.0), at(-half)]);
        assert_eq!(found.at(0).weight_decay, found.at(3).weight_decay);
    }

    #[test]
    fn warmup_stable_decay_by_hand() {
        let found = schedule(ScheduleKind::WarmupStableDecay, 10, 2);
        check(&found, &[0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1 * 2.0 / 3.0, 0.1 / 3.0]);
    }

    #[test]
    fn constant_by_hand() {
        check(&schedule(ScheduleKind::Constant, 10, 4), &[0.025, 0.05, 0.075, 0.1, 0.1, 0.1]);
        check(&schedule(ScheduleKind::Constant, 10, 0), &[0.1, 0.1]);
    }

    #[test]
    fn peaks_are_those_of_the_paper() {
        let config = ScheduleConfig { warmup_steps: Some(0), ..ScheduleConfig::default() };
        let peak = |hidden_size, linears| {
            let schedule = Schedule::new(&config, 1, hidden_size, linears);
            schedule.peaks.map(|peak| peak as f32)
        };
        assert_eq!(peak(256, LinearKind::Ternary), [1.5e-3, 1e-3]);
        assert_eq!(peak(1536, LinearKind::Ternary), [1.5e-3, 1e-3]);
        assert_eq!(peak(1792, LinearKind::Ternary), [1.5e-3, 1e-3]);
        assert_eq!(peak(1793, LinearKind::Ternary), [1.2e-3, 8e-4]);
        assert_eq!(peak(8192, LinearKind::Ternary), [1.2e-3, 8e-4]);
        assert_eq!(peak(256, LinearKind::Dense), [2.5e-4, 2.5e-4]);
        let given = ScheduleConfig { learning_rate: Some(1.5e-3), ..config.clone() };
        let found = Schedule::new(&given, 1, 256, LinearKind::Ternary);
        assert_eq!(found.peaks[1] as f32, 1e-3);
    }

    #[test]
    fn warmup_is_the_papers_or_a_tenth() {
        let warmup =
            |steps| Schedule::new(&ScheduleConfig::default(), steps, 256, LinearKind::Ternary).warmup_steps();
        assert_eq!([warmup(5), warmup(100), warmup(3750), warmup(1_000_000)], [0, 10, 375, 375]);
    }

    #[test]
    fn lambda_goes_from_zero_to_one() {
        let config = QuantizationConfig { warmup_steps: 4 };
        let found: Vec<f32> = (0..6).map(|step| lambda(&config, step)).collect();
        assert_eq!(found, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
        assert_eq!(lambda(&QuantizationConfig { warmup_steps: 0 }, 0), 1.0);
    }

    fn kinds() -> impl Strategy<Value = ScheduleKind> {
        prop::sample::select(vec![
            ScheduleKind::TwoStage,
            ScheduleKind::Cosine,
            ScheduleKind::WarmupStableDecay,
            ScheduleKind::Constant,
        ])
    }

    proptest! {
        #[test]
        fn rates_are_never_negative_and_the_peak_is_exact(
            kind in kinds(),
            steps in 1u64..500,
            warmup_share in 0f64..=1.0,
            turn in 0f32..=1.0,
            min_share in 0f32..=1.0,
        ) {
            let warmup_steps = (warmup_share * steps as f64) as u64;
            let config = ScheduleConfig {
                kind,
                learning_rate: Some(1e-3),
                second_learning_rate: Some(1e-3),
                warmup_steps: Some(warmup_steps),
                turn: Some(turn),
                min_share: Some(min_share),
                ..ScheduleConfig::default()
            };
            let schedule = Schedule::new(&config, steps, 256, LinearKind::Ternary);
            let rates: Vec<f32> = (0..steps).map(|step| schedule.at(step).learning_rate).collect();
            let peak_step = warmup_steps.max(1) as usize - 1;
            prop_assert_eq!(rates[peak_step], 1e-3);
            prop_assert!(rates.iter().all(|rate| *rate > 0.0 || kind == ScheduleKind::Cosine && *rate >= 0.0));
            prop_assert!(rates[..=peak_step].is_sorted());
            prop_assert!(rates[peak_step..].iter().rev().is_sorted());
            prop_assert_eq!(schedule.at(steps + 7), schedule.at(steps - 1));
        }

        #[test]
        fn it_is_continuous_but_for_the_turn(kind in kinds(), steps in 200u64..2000, warmup in 20u64..100) {
            let schedule = schedule(kind, steps, warmup);
            // No shape is steeper than the cosine's π/2, over the shortest stretch.
            let shortest = warmup.min(steps / 5).min(steps - warmup) as f32;
            let steepest = 0.1 * 1.6 / shortest;
            for step in 1..steps {
                let jump = (schedule.at(step).learning_rate - schedule.at(step - 1).learning_rate).abs();
                let is_turn = kind == ScheduleKind::TwoStage && step == schedule.turn();
                prop_assert!(is_turn || jump <= steepest, "step {step}: {jump} > {steepest}");
            }
        }
    }
}
