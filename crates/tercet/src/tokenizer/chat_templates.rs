//! The templates of a model's chats, as a folder has them: one, or several by their names.
//!
//! | file | holds |
//! |---|---|
//! | `chat_template.jinja` | the template that is used where no other is asked for |
//! | `additional_chat_templates/NAME.jinja` | one with a name, such as `tool_use` |
//! | `tokenizer_config.json` | `chat_template`: these where the files are missing |
//!
//! A GGUF file is read as if it were such a folder. A model without any of them is a base model: none is ever made up.
//! It runs none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::special_tokens::object_of;
use super::{TOKENIZER_CONFIG_FILE, TokenizerError};
use crate::json::{kind, shown};
use crate::source::{Source, SourceError};

/// The file with the chat template, where it is not in [`TOKENIZER_CONFIG_FILE`].
pub const CHAT_TEMPLATE_FILE: &str = "chat_template.jinja";

/// The file with the template that is used where there are tools, beside that one.
pub const TOOL_USE_TEMPLATE_FILE: &str = "additional_chat_templates/tool_use.jinja";

/// The folder of the templates with names.
const NAMED_FOLDER: &str = "additional_chat_templates";
const EXTENSION: &str = ".jinja";

/// Templates with names that are read from files of their own.
const NAMED_MAX: usize = 64;

/// The name of the template that is used where none is asked for.
pub const DEFAULT_TEMPLATE: &str = "default";

/// The field of [`TOKENIZER_CONFIG_FILE`].
const FIELD: &str = "chat_template";

/// A model's templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatTemplates {
    /// The one that is used where none is asked for.
    pub default: Option<String>,
    /// Those for something else, such as the use of tools, by their names.
    pub named: BTreeMap<String, String>,
}

impl ChatTemplates {
    /// The templates of a model; those in files of their own before those of `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`TokenizerError`] if a file cannot be read, or holds something else.
    pub fn read(source: &Source) -> Result<Self, TokenizerError> {
        let config = object_of(source, TOKENIZER_CONFIG_FILE)?;
        let mut templates = Self::of_field(config.get(FIELD)).map_err(|found| TokenizerError::Value {
            file: source.file_name(TOKENIZER_CONFIG_FILE),
            field: FIELD.to_owned(),
            found,
            expected: "a template, or a list of named ones".to_owned(),
        })?;
        if source.has(CHAT_TEMPLATE_FILE) {
            templates.default = Some(text_of(source, CHAT_TEMPLATE_FILE)?);
        }
        let files = named_template_files(source)?;
        if files.len() > NAMED_MAX {
            let folder = source.file_name(NAMED_FOLDER);
            return Err(TokenizerError::Templates { folder, found: files.len(), limit: NAMED_MAX });
        }
        for file in files {
            if let Some(name) = named_template(&file) {
                templates.named.insert(name.to_owned(), text_of(source, &file)?);
            }
        }
        Ok(templates)
    }

    /// How messages call the file that [`ChatTemplates::read`] takes the template of this name from.
    pub fn file_of(source: &Source, name: &str) -> String {
        let own = match name {
            DEFAULT_TEMPLATE => CHAT_TEMPLATE_FILE.to_owned(),
            name => format!("{NAMED_FOLDER}/{name}{EXTENSION}"),
        };
        // A name out of the field may lead to another folder, from which nothing is read.
        let is_read = name == DEFAULT_TEMPLATE || named_template(&own).is_some();
        source.file_name(if is_read && source.has(&own) { &own } else { TOKENIZER_CONFIG_FILE })
    }

    /// The templates in the field of `tokenizer_config.json`, or what is found there if it is neither a text nor a list
    /// of texts with names, each name once.
    fn of_field(field: Option<&Value>) -> Result<Self, String> {
        match field {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(Value::String(template)) => Ok(Self { default: Some(template.clone()), ..Self::default() }),
            Some(Value::Array(list)) => {
                let mut named = BTreeMap::new();
                for template in list {
                    let text = |field: &str| template[field].as_str().map(str::to_owned);
                    let (Some(name), Some(text)) = (text("name"), text("template")) else {
                        return Err("a list with something that has no `name` or no `template`".to_owned());
                    };
                    let again = format!("a list with two named `{}`", shown(&name));
                    if named.insert(name, text).is_some() {
                        return Err(again);
                    }
                }
                Ok(Self { default: named.remove(DEFAULT_TEMPLATE), named })
            }
            Some(other) => Err(kind(other).to_owned()),
        }
    }

    /// What the field says; nothing where there are no templates.
    pub(crate) fn to_field(&self) -> Option<Value> {
        if self.named.is_empty() {
            return self.default.as_ref().map(|template| json!(template));
        }
        Some(self.all().map(|(name, template)| json!({"name": name, "template": template})).collect())
    }

    /// How many there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.all().fold((0, 0), |(count, bytes), (_, template)| (count + 1, bytes + template.len()))
    }

    /// All of them with their names.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let default = self.default.iter().map(|template| (DEFAULT_TEMPLATE, template.as_str()));
        default.chain(self.named.iter().map(|(name, template)| (name.as_str(), template.as_str())))
    }
}

