//! Tools that a request offers, and calls of them in its answer, as the wire has both.

use serde_json::Value;

use super::format::{Asked, grammar_error, grammars};
use super::wire::{ChatFields, FunctionCall, FunctionPiece, ToolCall, ToolCallPiece};
use super::{Api, ApiError};
use crate::tools::{self, Delta, Tool, ToolChoice, ToolSyntax};

/// The only type of tools and of calls.
const FUNCTION: &str = "function";

/// What may be called, and whether it must.
pub(super) struct Offer {
    tools: Vec<Tool>,
    choice: ToolChoice,
    parallel: bool,
}

impl Offer {
    /// What a request offers; nothing where the answer is text alone.
    pub(super) fn read(fields: &ChatFields) -> Result<Option<Self>, ApiError> {
        let tools = fields.tools.as_deref().unwrap_or_default();
        let tools = tools.iter().enumerate().map(|(place, tool)| read_tool(place, tool));
        let tools = tools.collect::<Result<Vec<_>, _>>()?;
        tools::check(&tools).map_err(|error| ApiError::invalid("tools", error.to_string()))?;
        let choice = read_choice(fields.tool_choice.as_ref())?;
        match choice {
            ToolChoice::None => return Ok(None),
            ToolChoice::Auto if tools.is_empty() => return Ok(None),
            ToolChoice::Auto | ToolChoice::Required | ToolChoice::Named(_) => {}
        }
        if tools.is_empty() {
            let message = "`tool_choice` asks for a call, but there are no `tools`";
            return Err(ApiError::invalid("tool_choice", message));
        }
        if let ToolChoice::Named(name) = &choice
            && !tools.iter().any(|tool| tool.name == *name)
        {
            let name: String = name.chars().take(tools::NAME_MAX).collect();
            let message = format!("`tool_choice` names `{name}`, which is not among `tools`");
            return Err(ApiError::invalid("tool_choice", message));
        }
        // A tool that is named is called once.
        let parallel = fields.parallel_tool_calls.unwrap_or(true) && !matches!(choice, ToolChoice::Named(_));
        Ok(Some(Offer { tools, choice, parallel }))
    }

    /// What holds the answer to calls of these tools.
    pub(super) fn asked(&self, api: &Api) -> Result<Option<Asked>, ApiError> {
        let param = "tools";
        let grammars = grammars(api, param)?;
        let draft = grammars.tool_calls(&syntax(api), &self.tools, &self.choice, self.parallel);
        let draft = draft.map_err(|error| grammar_error(param, error))?;
        Ok(draft.map(|draft| Asked { param, draft }))
    }
}

/// How the model writes calls.
pub(super) fn syntax(api: &Api) -> ToolSyntax {
    let template = api.templates.as_ref().and_then(|templates| templates.source());
    ToolSyntax::new(template, api.served.tokenizer.as_deref())
}

/// What a text's piece added, as its content and its parts of calls, one part for each call.
pub(super) fn pieces(deltas: Vec<Delta>) -> (String, Vec<ToolCallPiece>) {
    let mut content = String::new();
    let mut calls: Vec<ToolCallPiece> = Vec::new();
    for delta in deltas {
        match delta {
            Delta::Content(text) => content.push_str(&text),
            Delta::Call { index, id, name } => calls.push(ToolCallPiece {
                index,
                id: Some(id),
                kind: Some(FUNCTION),
                function: FunctionPiece { name: Some(name), arguments: String::new() },
            }),
            Delta::Arguments { index, fragment } => match calls.last_mut() {
                Some(call) if call.index == index => call.function.arguments.push_str(&fragment),
                _ => calls.push(ToolCallPiece {
                    index,
                    id: None,
                    kind: None,
                    function: FunctionPiece { name: None, arguments: fragment },
                }),
            },
        }
    }
    (content, calls)
}

/// Adds parts of calls to those that there are.
pub(super) fn join(calls: &mut Vec<ToolCall>, pieces: Vec<ToolCallPiece>) {
    for piece in pieces {
        if let (Some(id), Some(name)) = (piece.id, piece.function.name) {
            let function = FunctionCall { name, arguments: String::new() };
            calls.push(ToolCall { id, kind: FUNCTION, function });
        }
        if let Some(call) = calls.get_mut(piece.index) {
            call.function.arguments.push_str(&piece.function.arguments);
        }
    }
}

