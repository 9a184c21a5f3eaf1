//! The tokens of a GGUF file, of bounded number and length, and each of them once.
//!
//! It knows neither merges nor scores.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::json;

use super::json_text::{List, Object, json_bytes};
use crate::gguf::{Metadata, MetadataError};
use crate::json::shown;
use crate::tokenizer::byte_named;

pub(super) const MODEL: &str = "tokenizer.ggml.model";
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";

/// Tokens that are read; the largest vocabularies of language models have some 262 144.
const TOKENS_MAX: usize = 400_000;
/// The longest token that is read; LLaMA 3's have at most 256 bytes.
const TOKEN_MAX_BYTES: usize = 4096;
/// Bytes of all tokens in `tokenizer.json`; LLaMA 3's take less than 3 MiB.
const TOKENS_JSON_MAX_BYTES: usize = 16 << 20;

/// The names of control tokens that end a turn.
pub(crate) const TURN_ENDS: [&str; 4] = ["<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>"];

/// The types of tokens.
pub(crate) mod token_type {
    pub(crate) const NORMAL: u32 = 1;
    pub(crate) const UNKNOWN: u32 = 2;
    pub(crate) const CONTROL: u32 = 3;
    pub(crate) const USER_DEFINED: u32 = 4;
    pub(crate) const UNUSED: u32 = 5;
    pub(crate) const BYTE: u32 = 6;
}
use token_type::{BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED};

/// The tokens of a file.
pub(super) struct Tokens<'a> {
    pub(super) metadata: &'a Metadata,
    texts: Vec<&'a str>,
    types: Vec<u32>,
    ids: HashMap<&'a str, usize>,
}

impl<'a> Tokens<'a> {
    /// Reads them, for an embedding of so many `rows`; nothing where the file has no tokenizer.
    pub(super) fn read(metadata: &'a Metadata, rows: usize) -> Result<Option<Self>, MetadataError> {
        let texts = match metadata.strings(TOKENS)? {
            Some(texts) => texts,
            None if metadata.has(MODEL) => return Err(metadata.missing(TOKENS)),
            None => return Ok(None),
        };
        let wrong = |found: String, expected: String| Err(metadata.out_of_range(TOKENS, found, expected));
        if texts.len() > rows {
            return wrong(
                format!("a list of {}", texts.len()),
                format!("at most the {rows} of the embedding"),
            );
        }
        if texts.len() > TOKENS_MAX {
            return wrong(format!("a list of {}", texts.len()), format!("at most {TOKENS_MAX}"));
        }
        let texts: Vec<&str> = texts.collect();
        let mut ids = HashMap::with_capacity(texts.len());
        for (id, text) in texts.iter().enumerate() {
            if ids.insert(*text, id).is_some() {
                return wrong(format!("`{}` twice", shown(text)), "each token once".to_owned());
            }
        }
        let types = metadata.integers(TYPES)?.unwrap_or_else(|| vec![NORMAL; texts.len()]);
        let tokens = Self { metadata, texts, types, ids };
        tokens.check_count(TYPES, tokens.types.len())?;
        tokens.check_lengths(TOKEN_MAX_BYTES)?;
        tokens.check_bytes()?;
        let json = json_bytes(TOKENS_JSON_MAX_BYTES, &(tokens.added(), tokens.vocabulary()));
        if json.is_none() {
            return wrong(format!("of more than {TOKENS_JSON_MAX_BYTES} bytes as JSON"), "fewer".to_owned());
        }
        Ok(Some(tokens))
    }

    /// The texts, by their ids.
    pub(super) fn texts(&self) -> &[&'a str] {
        &self.texts
    }

    /// The id of a text.
    pub(super) fn id(&self, text: &str) -> Option<usize> {
        self.ids.get(text).copied()
    }

    /// The text of the token that stands for what has none.
    pub(super) fn unknown(&self) -> Option<&'a str> {
        self.types.iter().position(|token_type| *token_type == UNKNOWN).map(|id| self.texts[id])
    }

    /// Whether merges can make a token, or use it.
    pub(super) fn is_piece(&self, id: usize) -> bool {
        matches!(self.types[id], NORMAL | USER_DEFINED)
    }

    /// The ids of control tokens that end a turn by their names, whatever the file says.
    pub(super) fn turn_ends(&self) -> impl Iterator<Item = u64> {
        let ends = TURN_ENDS.into_iter().filter_map(|name| self.id(name));
        ends.filter(|id| self.types[*id] == CONTROL).map(|id| id as u64)
    }

    /// The token of a key, such as the one that begins a text.
    pub(super) fn named(&self, key: &str) -> Result<Option<(u64, &'a str)>, MetadataError> {
        let Some(id) = self.metadata.integer(key)? else { return Ok(None) };
        let text = usize::try_from(id).ok().and_then(|id| self.texts.get(id));
        let wrong =
            || self.metadata.out_of_range(key, id.to_string(), format!("less than {}", self.texts.len()));
        Ok(Some((id, text.copied().ok_or_else(wrong)?)))
    }

    /// Each token's id; rows of the embedding that are not used have none.
    pub(super) fn vocabulary(&self) -> impl Serialize {
        Object(|| self.texts.iter().zip(0usize..).filter(|(_, id)| self.types[*id] != UNUSED))
    }

    /// Tokens that are found in a text before all others.
    pub(super) fn added(&self) -> impl Serialize {
        List(|| {
            let tokens = self.texts.iter().zip(&self.types).enumerate();
            let added = tokens
                .filter(|(_, (_, token_type))| matches!(**token_type, UNKNOWN | CONTROL | USER_DEFINED));
            added.map(|(id, (text, token_type))| {
                json!({
                    "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": *token_type != USER_DEFINED,
                })
            })
        })
    }

    /// Checks that the list of a key has an element for each token.
    pub(super) fn check_count(&self, key: &str, found: usize) -> Result<(), MetadataError> {
        if found == self.texts.len() {
            return Ok(());
        }
        let expected = format!("one for each of {} tokens", self.texts.len());
        Err(self.metadata.out_of_range(key, format!("a list of {found}"), expected))
    }

    /// Checks that each token of a byte names one.
    fn check_bytes(&self) -> Result<(), MetadataError> {
        let mut bytes = self.texts.iter().zip(&self.types).filter(|(_, token_type)| **token_type == BYTE);
        let Some((text, _)) = bytes.find(|(text, _)| byte_named(text).is_none()) else { return Ok(()) };
        let found = format!("`{}` of the type of bytes", shown(text));
        Err(self.metadata.out_of_range(TOKENS, found, "`<0x00>` to `<0xFF>` of this type"))
    }

    /// Checks that no token has more bytes.
    pub(super) fn check_lengths(&self, limit_bytes: usize) -> Result<(), MetadataError> {
        let Some(long) = self.texts.iter().find(|text| text.len() > limit_bytes) else { return Ok(()) };
        let found = format!("a token of {} bytes", long.len());
        Err(self.metadata.out_of_range(TOKENS, found, format!("at most {limit_bytes}")))
    }
}
