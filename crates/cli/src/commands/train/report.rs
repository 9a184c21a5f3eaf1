//! What `tercet train` prints on stdout: an estimate, or how a run ended.

use std::io::{self, Write};

use serde::Serialize;
use tercet_train::log::ValidationRecord;
use tercet_train::trainer::{Estimate, Outcome};

use crate::failure::Failure;
use crate::figures;

/// An [`Estimate`] with the names of its units.
#[derive(Serialize)]
pub(super) struct EstimateReport {
    parameters: u64,
    ternary_parameters: u64,
    steps: u64,
    steps_done: u64,
    tokens_per_step: u64,
    memory_bytes: u64,
    parameter_bytes: u64,
    code_bytes: u64,
    activation_bytes: u64,
    scratch_bytes: u64,
    sample_bytes: u64,
    teacher_bytes: u64,
    tokens_per_s: f64,
    seconds: f64,
    checkpoint_bytes: u64,
    disk_bytes: u64,
}

impl From<&Estimate> for EstimateReport {
    fn from(estimate: &Estimate) -> Self {
        EstimateReport {
            parameters: estimate.parameters,
            ternary_parameters: estimate.ternary_parameters,
            steps: estimate.steps,
            steps_done: estimate.steps_done,
            tokens_per_step: estimate.tokens_per_step,
            memory_bytes: estimate.memory.total_bytes(),
            parameter_bytes: estimate.memory.parameter_bytes,
            code_bytes: estimate.memory.code_bytes,
            activation_bytes: estimate.memory.activation_bytes,
            scratch_bytes: estimate.memory.scratch_bytes,
            sample_bytes: estimate.memory.sample_bytes,
            teacher_bytes: estimate.memory.teacher_bytes,
            tokens_per_s: estimate.tokens_per_s,
            seconds: estimate.seconds,
            checkpoint_bytes: estimate.checkpoint_bytes,
            disk_bytes: estimate.disk_bytes,
        }
    }
}

impl EstimateReport {
    /// Prints it for a person.
    pub(super) fn print(&self) -> Result<(), Failure> {
        let tokens = self.steps * self.tokens_per_step;
        let mut out = io::stdout().lock();
        let (count, bytes) = (figures::count, figures::bytes);
        writeln!(out, "parameters  {} ({} ternary)", count(self.parameters), count(self.ternary_parameters))?;
        let left = match self.steps_done {
            0 => String::new(),
            done => format!("; {done} are done, {} are left", self.steps - done),
        };
        writeln!(
            out,
            "steps       {} of {} tokens: {}{left}",
            self.steps,
            self.tokens_per_step,
            count(tokens)
        )?;
        writeln!(
            out,
            "memory      {} ({} parameters and optimizer, {} codes, {} activations, {} buffers, {} a sample, {} teacher)",
            bytes(self.memory_bytes),
            bytes(self.parameter_bytes),
            bytes(self.code_bytes),
            bytes(self.activation_bytes),
            bytes(self.scratch_bytes),
            bytes(self.sample_bytes),
            bytes(self.teacher_bytes)
        )?;
        writeln!(out, "speed       {} tokens/s, from a short probe", count(self.tokens_per_s as u64))?;
        let of = if self.steps_done > 0 { " for what is left" } else { "" };
        writeln!(out, "time        {}{of}, without validation", figures::duration(self.seconds))?;
        writeln!(
            out,
            "disk        {} ({} a checkpoint)",
            bytes(self.disk_bytes),
            bytes(self.checkpoint_bytes)
        )?;
        Ok(())
    }
}

/// How a run ended.
#[derive(Serialize)]
pub(super) struct OutcomeReport {
    steps_done: u64,
    finished: bool,
    folder: String,
    validation: Option<ValidationRecord>,
}

impl From<&Outcome> for OutcomeReport {
    fn from(outcome: &Outcome) -> Self {
        OutcomeReport {
            steps_done: outcome.steps_done,
            finished: outcome.is_finished,
            folder: outcome.folder.display().to_string(),
            validation: outcome.validation,
        }
    }
}
