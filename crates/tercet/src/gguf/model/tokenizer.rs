//! `tokenizer.json` of the metadata of a GGUF file.
//!
//! ```text
//! tokenizer.ggml.model   gpt2    byte-level BPE: tokens, merges, and the pattern that `pre` names
//!                        llama   SentencePiece's BPE: tokens and scores; merges follow from the scores
//! ```
//!
//! It only translates; what a tokenizer may hold is checked by the reader of `tokenizer.json`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::config::ModelError;
use crate::gguf::Metadata;
use crate::json::shown;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";

/// The word boundary of SentencePiece.
const BOUNDARY: &str = "▁";

/// The longest piece of SentencePiece that is read; LLaMA's have at most 48. Merges are looked for in all of its parts.
const PIECE_MAX_BYTES: usize = 256;

/// The names of control tokens that end a turn.
pub(crate) const TURN_ENDS: [&str; 4] = ["<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>"];

// The types of tokens.
const NORMAL: u32 = 1;
const UNKNOWN: u32 = 2;
const CONTROL: u32 = 3;
const USER_DEFINED: u32 = 4;
const UNUSED: u32 = 5;

/// LLaMA 3's pattern, as its makers published it.
pub(crate) const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The tokens of a file.
pub(super) struct Tokens<'a> {
    metadata: &'a Metadata,
    texts: Vec<&'a str>,
    types: Vec<u32>,
}

/// The tokenizer; nothing where the file has none.
pub(super) fn of(tokens: Option<&Tokens<'_>>) -> Result<Option<Value>, ModelError> {
    let Some(tokens) = tokens else { return Ok(None) };
    let metadata = tokens.metadata;
    match metadata.string(MODEL)? {
        None => Ok(None),
        Some("gpt2") => byte_level(tokens).map(Some),
        Some("llama") => sentence_piece(tokens).map(Some),
        Some(other) => Err(metadata.out_of_range(MODEL, shown(other), "`gpt2` or `llama`").into()),
    }
}

impl<'a> Tokens<'a> {
    /// Reads them, for an embedding of so many `rows`; nothing where the file has no tokenizer.
    pub(super) fn read(metadata: &'a Metadata, rows: usize) -> Result<Option<Self>, ModelError> {
        let texts: Vec<&str> = match metadata.strings(TOKENS)? {
            Some(texts) => texts.collect(),
            None if metadata.has(MODEL) => return Err(metadata.missing(TOKENS).into()),
            None => return Ok(None),
        };
        let types = metadata.integers(TYPES)?.unwrap_or_else(|| vec![NORMAL; texts.len()]);
        let tokens = Self { metadata, texts, types };
        tokens.check_count(TYPES, tokens.types.len())?;
        if tokens.texts.len() > rows {
            let found = format!("a list of {}", tokens.texts.len());
            return Err(metadata
                .out_of_range(TOKENS, found, format!("at most the {rows} of the embedding"))
                .into());
        }
        Ok(Some(tokens))
    }

    /// The ids of control tokens that end a turn by their names, whatever the file says.
    pub(super) fn turn_ends(&self) -> impl Iterator<Item = u64> {
        let named = self.texts.iter().zip(&self.types).enumerate();
        let ends =
            named.filter(|(_, (text, token_type))| **token_type == CONTROL && TURN_ENDS.contains(*text));
        ends.map(|(id, _)| id as u64)
    }

    fn check_count(&self, key: &str, found: usize) -> Result<(), ModelError> {
        if found == self.texts.len() {
            return Ok(());
        }
        let expected = format!("one for each of {} tokens", self.texts.len());
        Err(self.metadata.out_of_range(key, format!("a list of {found}"), expected).into())
    }

    /// Each token's id, without those that are not used; a text that two tokens share is an error.
    fn vocabulary(&self) -> Result<Map<String, Value>, ModelError> {
        let mut vocabulary = Map::new();
        let used = self.texts.iter().enumerate().filter(|(id, _)| self.types[*id] != UNUSED);
        for (id, text) in used {
            if vocabulary.insert((*text).to_owned(), json!(id)).is_some() {
                let found = format!("`{}` twice", shown(text));
                return Err(self.metadata.out_of_range(TOKENS, found, "each token once").into());
            }
        }
        Ok(vocabulary)
    }

    /// Tokens that are found in a text before all others.
    fn added(&self) -> Value {
        let tokens = self.texts.iter().zip(&self.types).enumerate();
        let is_added = |token_type| matches!(token_type, UNKNOWN | CONTROL | USER_DEFINED);
        let added = tokens.filter(|(_, (_, token_type))| is_added(**token_type));
        let entry = |(id, (text, token_type)): (usize, (&&str, &u32))| {
            json!({
                "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": *token_type != USER_DEFINED,
            })
        };
        added.map(entry).collect()
    }

    /// The token of a key, such as the one that begins a text.
    fn named(&self, key: &str) -> Result<Option<(u64, &'a str)>, ModelError> {
        let Some(id) = self.metadata.integer(key)? else { return Ok(None) };
        let text = usize::try_from(id).ok().and_then(|id| self.texts.get(id));
        let wrong =
            || self.metadata.out_of_range(key, id.to_string(), format!("less than {}", self.texts.len()));
        Ok(Some((id, text.copied().ok_or_else(wrong)?)))
    }

