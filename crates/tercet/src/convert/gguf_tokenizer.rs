//! `tokenizer.json` as the metadata of a GGUF file: the other direction of `gguf::model`.
//!
//! ```text
//! byte-level BPE       tokenizer.ggml.model gpt2    tokens, merges, and the name of the pattern
//! SentencePiece BPE    tokenizer.ggml.model llama   tokens, and scores from which the merges follow
//! ```
//!
//! What such metadata cannot hold is refused: other patterns, other steps around the vocabulary, merges that do
//! not follow from scores. The last is found out by reading back what was made.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use tokenizers::{Model, ModelWrapper};

use super::ConvertError;
use crate::config::Config;
use crate::gguf::NewValue;
use crate::gguf::model::token_type::{BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED};
use crate::gguf::model::{LLAMA3_PATTERN, tokenizer_of};
use crate::tokenizer::byte_named;

/// The keys of a tokenizer, and of the token that begins a text.
pub(super) fn metadata(
    file: &str,
    tokenizer: &Value,
    config: &Config,
) -> Result<Vec<(String, NewValue)>, ConvertError> {
    let (rows, bos) = (config.vocab_size, config.bos_token_id);
    let reader = Reader { file, tokenizer };
    let kind = reader.kind()?;
    let (texts, types) = reader.tokens(kind, rows)?;
    let mut entries = vec![
        ("tokenizer.ggml.model", NewValue::Text(kind.model().to_owned())),
        ("tokenizer.ggml.tokens", NewValue::Texts(texts.clone())),
        ("tokenizer.ggml.token_type", NewValue::Int32s(types.iter().map(|is| *is as i32).collect())),
    ];
    match kind {
        Kind::Gpt2 | Kind::Llama3 => {
            let pre = if kind == Kind::Gpt2 { "gpt-2" } else { "llama-bpe" };
            entries.push(("tokenizer.ggml.pre", NewValue::Text(pre.to_owned())));
            entries.push(("tokenizer.ggml.merges", NewValue::Texts(reader.merges()?)));
        }
        Kind::SentencePiece { begins_with_space } => {
            entries.push(("tokenizer.ggml.pre", NewValue::Text("default".to_owned())));
            entries.push(("tokenizer.ggml.scores", NewValue::Float32s(reader.scores(&texts)?)));
            entries.push(("tokenizer.ggml.add_space_prefix", NewValue::Bool(begins_with_space)));
            if let Some(unknown) = types.iter().position(|token_type| *token_type == UNKNOWN) {
                entries.push(("tokenizer.ggml.unknown_token_id", NewValue::Uint32(unknown as u32)));
            }
        }
    }
    let [begin, end] = reader.around()?;
    if let (Some(begin), Some(bos)) = (begin, bos)
        && begin != bos
    {
        return Err(
            reader.refused(&format!("texts that begin with token {begin}, where `bos_token_id` is {bos}"))
        );
    }
    if let Some(end) = end.filter(|end| config.eos_token_ids.first() != Some(end)) {
        return Err(reader
            .refused(&format!("texts that end with token {end}, which is not the first `eos_token_id`")));
    }
    entries.push(("tokenizer.ggml.add_bos_token", NewValue::Bool(begin.is_some())));
    entries.push(("tokenizer.ggml.add_eos_token", NewValue::Bool(end.is_some())));
    entries.extend(begin.or(bos).map(|bos| ("tokenizer.ggml.bos_token_id", NewValue::Uint32(bos))));
    let entries: Vec<_> = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    reader.check_read_back(&entries, end, rows)?;
    Ok(entries)
}

/// What kind of tokenizer it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gpt2,
    Llama3,
    SentencePiece { begins_with_space: bool },
}

impl Kind {
    fn model(self) -> &'static str {
        match self {
            Kind::Gpt2 | Kind::Llama3 => "gpt2",
            Kind::SentencePiece { .. } => "llama",
        }
    }
}

