//! Whether a run can go on in its folder.
//!
//! What can be known of that before any work is asked first, so that a mistake costs no tokenizer and no tokens. It is
//! asked of the configuration and the state of a checkpoint, whose tensors are not looked at.

use std::path::{Path, PathBuf};

use super::state::{self, CONFIG_FILE, STATE_FILE, State};
use super::{CHECKPOINTS, Prepared, TrainError, output};
use crate::checkpoint::{Checkpoint, Store};
use crate::config::TrainConfig;
use crate::data::{Dataset, TextTokenizer, Work};

/// Refuses a folder in which another run trains, was begun with another configuration, or has lost its checkpoints.
pub(super) fn check_folder(config: &TrainConfig) -> Result<(), TrainError> {
    let output = &config.run.output;
    let checkpoints = output.join(CHECKPOINTS);
    Store::check_is_closed(&checkpoints)?;
    match newest(output) {
        Some(checkpoint) => check_config(config, &checkpoint),
        // What is damaged is told where checkpoints are opened.
        None if Store::newest_in(&checkpoints).is_some() => Ok(()),
        None => output::check_unused(output),
    }
}

/// Refuses other text than the run began with, told by the contents of its files alone.
pub(super) fn check_text(config: &TrainConfig, cache: &Path, work: &mut Work) -> Result<(), TrainError> {
    let Some(began_with) = data_of(&config.run.output)? else { return Ok(()) };
    let Some([content, tokenizer]) = state::digests_in(&began_with) else { return Ok(()) };
    let found = Dataset::digest_before(&config.data, tokenizer, cache, work)?;
    match found.filter(|found| found != content) {
        Some(found) => Err(other_data(config, format!("content {found}"), began_with)),
        None => Ok(()),
    }
}

/// Refuses another tokenizer than the run began with.
pub(super) fn check_tokenizer(config: &TrainConfig, tokenizer: &TextTokenizer) -> Result<(), TrainError> {
    let Some(began_with) = data_of(&config.run.output)? else { return Ok(()) };
    match state::digests_in(&began_with) {
        Some([_, expected]) if expected != tokenizer.digest => {
            Err(other_data(config, format!("tokenizer {}", tokenizer.digest), began_with))
        }
        _ => Ok(()),
    }
}

/// A checkpoint is gone on from with the configuration and data that it was made with.
pub(super) fn check_same_run(prepared: &Prepared, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    check_config(&prepared.config, &checkpoint.path)?;
    let (found, expected) = (State::new(prepared).data, state::read_state(&checkpoint.path)?.data);
    if !state::is_same_data(&found, &expected) {
        return Err(other_data(&prepared.config, found, expected));
    }
    Ok(())
}

fn check_config(config: &TrainConfig, checkpoint: &Path) -> Result<(), TrainError> {
    let differences = config.differences(&state::read_config(checkpoint)?)?;
    if differences.is_empty() {
        return Ok(());
    }
    Err(TrainError::OtherConfig { folder: config.run.output.clone(), differences })
}

fn other_data(config: &TrainConfig, found: String, expected: String) -> TrainError {
    TrainError::OtherData { folder: config.run.output.clone(), found, expected }
}

/// The newest checkpoint of a run that tells of its configuration and its data.
fn newest(output: &Path) -> Option<PathBuf> {
    Store::newest_with(&output.join(CHECKPOINTS), &[CONFIG_FILE, STATE_FILE])
}

/// What the run in a folder trains on, in words; nothing if it has saved nothing yet.
fn data_of(output: &Path) -> Result<Option<String>, TrainError> {
    newest(output).map(|checkpoint| Ok(state::read_state(&checkpoint)?.data)).transpose()
}
