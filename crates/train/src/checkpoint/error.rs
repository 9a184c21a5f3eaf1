//! What can be wrong with checkpoints.

use std::io;
use std::path::PathBuf;

use tercet::mapped_file::MappedFileError;

/// Why a checkpoint was not written, found or believed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum StoreError {
    #[error("{path}: cannot be {action}: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("{folder}: another run{} trains here", process(holder.as_deref()))]
    Locked { folder: PathBuf, holder: Option<String> },
    #[error(
        "{folder}: the checkpoint of step {step} cannot be written: {source}; those before it are intact"
    )]
    Save { folder: PathBuf, step: u64, source: io::Error },

    // What a damaged checkpoint has.
    #[error("{path}: the file is missing")]
    Missing { path: PathBuf },
    #[error("{path}: the manifest is damaged: {detail}")]
    Manifest { path: PathBuf, detail: String },
    #[error("{path}: found a checkpoint of step {found}, expected step {expected} as the folder's name says")]
    Step { path: PathBuf, found: u64, expected: u64 },
    #[error("{path}: found {found} bytes, expected {expected}")]
    Length { path: PathBuf, found: u64, expected: u64 },
    #[error("{path}: found SHA-256 {found}, expected {expected}")]
    Hash { path: PathBuf, found: String, expected: String },
    #[error("{path}: found a file that the manifest does not name, expected none")]
    Extra { path: PathBuf },
    #[error("{path}: found something other than a file or folder, expected one of these")]
    NotAFile { path: PathBuf },
    #[error("{folder}: found no intact checkpoint among {}: {}", damaged.len(), listed(damaged))]
    NoneIntact { folder: PathBuf, damaged: Vec<StoreError> },
}

impl StoreError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Locked { .. } => {
                Some("wait for it, stop it, or train into another folder with `run.output`")
            }
            Self::Save { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or keep fewer checkpoints with `watch.keep`; then train on")
            }
            Self::NoneIntact { .. } => Some("restore a checkpoint, or move the folder away to begin anew"),
            _ => None,
        }
    }
}

fn process(holder: Option<&str>) -> String {
    holder.map_or_else(String::new, |holder| format!(", process {holder},"))
}

fn listed(errors: &[StoreError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why tensors were not read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum TensorsError {
    #[error(transparent)]
    Map(#[from] MappedFileError),
    #[error("{path}: cannot be read as safetensors: {detail}")]
    Format { path: PathBuf, detail: String },
    #[error("{path}: tensor `{name}` is missing, expected shape {shape:?}")]
    Missing { path: PathBuf, name: String, shape: Vec<usize> },
    #[error("{path}: found tensor `{name}`, expected none of this name")]
    Extra { path: PathBuf, name: String },
    #[error("{path}: tensor `{name}` has type {found}, expected F32")]
    Dtype { path: PathBuf, name: String, found: String },
    #[error("{path}: tensor `{name}` has shape {found:?}, expected {expected:?}")]
    Shape { path: PathBuf, name: String, found: Vec<usize>, expected: Vec<usize> },
}
