//! The special tokens that a model's files name: those that begin and end a text, and others that templates write.
//!
//! | file | holds |
//! |---|---|
//! | `tokenizer_config.json` | `bos_token`, `eos_token` and others: each a text, or an object with it |
//! | `special_tokens_map.json` | the same, where that file does not say |
//! | `config.json` | `bos_token_id`, `eos_token_id`, where neither does |

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{TOKENIZER_CONFIG_FILE, Tokenizer, TokenizerError};
use crate::config::CONFIG_FILE;
use crate::json::{kind, parse_object, shown};
use crate::source::Source;

/// The file that names special tokens beside [`TOKENIZER_CONFIG_FILE`].
pub const SPECIAL_TOKENS_MAP_FILE: &str = "special_tokens_map.json";

const BOS: &str = "bos_token";
const EOS: &str = "eos_token";

/// The tokens at the ends of a text, as `tokenizer_config.json` names them, where a tokenizer has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextEnds {
    /// `bos_token`: begins a text.
    pub bos: Option<u32>,
    /// `eos_token`: ends a text.
    pub eos: Option<u32>,
}

impl TextEnds {
    /// Reads them; without the file there are none.
    ///
    /// # Errors
    /// [`TokenizerError`] if the file is damaged, or names a token that the tokenizer has not.
    pub fn read(source: &Source, tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let config = object_of(source, TOKENIZER_CONFIG_FILE)?;
        let id = |field: &str| -> Result<Option<u32>, TokenizerError> {
            let wrong = |found: String, expected: &str| TokenizerError::Value {
                file: source.file_name(TOKENIZER_CONFIG_FILE),
                field: field.to_owned(),
                found,
                expected: expected.to_owned(),
            };
            let value = config.get(field).unwrap_or(&Value::Null);
            if value.is_null() {
                return Ok(None);
            }
            let token = text_of(value).ok_or_else(|| wrong(kind(value).to_owned(), "a token"))?;
            let id = tokenizer.token_to_id(token);
            id.map(Some).ok_or_else(|| wrong(format!("`{}`", shown(token)), "a token of `tokenizer.json`"))
        };
        Ok(TextEnds { bos: id(BOS)?, eos: id(EOS)? })
    }
}

/// Special tokens as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedTokens {
    /// `bos_token`, `eos_token` and others, by the names of their fields.
    pub by_field: BTreeMap<String, String>,
    /// `additional_special_tokens`, where there is a list.
    pub additional: Option<Vec<String>>,
}

impl NamedTokens {
    /// Those that the files name; `bos_token` and `eos_token` are there in any case, and empty where there are none.
    ///
    /// # Errors
    /// [`TokenizerError`] if one of the files is damaged.
    pub fn read(source: &Source, tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let mut tokens = NamedTokens::default();
        for file in [TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_MAP_FILE] {
            for (field, value) in object_of(source, file)? {
                if field == "additional_special_tokens" {
                    let texts =
                        |list: &Vec<Value>| list.iter().filter_map(text_of).map(str::to_owned).collect();
                    tokens.additional = tokens.additional.or_else(|| value.as_array().map(texts));
                } else if let Some(token) = text_of(&value).filter(|_| field.ends_with("_token")) {
                    tokens.by_field.entry(field).or_insert_with(|| token.to_owned());
                }
            }
        }
        let config = object_of(source, CONFIG_FILE)?;
        for end in [BOS, EOS] {
            let id = config.get(&format!("{end}_id"));
            let id = id.and_then(|id| id.as_array().map_or(Some(id), |ids| ids.first()));
            let id = id.and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            let token = || id.and_then(|id| tokenizer.id_to_token(id)).unwrap_or_default();
            tokens.by_field.entry(end.to_owned()).or_insert_with(token);
        }
        Ok(tokens)
    }
}

