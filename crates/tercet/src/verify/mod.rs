//! Whether two models on disk are the same, and if not, where they differ and by how much.
//!
//! | module | compares |
//! |---|---|
//! | `shape` | configurations |
//! | `weights` | codes, scales and floats, tensor by tensor |
//! | `text` | tokenizers, on fixed texts |
//! | `sampling` | what is suggested for sampling |
//! | `logits` | what the models compute for these texts |
//!
//! The second model may differ from the first by the rounding of the number types it is stored in, and by nothing
//! else; where nothing is rounded, the logits must be the same to the last bit. It prints nothing.

mod logits;
mod sampling;
mod shape;
mod text;
mod weights;

use serde::Serialize;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::{Config, ConfigError};
use crate::source::Source;

pub use logits::{compare as compare_logits, memory_need as logits_need, of_model as logits_of};
pub use sampling::compare as compare_sampling;
pub use shape::compare as compare_shapes;
pub use text::{TEXTS, compare as compare_tokenizers, compare_templates, prompts};
pub use weights::compare as compare_weights;

/// A model on disk whose files were opened and whose configuration was read.
pub struct OnDisk {
    /// Its files.
    pub source: Source,
    /// Its tensors.
    pub checkpoint: Checkpoint,
    /// Its configuration.
    pub config: Config,
}

/// Why a model could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its tensors cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl OnDisk {
    /// Opens the model in `source`; no weight is read.
    ///
    /// # Errors
    /// [`OpenError`] names the file and field or tensor.
    pub fn open(source: Source) -> Result<Self, OpenError> {
        let checkpoint = Checkpoint::open(&source)?;
        let config = Config::read(&source, &checkpoint)?;
        Ok(OnDisk { source, checkpoint, config })
    }
}

/// What became of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All are the same, to the last bit.
    Equal,
    /// The difference is that of the number type of the second model.
    Rounded,
    /// They differ, and by no more than what was rounded may make of it.
    Close,
    /// They should be the same and are not.
    Differs,
    /// Nothing was compared.
    Skipped,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What was compared.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// How many were compared.
    pub compared: u64,
    /// How many differ.
    pub differing: u64,
    /// The largest difference; of scales relative to the scale, of floats to the greatest number of the tensor.
    pub largest_difference: f64,
    /// In words.
    pub detail: String,
}

impl Check {
    /// A comparison that was not made.
    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        let outcome = Outcome::Skipped;
        Check { name, outcome, compared: 0, differing: 0, largest_difference: 0.0, detail: why.into() }
    }

    /// Something that one of two models lacks.
    pub fn missing(name: &'static str, what: impl Into<String>) -> Self {
        Check { outcome: Outcome::Differs, compared: 1, differing: 1, ..Check::skipped(name, what) }
    }

    /// Whether two that should be the same are not.
    pub fn is_wrong(&self) -> bool {
        self.outcome == Outcome::Differs
    }
}
