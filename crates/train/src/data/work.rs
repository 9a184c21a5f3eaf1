//! How data is prepared: with how many threads, who hears of it, and what stops it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::error::DataError;

/// What is being done to the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Files are hashed, to find out whether their tokens are already known.
    Hash,
    /// A tokenizer is trained.
    TrainTokenizer,
    /// Training text becomes tokens.
    TokeniseTraining,
    /// Validation text becomes tokens.
    TokeniseValidation,
}

/// News from the preparation of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes of the files have been dealt with.
    Bytes {
        /// What is done to them.
        stage: Stage,
        /// Bytes done, of the files as they lie on disk.
        done: u64,
        /// All bytes.
        total: u64,
    },
    /// Something that a person should know and that stops nothing.
    Warning(String),
}

/// The circumstances of preparing data.
pub struct Work<'a> {
    /// Threads that tokenise. They change no result.
    pub threads: usize,
    /// Set from outside to stop; what is then unfinished leaves nothing behind.
    pub stop: &'a AtomicBool,
    /// Hears of progress.
    pub progress: &'a mut dyn FnMut(Progress),
}

impl Work<'_> {
    pub(super) fn check_stop(&self) -> Result<(), DataError> {
        if self.stop.load(Ordering::Relaxed) { Err(DataError::Stopped) } else { Ok(()) }
    }

    pub(super) fn bytes(&mut self, stage: Stage, done: u64, total: u64) {
        (self.progress)(Progress::Bytes { stage, done, total });
    }

    pub(super) fn warn(&mut self, warning: String) {
        (self.progress)(Progress::Warning(warning));
    }
}
