//! `--apply-chat-template` and what goes with it: whether a model is asked in conversations, and by which template.

use std::ffi::{OsStr, OsString};

use clap::Args;
use clap::builder::BoolishValueParser;
use tercet_chat::{TemplateError, Templates};

use super::subject::Subject;
use crate::chat_template;
use crate::failure::{Exit, Failure};
use crate::terminal::note;

#[derive(Args)]
pub(super) struct Asking {
    /// Ask in conversations, written by the model's chat template, or by the one of this name where it has several.
    /// Without a MODEL, what follows is the MODEL
    #[arg(long, value_name = "NAME", conflicts_with = "perplexity", help_heading = "Tasks")]
    apply_chat_template: Option<Option<OsString>>,
    /// Whether solved examples are turns of such a conversation, or part of the one question [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Tasks")]
    #[arg(value_parser = BoolishValueParser::new(), conflicts_with = "perplexity")]
    fewshot_as_multiturn: Option<bool>,
    /// What stands before everything else; in a conversation it is what the system says
    #[arg(long, value_name = "TEXT", conflicts_with = "perplexity", help_heading = "Tasks")]
    system_instruction: Option<String>,
}

impl Asking {
    /// The model, where none is named but by what stands after `--apply-chat-template`: the small model
    /// inside the binary has one template alone, of which there is nothing to choose.
    pub(super) fn model_after_flag(&self) -> Option<&OsStr> {
        self.apply_chat_template.as_ref()?.as_deref()
    }

    /// How questions are asked, with the name of a template unless that is a model.
    ///
    /// # Errors
    /// Exit code 2 for turns without a conversation.
    pub(super) fn manner(&self, value_is_model: bool) -> Result<Manner, Failure> {
        let template = match &self.apply_chat_template {
            None => None,
            Some(name) => Some(match name.as_ref().filter(|_| !value_is_model) {
                Some(name) => Some(name.clone().into_string().map_err(|name| {
                    let message = format!("`--apply-chat-template` is {name:?}, expected a name in UTF-8");
                    Failure::message(Exit::Usage, message)
                })?),
                None => None,
            }),
        };
        if template.is_none() && self.fewshot_as_multiturn == Some(true) {
            let message = "found `--fewshot-as-multiturn` alone, expected `--apply-chat-template` beside it";
            return Err(Failure::message(Exit::Usage, message));
        }
        let fewshot_as_multiturn = self.fewshot_as_multiturn.or(template.as_ref().map(|_| true));
        let system_instruction = self.system_instruction.clone();
        Ok(Manner { template, fewshot_as_multiturn, system_instruction })
    }
}

/// How questions are asked.
pub(super) struct Manner {
    /// By a chat template, and by which if one is named.
    template: Option<Option<String>>,
    /// Whether few-shot examples are turns; nothing where there is no conversation and nobody said so.
    pub(super) fewshot_as_multiturn: Option<bool>,
    /// What stands before everything else.
    pub(super) system_instruction: Option<String>,
}

impl Manner {
    /// The templates of a model, unless it is asked without any.
    ///
    /// # Errors
    /// Exit code 2 if the model has none, or none of the name; 3 if it is no template.
    pub(super) fn templates(&self, subject: &Subject) -> Result<Option<Templates>, Failure> {
        let Some(name) = &self.template else { return Ok(None) };
        let (source, _) = subject.origin.files().expect("Subject: a model that was opened has files");
        let Some(templates) = chat_template::templates(source, &subject.tokenizer, None)? else {
            let message = format!("{}: found no chat template, so it cannot be asked by one", source.name());
            let hint = "without `--apply-chat-template` it is asked to continue text";
            return Err(Failure::message(Exit::Usage, message).with_hint(hint));
        };
        let mut name = name.as_deref();
        if templates.names().eq(["default"])
            && let Some(unused) = name.take_if(|name| *name != "default")
        {
            note(&format!(
                "{}: has one chat template, which is taken; it is not called `{unused}`",
                source.name()
            ));
        }
        match templates.with_usual(name) {
            Err(error @ TemplateError::NoSuch { .. }) => {
                Err(Failure::message(Exit::Usage, error.to_string()))
            }
            chosen => Ok(Some(chosen?)),
        }
    }
}
