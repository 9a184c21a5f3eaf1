//! Conversations and their answers, whole and in chunks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AllOfBuilder, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::generation::{GenerationFields, Timings, Usage};

/// A conversation to be continued: the fields of chats and those of any generation, side by side.
pub(crate) struct ChatRequest;

impl PartialSchema for ChatRequest {
    fn schema() -> RefOr<Schema> {
        AllOfBuilder::new().item(ChatFields::schema()).item(GenerationFields::schema()).into()
    }
}

impl ToSchema for ChatRequest {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        ChatFields::schemas(schemas);
        GenerationFields::schemas(schemas);
    }
}

/// The fields that only chats have.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct ChatFields {
    /// What was said so far.
    #[schema(value_type = Vec<Message>, min_items = 1)]
    pub(crate) messages: Vec<Value>,
    /// Tokens to generate at most; the newer name of `max_tokens`.
    pub(crate) max_completion_tokens: Option<u64>,
    /// Whether the answer says how likely its tokens were.
    pub(crate) logprobs: Option<bool>,
    /// How many of the likeliest tokens are told beside each.
    #[schema(minimum = 0)]
    pub(crate) top_logprobs: Option<u64>,
    /// What the model may call.
    #[schema(value_type = Option<Vec<Object>>)]
    pub(crate) tools: Option<Vec<Value>>,
    /// `none`, `auto`, `required`, or a tool by its name.
    #[schema(value_type = Option<Object>)]
    pub(crate) tool_choice: Option<Value>,
    /// Whether an answer may have several calls.
    pub(crate) parallel_tool_calls: Option<bool>,
    /// Variables for the model's template.
    #[schema(value_type = Option<Object>)]
    pub(crate) chat_template_kwargs: Option<Map<String, Value>>,
    /// Whether the template opens the assistant's answer; yes unless the final message is continued.
    pub(crate) add_generation_prompt: Option<bool>,
    /// Whether the answer continues the last message.
    pub(crate) continue_final_message: Option<bool>,
    /// Handed on to the model's template.
    pub(crate) reasoning_effort: Option<String>,
}

/// A message of a conversation.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it describes messages; they are checked as JSON and go to the template as they came"
)]
pub(crate) struct Message {
    /// Who speaks.
    role: String,
    /// What is said: a text, or parts of type `text`.
    #[schema(value_type = Option<String>)]
    content: Option<Value>,
}

/// An answer, whole.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Chat {
    /// Its id.
    pub(crate) id: String,
    /// `chat.completion`.
    pub(crate) object: &'static str,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// The model.
    pub(crate) model: String,
    /// What says that two answers were computed alike.
    pub(crate) system_fingerprint: String,
    /// As many as `n`.
    pub(crate) choices: Vec<ChatChoice>,
    /// What it took.
    pub(crate) usage: Usage,
    /// How long it took, where there is one choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timings: Option<Timings>,
}

/// One answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChatChoice {
    /// Its number.
    pub(crate) index: usize,
    /// What the assistant says.
    pub(crate) message: AnsweredMessage,
    /// How likely its tokens were, where asked for.
    #[schema(required)]
    pub(crate) logprobs: Option<ChatLogprobs>,
    /// `stop`, `length` or `tool_calls`.
    pub(crate) finish_reason: &'static str,
}

/// What the assistant says.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct AnsweredMessage {
    /// `assistant`.
    pub(crate) role: &'static str,
    /// The text; null where there are only calls.
    #[schema(required)]
    pub(crate) content: Option<String>,
    /// Always null: nothing here refuses.
    #[schema(required)]
    pub(crate) refusal: Option<String>,
    /// What is to be called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<ToolCall>,
}

/// What is to be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ToolCall {
    /// Its id, by which the result is given back.
    pub(crate) id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// Which, with what.
    pub(crate) function: FunctionCall,
}

/// A function, and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FunctionCall {
    /// Its name.
    pub(crate) name: String,
    /// A JSON object, as text.
    pub(crate) arguments: String,
}

/// How likely the tokens of an answer were.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ChatLogprobs {
    /// Token by token.
    pub(crate) content: Vec<ChatToken>,
}

/// How likely a token was.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ChatToken {
    /// Its text.
    pub(crate) token: String,
    /// Its log-probability.
    pub(crate) logprob: f64,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// The likeliest tokens in its place.
    pub(crate) top_logprobs: Vec<TopToken>,
}

/// One of the likeliest tokens.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct TopToken {
    /// Its text.
    pub(crate) token: String,
    /// Its log-probability.
    pub(crate) logprob: f64,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

/// A piece of an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChatChunk {
    /// The answer's id.
    pub(crate) id: String,
    /// `chat.completion.chunk`.
    pub(crate) object: &'static str,
    /// Seconds since 1970, the same in all.
    pub(crate) created: u64,
    /// The model.
    pub(crate) model: String,
    /// What says that two answers were computed alike.
    pub(crate) system_fingerprint: String,
    /// One, or none in the chunk that says what the answer took.
    pub(crate) choices: Vec<ChatChunkChoice>,
    /// With `include_usage`: null, and in the last chunk what the answer took.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>)]
    pub(crate) usage: Option<Option<Usage>>,
    /// How long it took, in a choice's last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timings: Option<Timings>,
}

/// A piece of one choice.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChatChunkChoice {
    /// The choice's number.
    pub(crate) index: usize,
    /// What is new.
    pub(crate) delta: Delta,
    /// How likely its tokens were, where asked for.
    #[schema(required)]
    pub(crate) logprobs: Option<ChatLogprobs>,
    /// Null until the last.
    #[schema(required)]
    pub(crate) finish_reason: Option<&'static str>,
}

/// What is new of a message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct Delta {
    /// `assistant`, in the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<&'static str>,
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
    /// Parts of calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<ToolCallPiece>,
}

/// A part of a call: id and name first, then the arguments bit by bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ToolCallPiece {
    /// Which call of the message.
    pub(crate) index: usize,
    /// Its id, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// `function`, once.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<&'static str>,
    /// What is new of the function.
    pub(crate) function: FunctionPiece,
}

/// A part of a function and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FunctionPiece {
    /// Its name, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// What is new of the arguments.
    pub(crate) arguments: String,
}
