//! The grammars of tool calls, in the form that a model was trained on.
//!
//! ```text
//! must call:  calls
//! may call:   a text without the mark, or text, mark, calls; where there is no mark, a text that begins otherwise
//! ```
//!
//! They are Lark grammars as the library reads them: a text beginning with a mark, once it stands, must go on as calls.

use serde_json::{Value, json};

use super::error::GrammarError;
use crate::tools::{CallForm, Tool, ToolSyntax};

/// The name of the grammar of a tool's arguments.
pub(super) fn grammar_name(place: usize) -> String {
    format!("arguments_{place}")
}

/// The schema of a tool's arguments, which are an object.
///
/// # Errors
/// [`GrammarError::Refused`] if the schema is of something else.
pub(super) fn arguments_schema(tool: &Tool) -> Result<Value, GrammarError> {
    let refused = |found: &Value| {
        let detail = format!("tool `{}`: `parameters` is of {found}, expected an object's schema", tool.name);
        GrammarError::Refused { detail }
    };
    match &tool.parameters {
        Value::Null => Ok(json!({"type": "object"})),
        Value::Object(schema) => match schema.get("type") {
            None if schema.contains_key("$ref") => Ok(tool.parameters.clone()),
            None => {
                let mut schema = schema.clone();
                schema.insert("type".to_owned(), json!("object"));
                Ok(Value::Object(schema))
            }
            Some(kind) if kind == "object" => Ok(tool.parameters.clone()),
            Some(kind) => Err(refused(kind)),
        },
        other => Err(refused(other)),
    }
}

/// The grammar of calls of these tools, and of free text where that is allowed.
pub(super) fn lark(syntax: &ToolSyntax, tools: &[&Tool], is_free: bool, parallel: bool) -> String {
    let form = syntax.form();
    let mark = match syntax.mark_token() {
        Some(token) => format!("<[{token}]>"),
        None => literal(form.mark()),
    };
    let (before, between, after) = match form {
        // The end is a text of its own even where it is a special token, which the model may not write then.
        CallForm::Hermes => {
            (literal("\n"), format!("{} {mark} {}", literal("\n"), literal("\n")), String::new())
        }
        CallForm::Llama => (String::new(), literal("; "), String::new()),
        CallForm::Mistral => (literal("["), literal(", "), literal("]")),
    };
    let ending = if form == CallForm::Hermes { literal("\n</tool_call>") } else { String::new() };
    let more = if parallel { format!("({between} call)*") } else { String::new() };
    let body = format!("{before} call {more} {after}");
    let start = match (form, is_free, syntax.mark_token()) {
        // Llama's mark is for code; a call begins with its brace.
        (CallForm::Llama, false, _) => body,
        (CallForm::Llama, true, _) => format!("OTHER | {body}"),
        (_, false, _) => format!("{mark} {body}"),
        (_, true, Some(_)) => format!("TEXT | TEXT {mark} {body}"),
        (_, true, None) => format!("TEXT | marked {body}"),
    };
    let pattern = escaped(form.mark());
    let mut lines = vec![format!("start: {start}")];
    if is_free {
        lines.push(match (form, syntax.mark_token()) {
            (CallForm::Llama, _) => r"OTHER: /([^{\s](?s:.*))?/".to_owned(),
            (_, Some(_)) => r"TEXT: /(?s:.*)/".to_owned(),
            (_, None) => format!("TEXT: /(?s:.*)/ & ~/(?s:.*){pattern}(?s:.*)/"),
        });
        if form != CallForm::Llama && syntax.mark_token().is_none() {
            lines.push(format!("marked[lazy]: /(?s:.*){pattern}/"));
        }
    }
    let calls: Vec<String> = (0..tools.len()).map(|i| format!("call_{i}")).collect();
    lines.push(format!("call: ({}) {ending}", calls.join(" | ")));
    for (i, tool) in tools.iter().enumerate() {
        let opening = format!(r#"{{"name": "{}", "{}": "#, tool.name, form.arguments_key());
        lines.push(format!("call_{i}: {} @{} {}", literal(&opening), grammar_name(i), literal("}")));
    }
    lines.join("\n") + "\n"
}

/// A text as Lark quotes it.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

/// A text as a pattern between slashes.
fn escaped(text: &str) -> String {
    let is_meta = |c: char| "\\.+*?()|[]{}^$#&-~/".contains(c);
    text.chars().flat_map(|c| is_meta(c).then_some('\\').into_iter().chain([c])).collect()
}
