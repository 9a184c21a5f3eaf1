//! Conversations as text, and which parts of it the assistant wrote.
//!
//! A template renders, in the sandbox of `tercet_chat`. What the assistant wrote is found by
//! rendering a conversation up to each of its messages. It knows no tokens.

use std::fmt;
use std::path::Path;

use serde_json::{Map, Value as Json};
use tercet_chat::{Clock, Conversation, SpecialTokens, TemplateError, Templates};

use super::error::{DataError, kind};
use super::tokenizer::{TextTokenizer, read_side_file};

/// A template that is ready to render.
pub(super) struct Chat {
    templates: Templates,
    field: String,
}

/// A part of a rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: String,
    /// Whether the assistant wrote it.
    pub(super) counts: bool,
}

/// Why a conversation was not rendered; who knows the file and the row makes a `DataError` of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChatError {
    /// A field of the messages is wrong: its name, what was found and expected.
    Field(String, String, &'static str),
    /// The template failed: the line and why.
    Render(Option<usize>, String),
    /// A message changes the text before it.
    NotAPrefix(usize, Parting),
    /// A message does not begin as the generation prompt has it.
    GenerationPrompt(usize, Parting),
}

/// Where two renderings of a conversation part, with some characters of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parting {
    /// The last that both have.
    pub before: String,
    /// How the longer one goes on.
    pub found: String,
    /// How the one goes on that the longer one should begin with.
    pub expected: String,
}

/// Characters that are shown of each.
const SHOWN_CHARS: usize = 24;

impl Parting {
    /// Of a text and what should be its beginning.
    fn of(expected: &str, found: &str) -> Self {
        let both = expected.chars().zip(found.chars()).take_while(|(one, other)| one == other);
        let same_bytes: usize = both.map(|(same, _)| same.len_utf8()).sum();
        let before = &expected[..same_bytes];
        let start = before.char_indices().nth_back(SHOWN_CHARS - 1).map_or(0, |(start, _)| start);
        let shown = |text: &str| text[same_bytes..].chars().take(SHOWN_CHARS).collect();
        Self { before: before[start..].to_owned(), found: shown(found), expected: shown(expected) }
    }
}

impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, found, expected } = self;
        write!(f, "after {before:?} found {found:?}, expected {expected:?}")
    }
}

/// Reads a template from its own file.
pub(super) fn read_template(path: &Path) -> Result<String, DataError> {
    let bytes = read_side_file(path)?;
    String::from_utf8(bytes).map_err(|error| DataError::Utf8 {
        path: path.to_path_buf(),
        at_byte: error.utf8_error().valid_up_to() as u64,
    })
}

impl Chat {
    /// The chat template of a tokenizer, for messages in a field of this name.
    pub(super) fn new(tokenizer: &TextTokenizer, field: &str) -> Result<Self, DataError> {
        let source = tokenizer.chat_template.as_ref().ok_or(DataError::NoTemplate)?;
        let (bos, eos) = (tokenizer.bos_token(), tokenizer.eos_token());
        let tokens = SpecialTokens::new(&bos.unwrap_or_default(), &eos.unwrap_or_default());
        let templates = Templates::of_text("the chat template of the tokenizer", source, tokens)?;
        // The same data must always give the same text.
        Ok(Self { templates: templates.with_clock(Clock::Refused), field: field.to_owned() })
    }

    /// The field with the messages.
    pub(super) fn field(&self) -> &str {
        &self.field
    }

    /// A conversation as the template writes it, in parts of which the assistant's count.
    ///
    /// A part of the assistant begins where the template leaves the word to it and ends where the
    /// template ends the message, so that the end of a turn is learnt too.
    pub(super) fn parts(&self, messages: &[Json]) -> Result<Vec<Part>, ChatError> {
        if messages.is_empty() {
            return Err(ChatError::Field(String::new(), "an empty list".to_owned(), "at least one message"));
        }
        let mut parts = Vec::new();
        let mut done = String::new();
        let mut done_messages = 0;
        for (i, message) in messages.iter().enumerate() {
            let role = message.get("role");
            let Some(role) = role.and_then(Json::as_str) else {
                let found = if message.is_object() { kind(role) } else { kind(Some(message)) };
                let expected = if message.is_object() { "a string" } else { "an object" };
                let field = if message.is_object() { format!("[{i}].role") } else { format!("[{i}]") };
                return Err(ChatError::Field(field, found.to_owned(), expected));
            };
            if role != "assistant" {
                continue;
            }
            let prompt = self.render(&messages[..i], true)?;
            let answered = self.render(&messages[..=i], false)?;
            let before = prompt.strip_prefix(&done);
            let before = before.ok_or_else(|| ChatError::NotAPrefix(i, Parting::of(&done, &prompt)))?;
            let Some(answer) = answered.strip_prefix(&prompt) else {
                let parting = Parting::of(&prompt, &answered);
                let without = self.render(&messages[..i], false);
                // Without the generation prompt it would only grow.
                let is_of_prompt = without.is_ok_and(|without| answered.starts_with(&without));
                return Err(match is_of_prompt {
                    true => ChatError::GenerationPrompt(i, parting),
                    false => ChatError::NotAPrefix(i, parting),
                });
            };
            push(&mut parts, before, false);
            push(&mut parts, answer, true);
            (done, done_messages) = (answered, i + 1);
        }
        if parts.is_empty() {
            let found = "a conversation without the role `assistant`".to_owned();
            return Err(ChatError::Field(String::new(), found, "at least one message to learn"));
        }
        if done_messages == messages.len() {
            return Ok(parts);
        }
        let whole = self.render(messages, false)?;
        let rest = whole.strip_prefix(&done);
        let changed = || ChatError::NotAPrefix(messages.len() - 1, Parting::of(&done, &whole));
        push(&mut parts, rest.ok_or_else(changed)?, false);
        Ok(parts)
    }

    fn render(&self, messages: &[Json], add_generation_prompt: bool) -> Result<String, ChatError> {
        let rendered = self.templates.render(&Conversation {
            messages,
            tools: &[],
            add_generation_prompt,
            continue_final_message: false,
            variables: &Map::new(),
        });
        rendered.map_err(|error| match error {
            TemplateError::Failed { line, detail, .. } | TemplateError::Raised { line, detail } => {
                ChatError::Render(line, detail)
            }
            error => ChatError::Render(None, error.to_string()),
        })
    }
}

fn push(parts: &mut Vec<Part>, text: &str, counts: bool) {
    if !text.is_empty() {
        parts.push(Part { text: text.to_owned(), counts });
    }
}
