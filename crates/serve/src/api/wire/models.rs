//! Which models there are.

use serde::Serialize;
use utoipa::ToSchema;

/// All models.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// `list`.
    pub(crate) object: &'static str,
    /// One for each name.
    pub(crate) data: Vec<ModelObject>,
}

/// A model by one of its names.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ModelObject {
    /// The name.
    pub(crate) id: String,
    /// `model`.
    pub(crate) object: &'static str,
    /// Seconds since 1970 when it was loaded.
    pub(crate) created: u64,
    /// Who serves it.
    pub(crate) owned_by: &'static str,
    /// Its own name.
    pub(crate) root: String,
    /// Tokens of prompt and answer, by vLLM's name.
    pub(crate) max_model_len: usize,
    /// More of it.
    pub(crate) meta: ModelMeta,
}

/// Sizes of a model, by llama.cpp's names.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ModelMeta {
    /// Tokens of prompt and answer here.
    pub(crate) n_ctx: usize,
    /// Tokens that it was trained for.
    pub(crate) n_ctx_train: usize,
    /// Tokens of its vocabulary.
    pub(crate) n_vocab: usize,
    /// Its hidden size, which is also that of embeddings.
    pub(crate) n_embd: usize,
    /// Its parameters.
    pub(crate) n_params: u64,
}
