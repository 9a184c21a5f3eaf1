//! The tokens that begin and end a text, as `tokenizer_config.json` names them.

use serde_json::Value;

use super::{TOKENIZER_CONFIG_FILE, Tokenizer, TokenizerError};
use crate::json::{kind, parse_object, shown};
use crate::source::Source;

/// The tokens at the ends of a text, where a tokenizer has them.
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
        if !source.has(TOKENIZER_CONFIG_FILE) {
            return Ok(TextEnds::default());
        }
        let file = source.file_name(TOKENIZER_CONFIG_FILE);
        let config = parse_object(&source.read(TOKENIZER_CONFIG_FILE)?)
            .map_err(|error| TokenizerError::Json { file: file.clone(), detail: error.to_string() })?;
        let id = |field: &str| -> Result<Option<u32>, TokenizerError> {
            let refused = |found: String, expected: &str| TokenizerError::Refused {
                file: file.clone(),
                detail: format!("field `{field}` is {found}, expected {expected}"),
            };
            let value = config.get(field).unwrap_or(&Value::Null);
            if value.is_null() {
                return Ok(None);
            }
            // Either the token, or an object that says more about it.
            let token = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
            let token = token.ok_or_else(|| refused(kind(value).to_owned(), "a token"))?;
            let id = tokenizer.token_to_id(token);
            id.map(Some).ok_or_else(|| refused(format!("`{}`", shown(token)), "a token of `tokenizer.json`"))
        };
        Ok(TextEnds { bos: id("bos_token")?, eos: id("eos_token")? })
    }
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
