//! What a run tells whoever watches it, and what it asks.
//!
//! Every method but one has an empty default, so that an observer hears what it wants to.

use std::path::Path;

use crate::data::Progress;
use crate::log::{StepRecord, ValidationRecord};

/// Hears of a run while it trains.
pub trait Observer {
    /// News from the preparation of the data.
    fn data(&mut self, _progress: Progress) {}

    /// Something that a person should know and that stops nothing.
    fn warning(&mut self, _message: &str) {}

    /// Training begins, after so many steps that were done before.
    fn begun(&mut self, _steps_done: u64, _steps: u64) {}

    /// A step was taken.
    fn step(&mut self, _step: &StepNews<'_>) {}

    /// The model was validated.
    fn validated(&mut self, _validation: &ValidationRecord) {}

    /// The model wrote some text.
    fn sampled(&mut self, _step: u64, _text: &str) {}

    /// A checkpoint was saved.
    fn saved(&mut self, _step: u64, _folder: &Path) {}

    /// Whether the run should save and stop after the present step.
    fn wants_stop(&self) -> bool;
}

/// What is known after a step.
#[derive(Debug)]
pub struct StepNews<'a> {
    /// The figures that are recorded.
    pub record: &'a StepRecord,
    /// Steps of the whole run.
    pub steps: u64,
    /// Tokens a second of this step.
    pub tokens_per_s: f64,
    /// Its arithmetic, were all of it f32, as a share of what this machine can do.
    pub ceiling_share: f64,
    /// Seconds to the end, at the speed of the last steps.
    pub seconds_left: f64,
    /// The corner of one layer's weights, where they are ternary.
    pub weights: Option<WeightGrid>,
}

/// The corner of one linear's codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightGrid {
    /// What is shown: the linear's name.
    pub name: String,
    /// Columns of a row.
    pub columns: usize,
    /// Codes 0, 1, 2 for -1, 0, +1, row-major.
    pub codes: Vec<u8>,
}
