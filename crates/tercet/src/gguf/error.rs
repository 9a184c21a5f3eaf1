//! What can be wrong with a GGUF file. Each error names file, place, what was found and expected.

use crate::mapped_file::MappedFileError;

use super::metadata::MetadataError;
use super::tensor_type::{Refused, RefusedReason};

/// What is wrong with a GGUF file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum GgufError {
    #[error("{file}: the file is empty")]
    Empty { file: String },
    #[error("{file}: found the first bytes `{}`, expected `GGUF`", found.escape_ascii())]
    Magic { file: String, found: [u8; 4] },
    #[error("{file}: found a file of a big-endian machine, expected little endian")]
    BigEndian { file: String },
    #[error("{file}: found version {found} of GGUF, expected 2 or 3")]
    Version { file: String, found: u32 },
    #[error(
        "{file}: found {expected_bytes} bytes for {what}, expected at most the {left_bytes} that are left"
    )]
    BeyondEnd { file: String, what: String, expected_bytes: u64, left_bytes: usize },
    #[error("{file}: found {found_bytes} bytes for {what}, expected at most {limit_bytes}")]
    StringLength { file: String, what: String, found_bytes: u64, limit_bytes: u64 },
    #[error("{file}: {what} is not UTF-8 from byte {valid_bytes} on")]
    Utf8 { file: String, what: String, valid_bytes: usize },
    #[error("{file}: found {found} {what}, expected at most {limit}")]
    Count { file: String, what: String, found: u64, limit: u64 },
    #[error("{file}: key {index} is empty")]
    EmptyKey { file: String, index: u64 },
    #[error("{file}: key `{key}` occurs twice")]
    DuplicateKey { file: String, key: String },
    #[error("{file}: key `{key}` has a value of type {found}, expected 0 to 12")]
    ValueType { file: String, key: String, found: u32 },
    #[error("{file}: key `{key}` is a list of lists, expected a list of values")]
    NestedArray { file: String, key: String },
    #[error("{file}: key `{key}` has a truth value of {found}, expected 0 or 1")]
    Bool { file: String, key: String, found: u8 },
    #[error(transparent)]
    Map(#[from] MappedFileError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("{file}: `general.alignment` is {found}, expected a power of two of at most {limit}")]
    Alignment { file: String, found: u64, limit: u64 },
    #[error("{file}: tensor {index} has a name of {found_bytes} bytes, expected 1 to {limit_bytes}")]
    NameLength { file: String, index: u64, found_bytes: usize, limit_bytes: usize },
    #[error("{file}: tensor `{name}` occurs twice")]
    DuplicateTensor { file: String, name: String },
    #[error("{file}: tensor `{name}` has {found} dimensions, expected 1 to {limit}")]
    Dimensions { file: String, name: String, found: u32, limit: u32 },
    #[error("{file}: tensor `{name}` has a dimension of {found}, expected more than 0 and less than 2^63")]
    Dimension { file: String, name: String, found: u64 },
    #[error("{file}: tensor `{name}` has more bytes than a file can have: its sizes are {sizes:?}")]
    SizeOverflow { file: String, name: String, sizes: Vec<u64> },
    #[error("{file}: tensor `{name}` is of type {number}, {}: {}", refused.name, why(refused.reason))]
    TensorType { file: String, name: String, number: u32, refused: Refused },
    #[error(
        "{file}: tensor `{name}` of type {tensor_type} has {found} elements {scope}, expected a multiple of {block}"
    )]
    Blocks { file: String, name: String, tensor_type: String, found: u64, scope: &'static str, block: usize },
    #[error("{file}: tensor `{name}` begins at {found}, expected a multiple of {alignment}")]
    Misaligned { file: String, name: String, found: u64, alignment: u64 },
    #[error(
        "{file}: tensor `{name}` ends at byte {end} of the data, expected at most {data_bytes}: is the file whole?"
    )]
    DataShort { file: String, name: String, end: u64, data_bytes: u64 },
    #[error("{file}: tensors `{first}` and `{second}` share bytes")]
    Overlap { file: String, first: String, second: String },
    #[error("{file}: found no tensors")]
    NoTensors { file: String },
    #[error("{file}: `split.count` is {found}, a part of a model in several files, expected a whole one")]
    Split { file: String, found: u64 },
}

impl GgufError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Empty { .. } | Self::DataShort { .. } | Self::BeyondEnd { .. } => {
                Some("the download may have been cut off: get the file again and compare its length")
            }
            Self::Magic { .. } => Some(
                "it is no GGUF file, whatever its name: a page or a Git LFS pointer perhaps, in place of what was to be \
                 downloaded",
            ),
            Self::TensorType { refused, .. } => Some(match refused.reason {
                RefusedReason::Unportable | RefusedReason::Ambiguous => {
                    "get the same model as I2_S, TQ1_0 or TQ2_0, or as safetensors"
                }
                RefusedReason::OtherProgram => {
                    "get the file that it was made from, or the same model as I2_S, TQ1_0 or TQ2_0"
                }
                RefusedReason::DenseInFewBits => {
                    "llama.cpp runs such models; tercet runs ternary ones, and dense ones in F32, F16 and BF16"
                }
                RefusedReason::Unknown => "get the same model as I2_S, TQ1_0 or TQ2_0, or as safetensors",
            }),
            Self::Split { .. } => {
                Some("join the files with llama.cpp: `llama-gguf-split --merge FIRST_FILE WHOLE_FILE`")
            }
            _ => None,
        }
    }
}

fn why(reason: RefusedReason) -> &'static str {
    match reason {
        RefusedReason::Unportable => "its layout depends on the machine that wrote it",
        RefusedReason::OtherProgram => "a type of that program alone",
        RefusedReason::DenseInFewBits => "a dense model in few bits, expected a ternary one",
        RefusedReason::Ambiguous => "two programs mean different types by this number",
        RefusedReason::Unknown => "expected F32, F16, BF16, Q8_0, Q6_K, Q4_0, TQ1_0, TQ2_0 or I2_S",
    }
}