    /// What is put around a text.
    fn post_processor(&self, adds_bos: bool) -> Result<Value, ModelError> {
        let wanted = |key: &str, default: bool| -> Result<bool, ModelError> {
            Ok(self.metadata.boolean(&format!("tokenizer.ggml.add_{key}_token"))?.unwrap_or(default))
        };
        let token = |key: &str, is_wanted: bool| match is_wanted {
            true => self.named(&format!("tokenizer.ggml.{key}_token_id")),
            false => Ok(None),
        };
        let bos = token("bos", wanted("bos", adds_bos)?)?;
        let eos = token("eos", wanted("eos", false)?)?;
        if bos.is_none() && eos.is_none() {
            return Ok(Value::Null);
        }
        let mut single = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
        let mut special = Map::new();
        for (token, at) in [(bos, 0), (eos, usize::from(bos.is_some()) + 1)] {
            let Some((id, text)) = token else { continue };
            single.insert(at, json!({"SpecialToken": {"id": text, "type_id": 0}}));
            special.insert(text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}));
        }
        let pair = json!([{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]);
        Ok(json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}))
    }
}

/// Byte-level BPE. Files without `pre` are those of BitNet b1.58 2B4T, whose tokenizer is LLaMA 3's.
fn byte_level(tokens: &Tokens<'_>) -> Result<Value, ModelError> {
    let metadata = tokens.metadata;
    let is_gpt2 = match metadata.string(PRE)? {
        Some("gpt-2") => true,
        None | Some("llama-bpe" | "llama3" | "llama-v3" | "falcon3") => false,
        Some(other) => return Err(metadata.out_of_range(PRE, shown(other), "`llama-bpe` or `gpt-2`").into()),
    };
    let merges = metadata.strings(MERGES)?.ok_or_else(|| metadata.missing(MERGES))?;
    let mut pairs = Vec::new();
    for merge in merges {
        // A space inside a token is written as another character.
        let pair = merge.split_once(' ').filter(|(_, right)| !right.contains(' '));
        let wrong = || {
            metadata.out_of_range(MERGES, format!("`{}`", shown(merge)), "two tokens with a space between")
        };
        let (left, right) = pair.ok_or_else(wrong)?;
        pairs.push(json!([left, right]));
    }
    let bytes = |uses_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": uses_regex});
    let pre_tokenizer = if is_gpt2 {
        bytes(true)
    } else {
        let split = json!({"type": "Split", "pattern": {"Regex": LLAMA3_PATTERN}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
    };
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": tokens.added(),
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": tokens.post_processor(!is_gpt2)?,
        "decoder": bytes(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            // LLaMA 3 takes a piece that is a token as it is.
            "ignore_merges": !is_gpt2,
            "vocab": tokens.vocabulary()?, "merges": pairs,
        },
    }))
}

/// SentencePiece's BPE: bytes for what no token has, and a boundary before each word.
fn sentence_piece(tokens: &Tokens<'_>) -> Result<Value, ModelError> {
    let metadata = tokens.metadata;
    let scores = metadata.floats(SCORES)?.ok_or_else(|| metadata.missing(SCORES))?;
    tokens.check_count(SCORES, scores.len())?;
    if let Some(bad) = scores.iter().find(|score| !score.is_finite()) {
        return Err(metadata.out_of_range(SCORES, bad.to_string(), "finite numbers").into());
    }
    if let Some(long) = tokens.texts.iter().find(|text| text.len() > PIECE_MAX_BYTES) {
        let found = format!("a token of {} bytes", long.len());
        return Err(metadata.out_of_range(TOKENS, found, format!("at most {PIECE_MAX_BYTES}")).into());
    }
    let unknown = tokens.types.iter().position(|token_type| *token_type == UNKNOWN);
    let unknown = unknown.map(|id| tokens.texts[id]);
    let begins_with_space = metadata.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": BOUNDARY})];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": BOUNDARY}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if begins_with_space {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": BOUNDARY}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": tokens.added(),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null,
        "post_processor": tokens.post_processor(true)?,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": unknown.is_some(), "byte_fallback": true, "ignore_merges": false,
            "vocab": tokens.vocabulary()?, "merges": merges_of_scores(tokens, &scores),
        },
    }))
}

/// The merges that SentencePiece makes: the pair whose joint token has the greatest score goes first.
///
/// Each token can come of several pairs; among those of one score the earlier tokens go first.
fn merges_of_scores(tokens: &Tokens<'_>, scores: &[f32]) -> Vec<[String; 2]> {
    let is_piece = |id: usize| tokens.types[id] == NORMAL || tokens.types[id] == USER_DEFINED;
    let pieces = (0..tokens.texts.len()).filter(|id| is_piece(*id));
    let ids: HashMap<&str, usize> = pieces.clone().map(|id| (tokens.texts[id], id)).collect();
    let mut order: Vec<usize> = pieces.collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut merges = Vec::new();
    for id in order {
        let text = tokens.texts[id];
        let parts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        let known = parts.filter_map(|(left, right)| Some((ids.get(left)?, ids.get(right)?, left, right)));
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|(left, right, ..)| (**left, **right));
        merges.extend(known.into_iter().map(|(_, _, left, right)| [left.to_owned(), right.to_owned()]));
    }
    merges
}
