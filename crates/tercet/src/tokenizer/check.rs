//! What a `tokenizer.json` may contain, checked before the library reads it.
//!
//! The `tokenizers` library trusts its files: it panics on some, and loops or allocates without
//! bound on others. So only the components that language models use are let through, with
//! bounded contents, whole merges and ids that the model has.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::error::TokenizerError;
use crate::json::{kind, shown};

/// The greatest number of components in one pipeline, and the depth of its sequences.
const COMPONENTS_MAX: usize = 32;
const DEPTH_MAX: usize = 4;

/// The longest pattern of a split, in bytes. The known ones have up to 500.
const PATTERN_MAX_BYTES: usize = 1024;

/// The greatest number of repetitions such as `{1,3}` in a pattern, and of what they repeat.
///
/// A compiled pattern grows with their product. The known ones have three, of up to 3.
const REPETITIONS_MAX: usize = 8;
const REPEATED_MAX: usize = 16;

/// The longest text that a component inserts, in bytes.
const INSERTED_MAX_BYTES: usize = 64;

/// How many times longer a normalizer may make a text.
const GROWTH_MAX: usize = 16;

/// The greatest number of tokens that a post-processor inserts.
const TEMPLATE_MAX_TOKENS: usize = 64;

/// An added token, as the file has it.
pub(super) struct AddedToken {
    pub(super) content: String,
    pub(super) id: u32,
}

/// Checks a whole file and returns its added tokens.
pub(super) fn check(
    file: &str,
    object: &Map<String, Value>,
    vocab_size: usize,
) -> Result<Vec<AddedToken>, TokenizerError> {
    let checker = Checker { file, vocab_size };
    checker.pipeline(object, &NORMALIZERS)?;
    checker.pipeline(object, &PRE_TOKENIZERS)?;
    checker.pipeline(object, &POST_PROCESSORS)?;
    checker.pipeline(object, &DECODERS)?;
    checker.model(object)?;
    checker.added_tokens(object)
}

/// One of the four pipelines of a tokenizer.
struct Pipeline {
    field: &'static str,
    /// What a `Sequence` calls its list.
    list: &'static str,
    /// The components let through, beside `Sequence`.
    supported: &'static [&'static str],
}

const NORMALIZERS: Pipeline = Pipeline {
    field: "normalizer",
    list: "normalizers",
    supported: &["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "Prepend", "Replace"],
};

const PRE_TOKENIZERS: Pipeline = Pipeline {
    field: "pre_tokenizer",
    list: "pretokenizers",
    supported: &["ByteLevel", "Split", "Digits", "Punctuation", "Metaspace", "Whitespace", "WhitespaceSplit"],
};

const POST_PROCESSORS: Pipeline =
    Pipeline { field: "post_processor", list: "processors", supported: &["ByteLevel", "TemplateProcessing"] };

const DECODERS: Pipeline = Pipeline {
    field: "decoder",
    list: "decoders",
    supported: &["ByteLevel", "ByteFallback", "Fuse", "Metaspace", "Replace", "Strip"],
};

struct Checker<'a> {
    file: &'a str,
    vocab_size: usize,
}

/// What the components of a pipeline amount to together.
struct Totals {
    components: usize,
    growth: usize,
}

