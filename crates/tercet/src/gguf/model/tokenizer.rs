//! `tokenizer.json` of the metadata of a GGUF file.
//!
//! ```text
//! tokenizer.ggml.model   gpt2    byte-level BPE: tokens, merges, and the pattern that `pre` names
//!                        llama   SentencePiece's BPE: tokens and scores; merges follow from the scores
//! ```
//!
//! It only translates; what a tokenizer may hold is checked by the reader of `tokenizer.json`. What it makes is
//! bounded, since many merges can follow from few tokens: with all that it takes for a while, at most 64 MiB beside
//! the file.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::config::{Architecture, ModelError};
use super::json_text::{List, json_text};
use super::tokens::{MODEL, TOKENS, Tokens};
use crate::gguf::MetadataError;
use crate::json::shown;

const PRE: &str = "tokenizer.ggml.pre";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";

/// The longest `tokenizer.json` that is made; LLaMA 3's takes some 7 MiB.
const TOKENIZER_MAX_BYTES: usize = 32 << 20;

/// The word boundary of SentencePiece.
const BOUNDARY: &str = "▁";

/// The longest piece of SentencePiece that is read; LLaMA's have at most 48. Merges are looked for in all of its parts.
const PIECE_MAX_BYTES: usize = 256;

/// The token that begins LLaMA 3's texts.
const LLAMA3_BOS: &str = "<|begin_of_text|>";

/// LLaMA 3's pattern, as its makers published it.
pub(crate) const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The file, its lists made while it is written.
#[derive(Serialize)]
struct TokenizerJson<A, V, M> {
    added_tokens: A,
    model: ModelJson<V, M>,
    #[serde(flatten)]
    others: Value,
}

#[derive(Serialize)]
struct ModelJson<V, M> {
    vocab: V,
    merges: M,
    #[serde(flatten)]
    others: Value,
}

/// The bytes of the file; nothing where there is no tokenizer.
pub(super) fn of(tokens: &Tokens<'_>, architecture: Architecture) -> Result<Option<Vec<u8>>, ModelError> {
    let metadata = tokens.metadata;
    match metadata.string(MODEL)? {
        None => Ok(None),
        Some("gpt2") => byte_level(tokens, architecture).map(Some),
        Some("llama") => Ok(sentence_piece(tokens).map(Some)?),
        Some(other) => Err(metadata.out_of_range(MODEL, shown(other), "`gpt2` or `llama`").into()),
    }
}

/// Byte-level BPE.
fn byte_level(tokens: &Tokens<'_>, architecture: Architecture) -> Result<Vec<u8>, ModelError> {
    let metadata = tokens.metadata;
    let is_gpt2 = is_gpt2(tokens, architecture)?;
    let merges = metadata.strings(MERGES)?.ok_or_else(|| metadata.missing(MERGES))?;
    if let Some(wrong) = merges.clone().find(|merge| pair(merge).is_none()) {
        let found = format!("`{}`", shown(wrong));
        return Err(metadata.out_of_range(MERGES, found, "two tokens with a space between").into());
    }
    let pairs = List(|| merges.clone().filter_map(pair));

    let bytes = |uses_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": uses_regex});
    let pre_tokenizer = if is_gpt2 {
        bytes(true)
    } else {
        let split = json!({"type": "Split", "pattern": {"Regex": LLAMA3_PATTERN}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
    };
    let others = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor(tokens, !is_gpt2)?,
        "decoder": bytes(true),
    });
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
        // LLaMA 3 takes a piece that is a token as it is.
        "ignore_merges": !is_gpt2,
    });
    Ok(text(tokens, MERGES, pairs, model, others)?)
}

