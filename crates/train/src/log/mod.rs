//! The record of a run: JSON lines, CSV, TensorBoard, SVG.
//!
//! | module | holds |
//! |---|---|
//! | `rows` | what is recorded, and how it reads |
//! | `recorder` | the files of a run, continued where a checkpoint left them |
//! | `events` | TensorBoard's event files |
//! | `curves` | the curves as SVG |
//! | [`look`] | how drawings look, those of others too |
//! | `trainer_state` | `trainer_state.json`, for plotters of Hugging Face runs |
//!
//! Whatever is measured with a clock goes to `timings.csv` and TensorBoard alone, so that
//! `log.jsonl` and `log.csv` of a resumed run equal those of an uninterrupted one byte for byte.

mod curves;
mod events;
pub mod look;
mod recorder;
mod rows;
mod trainer_state;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(crate) use curves::draw_curves;
pub use recorder::{Positions, Recorder, Shorter};
pub use rows::{
    EventRecord, Row, SampleRecord, StepRecord, TernaryShares, TimingRecord, ValidationRecord, read_rows,
};
pub(crate) use trainer_state::{TrainerState, write_trainer_state};

/// The JSON lines of a run.
pub const LOG_FILE: &str = "log.jsonl";

/// The numbers of the JSON lines, for spreadsheets.
pub const CSV_FILE: &str = "log.csv";

/// How long steps took.
pub const TIMINGS_FILE: &str = "timings.csv";

/// The curves.
pub const CURVES_FILE: &str = "curves.svg";

/// The folder of TensorBoard's event files.
pub const TENSORBOARD_FOLDER: &str = "tensorboard";

/// The summary that plotters of Hugging Face runs read.
pub const TRAINER_STATE_FILE: &str = "trainer_state.json";

/// Why something was not recorded, or not read back.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum RecordError {
    #[error("{path}: cannot be {action}: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("{path}:{line}: is no record: {detail}")]
    Row { path: PathBuf, line: usize, detail: String },
    #[error("{path}: line {line} has more than {limit_bytes} bytes, expected at most that many")]
    TooLong { path: PathBuf, line: usize, limit_bytes: u64 },
    #[error("{path}: cannot be drawn: {detail}")]
    Drawing { path: PathBuf, detail: String },
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError::Io { path, action, source }
}

/// Writes a file whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&partial, path)).map_err(|source| {
        // The first error is the one to tell; the next writing replaces what is left.
        drop(fs::remove_file(&partial));
        RecordError::Io { path: path.to_owned(), action: "written", source }
    })
}
