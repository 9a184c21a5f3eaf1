//! What is wrong with a step, and going back because of it.

use std::fmt;

use super::state::{self, State};
use super::{CHECKPOINTS, Observer, Run, Step, TrainError, mean, open_record};
use crate::checkpoint::Store;
use crate::log::EventRecord;
use crate::model::NoCodes;

/// How often a run goes back to one checkpoint before it gives up.
const TIMES_BACK_MAX: u32 = 10;

/// What helps against numbers that are not finite.
const SMALLER_STEPS: &str = "a lower `schedule.learning_rate` or a longer warm-up helps";
/// What helps besides, where only the batches of a few steps make them.
pub(super) const SKIPPING: &str =
    ", and `train.on_spike = \"skip\"` goes back by itself and leaves these batches out";

/// What is wrong with a step.
pub(super) enum Trouble {
    NotFinite { what: &'static str, found: f64 },
    Spike(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NotFinite { what, found } => write!(f, "the {what} is {found}"),
            Trouble::Spike(message) => f.write_str(message),
        }
    }
}

impl Run<'_> {
    /// What is wrong with a step, if anything is.
    pub(super) fn trouble(&self, step: &Step) -> Option<Trouble> {
        let loss = mean(step.losses.loss, step.losses.tokens);
        for (what, found) in [("loss", loss), ("gradient norm", step.gradient_norm)] {
            if !found.is_finite() {
                return Some(Trouble::NotFinite { what, found });
            }
        }
        let deviations = self.prepared.config.train.spike_deviations;
        let is_spike = self.state.recent_losses.is_spike(loss, deviations);
        is_spike.then(|| Trouble::Spike(format!("loss spike: {loss:.4}")))
    }

    /// Goes back to the last scheduled checkpoint and leaves out the batches since then.
    pub(super) fn go_back(
        &mut self,
        trouble: &Trouble,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let step = self.state.step + 1;
        let (skipped_steps, times_back) = (self.state.skipped_steps, self.state.times_back + 1);
        if times_back > TIMES_BACK_MAX {
            return Err(TrainError::Stuck { step, times: TIMES_BACK_MAX });
        }
        let checkpoint = self.store.latest_scheduled()?.checkpoint;
        self.state = match &checkpoint {
            Some(checkpoint) => state::read_state(&checkpoint.path)?,
            None => State::new(self.prepared),
        };
        self.load(checkpoint.as_ref())?;
        self.recorder = open_record(&self.prepared.output(), &self.state, observer)?;
        let left_out = step - self.state.step;
        self.state.skipped_steps = skipped_steps + left_out;
        self.state.times_back = times_back;
        let message = format!(
            "step {step}: {trouble}; back to step {}, the batches of {left_out} steps left out",
            self.state.step
        );
        self.tell(&message, observer)
    }

    /// The error of weights that have no codes after a step.
    pub(super) fn no_codes(&self, step: u64, source: NoCodes) -> TrainError {
        TrainError::NoCodes { step, source, hint: self.way_out("") }
    }

    /// In words, what is left of a run that ends here, and what helps; `besides` helps too.
    pub(super) fn way_out(&self, besides: &str) -> String {
        match Store::newest_in(&self.prepared.output().join(CHECKPOINTS)) {
            Some(newest) => format!(
                "the newest checkpoint is `{0}`: a new run, in another `run.output`, begins there with `model.from={0}`; \
                 {SMALLER_STEPS}{besides}",
                newest.display()
            ),
            None => {
                format!("there is no checkpoint yet, so the next start begins anew; {SMALLER_STEPS}{besides}")
            }
        }
    }

    /// Records something that happened, and says it.
    pub(super) fn tell(&mut self, message: &str, observer: &mut dyn Observer) -> Result<(), TrainError> {
        observer.warning(message);
        let event = EventRecord { step: self.state.step, message: message.to_owned() };
        Ok(self.recorder.event(&event)?)
    }
}
