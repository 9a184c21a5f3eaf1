//! What goes over the wire: OpenAI's schema, and the fields that vLLM and llama.cpp add to it.
//!
//! | module | holds |
//! |---|---|
//! | `chat` | conversations and their answers, whole and in chunks |
//! | `completions` | texts and their continuations |
//! | `embeddings` | texts as vectors |
//! | `generation` | what chats and completions have in common |
//! | `models` | which models there are |
//! | `props` | what the server is, and what is in the model |
//! | `tokens` | texts as tokens and back |
//!
//! It checks types only; values are checked where they are used. Unknown fields are let through, as clients
//! send many, and an explicit `null` is an absent field.

mod chat;
mod completions;
mod embeddings;
mod generation;
mod models;
mod props;
mod tokens;

pub(crate) use chat::{
    AnsweredMessage, Chat, ChatChoice, ChatChunk, ChatChunkChoice, ChatFields, ChatLogprobs, ChatRequest,
    ChatToken, Delta, FunctionCall, FunctionPiece, ToolCall, ToolCallPiece, TopToken,
};
pub(crate) use completions::{
    Completion, CompletionChoice, CompletionFields, CompletionLogprobs, CompletionRequest, Prompt,
};
pub(crate) use embeddings::{Embedding, EmbeddingRequest, EmbeddingUsage, Embeddings, Vector};
pub(crate) use generation::{GenerationFields, PromptTokensDetails, ResponseFormat, Timings, Usage};
pub(crate) use models::{ModelList, ModelMeta, ModelObject};
pub(crate) use props::{DefaultParams, DefaultSettings, LayerObject, Layers, LinearObject, Props, Shares};
pub(crate) use tokens::{
    DetokenizeRequest, Detokenized, Piece, TokenizeRequest, TokenizedText, TokenizerInfo, WrittenToken,
};
