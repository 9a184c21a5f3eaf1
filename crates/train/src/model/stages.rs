//! Where the time of a training step goes.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tercet_kernels::Worker;

/// A part of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Products of the forward pass: int8 with ternary weights, f32 with dense ones.
    ForwardProducts,
    /// Products of the backward pass, but those of the vocabulary.
    BackwardProducts,
    /// Packing of their operands.
    Packing,
    /// Attention, forward and backward, with rotations and cache.
    Attention,
    /// What is done row by row: embedding, norms, quantisation, gates, sums.
    Rows,
    /// The vocabulary projection and the loss, forward and backward.
    Head,
    /// Clipping and the optimizer's step.
    Optimizer,
    /// Scales and codes of the masters.
    Codes,
}

impl Stage {
    /// All of them, in the order of their numbers.
    pub const ALL: [Stage; 8] = [
        Stage::ForwardProducts,
        Stage::BackwardProducts,
        Stage::Packing,
        Stage::Attention,
        Stage::Rows,
        Stage::Head,
        Stage::Optimizer,
        Stage::Codes,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stage::ForwardProducts => "forward_products",
            Stage::BackwardProducts => "backward_products",
            Stage::Packing => "packing",
            Stage::Attention => "attention",
            Stage::Rows => "rows",
            Stage::Head => "head",
            Stage::Optimizer => "optimizer",
            Stage::Codes => "codes",
        }
    }
}

/// Time in each stage, in the order of [`Stage::ALL`].
pub type StageTimes = [Duration; Stage::ALL.len()];

/// A clock that gives the time since it was last asked to one stage.
///
/// The first worker asks, after a barrier: so its waiting counts, and the others' does not.
pub(crate) struct StageClock(Mutex<(Instant, StageTimes)>);

impl StageClock {
    pub(crate) fn new() -> Self {
        StageClock(Mutex::new((Instant::now(), StageTimes::default())))
    }

    /// Begins to count, from nothing.
    pub(crate) fn start(&self) {
        *self.lock() = (Instant::now(), StageTimes::default());
    }

    /// What was counted since the start.
    pub(crate) fn times(&self) -> StageTimes {
        self.lock().1
    }

    /// A stage ends here.
    pub(crate) fn end(&self, worker: &Worker<'_>, stage: Stage) {
        if worker.index() == 0 {
            self.end_outside(stage);
        }
    }

    /// As [`end`](Self::end), where no worker is at work.
    pub(crate) fn end_outside(&self, stage: Stage) {
        let mut clock = self.lock();
        let now = Instant::now();
        let since = now - clock.0;
        clock.1[stage as usize] += since;
        clock.0 = now;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Instant, StageTimes)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
