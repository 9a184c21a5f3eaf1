//! Texts as tokens and back, in the forms of vLLM and of llama.cpp.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::chat::Message;

/// A text to be turned into tokens: `prompt` or `messages` as vLLM has it, or `content` as llama.cpp has it.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct TokenizeRequest {
    /// One of the names in `/v1/models`; may be absent.
    pub(crate) model: Option<String>,
    /// A text, with the model's special tokens unless told otherwise.
    pub(crate) prompt: Option<String>,
    /// A conversation, by the model's template.
    #[schema(value_type = Option<Vec<Message>>)]
    pub(crate) messages: Option<Vec<Value>>,
    /// A text, without special tokens unless told otherwise.
    pub(crate) content: Option<String>,
    /// Whether the tokens that the model expects around a text are added.
    pub(crate) add_special_tokens: Option<bool>,
    /// The same, by llama.cpp's name.
    pub(crate) add_special: Option<bool>,
    /// Whether each token comes with its text, as llama.cpp writes them.
    pub(crate) with_pieces: Option<bool>,
    /// Whether the texts of tokens come too, as vLLM writes them.
    pub(crate) return_token_strs: Option<bool>,
    /// Whether the template opens the assistant's answer.
    pub(crate) add_generation_prompt: Option<bool>,
    /// Whether the last message is left open.
    pub(crate) continue_final_message: Option<bool>,
    /// What the model may call.
    #[schema(value_type = Option<Vec<Object>>)]
    pub(crate) tools: Option<Vec<Value>>,
    /// Variables for the template.
    #[schema(value_type = Option<Object>)]
    pub(crate) chat_template_kwargs: Option<Map<String, Value>>,
}

/// The tokens of a text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenizedText {
    /// How many.
    pub(crate) count: usize,
    /// Tokens of prompt and answer that fit.
    pub(crate) max_model_len: usize,
    /// The tokens.
    pub(crate) tokens: Vec<WrittenToken>,
    /// Their texts, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_strs: Option<Vec<String>>,
}

/// A token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum WrittenToken {
    /// Its id.
    Id(u32),
    /// Its id and text.
    WithPiece {
        /// Its id.
        id: u32,
        /// Its text.
        piece: Piece,
    },
}

/// The text of a token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Piece {
    /// Whole characters.
    Text(String),
    /// Bytes that are none.
    Bytes(Vec<u8>),
}

/// Tokens to be turned into text.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct DetokenizeRequest {
    /// One of the names in `/v1/models`; may be absent.
    pub(crate) model: Option<String>,
    /// The tokens.
    pub(crate) tokens: Vec<u32>,
}

/// The text of tokens, special ones written out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Detokenized {
    /// By vLLM's name.
    pub(crate) prompt: String,
    /// By llama.cpp's name.
    pub(crate) content: String,
}

/// What a client that makes tokens itself must know.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenizerInfo {
    /// The class in Python's transformers.
    pub(crate) tokenizer_class: &'static str,
    /// Tokens of the tokenizer.
    pub(crate) vocab_size: usize,
    /// Tokens of prompt and answer that fit.
    pub(crate) model_max_length: usize,
    /// The token that begins a text.
    #[schema(required)]
    pub(crate) bos_token: Option<String>,
    /// The token that ends a text.
    #[schema(required)]
    pub(crate) eos_token: Option<String>,
    /// The token that fills up batches: that which ends a text.
    #[schema(required)]
    pub(crate) pad_token: Option<String>,
    /// Whether text prompts begin with `bos_token`.
    pub(crate) add_bos_token: bool,
    /// The template of chats.
    #[schema(required)]
    pub(crate) chat_template: Option<String>,
}
