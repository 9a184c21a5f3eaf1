//! Tools that a model may call: what a client offers, how calls are written in a model's text, and how they are read
//! from it.
//!
//! | module | holds |
//! |---|---|
//! | `syntax` | how a model writes calls, by its template |
//! | `object` | one call's JSON, read piece by piece |
//! | `stream` | content and calls from a text, piece by piece |
//!
//! It calls no tool, and knows nothing of the wire.

mod object;
mod stream;
mod syntax;

use std::collections::HashSet;

use serde_json::Value;

pub use stream::{Delta, ToolStream};
pub use syntax::{CallForm, ToolSyntax};

/// The greatest number of tools in a request.
pub const TOOLS_MAX: usize = 128;

/// The longest name of a tool.
pub const NAME_MAX: usize = 64;

/// A tool that a client offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// What calls name.
    pub name: String,
    /// The JSON schema of its arguments; null where it takes none, or any.
    pub parameters: Value,
    /// Whether a keyword of the schema that is not supported is an error.
    pub strict: bool,
}

/// Whether the model must, may or must not call tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// It must not.
    None,
    /// It may.
    Auto,
    /// It must call at least one.
    Required,
    /// It must call this one.
    Named(String),
}

/// What is wrong with the tools of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// There are too many.
    #[error("{found} tools, expected at most {expected}")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        expected: usize,
    },
    /// A name that is none.
    #[error("`tools[{place}]` is named `{name}`, expected 1 to {NAME_MAX} of a-z, A-Z, 0-9, `_` and `-`")]
    Name {
        /// Its place among the tools.
        place: usize,
        /// The name.
        name: String,
    },
    /// Two of a name.
    #[error("two tools are named `{name}`")]
    Twice {
        /// The name.
        name: String,
    },
}

/// Checks the number and the names of tools; their schemas are checked where they are compiled.
///
/// # Errors
/// [`ToolError`] if there are too many, or a name is none or there twice.
pub fn check(tools: &[Tool]) -> Result<(), ToolError> {
    if tools.len() > TOOLS_MAX {
        return Err(ToolError::TooMany { found: tools.len(), expected: TOOLS_MAX });
    }
    let mut names = HashSet::new();
    for (place, tool) in tools.iter().enumerate() {
        let name = &tool.name;
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_letter) {
            let name = name.chars().take(NAME_MAX).collect();
            return Err(ToolError::Name { place, name });
        }
        if !names.insert(name) {
            return Err(ToolError::Twice { name: name.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<Tool> {
        let tool = |name: &&str| Tool { name: (*name).to_owned(), parameters: Value::Null, strict: false };
        names.iter().map(tool).collect()
    }

    #[test]
    fn names_are_plain_and_differ() {
        assert_eq!(check(&named(&["get_weather", "a-1"])), Ok(()));
        for name in ["", "a b", "a\"", "é", &"x".repeat(65)] {
            assert!(matches!(check(&named(&[name])), Err(ToolError::Name { place: 0, .. })), "{name:?}");
        }
        assert_eq!(check(&named(&["a", "b", "a"])), Err(ToolError::Twice { name: "a".to_owned() }));
    }

    #[test]
    fn there_are_at_most_128() {
        let names: Vec<String> = (0..129).map(|i| format!("t{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(check(&named(&names[..128])), Ok(()));
        assert_eq!(check(&named(&names)), Err(ToolError::TooMany { found: 129, expected: 128 }));
    }
}
