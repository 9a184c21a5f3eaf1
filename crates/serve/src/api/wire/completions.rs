//! Texts and their continuations.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AllOfBuilder, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::generation::{GenerationFields, Timings, Usage};

/// A text to be continued: the fields of completions and those of any generation, side by side.
pub(crate) struct CompletionRequest;

impl PartialSchema for CompletionRequest {
    fn schema() -> RefOr<Schema> {
        AllOfBuilder::new().item(CompletionFields::schema()).item(GenerationFields::schema()).into()
    }
}

impl ToSchema for CompletionRequest {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        CompletionFields::schemas(schemas);
        GenerationFields::schemas(schemas);
    }
}

/// The fields that only completions have.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct CompletionFields {
    /// What comes first.
    pub(crate) prompt: Prompt,
    /// Whether the answer begins with the prompt.
    pub(crate) echo: Option<bool>,
    /// How many of the likeliest tokens are told beside each; absent, nothing is told of any.
    #[schema(minimum = 0)]
    pub(crate) logprobs: Option<u64>,
    /// Choices to make, of which the `n` likeliest are given.
    #[schema(minimum = 1)]
    pub(crate) best_of: Option<u64>,
    /// Not possible: what comes after.
    #[schema(max_length = 0)]
    pub(crate) suffix: Option<String>,
}

/// Texts or tokens, one prompt or several.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a string, a list of strings, a list of token ids, or a list of such lists"
)]
pub(crate) enum Prompt {
    /// A text.
    Text(String),
    /// Several.
    Texts(Vec<String>),
    /// A text in tokens, to which none are added.
    Tokens(Vec<u32>),
    /// Several.
    TokenLists(Vec<Vec<u32>>),
}

/// A text's continuation, whole or a piece of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Completion {
    /// Its id.
    pub(crate) id: String,
    /// `text_completion`.
    pub(crate) object: &'static str,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// The model.
    pub(crate) model: String,
    /// What says that two answers were computed alike.
    pub(crate) system_fingerprint: String,
    /// `n` of the first prompt, `n` of the second, and so on.
    pub(crate) choices: Vec<CompletionChoice>,
    /// What it took; in pieces as for chats.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>)]
    pub(crate) usage: Option<Option<Usage>>,
    /// How long it took, where there is one choice, or in a choice's last piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timings: Option<Timings>,
}

/// One continuation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CompletionChoice {
    /// Its number.
    pub(crate) index: usize,
    /// The text.
    pub(crate) text: String,
    /// How likely its tokens were, where asked for.
    #[schema(required)]
    pub(crate) logprobs: Option<CompletionLogprobs>,
    /// `stop` or `length`; null in pieces before the last.
    #[schema(required)]
    pub(crate) finish_reason: Option<&'static str>,
}

/// How likely tokens were, as lists of one length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct CompletionLogprobs {
    /// Their texts.
    pub(crate) tokens: Vec<String>,
    /// Their log-probabilities; null for the first of a prompt.
    pub(crate) token_logprobs: Vec<Option<f64>>,
    /// The likeliest tokens in their place, and themselves.
    #[schema(value_type = Vec<Option<Object>>)]
    pub(crate) top_logprobs: Vec<Option<Map<String, Value>>>,
    /// Where each begins in the text, in characters.
    pub(crate) text_offset: Vec<usize>,
}
