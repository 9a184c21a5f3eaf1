//! What can go wrong when a model is loaded or run.

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its tensors cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A kernel does not compute what it should on this CPU.
    #[error(transparent)]
    SelfTest(#[from] tercet_kernels::SelfTestError),
    /// A packed weight has the code that stands for nothing.
    #[error("{file}: tensor `{name}`: row {row}, column {column} has code 3, expected 0, 1 or 2")]
    Code {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// Row of the unpacked matrix.
        row: usize,
        /// Its column.
        column: usize,
    },
    /// A number is NaN or infinite.
    #[error("{file}: tensor `{name}`: element {index} is not finite")]
    NotFinite {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// Its row-major place.
        index: usize,
    },
    /// A scale is no number that weights can have.
    #[error("{file}: tensor `{name}` is {found:e}, expected a scale between {:e} and {:e}", SCALES[0], SCALES[1])]
    Scale {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// The value.
        found: f32,
    },
    /// The blocks of one ternary matrix have several scales.
    #[error(
        "{file}: tensor `{name}` has blocks with the scales {found} and {expected}, expected one for the whole matrix"
    )]
    BlockScales {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// The scale of a block.
        found: f32,
        /// That of a block before.
        expected: f32,
    },
    /// A scale stands beside floats that are not ternary.
    #[error(
        "{file}: tensor `{name}` has a scale beside it and values of several magnitudes, expected ternary ones"
    )]
    MastersWithScale {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
    },
    /// The scales read in the configured direction are not those of a trained model.
    #[error(
        "{file}: `weight_scale` read with `linear_class` `{linear_class}` gives a median weight of {found}, \
         expected one between {} and {}",
        PLAUSIBLE_SCALES[0], PLAUSIBLE_SCALES[1]
    )]
    ScaleDirection {
        /// The model's folder.
        file: String,
        /// The class that says how a scale is meant.
        linear_class: &'static str,
        /// The median scale over all linears.
        found: f32,
    },
}

/// What a single scale can be in either direction, far beyond any model's.
pub(super) const SCALES: [f32; 2] = [1e-9, 1e9];

/// Median scales (mean magnitudes of the weights) that a trained model can have.
pub(super) const PLAUSIBLE_SCALES: [f32; 2] = [1e-4, 2.0];

impl LoadError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&str> {
        match self {
            LoadError::Checkpoint(error) => error.hint(),
            LoadError::Config(error) => error.hint(),
            LoadError::ScaleDirection { .. } => Some(
                "`bitlinear` stores 1/mean|W| and divides, `autobitlinear` stores mean|W| and multiplies: \
                 `quantization_config.linear_class` in `config.json` probably names the other one",
            ),
            LoadError::SelfTest(_) => {
                Some("set TERCET_ISA=scalar to run the portable kernels, and report this CPU")
            }
            LoadError::Code { .. }
            | LoadError::NotFinite { .. }
            | LoadError::Scale { .. }
            | LoadError::MastersWithScale { .. }
            | LoadError::BlockScales { .. } => {
                Some("the file is damaged or was converted wrongly: download or convert it again")
            }
        }
    }
}

/// Why a pass was not run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// More rows than the session has room for.
    #[error("a pass of {found} rows, expected at most {expected}")]
    Rows {
        /// Rows of the pass.
        found: usize,
        /// Room.
        expected: usize,
    },
    /// More rows with logits than the session has room for.
    #[error("logits of {found} rows, expected at most {expected}")]
    LogitRows {
        /// Rows wanted.
        found: usize,
        /// Room.
        expected: usize,
    },
    /// Logits were wanted of a row that the pass does not have.
    #[error("logits of row {found}, expected one below {expected}")]
    NoSuchRow {
        /// The row.
        found: usize,
        /// Rows of the pass.
        expected: usize,
    },
    /// A sequence without new tokens.
    #[error("a sequence has no new tokens, expected at least one")]
    NoTokens,
    /// A sequence longer than its cache or the session's context.
    #[error("a sequence of {found} positions, expected at most {expected}")]
    Context {
        /// Positions with the new tokens.
        found: usize,
        /// Room.
        expected: usize,
    },
    /// A token outside the vocabulary.
    #[error("token {found}, expected one below {expected}")]
    Token {
        /// The token.
        found: u32,
        /// Size of the vocabulary.
        expected: usize,
    },
    /// The model gave NaN or infinity.
    #[error("row {row} has a logit that is not finite")]
    NotFinite {
        /// Its row among those returned.
        row: usize,
    },
}
