//! From files to batches of tokens.
//!
//! ```text
//! files ─► read ─► tokenizer, chat ─► encode ─► cache ─► split, order ─► dataset ─► Batch
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `files` | which files there are, and what kind each is |
//! | `read`, `columns` | documents, in bounded pieces |
//! | `tokenizer` | the tokenizer of a run: given, or trained on the data |
//! | `chat` | conversations as text, and which of it the assistant wrote |
//! | `encode` | documents to tokens, on all threads, in order |
//! | `cache` | tokens in a mapped file, found again by what they were made from |
//! | `order` | which part of the tokens comes when |
//! | `dataset` | the training and validation data of a run |
//!
//! A batch is a function of the data, the seed and its number, so that a run goes on where it
//! stopped. It knows no model.

mod cache;
mod chat;
mod columns;
mod dataset;
mod encode;
mod error;
mod files;
mod order;

mod read;
mod tokenizer;
mod work;

pub use cache::TokenFile;
pub use chat::Parting;
pub use dataset::Dataset;
pub use error::DataError;
pub use tokenizer::{CHAT_TEMPLATE_FILE, TOKENIZER_CONFIG_FILE, TextTokenizer, load_tokenizer};
pub use work::{Progress, Stage, Work};

use crate::config::{DataConfig, TokenizerConfig};

/// What of the files that a configuration names is not there, before any of them is read.
pub(crate) fn missing(data: &DataConfig, tokenizer: &TokenizerConfig) -> Vec<DataError> {
    let tokenizer = tokenizer.path.as_ref().filter(|path| !path.exists());
    let template = data.chat.as_ref().and_then(|chat| chat.template.as_ref()).filter(|path| !path.exists());
    let mut missing = files::missing("data.train", &data.train);
    missing.extend(files::missing("data.validation", &data.validation));
    missing.extend(tokenizer.map(|path| DataError::NoTokenizerThere { path: path.clone() }));
    missing.extend(template.map(|path| DataError::NoTemplateThere { path: path.clone() }));
    missing
}

#[cfg(test)]
mod tests;

/// One micro-batch: sequences one after another, `rows` tokens in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// `[rows]`: the tokens that are read.
    pub tokens: Vec<u32>,
    /// `[rows]`: the token after each.
    pub targets: Vec<u32>,
    /// `[rows]`: whether the loss of a target counts.
    pub counts: Vec<bool>,
    /// Lengths of the parts that attend within themselves alone; they add up to `rows`. Each
    /// starts at position 0.
    pub segments: Vec<usize>,
}
