//! Conversations as tokens, by the model's template.

use std::borrow::Cow;

use serde_json::{Map, Value};
use tercet_chat::{Conversation, TemplateError};

use super::text::encode;
use super::{Api, ApiError};

/// Who may speak.
pub(super) const ROLES: [&str; 6] = ["developer", "system", "user", "assistant", "tool", "function"];

/// A conversation as a client sent it.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    pub(super) messages: Vec<Value>,
    pub(super) tools: Vec<Value>,
    /// Absent: unless the last message is continued.
    pub(super) add_generation_prompt: Option<bool>,
    pub(super) continue_final_message: Option<bool>,
    pub(super) variables: Map<String, Value>,
}

/// The tokens of a conversation, at least one. The template writes the special ones; none are added.
pub(super) fn conversation_tokens(api: &Api, sent: &Sent) -> Result<Vec<u32>, ApiError> {
    let model = api.model(None)?;
    let Some(templates) = &api.templates else {
        let message = format!(
            "model `{model}` has no chat template, so it answers no conversations; continue a text with \
             `/v1/completions`, or start the server with `--chat-template-file FILE`"
        );
        return Err(ApiError::invalid("messages", message));
    };
    if sent.messages.is_empty() {
        return Err(ApiError::invalid("messages", "`messages` is empty, expected at least one message"));
    }
    for (i, message) in sent.messages.iter().enumerate() {
        if let Some(role) = message.get("role").and_then(Value::as_str).filter(|role| !ROLES.contains(role)) {
            let role: String = role.chars().take(40).collect();
            let param = format!("messages[{i}].role");
            let message = format!("`{param}` is `{role}`, expected one of `{}`", ROLES.join("`, `"));
            return Err(ApiError::invalid(param, message));
        }
        if is_silent(message) && message.get("role").is_some_and(|role| role != "assistant") {
            let param = format!("messages[{i}].content");
            let message = format!("`{param}` is null or absent, expected a string or a list of parts");
            return Err(ApiError::invalid(param, message));
        }
    }
    let continues = sent.continue_final_message.unwrap_or(false);
    let conversation = Conversation {
        messages: &spoken(&sent.messages),
        tools: &sent.tools,
        add_generation_prompt: sent.add_generation_prompt.unwrap_or(!continues),
        continue_final_message: continues,
        variables: &sent.variables,
    };
    let text = templates.render(&conversation).map_err(template_error)?;
    let tokens = encode(&api.served, &text, false, "messages")?;
    match tokens.is_empty() {
        true => Err(ApiError::invalid("messages", "the chat template makes an empty text of `messages`")),
        false => Ok(tokens),
    }
}

/// Whether a message has no content, as an answer of calls alone.
fn is_silent(message: &Value) -> bool {
    message.is_object() && matches!(message.get("content"), None | Some(Value::Null))
}

/// The messages with an empty text where there is none: templates that expect one fail, or write the word for nothing.
fn spoken(messages: &[Value]) -> Cow<'_, [Value]> {
    if !messages.iter().any(is_silent) {
        return Cow::Borrowed(messages);
    }
    let mut messages = messages.to_vec();
    for message in messages.iter_mut().filter(|message| is_silent(message)) {
        message["content"] = "".into();
    }
    Cow::Owned(messages)
}

/// What the conversation is at fault for is the client's to mend; what passes is told so; the rest is the model's.
fn template_error(error: TemplateError) -> ApiError {
    match &error {
        TemplateError::Conversation { field, .. } => ApiError::invalid(field.clone(), error.to_string()),
        TemplateError::Variable { .. } => ApiError::invalid("chat_template_kwargs", error.to_string()),
        _ if error.may_pass() => {
            tracing::warn!(%error, "a conversation was not rendered");
            ApiError::unavailable("the chat template cannot be rendered now; try again")
        }
        _ if error.is_of_conversation() => ApiError::invalid("messages", error.to_string()),
        _ => {
            tracing::error!(%error, "the chat template failed");
            ApiError::internal()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_of_calls_alone_have_an_empty_text() {
        let messages =
            [json!({"role": "user", "content": "a"}), json!({"role": "assistant", "content": null})];
        assert_eq!(spoken(&messages)[1]["content"], "");
        assert!(matches!(spoken(&messages[..1]), Cow::Borrowed(_)));
    }

    #[test]
    fn whose_mistake_it_is_shows_in_the_status() {
        let status = |error: TemplateError| template_error(error).status().as_u16();
        let (file, detail) = ("t.jinja".to_owned(), "why".to_owned());
        assert_eq!(status(TemplateError::Raised { line: None, detail: detail.clone() }), 400);
        assert_eq!(status(TemplateError::NoThread { file: file.clone(), detail: detail.clone() }), 503);
        assert_eq!(status(TemplateError::Busy { file: file.clone() }), 503);
        assert_eq!(status(TemplateError::Wrong { file, line: None, detail }), 500);
        let variable = template_error(TemplateError::Variable { name: "x".to_owned() });
        assert_eq!(variable.param(), Some("chat_template_kwargs"));
    }
}
