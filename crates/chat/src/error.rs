//! Why a template could not be read, or a conversation not be rendered.

use tercet::json::shown;
use tercet::tokenizer::TokenizerError;

use crate::VARIABLES;

/// What went wrong, and whose mistake it is: see [`TemplateError::is_of_conversation`].
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A file of the model could not be read, or holds something else than templates, or than what belongs to one.
    #[error(transparent)]
    File(#[from] TokenizerError),
    /// A template is longer than any of its kind.
    #[error("{file}: the chat template has {found} bytes, expected at most {limit}")]
    TooLong {
        /// The file.
        file: String,
        /// Its bytes.
        found: usize,
        /// The most that are read.
        limit: usize,
    },
    /// A template is not one.
    #[error("{file}: the chat template is wrong{}: {detail}", at_line(*.line))]
    Wrong {
        /// The file.
        file: String,
        /// Where, if that is known.
        line: Option<usize>,
        /// Why.
        detail: String,
    },
    /// A template fails with this conversation: it met something that it does not expect, or took
    /// more work or text than is allowed.
    #[error("{file}: the chat template fails{}: {detail}", at_line(*.line))]
    Failed {
        /// The file.
        file: String,
        /// Where, if that is known.
        line: Option<usize>,
        /// Why.
        detail: String,
    },
    /// The system gives no thread to render on. Neither template nor conversation is at fault.
    #[error("{file}: the chat template cannot be rendered now: the system gives no thread: {detail}")]
    NoThread {
        /// The file.
        file: String,
        /// What the system says.
        detail: String,
    },
    /// An earlier conversation came to no end in time and is still at work, so no other one is rendered.
    #[error(
        "{file}: the chat template cannot be rendered now: it came to no end before, and is still at work"
    )]
    Busy {
        /// The file.
        file: String,
    },
    /// The template itself refuses the conversation, in its own words.
    #[error("the chat template refuses the conversation: {detail}")]
    Raised {
        /// Where, if that is known.
        line: Option<usize>,
        /// What it says.
        detail: String,
    },
    /// The conversation is not one.
    #[error("{field}: found {found}, expected {expected}")]
    Conversation {
        /// Where, as `messages[2].content`.
        field: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// A variable that templates are not given.
    #[error("variable `{name}` is not one that a chat template is given, expected one of {}", VARIABLES.join(", "))]
    Variable {
        /// Its name.
        name: String,
    },
    /// There are templates, and none of the name that is looked for.
    #[error("{file}: found the chat templates {}, expected one named `{}`", listed(names), shown(name))]
    NoSuch {
        /// The file.
        file: String,
        /// The name: `default` where nobody asked for another.
        name: String,
        /// Those there are.
        names: Vec<String>,
    },
}

impl TemplateError {
    /// Whether who sent the conversation can mend it: another one may be rendered.
    pub fn is_of_conversation(&self) -> bool {
        matches!(
            self,
            Self::Failed { .. } | Self::Raised { .. } | Self::Conversation { .. } | Self::Variable { .. }
        )
    }

    /// Whether nobody is at fault, and the same may succeed another time.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::NoThread { .. } | Self::Busy { .. })
    }

    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File(error) => error.hint(),
            _ => None,
        }
    }
}

/// Names out of a model's files.
fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{}`", shown(name))).collect::<Vec<_>>().join(", ")
}

fn at_line(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" at line {line}"))
}
