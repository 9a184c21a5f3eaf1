//! A run as lines, for logs and pipes: at most some two hundred, and none within a second.

use std::time::{Duration, Instant};

use tercet_train::trainer::StepNews;

use super::display::{figures_of, shares_of};
use crate::figures;
use crate::terminal::note;

/// Lines of steps in a run at most.
const LINES: u64 = 200;
/// Time between two lines at least.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Plain {
    last: Option<Instant>,
    stage: Option<&'static str>,
}

impl Plain {
    pub(super) fn data(&mut self, stage: &'static str, _done: u64, total: u64) {
        if self.stage != Some(stage) {
            self.stage = Some(stage);
            note(&format!("{stage}: {}", figures::bytes(total)));
        }
    }

    pub(super) fn step(&mut self, step: &StepNews<'_>) {
        let (number, steps) = (step.record.step, step.steps);
        let every = steps.div_ceil(LINES).max(1);
        let is_edge = number == 1 || number == steps;
        let is_soon = self.last.is_some_and(|last| last.elapsed() < INTERVAL);
        if !is_edge && (is_soon || !number.is_multiple_of(every)) {
            return;
        }
        self.last = Some(Instant::now());
        let shares = shares_of(step.record).map(|shares| format!("  {shares}")).unwrap_or_default();
        note(&format!("step {number}/{steps}  {}{shares}", figures_of(step)));
    }
}