/// The text of a token: either that alone, or in an object that says more about it.
fn text_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// The object in a file, or an empty one where there is no such file.
pub(super) fn object_of(source: &Source, file: &str) -> Result<Map<String, Value>, TokenizerError> {
    if !source.has(file) {
        return Ok(Map::new());
    }
    let wrong = |error: serde_json::Error| TokenizerError::Json {
        file: source.file_name(file),
        detail: error.to_string(),
    };
    parse_object(&source.read(file)?).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::config::Config;
    use crate::embedded;
    use crate::source::MemoryFolder;

    fn read(config: &str) -> Result<TextEnds, TokenizerError> {
        let source = embedded::stories();
        let model = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
        let tokenizer = Tokenizer::read(&source, &model).unwrap();
        let mut folder = MemoryFolder { name: "m".to_owned(), ..MemoryFolder::default() };
        folder.files.insert(TOKENIZER_CONFIG_FILE.to_owned(), config.as_bytes().into());
        TextEnds::read(&Source::Memory(folder), &tokenizer)
    }

    #[test]
    fn a_token_is_a_string_or_an_object_or_absent() {
        let source = embedded::stories();
        let model = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
        let tokenizer = Tokenizer::read(&source, &model).unwrap();
        let (first, second) = (tokenizer.id_to_token(0).unwrap(), tokenizer.id_to_token(1).unwrap());
        let config =
            serde_json::json!({"bos_token": first, "eos_token": {"content": second, "special": true}});
        assert_eq!(read(&config.to_string()).unwrap(), TextEnds { bos: Some(0), eos: Some(1) });
        assert_eq!(read(r#"{"bos_token": null}"#).unwrap(), TextEnds::default());
        assert_eq!(
            TextEnds::read(&Source::Memory(MemoryFolder::default()), &tokenizer).unwrap(),
            TextEnds::default()
        );
    }

    #[test]
    fn tokens_are_named_by_the_first_file_that_does() {
        let source = embedded::stories();
        let model = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
        let tokenizer = Tokenizer::read(&source, &model).unwrap();
        let mut folder = MemoryFolder::default();
        for (file, text) in [
            (
                TOKENIZER_CONFIG_FILE,
                r#"{"add_bos_token": true, "pad_token": {"content": "<pad>"}, "unk_token": null}"#,
            ),
            (
                SPECIAL_TOKENS_MAP_FILE,
                r#"{"pad_token": "no", "unk_token": "<unk>", "additional_special_tokens": ["<a>", {"content": "<b>"}]}"#,
            ),
            (CONFIG_FILE, r#"{"bos_token_id": 0, "eos_token_id": [1, 0]}"#),
        ] {
            folder.files.insert(file.to_owned(), text.as_bytes().into());
        }
        let found = NamedTokens::read(&Source::Memory(folder), &tokenizer).unwrap();
        let (first, second) = (tokenizer.id_to_token(0).unwrap(), tokenizer.id_to_token(1).unwrap());
        let want =
            [("bos_token", &*first), ("eos_token", &*second), ("pad_token", "<pad>"), ("unk_token", "<unk>")];
        assert!(found.by_field.iter().map(|(field, token)| (&**field, &**token)).eq(want), "{found:?}");
        assert_eq!(found.additional.unwrap(), ["<a>", "<b>"]);
        let none = NamedTokens::read(&Source::Memory(MemoryFolder::default()), &tokenizer).unwrap();
        assert!(none.by_field.values().all(String::is_empty) && none.by_field.len() == 2);
    }

    #[test]
    fn an_unknown_token_is_an_error() {
        for (config, want) in [
            (
                r#"{"bos_token": "no such"}"#,
                "field `bos_token` is `no such`, expected a token of `tokenizer.json`",
            ),
            (r#"{"eos_token": 7}"#, "field `eos_token` is a number, expected a token"),
        ] {
            let message = read(config).unwrap_err().to_string();
            assert!(message.contains(want), "found `{message}`, expected `{want}`");
        }
    }
}
