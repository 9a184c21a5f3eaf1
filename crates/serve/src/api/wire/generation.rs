//! What chats and completions have in common: how a text is generated, and what it took.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// How a text is generated.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct GenerationFields {
    /// One of the names in `/v1/models`; may be absent.
    pub(crate) model: Option<String>,
    /// Tokens to generate at most: 16 for completions, the rest of the context for chats.
    pub(crate) max_tokens: Option<u64>,
    /// Tokens to generate before the text may end.
    pub(crate) min_tokens: Option<u64>,
    /// Divides the logits; 0 takes the likeliest token.
    #[schema(minimum = 0, maximum = 2)]
    pub(crate) temperature: Option<f64>,
    /// Keeps the likeliest tokens that together reach this probability.
    #[schema(minimum = 0, maximum = 1)]
    pub(crate) top_p: Option<f64>,
    /// Keeps so many of the likeliest tokens; 0 and -1 keep all.
    #[schema(minimum = -1)]
    pub(crate) top_k: Option<i64>,
    /// Drops tokens less likely than this share of the likeliest.
    #[schema(minimum = 0, maximum = 1)]
    pub(crate) min_p: Option<f64>,
    /// Makes tokens less likely that were seen in prompt or text; 1 is off.
    #[schema(minimum = 0.01, maximum = 100)]
    pub(crate) repetition_penalty: Option<f64>,
    /// Subtracted from a logit for each time the token was generated.
    #[schema(minimum = -2, maximum = 2)]
    pub(crate) frequency_penalty: Option<f64>,
    /// Subtracted from a logit if the token was generated at all.
    #[schema(minimum = -2, maximum = 2)]
    pub(crate) presence_penalty: Option<f64>,
    /// Choices for each prompt.
    #[schema(minimum = 1)]
    pub(crate) n: Option<u64>,
    /// Equal requests with a seed have equal answers.
    pub(crate) seed: Option<i64>,
    /// Texts that end the answer; each has at most `maxLength` bytes in UTF-8.
    pub(crate) stop: Option<OneOrMany>,
    /// Tokens that end the answer beside the model's own.
    pub(crate) stop_token_ids: Option<Vec<u32>>,
    /// Whether the text that ended the answer is part of it.
    pub(crate) include_stop_str_in_output: Option<bool>,
    /// Whether to go on after an end-of-text token.
    pub(crate) ignore_eos: Option<bool>,
    /// Added to the logits of tokens, by their ids; from -100 to 100.
    pub(crate) logit_bias: Option<BTreeMap<String, f64>>,
    /// Whether the answer comes in pieces as they are generated.
    pub(crate) stream: Option<bool>,
    /// What a stream has beside the text.
    pub(crate) stream_options: Option<StreamOptions>,
    /// What the text must look like.
    pub(crate) response_format: Option<ResponseFormat>,
}

impl GenerationFields {
    /// Whether a stream ends with what the answer took.
    pub(crate) fn shows_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }
}

/// One text or several.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub(crate) enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// As a list.
    pub(crate) fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// What a stream has beside the text.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct StreamOptions {
    /// Whether a last chunk says what the answer took.
    pub(crate) include_usage: Option<bool>,
}

/// What a text must look like.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    #[schema(pattern = "^(text|json_object|json_schema)$")]
    pub(crate) kind: String,
    /// The schema, as OpenAI has it.
    pub(crate) json_schema: Option<JsonSchemaFormat>,
    /// The schema, as llama.cpp has it.
    #[schema(value_type = Option<Object>)]
    pub(crate) schema: Option<Value>,
}

/// A JSON schema; its name and the rest are OpenAI's.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct JsonSchemaFormat {
    /// The schema; it must be there, or as llama.cpp has it.
    #[schema(value_type = Option<Object>)]
    pub(crate) schema: Option<Value>,
}

/// What an answer took, in tokens.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Tokens of the prompts.
    pub(crate) prompt_tokens: usize,
    /// Tokens generated.
    pub(crate) completion_tokens: usize,
    /// Both.
    pub(crate) total_tokens: usize,
    /// Of the prompts.
    pub(crate) prompt_tokens_details: PromptTokensDetails,
    /// What the processor used, where there is a counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) joules: Option<f64>,
}

/// Of the tokens of the prompts.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PromptTokensDetails {
    /// Those that were not computed, for they were in the cache.
    pub(crate) cached_tokens: usize,
}

/// How long an answer took, by llama.cpp's names.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Timings {
    /// Tokens of the prompt that were in the cache.
    pub(crate) cache_n: usize,
    /// Tokens of the prompt that were computed.
    pub(crate) prompt_n: usize,
    /// Milliseconds for them.
    pub(crate) prompt_ms: f64,
    /// Milliseconds for each.
    pub(crate) prompt_per_token_ms: f64,
    /// Tokens a second.
    pub(crate) prompt_per_second: f64,
    /// Tokens generated.
    pub(crate) predicted_n: usize,
    /// Milliseconds from the first to the last.
    pub(crate) predicted_ms: f64,
    /// Milliseconds for each after the first.
    pub(crate) predicted_per_token_ms: f64,
    /// Tokens a second, the first not counted.
    pub(crate) predicted_per_second: f64,
    /// Milliseconds that the request waited.
    pub(crate) queue_ms: f64,
}