/// Whether texts are cut as GPT-2 cuts them, and not as LLaMA 3 does.
///
/// Files of BitNet b1.58 2B4T do not say it, nor do early ones of other models with LLaMA 3's vocabulary; those are
/// told by the token that begins a text. Where neither tells, nothing is guessed.
fn is_gpt2(tokens: &Tokens<'_>, architecture: Architecture) -> Result<bool, ModelError> {
    let metadata = tokens.metadata;
    match metadata.string(PRE)? {
        Some("gpt-2") => Ok(true),
        Some("llama-bpe" | "llama3" | "llama-v3" | "falcon3") => Ok(false),
        Some(other) => Err(metadata.out_of_range(PRE, shown(other), "`llama-bpe` or `gpt-2`").into()),
        None if architecture.is_2b4t() || tokens.id(LLAMA3_BOS).is_some() => Ok(false),
        None => Err(ModelError::PreTokenizer(metadata.missing(PRE))),
    }
}

/// The two tokens of a merge; a space inside a token is written as another character.
fn pair(merge: &str) -> Option<(&str, &str)> {
    merge.split_once(' ').filter(|(_, right)| !right.contains(' '))
}

/// SentencePiece's BPE: bytes for what no token has, and a boundary before each word.
fn sentence_piece(tokens: &Tokens<'_>) -> Result<Vec<u8>, MetadataError> {
    let metadata = tokens.metadata;
    let scores = metadata.floats(SCORES)?.ok_or_else(|| metadata.missing(SCORES))?;
    tokens.check_count(SCORES, scores.len())?;
    if let Some(bad) = scores.iter().find(|score| !score.is_finite()) {
        return Err(metadata.out_of_range(SCORES, bad.to_string(), "finite numbers"));
    }
    tokens.check_lengths(PIECE_MAX_BYTES)?;
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
    let others = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null,
        "post_processor": post_processor(tokens, true)?,
        "decoder": {"type": "Sequence", "decoders": decoders},
    });
    let unknown = tokens.unknown();
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": unknown.is_some(), "byte_fallback": true, "ignore_merges": false,
    });

    // SentencePiece makes first the pair whose joint token has the greatest score.
    let mut order: Vec<usize> = (0..scores.len()).filter(|id| tokens.is_piece(*id)).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let merges = List(|| order.iter().flat_map(|id| merges_into(tokens, *id)));
    text(tokens, TOKENS, merges, model, others)
}

/// The pairs of tokens that a token can come of, those of earlier tokens first.
fn merges_into<'a>(tokens: &Tokens<'a>, id: usize) -> impl Iterator<Item = (&'a str, &'a str)> {
    let text = tokens.texts()[id];
    let id_of = |part: &str| tokens.id(part).filter(|id| tokens.is_piece(*id));
    let parts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
    let known = parts.filter_map(|(left, right)| Some(([id_of(left)?, id_of(right)?], (left, right))));
    let mut known: Vec<_> = known.collect();
    known.sort_by_key(|(ids, _)| *ids);
    known.into_iter().map(|(_, pair)| pair)
}

/// What is put around a text.
fn post_processor(tokens: &Tokens<'_>, adds_bos: bool) -> Result<Value, MetadataError> {
    let wanted = |key: &str, default: bool| -> Result<bool, MetadataError> {
        Ok(tokens.metadata.boolean(&format!("tokenizer.ggml.add_{key}_token"))?.unwrap_or(default))
    };
    let token = |key: &str, is_wanted: bool| match is_wanted {
        true => tokens.named(&format!("tokenizer.ggml.{key}_token_id")),
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

/// The text of the file; that it is too long is the fault of the merges, which come from `key`.
fn text(
    tokens: &Tokens<'_>,
    key: &str,
    merges: impl Serialize,
    model: Value,
    others: Value,
) -> Result<Vec<u8>, MetadataError> {
    let model = ModelJson { vocab: tokens.vocabulary(), merges, others: model };
    let file = TokenizerJson { added_tokens: tokens.added(), model, others };
    json_text(TOKENIZER_MAX_BYTES, &file).ok_or_else(|| {
        let found = format!("of merges that make `tokenizer.json` longer than {TOKENIZER_MAX_BYTES} bytes");
        tokens.metadata.out_of_range(key, found, "fewer")
    })
}
