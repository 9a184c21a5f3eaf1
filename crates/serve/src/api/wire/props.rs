//! What the server is, by llama.cpp's names where it has one, and what is in the model.

use serde::Serialize;
use utoipa::ToSchema;

/// What the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Props {
    /// How texts are generated where a request leaves it open.
    pub(crate) default_generation_settings: DefaultSettings,
    /// Requests that are worked on at once.
    pub(crate) total_slots: usize,
    /// Requests that may wait.
    pub(crate) max_waiting: usize,
    /// The model's own name.
    pub(crate) model_alias: String,
    /// The template of conversations, as it is written; null where the model has none and answers none.
    #[schema(required)]
    pub(crate) chat_template: Option<String>,
    /// What the page opens with: `chat`, or `completion` where the model has no template or one that marks no speakers.
    pub(crate) mode: &'static str,
    /// The model's family.
    pub(crate) family: &'static str,
    /// Its parameters.
    pub(crate) n_params: u64,
    /// Tokens that it was trained for.
    pub(crate) n_ctx_train: usize,
    /// Bytes of weights that one token reads.
    pub(crate) weight_bytes_per_token: usize,
    /// Bytes a second that are read from memory at best; null until that is known.
    #[schema(required)]
    pub(crate) memory_bytes_per_second: Option<f64>,
    /// The program and its version.
    pub(crate) build_info: String,
}

/// How texts are generated where a request leaves it open.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefaultSettings {
    /// Tokens of prompt and answer.
    pub(crate) n_ctx: usize,
    /// The fields of requests, with their values.
    pub(crate) params: DefaultParams,
}

/// The fields of requests, with the values of those that leave them out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefaultParams {
    /// Divides the logits.
    pub(crate) temperature: f32,
    /// Keeps so many of the likeliest tokens; 0 keeps all.
    pub(crate) top_k: usize,
    /// Keeps the likeliest tokens that together reach this probability.
    pub(crate) top_p: f32,
    /// Drops tokens less likely than this share of the likeliest.
    pub(crate) min_p: f32,
    /// Makes tokens less likely that were seen before.
    pub(crate) repetition_penalty: f32,
    /// Subtracted for each time a token was generated.
    pub(crate) frequency_penalty: f32,
    /// Subtracted if a token was generated at all.
    pub(crate) presence_penalty: f32,
}

/// What is in the layers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Layers {
    /// All ternary weights together; null for a dense model.
    #[schema(required)]
    pub(crate) ternary: Option<Shares>,
    /// Layer after layer.
    pub(crate) layers: Vec<LayerObject>,
}

/// One layer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct LayerObject {
    /// Its number, from 0.
    pub(crate) layer: usize,
    /// Its linears.
    pub(crate) linears: Vec<LinearObject>,
}

/// One linear.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct LinearObject {
    /// Its name in the checkpoint, within the layer.
    pub(crate) name: &'static str,
    /// Outputs and inputs.
    pub(crate) shape: [usize; 2],
    /// Bytes that it takes in memory.
    pub(crate) bytes: usize,
    /// real = weight × scale; null for a dense linear.
    #[schema(required)]
    pub(crate) scale: Option<f32>,
    /// Null for a dense linear.
    #[schema(required)]
    pub(crate) ternary: Option<Shares>,
}

/// The parts of weights that are -1, 0 and +1, together 1.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct Shares {
    /// -1.
    pub(crate) minus: f64,
    /// 0.
    pub(crate) zero: f64,
    /// +1.
    pub(crate) plus: f64,
}