impl Checker<'_> {
    fn pipeline(&self, object: &Map<String, Value>, pipeline: &Pipeline) -> Result<(), TokenizerError> {
        let mut totals = Totals { components: 0, growth: 1 };
        match object.get(pipeline.field) {
            None | Some(Value::Null) => Ok(()),
            Some(component) => self.component(pipeline, pipeline.field, component, DEPTH_MAX, &mut totals),
        }
    }

    fn component(
        &self,
        pipeline: &Pipeline,
        field: &str,
        component: &Value,
        depth: usize,
        totals: &mut Totals,
    ) -> Result<(), TokenizerError> {
        totals.components += 1;
        if totals.components > COMPONENTS_MAX || depth == 0 {
            let expected = format!("at most {COMPONENTS_MAX} components, {DEPTH_MAX} deep");
            return Err(self.value(pipeline.field, "a larger pipeline", &expected));
        }
        let name = component.get("type").and_then(Value::as_str).unwrap_or_default();
        let is_sequence = name == "Sequence";
        if !is_sequence && !pipeline.supported.contains(&name) {
            let found = found(component.get("type"));
            let expected = format!("`{}` or `Sequence`", pipeline.supported.join("`, `"));
            return Err(self.value(&format!("{field}.type"), &found, &expected));
        }
        if pipeline.field == POST_PROCESSORS.field {
            self.post_processor_fields(field, name, component)?;
        }
        if is_sequence {
            let inner = component.get(pipeline.list).and_then(Value::as_array);
            for (i, inner) in inner.into_iter().flatten().enumerate() {
                let field = format!("{field}.{}[{i}]", pipeline.list);
                self.component(pipeline, &field, inner, depth - 1, totals)?;
            }
            return Ok(());
        }
        match name {
            "Split" => self.split_pattern(field, component),
            "Replace" => self.replacement(field, component, totals),
            "Prepend" => self.inserted(&format!("{field}.prepend"), component.get("prepend")).map(drop),
            "Strip" if pipeline.field == DECODERS.field => self.strip(field, component),
            "TemplateProcessing" => self.template(field, component),
            _ => Ok(()),
        }
    }

    /// The library takes a post-processor for what its fields fit, whatever its type says.
    fn post_processor_fields(
        &self,
        field: &str,
        name: &str,
        component: &Value,
    ) -> Result<(), TokenizerError> {
        let fields: &[&str] = match name {
            "ByteLevel" => &["add_prefix_space", "trim_offsets", "use_regex"],
            "TemplateProcessing" => &["single", "pair", "special_tokens"],
            _ => &["processors"],
        };
        let is_other = |key: &&String| *key != "type" && !fields.contains(&key.as_str());
        match component.as_object().and_then(|object| object.keys().find(is_other)) {
            None => Ok(()),
            Some(other) => {
                let expected = format!("none of this name in `{}`", shown(name));
                let field = format!("{field}.{}", shown(other));
                Err(self.value(&field, &found(component.get(other)), &expected))
            }
        }
    }

    fn split_pattern(&self, field: &str, split: &Value) -> Result<(), TokenizerError> {
        let pattern = &split["pattern"];
        let field = format!("{field}.pattern");
        let regex = pattern.get("Regex").and_then(Value::as_str);
        let text = regex.or_else(|| pattern.get("String").and_then(Value::as_str));
        if text.is_none_or(|text| text.len() > PATTERN_MAX_BYTES) {
            let expected = format!("a `Regex` or `String` of at most {PATTERN_MAX_BYTES} bytes");
            return Err(self.value(&field, &found(Some(pattern)), &expected));
        }
        if regex.is_some_and(repeats_too_much) {
            let expected = format!("at most {REPETITIONS_MAX} repetitions of up to {REPEATED_MAX}");
            return Err(self.value(&field, &found(pattern.get("Regex")), &expected));
        }
        Ok(())
    }

    /// A replacement must be of a plain text, and must not make texts much longer.
    fn replacement(&self, field: &str, replace: &Value, totals: &mut Totals) -> Result<(), TokenizerError> {
        let pattern = &replace["pattern"];
        let old_bytes = match pattern.get("String").and_then(Value::as_str) {
            Some(text) if !text.is_empty() && text.len() <= PATTERN_MAX_BYTES => text.len(),
            _ => {
                let expected = format!("a `String` of 1 to {PATTERN_MAX_BYTES} bytes");
                return Err(self.value(&format!("{field}.pattern"), &found(Some(pattern)), &expected));
            }
        };
        let content = format!("{field}.content");
        let new_bytes = self.inserted(&content, replace.get("content"))?;
        totals.growth *= new_bytes.div_ceil(old_bytes).max(1);
        if totals.growth <= GROWTH_MAX {
            return Ok(());
        }
        let expected = format!("replacements that make a text at most {GROWTH_MAX} times longer");
        Err(self.value(&content, &found(replace.get("content")), &expected))
    }

    /// The length of a text that a component inserts.
    fn inserted(&self, field: &str, text: Option<&Value>) -> Result<usize, TokenizerError> {
        match text.and_then(Value::as_str) {
            Some(text) if text.len() <= INSERTED_MAX_BYTES => Ok(text.len()),
            _ => {
                let expected = format!("a string of at most {INSERTED_MAX_BYTES} bytes");
                Err(self.value(field, &found(text), &expected))
            }
        }
    }

    /// The library panics when it strips the end of a text that is shorter.
    fn strip(&self, field: &str, strip: &Value) -> Result<(), TokenizerError> {
        if strip["stop"] == 0 {
            return Ok(());
        }
        Err(self.value(&format!("{field}.stop"), &found(strip.get("stop")), "0"))
    }

    /// A template for one text must hold it once, and insert tokens that are defined.
    fn template(&self, field: &str, template: &Value) -> Result<(), TokenizerError> {
        let single = template["single"].as_array().map_or(&[][..], Vec::as_slice);
        let is_text = |piece: &&Value| piece["Sequence"]["id"] == "A";
        if single.iter().filter(is_text).count() != 1 {
            let expected = "a list with `{\"Sequence\": {\"id\": \"A\"}}` once";
            return Err(self.value(&format!("{field}.single"), &found(template.get("single")), expected));
        }
        let mut inserted = 0;
        for piece in single.iter().filter(|piece| !is_text(piece)) {
            let Some(token) = piece["SpecialToken"]["id"].as_str() else {
                let expected = "a `SpecialToken` or the text";
                return Err(self.value(&format!("{field}.single"), &found(Some(piece)), expected));
            };
            let Some(ids) = template["special_tokens"][token]["ids"].as_array() else {
                return Err(TokenizerError::Template { file: self.file.to_owned(), token: shown(token) });
            };
            for id in ids {
                self.token_id(token, id)?;
            }
            inserted += ids.len();
        }
        if inserted <= TEMPLATE_MAX_TOKENS {
            return Ok(());
        }
        let expected = format!("at most {TEMPLATE_MAX_TOKENS} tokens");
        Err(self.value(&format!("{field}.single"), &format!("{inserted} tokens"), &expected))
    }

    fn model(&self, object: &Map<String, Value>) -> Result<(), TokenizerError> {
        let model = object.get("model").unwrap_or(&Value::Null);
        // The oldest files leave the type out; the library then tells by the fields.
        if !model["type"].is_null() && model["type"] != "BPE" || !model.is_object() {
            return Err(self.value("model.type", &found(model.get("type")), "`BPE`"));
        }
        for field in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if !(model[field].is_null() || model[field] == "") {
                let found = found(model.get(field));
                return Err(self.value(&format!("model.{field}"), &found, "null"));
            }
        }
        if !(model["dropout"].is_null() || model["dropout"].as_f64() == Some(0.0)) {
            let expected = "null, since a text must always give the same tokens";
            return Err(self.value("model.dropout", &found(model.get("dropout")), expected));
        }
        let Some(vocab) = model["vocab"].as_object() else {
            return Err(self.value("model.vocab", &found(model.get("vocab")), "an object"));
        };
        self.vocab(vocab)?;
        let unknown = &model["unk_token"];
        if !unknown.is_null() && !unknown.as_str().is_some_and(|token| vocab.contains_key(token)) {
            return Err(self.value("model.unk_token", &found(Some(unknown)), "a token of `model.vocab`"));
        }
        self.merges(&model["merges"], vocab)
    }

    fn vocab(&self, vocab: &Map<String, Value>) -> Result<(), TokenizerError> {
        let mut seen = HashSet::with_capacity(vocab.len());
        for (token, id) in vocab {
            let id = self.token_id(token, id)?;
            if !seen.insert(id) {
                return Err(TokenizerError::SharedId { file: self.file.to_owned(), token: shown(token), id });
            }
        }
        Ok(())
    }

    /// Every merge must be of two tokens, into a third.
    fn merges(&self, merges: &Value, vocab: &Map<String, Value>) -> Result<(), TokenizerError> {
        let Some(list) = merges.as_array() else {
            return Err(self.value("model.merges", &found(Some(merges)), "a list"));
        };
        for (rank, merge) in list.iter().enumerate() {
            let pair = match merge {
                Value::String(text) => text.split_once(' '),
                Value::Array(pair) => match pair.as_slice() {
                    [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
                    _ => None,
                },
                _ => None,
            };
            let Some((left, right)) = pair else {
                let field = format!("model.merges[{rank}]");
                return Err(self.value(&field, &found(Some(merge)), "a pair of tokens"));
            };
            let joined = format!("{left}{right}");
            for token in [left, right, &joined] {
                if !vocab.contains_key(token) {
                    return Err(TokenizerError::Merge {
                        file: self.file.to_owned(),
                        rank,
                        left: shown(left),
                        right: shown(right),
                        missing: shown(token),
                    });
                }
            }
        }
        Ok(())
    }

    fn added_tokens(&self, object: &Map<String, Value>) -> Result<Vec<AddedToken>, TokenizerError> {
        let mut seen = HashSet::new();
        let mut tokens = Vec::new();
        let list = match object.get("added_tokens") {
            None | Some(Value::Null) => return Ok(tokens),
            Some(list) => list,
        };
        let Some(entries) = list.as_array() else {
            return Err(self.value("added_tokens", &found(Some(list)), "a list"));
        };
        for (i, token) in entries.iter().enumerate() {
            let content = token["content"].as_str().filter(|content| !content.is_empty());
            let Some(content) = content else {
                let field = format!("added_tokens[{i}].content");
                return Err(self.value(&field, &found(token.get("content")), "a text"));
            };
            let id = self.token_id(content, &token["id"])?;
            if !seen.insert(id) {
                return Err(TokenizerError::SharedId {
                    file: self.file.to_owned(),
                    token: shown(content),
                    id,
                });
            }
            tokens.push(AddedToken { content: content.to_owned(), id });
        }
        Ok(tokens)
    }

    /// An id that the model has.
    fn token_id(&self, token: &str, id: &Value) -> Result<u32, TokenizerError> {
        let known = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let known = known.filter(|id| (*id as usize) < self.vocab_size);
        known.ok_or_else(|| TokenizerError::TokenId {
            file: self.file.to_owned(),
            token: shown(token),
            found: found(Some(id)),
            vocab_size: self.vocab_size,
        })
    }

    fn value(&self, field: &str, found: &str, expected: &str) -> TokenizerError {
        TokenizerError::Value {
            file: self.file.to_owned(),
            field: field.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        }
    }
}