struct Reader<'a> {
    file: &'a str,
    tokenizer: &'a Value,
}

impl Reader<'_> {
    fn refused(&self, what: &str) -> ConvertError {
        ConvertError::Tokenizer { file: self.file.to_owned(), what: what.to_owned() }
    }

    /// Recognises the steps before the vocabulary.
    fn kind(&self) -> Result<Kind, ConvertError> {
        let model = &self.tokenizer["model"];
        if model["type"].as_str().is_some_and(|kind| kind != "BPE") || !model["merges"].is_array() {
            return Err(self.refused("a tokenizer that is no BPE"));
        }
        let pre = &self.tokenizer["pre_tokenizer"];
        let normalizer = &self.tokenizer["normalizer"];
        if model["byte_fallback"] == json!(true) {
            let begins_with_space = match steps(normalizer, "normalizers").as_slice() {
                [first, second] if is_prepend(first) && is_boundary(second) => true,
                [second, first] if is_prepend(first) && is_boundary(second) => true,
                [only] if is_boundary(only) => false,
                _ => return Err(self.refused("the steps of `normalizer`")),
            };
            return match pre {
                Value::Null => Ok(Kind::SentencePiece { begins_with_space }),
                _ => Err(self.refused("`byte_fallback` beside a `pre_tokenizer`")),
            };
        }
        if !normalizer.is_null() {
            return Err(self.refused("a `normalizer` beside byte-level BPE"));
        }
        match steps(pre, "pretokenizers").as_slice() {
            [only] if is_byte_level(only, true) => Ok(Kind::Gpt2),
            [split, bytes] if is_llama3_split(split) && is_byte_level(bytes, false) => Ok(Kind::Llama3),
            _ => {
                Err(self
                    .refused("the pattern of `pre_tokenizer`: those of GPT-2 and LLaMA 3 have names there"))
            }
        }
    }

    /// Texts and types of all tokens, by their ids; rows of the embedding without a token are unused.
    fn tokens(&self, kind: Kind, rows: usize) -> Result<(Vec<String>, Vec<u32>), ConvertError> {
        let mut texts: Vec<Option<(String, u32)>> = vec![None; rows];
        let mut put = |id: Option<u64>, text: &str, token_type: u32| {
            let place = id.and_then(|id| texts.get_mut(usize::try_from(id).ok()?));
            let place = place.ok_or_else(|| self.refused("a token whose id the model has not"))?;
            *place = Some((text.to_owned(), token_type));
            Ok::<_, ConvertError>(())
        };
        for (text, id) in self.tokenizer["model"]["vocab"].as_object().into_iter().flatten() {
            let is_byte = matches!(kind, Kind::SentencePiece { .. }) && byte_named(text).is_some();
            put(id.as_u64(), text, if is_byte { BYTE } else { NORMAL })?;
        }
        let unknown = self.tokenizer["model"]["unk_token"].as_str();
        for added in self.tokenizer["added_tokens"].as_array().into_iter().flatten() {
            let text = added["content"].as_str().unwrap_or_default();
            let token_type = match added["special"].as_bool() {
                _ if Some(text) == unknown => UNKNOWN,
                Some(true) => CONTROL,
                _ => USER_DEFINED,
            };
            put(added["id"].as_u64(), text, token_type)?;
        }
        let unused = |id: usize| (format!("[PAD{id}]"), UNUSED);
        Ok(texts.into_iter().enumerate().map(|(id, token)| token.unwrap_or_else(|| unused(id))).unzip())
    }

    /// Two tokens with a space between, in the order in which they are merged.
    fn merges(&self) -> Result<Vec<String>, ConvertError> {
        let pairs = self.pairs()?;
        if pairs.iter().any(|(left, right)| left.contains(' ') || right.contains(' ')) {
            return Err(self.refused("a merge of a token with a space"));
        }
        Ok(pairs.into_iter().map(|(left, right)| format!("{left} {right}")).collect())
    }

    /// Scores by which the tokens are merged in the order of `merges`: what is merged earlier has a greater one.
    fn scores(&self, texts: &[String]) -> Result<Vec<f32>, ConvertError> {
        let mut ranks: HashMap<String, f32> = HashMap::new();
        for (rank, (left, right)) in self.pairs()?.into_iter().enumerate() {
            ranks.entry(left + &right).or_insert(rank as f32 + 1.0);
        }
        Ok(texts.iter().map(|text| ranks.get(text).map_or(0.0, |rank| -rank)).collect())
    }

    /// The merges, in either of the two ways in which they are written.
    fn pairs(&self) -> Result<Vec<(String, String)>, ConvertError> {
        let pair = |merge: &Value| match merge {
            Value::String(text) => {
                text.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned()))
            }
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Some((left.clone(), right.clone())),
                _ => None,
            },
            _ => None,
        };
        let merges = self.tokenizer["model"]["merges"].as_array().into_iter().flatten();
        merges.map(|merge| pair(merge).ok_or_else(|| self.refused("a merge that is no pair"))).collect()
    }

    /// The merges, those that make one token in the order of their texts: a score has no order among them.
    fn pairs_by_token(&self) -> Result<Vec<(String, String)>, ConvertError> {
        let mut pairs = self.pairs()?;
        let makes_same = |a: &(String, String), b: &(String, String)| {
            a.0.len() + a.1.len() == b.0.len() + b.1.len()
                && a.0.bytes().chain(a.1.bytes()).eq(b.0.bytes().chain(b.1.bytes()))
        };
        pairs.chunk_by_mut(makes_same).for_each(<[_]>::sort_unstable);
        Ok(pairs)
    }

    /// The tokens that are put before and after a text.
    fn around(&self) -> Result<[Option<u32>; 2], ConvertError> {
        let mut around = [None, None];
        for step in steps(&self.tokenizer["post_processor"], "processors") {
            match step["type"].as_str() {
                Some("ByteLevel") => {}
                Some("TemplateProcessing") => {
                    around = self
                        .template(step)
                        .ok_or_else(|| self.refused("the template of `post_processor`"))?;
                }
                _ => return Err(self.refused("the steps of `post_processor`")),
            }
        }
        Ok(around)
    }

    /// The tokens of a template with one before the text, one after it, or none.
    fn template(&self, step: &Value) -> Option<[Option<u32>; 2]> {
        let mut around = [None, None];
        let mut is_after = false;
        for piece in step["single"].as_array()? {
            if piece["Sequence"].is_object() {
                is_after = true;
                continue;
            }
            let name = piece["SpecialToken"]["id"].as_str()?;
            let ids = step["special_tokens"][name]["ids"].as_array()?;
            let [id] = ids.as_slice() else { return None };
            let place = &mut around[usize::from(is_after)];
            if place.is_some() {
                return None;
            }
            *place = Some(u32::try_from(id.as_u64()?).ok()?);
        }
        Some(around)
    }

    /// Whether a reader of the metadata has the same vocabulary and merges.
    fn check_read_back(
        &self,
        entries: &[(String, NewValue)],
        end: Option<u32>,
        rows: usize,
    ) -> Result<(), ConvertError> {
        let mut entries = entries.to_vec();
        entries.extend(end.map(|end| ("tokenizer.ggml.eos_token_id".to_owned(), NewValue::Uint32(end))));
        // What the rules are where the metadata leave them open depends on the kind of model; these leave nothing open.
        entries.push(("general.architecture".to_owned(), NewValue::Text("llama".to_owned())));
        let read = tokenizer_of(&entries, rows).map_err(|error| self.refused(&error.to_string()))?;
        let read: Value = serde_json::from_slice(&read.unwrap_or_default())
            .map_err(|error| self.refused(&error.to_string()))?;
        let read_back = Reader { file: self.file, tokenizer: &read };
        let kind = self.kind()?;
        if read_back.pairs_by_token()? != self.pairs_by_token()? {
            return Err(self.refused("merges that do not follow from scores"));
        }
        if read_back.tokens(kind, rows)? != self.tokens(kind, rows)? {
            return Err(self.refused("its vocabulary"));
        }
        if read_back.added_tokens(kind) != self.added_tokens(kind) {
            return Err(self.refused(
                "an added token that takes spaces along, or only whole words, or is looked for late",
            ));
        }
        if read_back.around()? != self.around()? {
            return Err(self.refused("the tokens around a text"));
        }
        let decoder = |tokenizer: &Value| -> Vec<Value> {
            let steps = steps(&tokenizer["decoder"], "decoders").into_iter();
            steps.map(|step| json!([step["type"], step["pattern"], step["content"]])).collect()
        };
        if decoder(&read) != decoder(self.tokenizer) {
            return Err(self.refused("the steps of `decoder`"));
        }
        let takes_whole = |tokenizer: &Value| tokenizer["model"]["ignore_merges"] == json!(true);
        if takes_whole(&read) != takes_whole(self.tokenizer) && !self.merges_make_every_token() {
            return Err(self.refused("`ignore_merges` as it is, with tokens that merges do not make"));
        }
        Ok(())
    }

    /// Whether each token is what its own text is merged to, so that looking for it whole changes nothing.
    fn merges_make_every_token(&self) -> bool {
        let mut model = self.tokenizer["model"].clone();
        model["ignore_merges"] = json!(false);
        let Ok(model) = serde_json::from_value::<ModelWrapper>(model) else { return false };
        let added = self.tokenizer["added_tokens"].as_array().into_iter().flatten();
        let added: HashSet<&str> = added.filter_map(|token| token["content"].as_str()).collect();
        let texts = self.tokenizer["model"]["vocab"].as_object().into_iter().flatten().map(|(text, _)| text);
        let is_made = |text: &String| model.tokenize(text).is_ok_and(|tokens| tokens.len() == 1);
        texts.filter(|text| !added.contains(text.as_str())).all(is_made)
    }

    /// The added tokens with all that says how they are looked for, sorted.
    fn added_tokens(&self, kind: Kind) -> Vec<String> {
        let tokens = self.tokenizer["added_tokens"].as_array().into_iter().flatten();
        let flag = |token: &Value, name: &str| token[name] == json!(true);
        let shown = |token: &Value| {
            // Without a normalizer, before and after it are the same.
            let is_late = flag(token, "normalized") && matches!(kind, Kind::SentencePiece { .. });
            let flags = ["single_word", "lstrip", "rstrip"].map(|name| flag(token, name));
            format!("{} {} {flags:?} {is_late}", token["id"], token["content"])
        };
        let mut added: Vec<String> = tokens.map(shown).collect();
        added.sort_unstable();
        added
    }
}

/// The steps of a component, of which there may be one, several or none.
fn steps<'v>(component: &'v Value, field: &str) -> Vec<&'v Value> {
    match component {
        Value::Null => Vec::new(),
        Value::Object(fields) if fields.get("type").is_some_and(|kind| kind == "Sequence") => {
            component[field].as_array().into_iter().flatten().collect()
        }
        one => vec![one],
    }
}

fn is_prepend(step: &Value) -> bool {
    step["type"] == "Prepend" && step["prepend"] == "▁"
}

fn is_boundary(step: &Value) -> bool {
    step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == "▁"
}

fn is_byte_level(step: &Value, uses_regex: bool) -> bool {
    step["type"] == "ByteLevel"
        && step["add_prefix_space"] == json!(false)
        && step["use_regex"].as_bool().unwrap_or(true) == uses_regex
}

fn is_llama3_split(step: &Value) -> bool {
    step["type"] == "Split"
        && step["pattern"]["Regex"] == LLAMA3_PATTERN
        && step["behavior"] == "Isolated"
        && step["invert"] != json!(true)
}
