//! Messages as clients send them, and in the form that a template takes.
//!
//! ```text
//! content   a text, or a list of parts with one          ─▶ whichever of both the template takes
//! role      `developer`, where the template has no such   ─▶ `system`
//! arguments of a tool call, a text with JSON              ─▶ the object that it tells
//! ```
//!
//! All else goes to the template as it came. It knows no template.

use serde_json::{Map, Value as Json, json};

use crate::TemplateError;

/// The variables that a conversation may give to a template; another one is refused, so that nobody
/// believes it did something. What else a template reads is not the client's to set.
pub const VARIABLES: [&str; 9] = [
    "builtin_tools",
    "custom_tools",
    "date_string",
    "documents",
    "enable_thinking",
    "reasoning_effort",
    "thinking",
    "tools_in_user_message",
    "xml_tools",
];

/// What a part of a message is between where there are several and the template wants one text.
const BETWEEN_PARTS: &str = "\n";

/// Stands at the end of a message that is to be continued, so that its end is found in the text; a template that
/// takes the white space from messages takes the space.
const CONTINUES_HERE: &str = "<CONTINUES-HERE-5F1B> ";

/// A conversation to render.
#[derive(Debug, Clone, Copy)]
pub struct Conversation<'a> {
    /// Objects with a `role` and a `content`, as OpenAI has them. There may be none: the text is then what
    /// comes before the first, where the template has such.
    pub messages: &'a [Json],
    /// Tools that may be called, as OpenAI has them.
    pub tools: &'a [Json],
    /// Whether the text ends where the assistant's next message begins.
    pub add_generation_prompt: bool,
    /// Whether the text ends with the last message, within it, and not after the end of its turn.
    pub continue_final_message: bool,
    /// `chat_template_kwargs`: some of [`VARIABLES`].
    pub variables: &'a Map<String, Json>,
}

/// What a template takes for the content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A text.
    Text,
    /// A list of parts.
    Parts,
    /// Either.
    Both,
}

/// How a template wants its messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taste {
    pub(crate) form: Form,
    /// Whether it knows the role `developer`.
    pub(crate) knows_developer: bool,
}

impl Conversation<'_> {
    /// Refuses what is no conversation.
    pub(crate) fn check(&self) -> Result<(), TemplateError> {
        if let Some(name) = self.variables.keys().find(|name| !VARIABLES.contains(&name.as_str())) {
            return Err(TemplateError::Variable { name: name.clone() });
        }
        if self.continue_final_message && self.add_generation_prompt {
            let expected = "false, since `continue_final_message` is true";
            return Err(wrong("add_generation_prompt", "true", expected));
        }
        for (i, message) in self.messages.iter().enumerate() {
            let Some(message) = message.as_object() else {
                return Err(wrong(&format!("messages[{i}]"), kind(Some(message)), "an object"));
            };
            if !message.get("role").is_some_and(Json::is_string) {
                let field = format!("messages[{i}].role");
                return Err(wrong(&field, kind(message.get("role")), "a string"));
            }
        }
        Ok(())
    }

    /// The messages as a template of this taste takes them.
    pub(crate) fn shaped(&self, taste: Taste) -> Result<Vec<Json>, TemplateError> {
        let shape = |(i, message): (usize, &Json)| shaped(message, i, taste);
        let mut messages = self.messages.iter().enumerate().map(shape).collect::<Result<Vec<_>, _>>()?;
        if self.continue_final_message {
            let last = messages.len().saturating_sub(1);
            match messages.last_mut().map(|message| &mut message["content"]) {
                Some(Json::String(text)) => text.push_str(CONTINUES_HERE),
                Some(Json::Array(parts)) if !parts.is_empty() => {
                    let end = parts.len() - 1;
                    if let Json::String(text) = &mut parts[end]["text"] {
                        text.push_str(CONTINUES_HERE);
                    }
                }
                content => {
                    let field = format!("messages[{last}].content");
                    let found = kind(content.map(|content| &*content));
                    return Err(wrong(&field, found, "a text to continue"));
                }
            }
        }
        Ok(messages)
    }

    /// The rendered text as far as the conversation wants it.
    pub(crate) fn cut(&self, mut text: String) -> Result<String, TemplateError> {
        if self.continue_final_message {
            let Some(at) = text.rfind(CONTINUES_HERE.trim_end()) else {
                let expected =
                    "a template that shows the last message, since `continue_final_message` is true";
                return Err(wrong("messages", "a last message that the template leaves out", expected));
            };
            let is_trimmed = !text[at..].starts_with(CONTINUES_HERE);
            text.truncate(at);
            if is_trimmed {
                text.truncate(text.trim_end().len());
            }
        }
        Ok(text)
    }
}

fn shaped(message: &Json, i: usize, taste: Taste) -> Result<Json, TemplateError> {
    let mut message = message.clone();
    if message["role"] == "developer" && !taste.knows_developer {
        message["role"] = "system".into();
    }
    match message.get_mut("content") {
        Some(Json::Array(parts)) => {
            let texts = parts.iter().enumerate().map(|(part, json)| text_of(json, i, part));
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            message["content"] = match taste.form {
                Form::Text => texts.join(BETWEEN_PARTS).into(),
                Form::Parts | Form::Both => texts.into_iter().map(part).collect(),
            };
        }
        Some(Json::String(text)) if taste.form == Form::Parts => {
            message["content"] = Json::Array(vec![part(text)]);
        }
        None | Some(Json::Null | Json::String(_)) => {}
        Some(other) => {
            let field = format!("messages[{i}].content");
            return Err(wrong(&field, kind(Some(other)), "a string or a list of parts"));
        }
    }
    if let Some(calls) = message.get_mut("tool_calls").and_then(Json::as_array_mut) {
        for arguments in calls.iter_mut().filter_map(|call| call.get_mut("function")?.get_mut("arguments")) {
            let told = arguments.as_str().map(serde_json::from_str::<Map<String, Json>>);
            if let Some(Ok(object)) = told {
                *arguments = Json::Object(object);
            }
        }
    }
    Ok(message)
}

/// The text of a part.
fn text_of(part: &Json, message: usize, i: usize) -> Result<&str, TemplateError> {
    let field = |name: &str| format!("messages[{message}].content[{i}]{name}");
    match part {
        Json::String(text) => Ok(text),
        Json::Object(object) => match object.get("type").map(Json::as_str) {
            None | Some(Some("text")) => {
                let text = object.get("text");
                text.and_then(Json::as_str).ok_or_else(|| wrong(&field(".text"), kind(text), "a string"))
            }
            Some(Some(other)) => {
                let other: String = other.chars().take(40).collect();
                Err(wrong(
                    &field(".type"),
                    &format!("`{}`", other.escape_debug()),
                    "`text`: the model reads nothing else",
                ))
            }
            Some(None) => Err(wrong(&field(".type"), kind(object.get("type")), "`text`")),
        },
        other => Err(wrong(&field(""), kind(Some(other)), "an object")),
    }
}

fn part(text: &str) -> Json {
    json!({"type": "text", "text": text})
}

fn wrong(field: &str, found: &str, expected: &'static str) -> TemplateError {
    TemplateError::Conversation { field: field.to_owned(), found: found.to_owned(), expected }
}

/// What kind of value this is, in the words of messages.
fn kind(value: Option<&Json>) -> &'static str {
    value.map_or("nothing", tercet::json::kind)
}
