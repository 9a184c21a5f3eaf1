//! The templates of a model's chats, as a folder has them: one, or several by their names.
//!
//! It runs none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::json::{kind, shown};

/// The file with the chat template, where it is not in [`TOKENIZER_CONFIG_FILE`](super::TOKENIZER_CONFIG_FILE).
pub const CHAT_TEMPLATE_FILE: &str = "chat_template.jinja";

/// The name of the template that is used where none is asked for.
const DEFAULT: &str = "default";

/// A model's templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatTemplates {
    /// The one that is used where none is asked for.
    pub default: Option<String>,
    /// Those for something else, such as the use of tools, by their names.
    pub named: BTreeMap<String, String>,
}

/// A field that holds no templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoTemplates {
    /// What it is.
    pub found: String,
    /// What it should be.
    pub expected: &'static str,
}

impl ChatTemplates {
    /// The templates in the field `chat_template` of `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`NoTemplates`] if it is neither a text nor a list of texts with names, each name once.
    pub fn of_field(field: Option<&Value>) -> Result<Self, NoTemplates> {
        let wrong = |found: &str| NoTemplates {
            found: found.to_owned(),
            expected: "a template, or a list of named ones",
        };
        match field {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(Value::String(template)) => Ok(Self { default: Some(template.clone()), ..Self::default() }),
            Some(Value::Array(list)) => {
                let mut named = BTreeMap::new();
                for template in list {
                    let text = |field: &str| template[field].as_str().map(str::to_owned);
                    let (Some(name), Some(text)) = (text("name"), text("template")) else {
                        return Err(wrong("a list with something that has no `name` or no `template`"));
                    };
                    let again = wrong(&format!("a list with two named `{}`", shown(&name)));
                    if named.insert(name, text).is_some() {
                        return Err(again);
                    }
                }
                Ok(Self { default: named.remove(DEFAULT), named })
            }
            Some(other) => Err(wrong(kind(other))),
        }
    }

    /// What the field says; nothing where there are no templates.
    pub(crate) fn to_field(&self) -> Option<Value> {
        if self.named.is_empty() {
            return self.default.as_ref().map(|template| json!(template));
        }
        let default = self.default.iter().map(|template| (DEFAULT, template));
        let named = self.named.iter().map(|(name, template)| (name.as_str(), template));
        let list = default.chain(named).map(|(name, template)| json!({"name": name, "template": template}));
        Some(list.collect())
    }

    /// How many there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let all = self.default.iter().chain(self.named.values());
        all.fold((0, 0), |(count, bytes), template| (count + 1, bytes + template.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(wrong.found.contains(found), "{}", wrong.found);
        }
    }
}
