//! The messages of a context, as one text or as a conversation.
//!
//! ```text
//! system       instruction, description
//! user         question                   ┐
//! assistant    [prefix] answer            ┘ × num_fewshot
//! user         question
//! assistant    prefix                       where there is one: the model goes on with it
//! ```
//!
//! In a conversation of one turn all of the user and the assistant up to the last question is a message of
//! the user, with the delimiters between that a text has. It knows texts, and the templates that write
//! conversations; no documents.

use serde_json::{Map, Value as Json, json};
use tercet_chat::{Conversation, TemplateError, Templates};

use crate::python_space::is_python_space;

const SYSTEM: &str = "system";
const USER: &str = "user";
const ASSISTANT: &str = "assistant";

/// A part of a context, who says it, and what stands after it in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    role: &'static str,
    content: String,
    delimiter: String,
}

/// How contexts become conversations.
#[derive(Debug, Clone, Copy)]
pub struct Chat<'a> {
    /// The templates of the model; the usual one writes them all.
    pub templates: &'a Templates,
    /// Whether few-shot examples are turns of their own, and not part of the question.
    pub fewshot_as_multiturn: bool,
}

/// A conversation as text.
pub(super) struct Rendered {
    pub(super) text: String,
    /// Whether the template refused what the system says, and wrote the rest.
    pub(super) is_without_system: bool,
}

impl Message {
    /// What the system says: an instruction and the description of a task; none if both are empty.
    pub(super) fn of_system(instruction: &str, description: &str, delimiter: &str) -> Option<Self> {
        let content = joined(instruction, description, delimiter);
        (!content.is_empty()).then(|| Self::new(SYSTEM, content, ""))
    }

    /// A solved example; `delimiters` are those before and after an answer.
    pub(super) fn of_example(
        question: String,
        answer: &str,
        prefix: &str,
        delimiters: [&str; 2],
    ) -> Vec<Self> {
        let [before, after] = delimiters;
        if answer.is_empty() {
            return Self::of_question(question, prefix, before);
        }
        let before = if prefix.is_empty() || needs_delimiter(&question, prefix) { before } else { "" };
        vec![Self::new(USER, question, before), Self::new(ASSISTANT, joined(prefix, answer, " "), after)]
    }

    /// A question, and the beginning of its answer if there is one.
    pub(super) fn of_question(question: String, prefix: &str, delimiter: &str) -> Vec<Self> {
        if prefix.is_empty() {
            return vec![Self::new(USER, question, "")];
        }
        let delimiter = if needs_delimiter(&question, prefix) { delimiter } else { "" };
        vec![Self::new(USER, question, delimiter), Self::new(ASSISTANT, prefix.to_owned(), "")]
    }

    fn new(role: &'static str, content: String, delimiter: &str) -> Self {
        Message { role, content, delimiter: delimiter.to_owned() }
    }

    fn json(&self) -> Json {
        json!({ "role": self.role, "content": self.content })
    }
}

/// Messages one after the other, with their delimiters.
pub(super) fn as_text(messages: &[Message]) -> String {
    messages.iter().flat_map(|message| [message.content.as_str(), message.delimiter.as_str()]).collect()
}

impl Chat<'_> {
    /// A context by the template, up to where the model goes on. `messages` end with a question, or with an answer's
    /// beginning. A template that fails with what the system says is asked again without it.
    pub(super) fn rendered(&self, messages: &[Message]) -> Result<Rendered, TemplateError> {
        let turns = if self.fewshot_as_multiturn {
            messages.iter().map(Message::json).collect()
        } else {
            single_turn(messages)
        };
        let is_begun = messages.last().is_some_and(|message| message.role == ASSISTANT);
        let render = |messages: &[Json]| {
            self.templates.render(&Conversation {
                messages,
                tools: &[],
                add_generation_prompt: !is_begun,
                continue_final_message: is_begun,
                variables: &Map::new(),
            })
        };
        match (render(&turns), turns.split_first()) {
            (Err(error), Some((system, rest))) if error.is_of_conversation() && system["role"] == SYSTEM => {
                Ok(Rendered { text: render(rest)?, is_without_system: true })
            }
            (text, _) => Ok(Rendered { text: text?, is_without_system: false }),
        }
    }
}

/// Messages with all between the system's and an answer's beginning as one of the user.
fn single_turn(messages: &[Message]) -> Vec<Json> {
    let (system, rest) = match messages.split_first() {
        Some((first, rest)) if first.role == SYSTEM => (Some(first), rest),
        _ => (None, messages),
    };
    let (asked, begun) = match rest.split_last() {
        Some((last, before)) if last.role == ASSISTANT => (before, Some(last)),
        _ => (rest, None),
    };
    let mut asked = asked.to_vec();
    if let Some(last) = asked.last_mut() {
        last.delimiter.clear();
    }
    let user = Message::new(USER, as_text(&asked), "");
    system.into_iter().chain([&user]).chain(begun).map(Message::json).collect()
}

/// Two texts with a delimiter between, unless one is empty or has white space there.
fn joined(first: &str, second: &str, delimiter: &str) -> String {
    let delimiter = if !second.is_empty() && needs_delimiter(first, second) { delimiter } else { "" };
    [first, delimiter, second].concat()
}

/// Whether neither of two texts has white space where they meet; not before the first.
fn needs_delimiter(first: &str, second: &str) -> bool {
    !first.is_empty() && !first.ends_with(is_python_space) && !second.starts_with(is_python_space)
}
