//! Templates and expressions of Jinja, over the fields of a document.
//!
//! What the harness writes in Jinja is written so here, with Python's rules for strings; what it has
//! as Python code is a named filter or function. Source, work and output are bounded, an unknown
//! name is an error, and a template reaches nothing but the document. It knows no tasks.

use std::fmt;
use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{ValueKind, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::documents::Json;
use super::text;

const SOURCE_MAX_BYTES: usize = 1 << 16;
const OUTPUT_MAX_BYTES: usize = 16 << 20;

/// How deep a value may nest.
const DEPTH_MAX: usize = 64;

/// Instructions of the engine that one rendering may take.
const FUEL: u64 = 1_000_000;

/// The engine, with its rules.
pub(super) struct Engine {
    environment: Environment<'static>,
}

/// Where in the engine a source is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    name: String,
}

/// An expression; its source is read anew each time, for the engine keeps none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression {
    source: String,
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Engine")
    }
}

impl Engine {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.expect("the usual delimiters"));
        environment.set_fuel(Some(FUEL));
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(method);
        environment.add_filter("capitalize", |text: &str| text::capitalize(text));
        environment.add_filter("lower_first", |text: &str| text::lower_first(text));
        environment.add_filter("hellaswag", |text: &str| text::hellaswag(text));
        environment.add_filter("wikitext", |text: &str| text::wikitext(text));
        environment.add_filter("before_blank", |text: &str| blank(text).map(|(before, _)| before.to_owned()));
        environment.add_filter("after_blank", |text: &str| blank(text).map(|(_, after)| after.to_owned()));
        environment.add_function("wsc273_option", |option: &str, pronoun: &str, text: &str, place: i64| {
            text::wsc273_option(option, pronoun, text, place).map_err(invalid)
        });
        Self { environment }
    }

    /// Checks and keeps a template.
    pub(super) fn template(&mut self, name: &str, source: &str) -> Result<Template, String> {
        bounded(source)?;
        let result = self.environment.add_template_owned(name.to_owned(), source.to_owned());
        result.map_err(|error| message(&error))?;
        Ok(Template { name: name.to_owned() })
    }

    /// Checks an expression.
    pub(super) fn expression(&self, source: &str) -> Result<Expression, String> {
        bounded(source)?;
        self.environment.compile_expression(source).map_err(|error| message(&error))?;
        Ok(Expression { source: source.to_owned() })
    }

    /// The text that a template makes of a document.
    pub(super) fn render(&self, template: &Template, document: &Value) -> Result<String, String> {
        let mut output = Bounded { text: Vec::new() };
        let template = self.environment.get_template(&template.name).map_err(|error| message(&error))?;
        template.render_captured_to(document.clone(), &mut output).map_err(|error| message(&error))?;
        String::from_utf8(output.text).map_err(|error| error.to_string())
    }

    /// The value that an expression has for a document.
    pub(super) fn evaluate(&self, expression: &Expression, document: &Value) -> Result<Json, String> {
        let compiled =
            self.environment.compile_expression(&expression.source).map_err(|error| message(&error))?;
        let value = compiled.eval(document.clone()).map_err(|error| message(&error))?;
        json_of(&value, &mut { OUTPUT_MAX_BYTES }, DEPTH_MAX)
    }
}

/// A document as what a template sees.
pub(super) fn context(document: &Json) -> Value {
    match document {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(integer)) => Value::from(integer),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(values) => values.iter().map(context).collect(),
        Json::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(name, value)| (name.as_str(), context(value))))
        }
    }
}

