//! What can be wrong with a model's tensor files.

use crate::source::SourceError;

/// Why a checkpoint was refused.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum CheckpointError {
    #[error(transparent)]
    Source(#[from] SourceError),

    // Which files there are.
    #[error("{folder}: found no `model.safetensors` and no `model.safetensors.index.json`")]
    NoTensors { folder: String },
    #[error(
        "{folder}: found both `model.safetensors` and `model.safetensors.index.json`, expected one of them"
    )]
    TwoCheckpoints { folder: String },

    // One safetensors file, from its first byte to its last.
    #[error("{file}: found {found_bytes} bytes, expected at least 8, which hold the header's length")]
    TooShort { file: String, found_bytes: usize },
    #[error("{file}: found {kind}, expected a safetensors file")]
    Foreign { file: String, kind: &'static str },
    #[error("{file}: header length is {found_bytes}, expected at most {limit_bytes}")]
    HeaderTooLarge { file: String, found_bytes: u64, limit_bytes: u64 },
    #[error("{file}: header length is {found_bytes}, but only {left_bytes} bytes follow it")]
    HeaderBeyondEnd { file: String, found_bytes: u64, left_bytes: usize },
    #[error("{file}: header begins with byte {found:#04x}, expected `{{`")]
    HeaderStart { file: String, found: u8 },
    #[error("{file}: header is not UTF-8 after its first {valid_bytes} bytes")]
    HeaderUtf8 { file: String, valid_bytes: usize },
    #[error("{file}: header cannot be parsed: {detail}")]
    HeaderJson { file: String, detail: String },
    #[error("{file}: found no tensors, expected at least one")]
    Empty { file: String },

    // One tensor of the header.
    #[error(
        "{file}: tensor name `{found}` is too long or has control characters, expected at most {limit_bytes} printable bytes"
    )]
    TensorName { file: String, found: String, limit_bytes: usize },
    #[error(
        "{file}: tensor `{name}` begins at byte {found} of the data, expected {expected}; tensors must follow each other without gap or overlap"
    )]
    Offset { file: String, name: String, found: usize, expected: usize },
    #[error("{file}: tensor `{name}` ends at byte {end}, before its begin at {start}")]
    OffsetOrder { file: String, name: String, start: usize, end: usize },
    #[error(
        "{file}: tensor `{name}` spans {found_bytes} bytes, expected {expected_bytes} for {dtype} of shape {shape:?}"
    )]
    Span {
        file: String,
        name: String,
        found_bytes: usize,
        expected_bytes: usize,
        dtype: String,
        shape: Box<[usize]>,
    },
    #[error("{file}: tensor `{name}` of shape {shape:?} has a size that overflows")]
    SizeOverflow { file: String, name: String, shape: Box<[usize]> },
    #[error("{file}: tensor `{name}` of shape {shape:?} and type {dtype} does not fill whole bytes")]
    PartialByte { file: String, name: String, shape: Box<[usize]>, dtype: String },
    #[error("{file}: tensor `{name}` has type `{dtype}`, which this version does not know")]
    UnknownDtype { file: String, name: String, dtype: String },
    #[error("{file}: found {found_bytes} bytes of data, expected {expected_bytes} as the header says")]
    DataLength { file: String, found_bytes: usize, expected_bytes: usize },
    #[error("{file}: refused by the safetensors reader: {detail}")]
    Refused { file: String, detail: String },

    // The index of a checkpoint in several files.
    #[error("{file}: cannot be parsed: {detail}")]
    IndexJson { file: String, detail: String },
    #[error("{file}: `weight_map` is empty, expected at least one tensor")]
    IndexEmpty { file: String },
    #[error(
        "{file}: tensor `{name}` is said to be in `{found}`, expected a plain file name that ends in `.safetensors`"
    )]
    ShardName { file: String, name: String, found: String },
    #[error("{file}: tensor `{name}` is said to be in `{shard}`, which does not have it")]
    NotInShard { file: String, name: String, shard: String },
    #[error("{file}: `{shard}` has tensor `{name}`, which `weight_map` gives as in `{expected}`")]
    OtherShard { file: String, name: String, shard: String, expected: String },
    #[error("{file}: `{shard}` has tensor `{name}`, which is not in `weight_map`")]
    NotInIndex { file: String, name: String, shard: String },
    #[error("{file}: `{shard}` lies in the folder, but no tensor is said to be in it")]
    ExtraShard { file: String, shard: String },
}

impl CheckpointError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Source(error) => error.hint(),
            Self::NoTensors { .. } => {
                Some("weights are read from safetensors only; convert other formats first")
            }
            Self::TwoCheckpoints { .. } => Some("remove the one that is out of date"),
            Self::Foreign { .. } => Some("the file's name is not its format; convert it"),
            Self::HeaderBeyondEnd { .. } | Self::DataLength { .. } => {
                Some("the file is probably cut short: download or copy it again")
            }
            Self::ExtraShard { .. } => Some("remove the file, or restore the index it belongs to"),
            _ => None,
        }
    }
}
