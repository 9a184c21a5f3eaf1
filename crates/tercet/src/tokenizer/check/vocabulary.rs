//! The tokens of a tokenizer: their ids, and the merges that make them.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Checker, TokenizerError, found};
use crate::json::shown;
use crate::tokenizer::byte_named;

/// An added token, as the file has it.
pub(in crate::tokenizer) struct AddedToken {
    pub(in crate::tokenizer) content: String,
    pub(in crate::tokenizer) id: u32,
}

impl Checker<'_> {
    pub(super) fn model(&self, object: &Map<String, Value>) -> Result<(), TokenizerError> {
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
        if model["byte_fallback"] == true || object.get("decoder").is_some_and(decodes_bytes) {
            self.byte_names(vocab)?;
        }
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

    /// Every token that looks like the name of a byte must be one: the library takes some others for bytes too.
    fn byte_names(&self, vocab: &Map<String, Value>) -> Result<(), TokenizerError> {
        const NAME_BYTES: usize = "<0x00>".len();
        let looks =
            |token: &str| token.len() == NAME_BYTES && token.starts_with("<0x") && token.ends_with('>');
        match vocab.keys().find(|token| looks(token) && byte_named(token).is_none()) {
            Some(token) => {
                let found = format!("a list with `{}`", shown(token));
                Err(self.value("model.vocab", &found, "names of bytes from `<0x00>` to `<0xFF>`"))
            }
            None => Ok(()),
        }
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

    pub(super) fn added_tokens(
        &self,
        object: &Map<String, Value>,
    ) -> Result<Vec<AddedToken>, TokenizerError> {
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
}

/// Whether a decoder, or one of those in it, makes bytes of their names.
fn decodes_bytes(decoder: &Value) -> bool {
    decoder["type"] == "ByteFallback"
        || decoder["decoders"].as_array().is_some_and(|decoders| decoders.iter().any(decodes_bytes))
}
