//! `response_format` as a grammar, and how what a request asks for is compiled.
//!
//! ```text
//! response_format, tools ─▶ Asked ── known, or compiled in its turn ─▶ one Grammar for all choices of the request
//! ```

use std::sync::Arc;

use serde_json::Value;

use super::heavy::heavy;
use super::wire::ResponseFormat;
use super::{Api, ApiError};
use crate::engine::{Request, Wanted};
use crate::grammar::{Draft, Grammar, GrammarError, Grammars, Unsupported};

/// A grammar that a request asks for, and the field in which it does.
pub(super) struct Asked {
    pub(super) param: &'static str,
    pub(super) draft: Draft,
}

/// What the text must look like; nothing where it is free.
pub(super) fn asked_format(api: &Api, format: Option<&ResponseFormat>) -> Result<Option<Asked>, ApiError> {
    let Some(format) = format else { return Ok(None) };
    let schema = match format.kind.as_str() {
        "text" => return Ok(None),
        // llama.cpp takes a schema here too.
        "json_object" => format.schema.as_ref(),
        "json_schema" => {
            let schema = format.json_schema.as_ref().and_then(|schema| schema.schema.as_ref());
            let schema = schema.or(format.schema.as_ref()).filter(|schema| !schema.is_null());
            let missing = || {
                let message = "`response_format.json_schema.schema` is absent, expected a JSON schema";
                ApiError::invalid("response_format.json_schema.schema", message)
            };
            Some(schema.ok_or_else(missing)?)
        }
        other => {
            let other: String = other.chars().take(40).collect();
            let message = format!(
                "`response_format.type` is `{other}`, expected `text`, `json_object` or `json_schema`"
            );
            return Err(ApiError::invalid("response_format.type", message));
        }
    };
    let grammars = grammars(api, "response_format")?;
    let is_given = |schema: &&Value| !schema.is_null();
    let draft = match schema.filter(is_given) {
        Some(schema) => grammars.json_schema(schema, Unsupported::Refused),
        None => grammars.json_object(),
    };
    let param = "response_format";
    let draft = draft.map_err(|error| grammar_error(param, error))?;
    Ok(Some(Asked { param, draft }))
}

/// Holds the texts of these requests to what is asked for. The grammar is compiled once, if it is not known yet; who
/// waits for a turn to compile holds none of the threads that tokenize.
pub(super) async fn hold(
    api: &Arc<Api>,
    asked: Option<Asked>,
    requests: &mut [Request],
) -> Result<(), ApiError> {
    let Some(Asked { param, draft }) = asked else { return Ok(()) };
    let makes = grammars(api, param)?;
    let grammar = match makes.known(&draft) {
        Some(grammar) => grammar,
        None => {
            let turn = makes.turn().await;
            let api = Arc::clone(api);
            let compiled = move || {
                // Its own until the work is done, also where the client has left.
                let _turn = turn;
                grammars(&api, param)?.compile(draft).map_err(|error| grammar_error(param, error))
            };
            heavy(compiled).await?
        }
    };
    for request in requests {
        if let Wanted::Continuation(continuation) = &mut request.wanted {
            continuation.grammar = Some(Grammar::clone(&grammar));
        }
    }
    Ok(())
}

/// What makes grammars, where tokens are text.
pub(super) fn grammars<'a>(api: &'a Api, param: &str) -> Result<&'a Grammars, ApiError> {
    api.grammars.as_ref().ok_or_else(|| {
        ApiError::invalid(param, format!("`{param}` needs text, and the tokens of random weights are none"))
    })
}

/// A grammar that was refused, by the field that it came in.
pub(super) fn grammar_error(param: &str, error: GrammarError) -> ApiError {
    match error {
        GrammarError::NoThread(_) => ApiError::unavailable(error.to_string()),
        GrammarError::Refused { .. } | GrammarError::Limit(_) | GrammarError::NoToken => {
            ApiError::invalid(param, format!("`{param}`: {error}"))
        }
    }
}
