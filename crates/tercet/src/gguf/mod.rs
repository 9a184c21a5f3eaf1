//! GGUF files: metadata and tensors in one file.
//!
//! All but `model` know the container and the block formats, and not which tensors a model has.
//!
//! | module | holds |
//! |---|---|
//! | `header` | the whole head of a file, checked |
//! | `cursor` | reading bytes that may end too early |
//! | `metadata` | keys and typed values |
//! | `tensor_type` | the types of tensors by number, those that are refused too |
//! | `ternary` | blocks of ternary codes: I2_S, TQ1_0, TQ2_0 |
//! | `model` | a file as the folder of a model |
//! | `quantized` | blocks of other numbers: Q8_0, Q6_K, Q4_0 |
//! | `write` | writing a file |
//!
//! ```text
//! "GGUF" | u32 version | u64 tensors | u64 entries | metadata entries | tensor entries | padding | data
//! ```
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>; I2_S is bitnet.cpp's own.

mod cursor;
mod error;
mod header;
mod metadata;
pub mod model;
pub mod quantized;
mod tensor_type;
pub mod ternary;
mod write;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub use error::GgufError;
pub use metadata::{Metadata, MetadataError, ValueType};
pub use tensor_type::TensorType;
pub use write::{NewGgufTensor, NewValue, write};

use crate::mapped_file::MappedFile;
use crate::source::FileBytes;

/// A GGUF file whose head was read and checked against its length.
#[derive(Debug)]
pub struct Gguf {
    file: String,
    bytes: FileBytes,
    metadata: Metadata,
    tensors: Vec<GgufTensor>,
}

/// A tensor as the head of a file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub tensor_type: TensorType,
    /// Row-major: the file has the sizes the other way round.
    pub shape: Vec<usize>,
    /// Where its bytes are in the file, the tail of I2_S included.
    pub range: Range<usize>,
}

impl Gguf {
    /// Maps a file and reads its head; no tensor's bytes are read.
    ///
    /// # Errors
    /// [`GgufError`] if it is damaged, or has tensors that cannot be read.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::read(path.display().to_string(), FileBytes::Mapped(Arc::new(MappedFile::open(path)?)))
    }

    /// Reads the head of a file that is held in memory.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn in_memory(name: impl Into<String>, bytes: Arc<[u8]>) -> Result<Self, GgufError> {
        Self::read(name.into(), FileBytes::Shared(bytes))
    }

    fn read(file: String, bytes: FileBytes) -> Result<Self, GgufError> {
        let (metadata, tensors) = header::read(&file, &bytes)?;
        Ok(Self { file, bytes, metadata, tensors })
    }

    /// How messages call the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Keys and values.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the order of the file.
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// The whole file.
    pub(crate) fn file_bytes(&self) -> &FileBytes {
        &self.bytes
    }

    /// The bytes of a tensor of this file.
    ///
    /// # Panics
    /// If it is of another file.
    pub fn bytes_of(&self, tensor: &GgufTensor) -> &[u8] {
        &self.bytes.bytes()[tensor.range.clone()]
    }
}
