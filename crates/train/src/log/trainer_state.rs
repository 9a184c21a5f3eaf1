//! `trainer_state.json`, as the Hugging Face `Trainer` leaves it, for plotters that read that.
//!
//! Its names are those of `transformers`: `grad_norm`, `eval_loss`, `log_history`. Written, and
//! never read: a run resumes from its own state.

use std::path::Path;

use serde_json::{Value, json};

use super::{RecordError, Row, replace};

/// What `trainer_state.json` says beside the history, under the names of `transformers`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrainerState {
    pub(crate) max_steps: u64,
    pub(crate) num_train_epochs: f64,
    /// Sequences of a step.
    pub(crate) train_batch_size: u64,
    pub(crate) logging_steps: u64,
    pub(crate) eval_steps: u64,
    pub(crate) save_steps: u64,
    /// The folder of the checkpoint with the least validation loss, if there is one.
    pub(crate) best_model_checkpoint: Option<String>,
}

/// Writes `trainer_state.json` from the rows of a run.
///
/// # Errors
/// [`RecordError`] if the file cannot be written.
pub(crate) fn write_trainer_state(
    path: &Path,
    state: &TrainerState,
    rows: &[Row],
) -> Result<(), RecordError> {
    replace(path, format!("{:#}\n", to_json(state, rows)).as_bytes())
}

fn to_json(state: &TrainerState, rows: &[Row]) -> Value {
    let mut history = Vec::new();
    let (mut epoch, mut global_step) = (0.0, 0);
    let mut best: Option<(f64, u64)> = None;
    for row in rows {
        match row {
            Row::Step(row) => {
                (epoch, global_step) = (row.epoch, row.step);
                history.push(json!({
                    "epoch": epoch,
                    "grad_norm": row.gradient_norm,
                    "learning_rate": row.learning_rate,
                    "loss": row.loss,
                    "step": row.step,
                }));
            }
            Row::Validation(row) => {
                if best.is_none_or(|(loss, _)| row.loss < loss) {
                    best = Some((row.loss, row.step));
                }
                history.push(json!({ "epoch": epoch, "eval_loss": row.loss, "step": row.step }));
            }
            Row::Sample(_) | Row::Event(_) => {}
        }
    }
    json!({
        "best_global_step": best.map(|(_, step)| step),
        "best_metric": best.map(|(loss, _)| loss),
        "best_model_checkpoint": state.best_model_checkpoint,
        "epoch": epoch,
        "eval_steps": state.eval_steps,
        "global_step": global_step,
        "is_hyper_param_search": false,
        "is_local_process_zero": true,
        "is_world_process_zero": true,
        "log_history": history,
        "logging_steps": state.logging_steps,
        "max_steps": state.max_steps,
        "num_input_tokens_seen": tokens(rows),
        "num_train_epochs": state.num_train_epochs,
        "save_steps": state.save_steps,
        "train_batch_size": state.train_batch_size,
    })
}

/// The tokens read in all.
fn tokens(rows: &[Row]) -> u64 {
    let of_step = |row: &Row| if let Row::Step(row) = row { Some(row.tokens) } else { None };
    rows.iter().rev().find_map(of_step).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::{step, validation};
    use super::*;

    #[test]
    fn it_is_that_of_the_trainer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trainer_state.json");
        let state = TrainerState {
            max_steps: 10,
            num_train_epochs: 1.0,
            train_batch_size: 4,
            logging_steps: 1,
            eval_steps: 2,
            save_steps: 2,
            best_model_checkpoint: Some("checkpoints/step-00000002".to_owned()),
        };
        let rows = [Row::Step(step(1)), Row::Step(step(2)), Row::Validation(validation(2))];
        write_trainer_state(&path, &state, &rows).unwrap();
        let json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((&json["global_step"], &json["max_steps"]), (&json!(2), &json!(10)));
        assert_eq!(json["best_metric"], json!(2.5));
        assert_eq!(json["log_history"][2], json!({"epoch": 0.2, "eval_loss": 2.5, "step": 2}));
        assert_eq!(json["num_input_tokens_seen"], json!(128));
        write_trainer_state(&path, &state, &[]).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
