//! Conversations as text, by a Jinja template, and which parts of it the assistant wrote.
//!
//! Templates come from files that a person names, yet one may be wrong or hostile: its source,
//! its work and its output are bounded, and it reaches nothing but the messages. What the assistant
//! wrote is found by rendering a conversation up to each of its messages. It knows no tokens.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Value as Json;

use super::error::{DataError, kind};
use super::tokenizer::{TextTokenizer, read_side_file};

const SOURCE_MAX_BYTES: usize = 1 << 20;
const OUTPUT_MAX_BYTES: usize = 4 << 20;

/// Instructions of the template engine that one rendering may take.
const FUEL: u64 = 10_000_000;

const NAME: &str = "chat_template";

/// A template that is ready to render.
pub(super) struct Chat {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
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
    NotAPrefix(usize),
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
        let file = || "the chat template of the tokenizer".to_owned();
        if source.len() > SOURCE_MAX_BYTES {
            let (found, limit) = (source.len(), SOURCE_MAX_BYTES);
            return Err(DataError::LongTemplate { file: file(), found, limit });
        }
        let mut environment = Environment::new();
        environment.set_syntax(white_space_as_in_transformers()?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment.add_template_owned(NAME, source.clone()).map_err(|error| DataError::Template {
            file: file(),
            line: error.line(),
            detail: detail(&error),
        })?;
        Ok(Self {
            environment,
            bos_token: tokenizer.bos_token().unwrap_or_default(),
            eos_token: tokenizer.eos_token().unwrap_or_default(),
            field: field.to_owned(),
        })
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
            let before = prompt.strip_prefix(&done).ok_or(ChatError::NotAPrefix(i))?;
            let answer = answered.strip_prefix(&prompt).ok_or(ChatError::NotAPrefix(i))?;
            push(&mut parts, before, false);
            push(&mut parts, answer, true);
            done = answered;
        }
        if parts.is_empty() {
            let found = "a conversation without the role `assistant`".to_owned();
            return Err(ChatError::Field(String::new(), found, "at least one message to learn"));
        }
        let whole = self.render(messages, false)?;
        let rest = whole.strip_prefix(&done).ok_or(ChatError::NotAPrefix(messages.len() - 1))?;
        push(&mut parts, rest, false);
        Ok(parts)
    }

    fn render(&self, messages: &[Json], add_generation_prompt: bool) -> Result<String, ChatError> {
        let failed = |error: Error| ChatError::Render(error.line(), detail(&error));
        let template = self.environment.get_template(NAME).map_err(failed)?;
        let messages: Vec<Value> = messages.iter().map(value_of).collect();
        let context = context! {
            messages => messages,
            add_generation_prompt => add_generation_prompt,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
        };
        let mut output = Bounded(Vec::new());
        template.render_captured_to(context, &mut output).map_err(failed)?;
        let text = String::from_utf8(output.0);
        text.map_err(|_| ChatError::Render(None, "the text is not UTF-8".to_owned()))
    }
}

fn push(parts: &mut Vec<Part>, text: &str, counts: bool) {
    if !text.is_empty() {
        parts.push(Part { text: text.to_owned(), counts });
    }
}

/// An error of the engine in one line, with what lies under it.
fn detail(error: &Error) -> String {
    let what = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    match std::error::Error::source(error) {
        Some(source) => format!("{what}: {source}"),
        None => what,
    }
}

/// A text that refuses to grow beyond its limit.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_MAX_BYTES {
            return Err(io::Error::other(format!("more than {OUTPUT_MAX_BYTES} bytes of text")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(_format: String) -> Result<String, Error> {
    let why = "`strftime_now` is not to be had, since the same data must always give the same text";
    Err(Error::new(ErrorKind::InvalidOperation, why))
}

/// JSON as Python's `json.dumps` writes it. The engine's own also escapes four characters for HTML.
fn tojson(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let json = minijinja::filters::tojson(value, indent, options)?;
    let mut rest = json.as_str().unwrap_or_default();
    let mut text = String::with_capacity(rest.len());
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        text.push_str(before);
        let plain = [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')];
        if let Some((escaped, c)) = plain.into_iter().find(|(escaped, _)| escape.starts_with(escaped)) {
            text.push(c);
            rest = &escape[escaped.len()..];
        } else {
            // A backslash is followed by the character that it escapes.
            let after = escape.char_indices().nth(2).map_or(escape.len(), |(at, _)| at);
            text.push_str(&escape[..after]);
            rest = &escape[after..];
        }
    }
    text.push_str(rest);
    Ok(Value::from_safe_string(text))
}

/// A value of JSON as the engine has it.
fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (_, _, number) => Value::from(number.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => Value::from(list.iter().map(value_of).collect::<Vec<_>>()),
        Json::Object(object) => {
            let fields = object.iter().map(|(name, json)| (name.clone(), value_of(json)));
            Value::from(fields.collect::<BTreeMap<String, Value>>())
        }
    }
}

/// A block takes the line it stands on with it.
fn white_space_as_in_transformers() -> Result<SyntaxConfig, DataError> {
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    syntax.map_err(|error| DataError::Template {
        file: "the template engine".to_owned(),
        line: None,
        detail: detail(&error),
    })
}