fn read_tool(place: usize, tool: &Value) -> Result<Tool, ApiError> {
    let wrong = |field: &str, expected: &str| {
        let param = format!("tools[{place}]{field}");
        let message = format!("`{param}` is not {expected}");
        ApiError::invalid(param, message)
    };
    if tool.get("type").and_then(Value::as_str) != Some(FUNCTION) {
        return Err(wrong(".type", "`function`"));
    }
    let function =
        tool.get("function").and_then(Value::as_object).ok_or_else(|| wrong(".function", "an object"))?;
    let name =
        function.get("name").and_then(Value::as_str).ok_or_else(|| wrong(".function.name", "a string"))?;
    let parameters = function.get("parameters").cloned().unwrap_or_default();
    if !(parameters.is_null() || parameters.is_object()) {
        return Err(wrong(".function.parameters", "a JSON schema"));
    }
    let strict = match function.get("strict") {
        None | Some(Value::Null) => false,
        Some(strict) => strict.as_bool().ok_or_else(|| wrong(".function.strict", "true or false"))?,
    };
    Ok(Tool { name: name.to_owned(), parameters, strict })
}

fn read_choice(choice: Option<&Value>) -> Result<ToolChoice, ApiError> {
    let wrong = || {
        let message = "`tool_choice` is none of `none`, `auto`, `required` and `{\"type\": \"function\", \
                       \"function\": {\"name\": ..}}`";
        ApiError::invalid("tool_choice", message)
    };
    match choice {
        None | Some(Value::Null) => Ok(ToolChoice::Auto),
        Some(Value::String(choice)) => match choice.as_str() {
            "none" => Ok(ToolChoice::None),
            "auto" => Ok(ToolChoice::Auto),
            "required" => Ok(ToolChoice::Required),
            _ => Err(wrong()),
        },
        Some(choice) => {
            let is_function = choice.get("type").and_then(Value::as_str) == Some(FUNCTION);
            let name =
                choice.get("function").and_then(|function| function.get("name")).and_then(Value::as_str);
            match name.filter(|_| is_function) {
                Some(name) => Ok(ToolChoice::Named(name.to_owned())),
                None => Err(wrong()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(tools: Value, choice: Value) -> Result<Option<Offer>, ApiError> {
        let fields = json!({"messages": [], "tools": tools, "tool_choice": choice});
        Offer::read(&serde_json::from_value(fields).unwrap())
    }

    fn tool(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
    }

    #[test]
    fn a_choice_is_a_word_or_a_name() {
        let offered =
            |choice: Value| read(json!([tool("a"), tool("b")]), choice).unwrap().map(|offer| offer.choice);
        assert_eq!(offered(Value::Null), Some(ToolChoice::Auto));
        assert_eq!(offered(json!("auto")), Some(ToolChoice::Auto));
        assert_eq!(offered(json!("none")), None);
        assert_eq!(offered(json!("required")), Some(ToolChoice::Required));
        let named = json!({"type": "function", "function": {"name": "b"}});
        assert_eq!(offered(named), Some(ToolChoice::Named("b".to_owned())));
        assert!(read(Value::Null, json!("auto")).unwrap().is_none(), "nothing is offered");
    }

    #[test]
    fn wrong_tools_are_named() {
        let named = json!({"type": "function", "function": {"name": "z"}});
        for (tools, choice, param) in [
            (json!([7]), Value::Null, "tools[0].type"),
            (json!([tool("a"), {"type": "web_search"}]), Value::Null, "tools[1].type"),
            (json!([{"type": "function"}]), Value::Null, "tools[0].function"),
            (json!([{"type": "function", "function": {}}]), Value::Null, "tools[0].function.name"),
            (json!([tool("a b")]), Value::Null, "tools"),
            (json!([tool("a"), tool("a")]), Value::Null, "tools"),
            (json!([tool("a")]), json!("always"), "tool_choice"),
            (json!([tool("a")]), named, "tool_choice"),
            (json!([tool("a")]), json!({"type": "function"}), "tool_choice"),
            (json!([]), json!("required"), "tool_choice"),
        ] {
            let error = read(tools, choice).map(|_| ()).unwrap_err();
            assert_eq!(error.param(), Some(param), "{error}");
        }
    }

    #[test]
    fn parts_of_calls_make_whole_ones() {
        let call =
            |index, name: &str| Delta::Call { index, id: format!("call_{index}"), name: name.to_owned() };
        let arguments = |index, fragment: &str| Delta::Arguments { index, fragment: fragment.to_owned() };
        let mut calls = Vec::new();
        for deltas in [
            vec![
                Delta::Content("Now: ".to_owned()),
                call(0, "a"),
                arguments(0, "{\"x\""),
                arguments(0, ":1"),
            ],
            vec![arguments(0, "}"), call(1, "b")],
            vec![arguments(1, "{}")],
        ] {
            let (_, parts) = pieces(deltas);
            join(&mut calls, parts);
        }
        let written: Vec<(&str, &str)> = calls
            .iter()
            .map(|call| (call.function.name.as_str(), call.function.arguments.as_str()))
            .collect();
        assert_eq!(written, [("a", "{\"x\":1}"), ("b", "{}")]);
    }
}
