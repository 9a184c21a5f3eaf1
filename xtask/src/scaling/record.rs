//! What a run ended with, from what it left: its record, and what it said. It knows no processes.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tercet_train::log::{LOG_FILE, Row, ValidationRecord, read_rows};

use super::plan::{Outcome, Run};

/// The outcome of a run that took all its steps.
pub(super) fn finished(run: Run, output: &Path, steps: u64) -> Result<Outcome> {
    let path = output.join(LOG_FILE);
    let validations = validations(&path)?;
    let last = validations.last().with_context(|| format!("{}: no validation", path.display()))?;
    ensure!(
        last.step == steps,
        "{}: the last validation is at step {}, expected step {steps}",
        path.display(),
        last.step
    );
    let bits_per_byte = last.bits_per_byte.filter(|bits| bits.is_finite());
    ensure!(
        bits_per_byte.is_some() || !last.loss.is_finite(),
        "{}: the last validation has no `bits_per_byte`",
        path.display()
    );
    Ok(Outcome { run, bits_per_byte, validations: validations.iter().map(step_and_loss).collect() })
}

/// The outcome of a run that gave up at a step.
pub(super) fn diverged(run: Run, output: &Path, step: u64) -> Result<Outcome> {
    let before = validations(&output.join(LOG_FILE))?;
    let before = before.iter().filter(|validation| validation.step < step).map(step_and_loss);
    Ok(Outcome { run, bits_per_byte: None, validations: before.chain([(step, None)]).collect() })
}

/// The step at which a run gave up because of a number that is not finite, from what it said on stderr.
///
/// Of all errors that end a run only these begin with a step.
pub(super) fn step_of_divergence(said: &str) -> Option<u64> {
    let error = said.lines().rev().find_map(|line| line.strip_prefix("error: "))?;
    let (step, _) = error.strip_prefix("step ")?.split_once(':')?;
    step.parse().ok()
}

fn validations(path: &Path) -> Result<Vec<ValidationRecord>> {
    let rows = read_rows(path)?.into_iter();
    let validation = |row| match row {
        Row::Validation(validation) => Some(validation),
        _ => None,
    };
    Ok(rows.filter_map(validation).collect())
}

fn step_and_loss(validation: &ValidationRecord) -> (u64, Option<f64>) {
    (validation.step, Some(validation.loss).filter(|loss| loss.is_finite()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use tercet_train::model::NoCodes;
    use tercet_train::trainer::TrainError;

    use super::super::plan::Arm;
    use super::*;

    const RUN: Run = Run { size: 0, arm: Arm::Ternary, rate: 2, seed: 1 };

    fn folder_with(record: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(LOG_FILE), record).unwrap();
        folder
    }

    fn validation(step: u64, loss: &str) -> String {
        let numbers = format!(r#""step":{step},"loss":{loss},"perplexity":{loss},"bits_per_byte":{loss}"#);
        format!("{{\"kind\":\"validation\",{numbers}}}\n")
    }

    #[test]
    fn a_finished_run_ends_with_its_last_validation() {
        let event = "{\"kind\":\"event\",\"step\":1,\"message\":\"x\"}\n";
        let folder = folder_with(&(validation(250, "4.5") + event + &validation(500, "3.5")));
        let want = Outcome {
            run: RUN,
            bits_per_byte: Some(3.5),
            validations: vec![(250, Some(4.5)), (500, Some(3.5))],
        };
        assert_eq!(finished(RUN, folder.path(), 500).unwrap(), want);
    }

    #[test]
    fn a_last_validation_without_a_loss_is_a_divergence() {
        let folder = folder_with(&(validation(250, "4.5") + &validation(500, "null")));
        let outcome = finished(RUN, folder.path(), 500).unwrap();
        assert_eq!(outcome.validations, [(250, Some(4.5)), (500, None)]);
        assert!(outcome.has_diverged() && outcome.bits_per_byte.is_none());
    }

    #[test]
    fn a_record_that_ends_early_is_an_error() {
        let folder = folder_with(&validation(250, "4.5"));
        let error = finished(RUN, folder.path(), 500).unwrap_err().to_string();
        assert!(error.ends_with("the last validation is at step 250, expected step 500"), "{error}");
        let error = finished(RUN, folder_with("").path(), 500).unwrap_err().to_string();
        assert!(error.ends_with("no validation"), "{error}");
        let line = r#"{"kind":"validation","step":500,"loss":3.5,"perplexity":33.0,"bits_per_byte":null}"#;
        let error = finished(RUN, folder_with(&format!("{line}\n")).path(), 500).unwrap_err().to_string();
        assert!(error.ends_with("has no `bits_per_byte`"), "{error}");
    }

    #[test]
    fn a_run_that_diverged_keeps_what_came_before() {
        let folder = folder_with(&validation(250, "4.5"));
        let outcome = diverged(RUN, folder.path(), 312).unwrap();
        assert_eq!(outcome.validations, [(250, Some(4.5)), (312, None)]);
        assert!(outcome.has_diverged());
    }

    #[test]
    fn the_errors_of_a_divergence_are_told_from_others() {
        let said = |error: TrainError| format!("step 300/2000  loss 4\nerror: {error}\nhint: a lower rate\n");
        let source = NoCodes { name: "layers.0.q_proj".to_owned(), index: 3 };
        let not_finite = |what, found| TrainError::NotFinite { step: 312, what, found, hint: String::new() };
        for error in [
            not_finite("loss", f64::NAN),
            not_finite("gradient norm", f64::INFINITY),
            TrainError::NoCodes { step: 312, source, hint: String::new() },
            TrainError::Stuck { step: 312, times: 10 },
        ] {
            assert_eq!(step_of_divergence(&said(error)), Some(312));
        }
        let occupied = TrainError::Occupied { path: PathBuf::from("log.jsonl") };
        assert_eq!(step_of_divergence(&said(occupied)), None);
        // Only the last error counts.
        let text = "error: step 3: the loss is NaN, expected a finite number\nerror: no space\n";
        assert_eq!(step_of_divergence(text), None);
        assert_eq!(step_of_divergence("step 3: going on\n"), None);
    }
}
