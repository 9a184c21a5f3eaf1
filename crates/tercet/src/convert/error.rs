//! Why a model was not converted.

use std::io;
use std::path::{Path, PathBuf};

use super::Target;
use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::model::LoadError;
use crate::source::SourceError;
use crate::tokenizer::TokenizerError;

/// Why a model was not converted. Nothing is left of a conversion that failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum ConvertError {
    #[error(
        "{model}: found a dense model, expected one that was trained with ternary weights for `{target}`: \
         rounded to -1, 0 and +1 its weights give gibberish"
    )]
    NeverTernary { model: String, target: Target },
    #[error("{model}: `{target}` has no place for {what}")]
    NoPlace { model: String, target: Target, what: String },
    #[error(
        "{model}: tensor `{name}` has rows of {found} weights, expected a multiple of {block} for `{target}`"
    )]
    Width { model: String, target: Target, name: String, found: usize, block: usize, hint: String },
    #[error("{model}: tensor `{name}` has the scale {found:e}, which {number} cannot hold")]
    ScaleRange { model: String, name: String, found: f32, number: &'static str },
    #[error("{model}: tensor `{name}`: element {index} is {found:e}, which {number} cannot hold")]
    Range { model: String, name: String, index: usize, found: f32, number: &'static str },
    #[error("{model}: tensor `{name}`: element {index} is not finite")]
    NotFinite { model: String, name: String, index: usize },
    #[error("{file}: the metadata of a GGUF file cannot hold {what}")]
    Tokenizer { file: String, what: String },
    #[error("{file}: cannot be parsed: {source}")]
    Json { file: String, source: serde_json::Error },
    #[error("{path}: found something there already, expected nothing")]
    Exists { path: PathBuf },
    #[error("{path}: cannot be written: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("stopped; nothing was written")]
    Stopped,
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Text(#[from] TokenizerError),
}

impl ConvertError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NeverTernary { .. } => Some(
                "make it ternary by training: `tercet train` with `model.from` continues from a dense model; \
                 `--force` rounds it all the same",
            ),
            Self::NoPlace { .. } => Some("docs/models.md has a table of what each form can hold"),
            Self::Width { hint, .. } => Some(hint),
            Self::ScaleRange { .. } | Self::Range { .. } => Some("a form with f32 or bf16 can hold it"),
            Self::Tokenizer { .. } => Some("the `hf-` forms keep tokenizer and templates as they are"),
            Self::Exists { .. } => Some("name another place, or remove it first"),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("make room on the disk, or name a place on another one")
            }
            Self::Source(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Load(error) => error.hint(),
            Self::Text(error) => error.hint(),
            Self::NotFinite { .. } | Self::Json { .. } | Self::Io { .. } | Self::Stopped => None,
        }
    }

    /// With the path where a file would have been in the end, in place of that where it was written.
    pub(super) fn at(self, partial: &Path, destination: &Path) -> Self {
        match self {
            Self::Io { path, source } => {
                let path = match path.strip_prefix(partial) {
                    Ok(rest) if rest.as_os_str().is_empty() => destination.to_owned(),
                    Ok(rest) => destination.join(rest),
                    Err(_) => path,
                };
                Self::Io { path, source }
            }
            error => error,
        }
    }

    /// In the form that goes through a writer.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// What went through a writer, or what the system failed with at `path`.
    pub(super) fn from_io(path: PathBuf, error: io::Error) -> Self {
        match error.downcast::<ConvertError>() {
            Ok(error) => error,
            Err(source) => Self::Io { path, source },
        }
    }
}
