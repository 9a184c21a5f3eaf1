//! How the parts of a request are made of a document, compiled from a description.

use regex::Regex;

use super::description::{Description, Which};
use super::documents::{Json, Place};
use super::error::TaskError;
use super::parts::strings;
use super::template::{Engine, Expression, Template, context};

/// How the parts of a request are made of a document with the fields of the source.
#[derive(Debug)]
pub(super) enum Form {
    MultipleChoice {
        context: Template,
        choices: Expression,
        gold: Expression,
        /// The choices, where they are the same for every document.
        fixed: Option<Vec<String>>,
    },
    MultipleContext {
        contexts: Expression,
        continuation: Template,
        gold: Expression,
    },
    Continuation {
        context: Template,
        target: Template,
    },
    Rolling {
        text: Template,
        counted: Template,
    },
    Generate {
        context: Template,
        target: Template,
        generation: Generation,
    },
}

/// How a model writes, and how that is read.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    pub(super) until: Vec<String>,
    pub(super) max_tokens: usize,
    pub(super) filters: Vec<AnswerFilter>,
    pub(super) ignore: Vec<Regex>,
    pub(super) ignore_case: bool,
    pub(super) ignore_punctuation: bool,
}

/// A named way to find an answer in a text.
#[derive(Debug, Clone)]
pub(super) struct AnswerFilter {
    pub(super) name: String,
    pub(super) regex: Regex,
    pub(super) which: Which,
}

/// What reads the templates of a description.
pub(super) struct Compiler<'a> {
    pub(super) file: &'a str,
    pub(super) engine: &'a mut Engine,
}

impl Compiler<'_> {
    pub(super) fn form(&mut self, description: &Description) -> Result<Form, TaskError> {
        let parts = description;
        if let Some(parts) = &parts.multiple_choice {
            let choices = self.expression("multiple_choice.choices", &parts.choices)?;
            // An expression that needs no field has the same value for all documents.
            let fixed = self.engine.evaluate(&choices, &context(&Json::Object(Vec::new()))).ok();
            let fixed = fixed.and_then(|fixed| strings(fixed, "choices", &Place::none()).ok());
            return Ok(Form::MultipleChoice {
                context: self.template("multiple_choice.context", &parts.context)?,
                choices,
                gold: self.expression("multiple_choice.gold", &parts.gold)?,
                fixed,
            });
        }
        if let Some(parts) = &parts.multiple_context {
            return Ok(Form::MultipleContext {
                contexts: self.expression("multiple_context.contexts", &parts.contexts)?,
                continuation: self.template("multiple_context.continuation", &parts.continuation)?,
                gold: self.expression("multiple_context.gold", &parts.gold)?,
            });
        }
        if let Some(parts) = &parts.continuation {
            return Ok(Form::Continuation {
                context: self.template("continuation.context", &parts.context)?,
                target: self.template("continuation.target", &parts.target)?,
            });
        }
        if let Some(parts) = &parts.rolling {
            return Ok(Form::Rolling {
                text: self.template("rolling.text", &parts.text)?,
                counted: self.template("rolling.counted", &parts.counted)?,
            });
        }
        let parts = parts.generate.as_ref().expect("a checked description has one of them");
        let filters = parts.filters.iter().map(|filter| {
            let regex = self.regex(&format!("generate.filters.{}", filter.name), &filter.regex)?;
            Ok(AnswerFilter { name: filter.name.clone(), regex, which: filter.which })
        });
        let filters = filters.collect::<Result<_, TaskError>>()?;
        let ignore = parts.ignore.iter().map(|expression| self.regex("generate.ignore", expression));
        let ignore = ignore.collect::<Result<_, TaskError>>()?;
        Ok(Form::Generate {
            context: self.template("generate.context", &parts.context)?,
            target: self.template("generate.target", &parts.target)?,
            generation: Generation {
                until: parts.until.clone(),
                max_tokens: parts.max_tokens,
                filters,
                ignore,
                ignore_case: parts.ignore_case,
                ignore_punctuation: parts.ignore_punctuation,
            },
        })
    }

    pub(super) fn template(&mut self, field: &str, source: &str) -> Result<Template, TaskError> {
        self.engine.template(field, source).map_err(|detail| self.failure(field, detail))
    }

    pub(super) fn expression(&self, field: &str, source: &str) -> Result<Expression, TaskError> {
        self.engine.expression(source).map_err(|detail| self.failure(field, detail))
    }

    fn regex(&self, field: &str, source: &str) -> Result<Regex, TaskError> {
        /// Bytes that a compiled expression may take.
        const SIZE_MAX: usize = 1 << 20;
        let regex = regex::RegexBuilder::new(source).size_limit(SIZE_MAX).build();
        regex.map_err(|error| self.failure(field, error.to_string()))
    }

    fn failure(&self, field: &str, detail: String) -> TaskError {
        TaskError::Template { file: self.file.to_owned(), field: field.to_owned(), detail }
    }
}