/// Whether the counted repetitions of a pattern are too many or too large.
///
/// It errs on the side of counting: a `{` that the pattern means literally counts too.
fn repeats_too_much(regex: &str) -> bool {
    let bounds = regex.split('{').skip(1).filter_map(|after| after.split_once('}'));
    let counted: Vec<&str> = bounds
        .map(|(bounds, _)| bounds)
        .filter(|bounds| bounds.trim_start().starts_with(|c: char| c.is_ascii_digit() || c == ','))
        .collect();
    let is_large = |number: &str| match number.trim() {
        "" => false,
        number => number.parse().map_or(true, |number: usize| number > REPEATED_MAX),
    };
    counted.len() > REPETITIONS_MAX || counted.iter().any(|bounds| bounds.split(',').any(is_large))
}

/// A value as messages show it; of lists and objects only the kind.
fn found(value: Option<&Value>) -> String {
    match value {
        None => "absent".to_owned(),
        Some(value @ (Value::Array(_) | Value::Object(_))) => kind(value).to_owned(),
        Some(value) => shown(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_patterns_repeat_little() {
        for pattern in [r"\p{N}{1,3}| ?\p{L}+", r"\p{N}{1, 3}", r"a{,3}b{2,}", r"[^\s]{16}", "{", "{x}"] {
            assert!(!repeats_too_much(pattern), "{pattern}");
        }
    }

    #[test]
    fn large_and_many_repetitions_are_too_much() {
        for pattern in [r"a{17}", r"a{1,17}", r"a{ 99999999999999999999 }", &"a{2}".repeat(9)] {
            assert!(repeats_too_much(pattern), "{pattern}");
        }
    }
}
