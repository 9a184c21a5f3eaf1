//! Texts as vectors.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::completions::Prompt;

/// Texts to be turned into vectors.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct EmbeddingRequest {
    /// One of the names in `/v1/models`; may be absent.
    pub(crate) model: Option<String>,
    /// The texts; token ids only where the server was told to trust them.
    pub(crate) input: Prompt,
    /// `float` or `base64`: little-endian f32.
    #[schema(pattern = "^(float|base64)$")]
    pub(crate) encoding_format: Option<String>,
    /// The model's hidden size, or absent.
    pub(crate) dimensions: Option<u64>,
    /// `mean` of all tokens, or the `last` one's.
    #[schema(pattern = "^(mean|last)$")]
    pub(crate) pooling: Option<String>,
}

/// Vectors of texts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Embeddings {
    /// `list`.
    pub(crate) object: &'static str,
    /// In the order of the texts.
    pub(crate) data: Vec<Embedding>,
    /// The model.
    pub(crate) model: String,
    /// What it took.
    pub(crate) usage: EmbeddingUsage,
}

/// One vector.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Embedding {
    /// `embedding`.
    pub(crate) object: &'static str,
    /// The number of its text.
    pub(crate) index: usize,
    /// Of length 1.
    pub(crate) embedding: Vector,
}

/// A vector, as asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Vector {
    /// Its numbers.
    Float(Vec<f32>),
    /// Its numbers as little-endian f32 in base64.
    Base64(String),
}

/// What vectors took, in tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EmbeddingUsage {
    /// Tokens of the texts.
    pub(crate) prompt_tokens: usize,
    /// The same.
    pub(crate) total_tokens: usize,
    /// What the processor used, where there is a counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) joules: Option<f64>,
}
