//! Why a run did not begin, or ended early.

use std::io;
use std::path::PathBuf;

use tercet::model::LoadError;
use tercet::source::SourceError;

use crate::checkpoint::{StoreError, TensorsError};
use crate::config::ConfigError;
use crate::data::DataError;
use crate::log::RecordError;
use crate::model::NoCodes;
use crate::start::StartError;

/// Why a run did not begin, or ended early. What was saved before is intact.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum TrainError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{field}: {path}: found {found}, expected the folder of a model")]
    NoFolder { field: &'static str, path: PathBuf, found: &'static str, hint: String },
    #[error("{field}: {path}: found a GGUF file, expected the folder of a model")]
    Gguf { field: &'static str, path: PathBuf },
    #[error("{}", joined(problems))]
    Several { problems: Vec<TrainError>, hints: String },
    #[error("distillation.teacher: {0}")]
    Teacher(#[source] Box<LoadError>),
    #[error("distillation.teacher: {folder} has a vocabulary of {found}, the model one of {expected}")]
    TeacherVocabulary { folder: String, found: usize, expected: usize },
    #[error("model.from: {folder} has a vocabulary of {found}, but the tokenizer has {expected} tokens")]
    Vocabulary { folder: String, found: usize, expected: usize },
    #[error("model.from: {folder} was made for {found} positions, but `data.sequence_length` is {expected}")]
    Positions { folder: String, found: usize, expected: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Tensors(#[from] TensorsError),
    #[error("{path}: is no state of a run: {detail}")]
    State { path: PathBuf, detail: String },
    #[error("{folder} was begun with another configuration:\n{}", differences.join("\n"))]
    OtherConfig { folder: PathBuf, differences: Vec<String> },
    #[error("{folder} was begun with other data: found {found}, expected {expected}")]
    OtherData { folder: PathBuf, found: String, expected: String },
    #[error("run.output: {path}: found a file, expected a folder")]
    NotAFolder { path: PathBuf },
    #[error("{field}: {folder}: cannot be written: {source}")]
    Unwritable { field: &'static str, folder: PathBuf, source: io::Error },
    #[error("{folder}: found `{found}` and no run, expected the folder of a run, an empty one or none")]
    NotARun { folder: PathBuf, found: String },
    #[error(
        "{path}: is there without checkpoints to go on from; found something that a run would write over"
    )]
    Occupied { path: PathBuf },
    #[error(
        "{folder}: the record goes to step {step}, so a checkpoint of step {saved} was saved; found none at all"
    )]
    NoCheckpoint { folder: PathBuf, step: u64, saved: u64 },
    #[error(
        "distillation.teacher: {folder} has another tokenizer: token {token} is {found:?}, expected {expected:?}"
    )]
    TeacherTokenizer { folder: String, token: u32, found: String, expected: String },
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("step {step}: the {what} is {found}, expected a finite number")]
    NotFinite { step: u64, what: &'static str, found: f64, hint: String },
    #[error("step {step}: {source}")]
    NoCodes { step: u64, source: NoCodes, hint: String },
    #[error("step {step}: went back {times} times without getting past it")]
    Stuck { step: u64, times: u32 },
    #[error("{path}: cannot be {action}: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
}

impl TrainError {
    /// One error of several problems, with the hint of each, said once.
    ///
    /// # Errors
    /// The problem itself if it is one; nothing if there is none.
    pub(super) fn of(mut problems: Vec<TrainError>) -> Result<(), TrainError> {
        if problems.len() < 2 {
            return problems.pop().map_or(Ok(()), Err);
        }
        let mut hints: Vec<&str> = Vec::new();
        for hint in problems.iter().filter_map(Self::hint) {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        let hints = hints.join("; ");
        Err(Self::Several { problems, hints })
    }

    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Source(error) => error.hint(),
            Self::Start(error) => error.hint(),
            Self::NoFolder { hint, .. } => Some(hint),
            Self::Gguf { .. } => {
                Some("`tercet convert FILE.gguf FOLDER --to hf-bf16` makes such a folder of it")
            }
            Self::Several { hints, .. } => Some(&**hints).filter(|hints| !hints.is_empty()),
            Self::Teacher(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::OtherConfig { .. } => Some(
                "put the configuration back to go on, or begin a new run in another `run.output`, \
                 from this one with `model.from`",
            ),
            Self::OtherData { .. } => {
                Some("put the data back to go on, or begin a new run in another `run.output`")
            }
            Self::NotARun { .. } | Self::NotAFolder { .. } => {
                Some("train into another folder: `--output`, or `run.output`")
            }
            Self::Occupied { .. } => {
                Some("train into another folder with `run.output`, or move what is there")
            }
            Self::NoCheckpoint { .. } => Some(
                "bring `checkpoints` back to go on, train into another folder with `run.output`, or move this one \
                 away to begin anew",
            ),
            Self::NoCodes { hint, .. } | Self::NotFinite { hint, .. } => Some(hint),
            Self::Stuck { .. } => {
                Some("lower `schedule.learning_rate` in a new run from the last checkpoint")
            }
            _ => None,
        }
    }
}

fn joined(problems: &[TrainError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