/// The files of templates with names, by their own names; other files beside them are left out.
///
/// # Errors
/// [`SourceError`] if their folder cannot be listed.
pub fn named_template_files(source: &Source) -> Result<Vec<String>, SourceError> {
    let files = source.files_in(NAMED_FOLDER)?;
    Ok(files.into_iter().filter(|file| named_template(file).is_some()).collect())
}

/// The name of the template in a file, if that is one for a template with a name.
pub fn named_template(file: &str) -> Option<&str> {
    let name = file.strip_prefix(NAMED_FOLDER)?.strip_prefix('/')?.strip_suffix(EXTENSION)?;
    (!name.is_empty() && !name.contains('/') && name != DEFAULT_TEMPLATE).then_some(name)
}

fn text_of(source: &Source, file: &str) -> Result<String, TokenizerError> {
    String::from_utf8(source.read(file)?.into_owned()).map_err(|error| TokenizerError::Utf8 {
        file: source.file_name(file),
        at_byte: error.utf8_error().valid_up_to(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::MemoryFolder;

    fn folder(files: &[(&str, &[u8])]) -> Source {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), (*bytes).into())).collect();
        Source::Memory(MemoryFolder { name: "m".to_owned(), files })
    }

    #[test]
    fn files_of_their_own_come_before_the_field() {
        let config = json!({"chat_template": [
            {"name": "default", "template": "a"}, {"name": "rag", "template": "b"}, {"name": "tool_use", "template": "c"}]})
        .to_string();
        let all = [
            (TOKENIZER_CONFIG_FILE, config.as_bytes()),
            (CHAT_TEMPLATE_FILE, b"d"),
            (TOOL_USE_TEMPLATE_FILE, b"e"),
            ("additional_chat_templates/code.jinja", b"f"),
            ("additional_chat_templates/notes.txt", b"g"),
            ("additional_chat_templates/.jinja", b"h"),
            ("additional_chat_templates/old/code.jinja", b"i"),
        ];
        let source = folder(&all);
        let named = [("rag", "b"), ("tool_use", "e"), ("code", "f")];
        let named = named.map(|(name, text)| (name.to_owned(), text.to_owned())).into_iter().collect();
        let want = ChatTemplates { default: Some("d".to_owned()), named };
        assert_eq!(ChatTemplates::read(&source).unwrap(), want);
        for (name, file) in [
            ("default", CHAT_TEMPLATE_FILE),
            ("tool_use", TOOL_USE_TEMPLATE_FILE),
            ("rag", TOKENIZER_CONFIG_FILE),
            ("old/code", TOKENIZER_CONFIG_FILE),
            ("", TOKENIZER_CONFIG_FILE),
        ] {
            assert_eq!(ChatTemplates::file_of(&source, name), format!("m/{file}"));
        }
        assert_eq!(ChatTemplates::read(&folder(&[])).unwrap(), ChatTemplates::default());
    }

    #[test]
    fn files_that_hold_no_templates_are_errors() {
        let check = |files: &[(&str, &[u8])], want: &str| {
            assert_eq!(ChatTemplates::read(&folder(files)).unwrap_err().to_string(), want);
        };
        check(
            &[(CHAT_TEMPLATE_FILE, b"a\xff")],
            "m/chat_template.jinja: found bytes that are not UTF-8 at 1",
        );
        check(
            &[(TOKENIZER_CONFIG_FILE, br#"{"chat_template": 3}"#)],
            "m/tokenizer_config.json: field `chat_template` is a number, expected a template, or a list of named ones",
        );
        let names: Vec<String> = (0..65).map(|i| format!("{NAMED_FOLDER}/{i}.jinja")).collect();
        let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
        check(&many, "m/additional_chat_templates: found 65 chat templates, expected at most 64");
    }

    #[test]
    fn templates_are_read_as_they_are_written() {
        let named = |name: &str, template: &str| json!({"name": name, "template": template});
        for (field, size) in [
            (None, (0, 0)),
            (Some(json!("abc")), (1, 3)),
            (Some(json!([named("default", "abc"), named("tool_use", "d")])), (2, 4)),
            (Some(json!([named("rag", "abc"), named("tool_use", "d")])), (2, 4)),
        ] {
            let templates = ChatTemplates::of_field(field.as_ref()).unwrap();
            assert_eq!((templates.to_field(), templates.size()), (field, size));
        }
        assert_eq!(ChatTemplates::of_field(Some(&Value::Null)), Ok(ChatTemplates::default()));
    }

    #[test]
    fn what_holds_no_templates_is_named() {
        for (field, found) in [
            (json!(3), "a number"),
            (json!(["abc"]), "no `name` or no `template`"),
            (json!([{"name": "default"}]), "no `name` or no `template`"),
            (json!([{"name": "a", "template": ""}, {"name": "a", "template": ""}]), "two named `a`"),
        ] {
            let wrong = ChatTemplates::of_field(Some(&field)).unwrap_err();
            assert!(wrong.contains(found), "{wrong}");
        }
    }
}
