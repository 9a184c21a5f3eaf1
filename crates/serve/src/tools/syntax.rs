//! How a model writes calls, by what its chat template mentions.
//!
//! ```text
//! Hermes    <tool_call>\n{"name": …, "arguments": …}\n</tool_call>, one or several
//! Llama     {"name": …, "parameters": …}, the whole answer
//! Mistral   [TOOL_CALLS] [{"name": …, "arguments": …}, …], after or without text
//! ```

use tercet::tokenizer::Tokenizer;

/// A way to write calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallForm {
    /// That of Hermes and Qwen, taken where a template tells nothing else.
    Hermes,
    /// That of Llama 3.
    Llama,
    /// That of Mistral.
    Mistral,
}

/// How a model writes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolSyntax {
    form: CallForm,
    /// The token that the first mark is, where it is a special one, which texts do not show.
    mark_token: Option<u32>,
}

impl CallForm {
    /// The form that a chat template mentions.
    pub fn of_template(template: &str) -> Self {
        let mentions = |text: &str| template.contains(text);
        if mentions("<tool_call>") {
            Self::Hermes
        } else if mentions("[TOOL_CALLS]") {
            Self::Mistral
        } else if mentions("<|python_tag|>") || mentions("\"parameters\":") {
            Self::Llama
        } else {
            Self::Hermes
        }
    }

    /// What begins calls, or may.
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Self::Hermes => "<tool_call>",
            Self::Llama => "<|python_tag|>",
            Self::Mistral => "[TOOL_CALLS]",
        }
    }

    /// What begins calls where the mark is not seen.
    pub(crate) fn opener(self) -> char {
        match self {
            Self::Hermes | Self::Llama => '{',
            Self::Mistral => '[',
        }
    }

    /// The key of a call's arguments.
    pub(crate) fn arguments_key(self) -> &'static str {
        match self {
            Self::Hermes | Self::Mistral => "arguments",
            Self::Llama => "parameters",
        }
    }
}

impl ToolSyntax {
    /// The syntax of a model with this chat template and tokenizer.
    pub fn new(template: Option<&str>, tokenizer: Option<&Tokenizer>) -> Self {
        let form = template.map_or(CallForm::Hermes, CallForm::of_template);
        let token = tokenizer.and_then(|tokenizer| {
            tokenizer.token_to_id(form.mark()).filter(|token| tokenizer.is_special(*token))
        });
        Self { form, mark_token: token }
    }

    /// The form alone, where no mark is a special token.
    pub fn of_form(form: CallForm) -> Self {
        Self { form, mark_token: None }
    }

    /// The form, and the token that its mark is.
    #[cfg(test)]
    pub(crate) fn with_mark_token(form: CallForm, token: u32) -> Self {
        Self { form, mark_token: Some(token) }
    }

    /// The form.
    pub fn form(&self) -> CallForm {
        self.form
    }

    /// The token that the mark is, where texts do not show it.
    pub(crate) fn mark_token(&self) -> Option<u32> {
        self.mark_token
    }

    /// Whether calls may begin, at the start of a text, without a mark.
    pub(crate) fn may_begin_unmarked(&self) -> bool {
        self.mark_token.is_some() || self.form != CallForm::Hermes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_what_the_template_mentions() {
        for (template, form) in [
            ("{{- '<tool_call>\\n{\"name\": \"' }}", CallForm::Hermes),
            ("{{ '[TOOL_CALLS] [' }}", CallForm::Mistral),
            ("{{- '<|python_tag|>' + x }}", CallForm::Llama),
            (r#"{{- '"parameters": ' }}"#, CallForm::Llama),
            ("{{ message.content }}", CallForm::Hermes),
        ] {
            assert_eq!(CallForm::of_template(template), form, "{template}");
        }
    }
}