/// A value of the engine as JSON, if it is one and has no more bytes of text than are left.
fn json_of(value: &Value, bytes_left: &mut usize, depth: usize) -> Result<Json, String> {
    let too_large = || format!("it has more than {OUTPUT_MAX_BYTES} bytes or is nested too deeply");
    let depth = depth.checked_sub(1).ok_or_else(too_large)?;
    let bytes = 8 + value.as_str().map_or(0, str::len);
    *bytes_left = bytes_left.checked_sub(bytes).ok_or_else(too_large)?;
    Ok(match value.kind() {
        ValueKind::None => Json::Null,
        ValueKind::Bool => Json::Bool(value.is_true()),
        ValueKind::Number => match value.as_i64().filter(|_| value.is_integer()) {
            Some(integer) => Json::Number(integer.into()),
            None => {
                let number = f64::try_from(value.clone()).ok().and_then(serde_json::Number::from_f64);
                Json::Number(number.ok_or("it is a number that is not finite")?)
            }
        },
        ValueKind::String => Json::String(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Seq | ValueKind::Iterable => {
            let mut values = Vec::new();
            for item in value.try_iter().map_err(|error| message(&error))? {
                values.push(json_of(&item, bytes_left, depth)?);
            }
            Json::Array(values)
        }
        other => return Err(format!("it is of the kind {other}, expected a text, a number or a list")),
    })
}

/// A sentence before and after its first `_`.
fn blank(sentence: &str) -> Result<(&str, &str), Error> {
    sentence.split_once('_').ok_or_else(|| invalid("a sentence has no `_`"))
}

/// A method of Python's strings and lists.
fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    match (value.as_str(), name) {
        (Some(text), "strip") if arguments.is_empty() => Ok(text::strip(text).into()),
        (Some(text), "lstrip") if arguments.is_empty() => Ok(text::lstrip(text).into()),
        (Some(text), "rstrip") if arguments.is_empty() => Ok(text::rstrip(text).into()),
        (None, "index") if value.kind() == ValueKind::Seq => {
            let (wanted,): (Value,) = from_args(arguments)?;
            let place = value.try_iter()?.position(|item| item == wanted);
            place.map(Value::from).ok_or_else(|| invalid(format!("{wanted:?} is not in the list {value:?}")))
        }
        _ => unknown_method_callback(state, value, name, arguments),
    }
}

fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}

fn bounded(source: &str) -> Result<(), String> {
    if source.len() <= SOURCE_MAX_BYTES {
        return Ok(());
    }
    Err(format!("it has {} bytes, expected at most {SOURCE_MAX_BYTES}", source.len()))
}

/// An error of the engine without what it knows of its sources.
fn message(error: &Error) -> String {
    const CHARACTERS_MAX: usize = 300;
    let text = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    super::error::shown_up_to(&text, CHARACTERS_MAX)
}

/// A buffer that refuses to grow without end.
struct Bounded {
    text: Vec<u8>,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > OUTPUT_MAX_BYTES {
            return Err(io::Error::other(format!("it writes more than {OUTPUT_MAX_BYTES} bytes")));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        let json: Json = serde_json::from_str(
            r#"{"text": " one two\n", "label": ["A", "B"], "key": "B", "n": 2, "blank": "a _ b _ c"}"#,
        )
        .expect("valid");
        context(&json)
    }

    fn evaluate(source: &str) -> Result<String, String> {
        let engine = Engine::new();
        let value = engine.evaluate(&engine.expression(source)?, &document())?;
        Ok(serde_json::to_string(&value).expect("writes"))
    }

    #[test]
    fn expressions_are_read_as_in_python() {
        let check =
            |source: &str, wanted: &str| assert_eq!(evaluate(source).as_deref(), Ok(wanted), "{source}");
        check("label.index(key)", "1");
        check("text.strip()[:-1]", r#""one tw""#);
        check("text.split(' ')[:-1]|join(' ')", r#"" one""#);
        check("text.split(' ')[-1]", r#""two\n""#);
        check("[blank|before_blank ~ key, (blank|after_blank).strip()]", r#"["a B","b _ c"]"#);
    }

    #[test]
    fn a_template_keeps_its_last_line_end() {
        let mut engine = Engine::new();
        let template = engine.template("t", "{{key}} <&>\n").expect("valid");
        assert_eq!(engine.render(&template, &document()).as_deref(), Ok("B <&>\n"));
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        for source in [
            "missing",
            "label.index('C')",
            "key|after_blank",
            "n.strip()",
            "text.missing()",
            "missing_function()",
            "1 +",
        ] {
            assert!(evaluate(source).is_err(), "{source}");
        }
    }

    #[test]
    fn work_and_output_are_bounded() {
        let mut engine = Engine::new();
        let long = "{% for i in range(9999) %}{% for j in range(9999) %}{{text}}{% endfor %}{% endfor %}";
        let template = engine.template("long", long).expect("valid");
        assert!(engine.render(&template, &document()).is_err());
        assert!(engine.template("source", &" ".repeat(SOURCE_MAX_BYTES + 1)).is_err());
    }
}
