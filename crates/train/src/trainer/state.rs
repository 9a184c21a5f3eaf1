//! What a checkpoint holds, and how it is written and read.
//!
//! ```text
//! model.safetensors, config.json, tokenizer…   the masters: a model folder that `tercet run` reads
//! optimizer.safetensors                        first_moments, second_moments, laid out as the masters
//! state.json                                   step, order of the data, record, memory of losses
//! config.toml                                  the configuration of the run
//! manifest.json                                the SHA-256 of all of these (`checkpoint`)
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tercet::checkpoint::Checkpoint as TensorFiles;
use tercet::source::Source;

use super::spike::RecentLosses;
use super::{Prepared, TrainError};
use crate::checkpoint::{TensorInto, TensorOut, read_tensors, write_tensors};
use crate::config::TrainConfig;
use crate::export::{Export, Form};
use crate::log::Positions;
use crate::model::Network;
use crate::optimizer::Optimizer;

/// The file with everything of a run that is no tensor.
pub(super) const STATE_FILE: &str = "state.json";
/// The file with the optimizer's moments.
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// The configuration of the run, in its folder and in those of its checkpoints.
pub const CONFIG_FILE: &str = "config.toml";
const MOMENTS: [&str; 2] = ["first_moments", "second_moments"];

/// Everything of a run that changes and is no tensor. Fields that it had once are passed over: the manifest vouches
/// for the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Steps that were done.
    pub(super) step: u64,
    /// Tokens that were read.
    pub(super) tokens: u64,
    /// Steps whose batches were left out after going back.
    pub(super) skipped_steps: u64,
    /// How often the run has gone back to the last scheduled checkpoint.
    pub(super) times_back: u32,
    /// The losses that a spike is told by.
    pub(super) recent_losses: RecentLosses,
    /// Where the record stands.
    pub(super) positions: Positions,
    /// What the data was, in words: a run goes on with the same.
    pub(super) data: String,
}

impl State {
    /// That of a run before its first step.
    pub(super) fn new(prepared: &Prepared) -> Self {
        let (dataset, tokenizer) = (&prepared.dataset, &prepared.tokenizer.digest);
        let data = format!("{}; content {}; tokenizer {tokenizer}", dataset.description(), dataset.digest());
        State { data, ..State::default() }
    }
}

/// The digests of contents and tokenizer in what a state says of its data.
pub(super) fn digests_in(data: &str) -> Option<[&str; 2]> {
    let (rest, tokenizer) = data.rsplit_once("; tokenizer ")?;
    let (_, content) = rest.rsplit_once("; content ")?;
    Some([content, tokenizer])
}

/// Whether two states tell of the same data. Earlier versions had no singular: `1 documents`.
pub(super) fn is_same_data(one: &str, other: &str) -> bool {
    const PLURALS: [(&str, &str); 4] = [
        (" 1 documents", " 1 document"),
        (" 1 files of their own", " 1 file of its own"),
        (" 1 training conversations", " 1 training conversation"),
        (" 1 validation conversations", " 1 validation conversation"),
    ];
    let singular = |text: &str| {
        PLURALS.iter().fold(text.to_owned(), |text, (plural, singular)| text.replace(plural, singular))
    };
    singular(one) == singular(other)
}

/// Writes a checkpoint's files into a folder.
pub(super) fn write(
    folder: &Path,
    prepared: &Prepared,
    network: &mut Network,
    optimizer: &mut Optimizer,
    state: &State,
) -> io::Result<()> {
    let (config, layout) = (network.config().clone(), network.layout().clone());
    let files = &prepared.tokenizer.files;
    Export::new(Form::Masters, &config, &layout, network.parameters(), files)
        .write(folder)
        .map_err(|(path, error)| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let moments = optimizer.moments();
    let shape = [layout.len()];
    let tensors: Vec<TensorOut<'_>> = MOMENTS
        .iter()
        .zip(&moments)
        .map(|(name, values)| TensorOut { name, shape: &shape, values })
        .collect();
    write_tensors(&folder.join(OPTIMIZER_FILE), &tensors, &BTreeMap::new())?;
    let state = serde_json::to_vec_pretty(state)?;
    std::fs::write(folder.join(STATE_FILE), state)?;
    let config = prepared.config.to_toml().map_err(io::Error::other)?;
    std::fs::write(folder.join(CONFIG_FILE), config)
}

/// The configuration that a checkpoint was saved with.
pub(super) fn read_config(folder: &Path) -> Result<TrainConfig, TrainError> {
    Ok(TrainConfig::read(&folder.join(CONFIG_FILE))?)
}

/// The state of a checkpoint without its tensors.
pub(super) fn read_state(folder: &Path) -> Result<State, TrainError> {
    let path = folder.join(STATE_FILE);
    let failed = |detail: String| TrainError::State { path: path.clone(), detail };
    let bytes = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
}

/// Reads masters and moments of a checkpoint.
pub(super) fn read_tensors_of(
    folder: &Path,
    network: &mut Network,
    optimizer: &mut Optimizer,
    steps: u64,
) -> Result<(), TrainError> {
    let files = TensorFiles::open(&Source::folder(folder)?).map_err(crate::start::StartError::from)?;
    let layout = network.layout().clone();
    let parameters = network.parameters();
    for parameter in layout.parameters() {
        let detail = || format!("tensor `{}` is missing or of another shape", parameter.name);
        let tensor = files.get(&parameter.name).filter(|tensor| tensor.shape == parameter.shape);
        let tensor = tensor.ok_or_else(|| TrainError::State { path: folder.to_owned(), detail: detail() })?;
        tensor.read_f32(0, &mut parameters[parameter.range.clone()]);
    }
    let moments = optimizer.moments();
    let shape = [layout.len()];
    let mut tensors: Vec<TensorInto<'_>> = MOMENTS
        .iter()
        .zip(moments)
        .map(|(name, values)| TensorInto { name, shape: &shape, values })
        .collect();
    read_tensors(&folder.join(OPTIMIZER_FILE), &mut tensors)?;
    optimizer.set_steps(steps);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_counted_in_plurals_goes_on() {
        let old = "700 training tokens in 1 documents, 40 validation tokens in 21; validation on 1 files of their own; \
                   documents packed; 1 training conversations cut after 64 tokens; content 12; tokenizer 3";
        let new = "700 training tokens in 1 document, 40 validation tokens in 21; validation on 1 file of its own; \
                   documents packed; 1 training conversation cut after 64 tokens; content 12; tokenizer 3";
        assert!(is_same_data(old, new) && is_same_data(new, old) && is_same_data(new, new));
        assert!(!is_same_data(old, &new.replace("in 1 document", "in 11 documents")));
        assert!(!is_same_data(old, &new.replace("content 12", "content 13")));
        assert_eq!(digests_in(new), Some(["12", "3"]));
    }
}
