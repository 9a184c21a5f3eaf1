//! What can be wrong with a model's configuration.

use super::family::Family;
use crate::checkpoint::Dtype;
use crate::source::SourceError;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum ConfigError {
    #[error(transparent)]
    Source(#[from] SourceError),

    // The fields of the files.
    #[error("{file}: cannot be parsed: {detail}")]
    Json { file: String, detail: String },
    #[error("{file}: field `{field}` is missing")]
    Missing { file: String, field: String },
    #[error("{file}: field `{field}` is {found}, expected {expected}")]
    Value { file: String, field: String, found: String, expected: String },
    #[error("{file}: field `{field}` is {found}, supported: {supported}")]
    Unsupported { file: String, field: String, found: String, supported: &'static str },
    #[error("{file}: field `{field}` is {found}, but `{other}` is {other_found}")]
    Conflict { file: String, field: String, found: String, other: String, other_found: String },
    #[error("{file}: `{divisor}` is {divisor_found}, which does not divide `{field}`, {found}")]
    DoesNotDivide {
        file: String,
        field: &'static str,
        found: usize,
        divisor: &'static str,
        divisor_found: usize,
    },
    #[error("{file}: field `{field}` names token {found}, expected less than `vocab_size`, {vocab_size}")]
    TokenId { file: String, field: String, found: u64, vocab_size: usize },
    #[error(
        "{file}: `model_type` is `bitnet`, but there is no `quantization_config` that says how it is quantised"
    )]
    NoQuantization { file: String },

    // The tensors, against the configuration.
    #[error("{folder}: tensor `{name}` is missing, expected shape {shape:?}")]
    MissingTensor { folder: String, name: String, shape: Vec<usize> },
    #[error("{file}: tensor `{name}` has shape {found:?}, expected {expected:?}")]
    Shape { file: String, name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("{file}: tensor `{name}` has type {found}, expected {expected}")]
    Dtype { file: String, name: String, found: Dtype, expected: &'static str },
    #[error(
        "{file}: linear `{name}` has floats ({found}), but the configuration promises packed ternary weights ({family})"
    )]
    FloatsForPacked { file: String, name: String, found: Dtype, family: Family },
    #[error("{file}: linear `{name}` has packed bytes, but the configuration promises floats ({family})")]
    PackedForFloats { file: String, name: String, family: Family },
    #[error("{file}: `{name}` is {found}, expected a positive finite number")]
    WeightScale { file: String, name: String, found: f32 },
    #[error("{file}: tensor `{name}` is a bias; BitNet models and LLaMA have none")]
    Bias { file: String, name: String },
    #[error("{file}: tensor `{name}` is a norm that {family} does not have")]
    UnknownNorm { file: String, name: String, family: Family },
    #[error(
        "{file}: tensor `{name}` belongs to layer {layer}, but `num_hidden_layers` is {num_hidden_layers}"
    )]
    LayerBeyondEnd { file: String, name: String, layer: usize, num_hidden_layers: usize },
    #[error("{file}: tensor `{name}` is none that {family} has")]
    UnknownTensor { file: String, name: String, family: Family },
    #[error("{file}: `{head}` differs from `{embedding}`, but `tie_word_embeddings` is true")]
    TiedHeadDiffers { file: String, head: String, embedding: String },
}

impl ConfigError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Source(error) => error.hint(),
            Self::NoQuantization { .. } => Some(
                "restore the field from the original model: \
                 `{\"quant_method\": \"bitnet\", \"linear_class\": \"autobitlinear\", \"quantization_mode\": \"online\"}` \
                 for float master weights",
            ),
            Self::FloatsForPacked { .. } => Some(
                "for float master weights that are quantised when loaded, set `linear_class` to \
                 `autobitlinear` and `quantization_mode` to `online`",
            ),
            Self::PackedForFloats { .. } => Some(
                "for packed weights, `quantization_config` needs `quantization_mode` `offline` and the \
                 `linear_class` of the model they come from",
            ),
            Self::MissingTensor { name, .. } if name == "lm_head.weight" => {
                Some("if the model shares its embedding as head, `tie_word_embeddings` must be true")
            }
            Self::UnknownNorm { .. } => Some(
                "a model is run only as it was trained; norms before every linear need \
                 `use_rms_norm` in `quantization_config`, sub-norms need `model_type` `bitnet`",
            ),
            Self::TiedHeadDiffers { .. } => {
                Some("set `tie_word_embeddings` to false to use the separate head")
            }
            _ => None,
        }
    }
}
