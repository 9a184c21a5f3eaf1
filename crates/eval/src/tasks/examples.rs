//! From documents to requests: contexts with few-shot examples, as the harness builds them.
//!
//! It knows texts and the order of random numbers; no tokens and no model.
//!
//! ```text
//! context = description  { question delimiter answer fewshot_delimiter } × num_fewshot  question
//! ```

use serde_json::json;
use sha2::{Digest, Sha256};

use super::description::{Kind, Sampler};
use super::documents::{Document, Documents, Fewshot, Json};
use super::error::TaskError;
use super::task::{Parts, Rules, Task};
use crate::digest::hex;
use crate::{PythonRandom, Request};

/// Few-shot examples at most, so that a mistyped number is an error and not a long wait.
const FEWSHOT_MAX: usize = 10_000;

/// How examples are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExampleSettings {
    /// Few-shot examples in each context.
    pub num_fewshot: usize,
    /// The seed of their choice; tasks of version 0.3.0 of the harness have one of their own.
    pub fewshot_seed: u64,
    /// Only the first so many documents.
    pub limit: Option<usize>,
}

impl Default for ExampleSettings {
    fn default() -> Self {
        Self { num_fewshot: 0, fewshot_seed: 1234, limit: None }
    }
}

/// A document with what is asked about it.
#[derive(Debug, Clone)]
pub struct Example {
    /// Its number in the order of evaluation: the harness's `doc_id`.
    pub index: usize,
    /// The document, with the fields that the task computes.
    pub document: Json,
    /// What the harness calls the target: an index, an answer or a text.
    pub target: Json,
    /// What is asked, in order: a request a choice, or one.
    pub requests: Vec<Request>,
    pub(super) parts: Parts,
}

/// A part of a context, and what stands after it where it is text.
///
/// A chat template would take these, with who says which, in place of [`as_text`].
struct Turn {
    text: String,
    delimiter: String,
}

fn as_text(turns: &[Turn]) -> String {
    turns.iter().flat_map(|turn| [turn.text.as_str(), turn.delimiter.as_str()]).collect()
}

impl Task {
    /// The examples of this task, in the order of evaluation.
    ///
    /// # Errors
    /// [`TaskError`] for a document that the task cannot ask about, for fewer documents than
    /// few-shot examples, and for `documents` that were read without those for few-shot examples.
    pub fn examples(
        &self,
        documents: &Documents,
        settings: &ExampleSettings,
    ) -> Result<Vec<Example>, TaskError> {
        if settings.num_fewshot > FEWSHOT_MAX {
            let expected = "at most 10000";
            return Err(TaskError::Fewshot {
                task: self.name.clone(),
                found: settings.num_fewshot,
                expected,
            });
        }
        let (mut order, mut random) = self.order(documents.evaluation.len(), settings.fewshot_seed);
        order.truncate(settings.limit.unwrap_or(usize::MAX));
        let examples = order.into_iter().enumerate().map(|(index, place)| {
            let document = &documents.evaluation[place];
            let (parts, target) = self.parts(document)?;
            let before = self.turns_before(documents, document, settings.num_fewshot, &mut random)?;
            let requests = self.requests(&parts, &before);
            Ok(Example { index, document: document.json.clone(), target, requests, parts })
        });
        examples.collect()
    }

    /// The description and the few-shot examples before a document.
    fn turns_before(
        &self,
        documents: &Documents,
        document: &Document,
        num_fewshot: usize,
        random: &mut PythonRandom,
    ) -> Result<Vec<Turn>, TaskError> {
        if self.kind == Kind::Rolling {
            return Ok(Vec::new());
        }
        let mut turns = vec![Turn { text: self.description(document)?, delimiter: String::new() }];
        if num_fewshot == 0 {
            return Ok(turns);
        }
        let pool = match &documents.fewshot {
            Fewshot::Evaluation => &documents.evaluation,
            Fewshot::Other(pool) => pool,
            Fewshot::None => {
                let expected = "0, for the documents were read without any for them";
                return Err(TaskError::Fewshot { task: self.name.clone(), found: num_fewshot, expected });
            }
        };
        for place in self.choose(pool, document, num_fewshot, random)? {
            let (parts, _) = self.parts(&pool[place])?;
            let (question, answer) = solved(parts);
            if answer.is_empty() {
                turns.push(Turn { text: question, delimiter: String::new() });
            } else {
                turns.push(Turn { text: question, delimiter: self.target_delimiter.clone() });
                turns.push(Turn { text: answer, delimiter: self.fewshot_delimiter.clone() });
            }
        }
        Ok(turns)
    }

    /// Chooses few-shot examples for a document: `wanted` places in `pool`.
    ///
    /// Where the document itself may be among them, one more is drawn and it is taken out. Should it
    /// be there several times, the sample is drawn anew from the others.
    fn choose(
        &self,
        pool: &[Document],
        document: &Document,
        wanted: usize,
        random: &mut PythonRandom,
    ) -> Result<Vec<usize>, TaskError> {
        let few =
            |found, needed| Err(TaskError::FewDocuments { task: self.name.clone(), found, wanted, needed });
        let is_other = |place: &usize| !pool[*place].json.equals(&document.json);
        let leaves_out = self.rules == Rules::Current && self.leaves_out();
        let mut chosen: Vec<usize> = match (self.sampler, leaves_out) {
            (Sampler::FirstN, true) => (0..pool.len()).filter(is_other).take(wanted).collect(),
            (Sampler::FirstN, false) => (0..pool.len()).take(wanted).collect(),
            (Sampler::Default, true) => {
                if pool.len() <= wanted {
                    return few(pool.len(), wanted + 1);
                }
                random.sample(pool.len(), wanted + 1).into_iter().filter(is_other).take(wanted).collect()
            }
            (Sampler::Default, false) => {
                if pool.len() < wanted {
                    return few(pool.len(), wanted);
                }
                random.sample(pool.len(), wanted)
            }
        };
        if chosen.len() < wanted && self.sampler == Sampler::Default {
            let others: Vec<usize> = (0..pool.len()).filter(is_other).collect();
            if others.len() < wanted {
                return few(others.len(), wanted);
            }
            chosen = random.sample(others.len(), wanted).into_iter().map(|place| others[place]).collect();
        }
        if chosen.len() < wanted {
            return few(chosen.len(), wanted);
        }
        Ok(chosen)
    }

    /// What is asked, after the turns before.
    fn requests(&self, parts: &Parts, before: &[Turn]) -> Vec<Request> {
        let before = as_text(before);
        let context = |question: &String| format!("{before}{question}");
        let continuation = |answer: &String| format!("{}{answer}", self.target_delimiter);
        match parts {
            Parts::MultipleChoice { context: question, choices, .. } => choices
                .iter()
                .map(|choice| Request::LogLikelihood {
                    context: context(question),
                    continuation: continuation(choice),
                })
                .collect(),
            Parts::MultipleContext { contexts, continuation: answer, .. } => contexts
                .iter()
                .map(|question| Request::LogLikelihood {
                    context: context(question),
                    continuation: continuation(answer),
                })
                .collect(),
            Parts::Continuation { context: question, target } => {
                vec![Request::LogLikelihood { context: context(question), continuation: target.clone() }]
            }
            Parts::Rolling { text, .. } => vec![Request::Rolling { text: text.clone() }],
            Parts::Generate { context: question, .. } => {
                let generation = self.generation();
                vec![Request::Generate {
                    context: context(question),
                    until: generation
                        .map_or_else(|| vec![self.fewshot_delimiter.clone()], |how| how.until.clone()),
                    max_tokens: generation.map_or(256, |how| how.max_tokens),
                }]
            }
        }
    }
}

/// A few-shot example: its question and its answer.
fn solved(parts: Parts) -> (String, String) {
    match parts {
        Parts::MultipleChoice { context, mut choices, gold } => (context, choices.swap_remove(gold)),
        Parts::MultipleContext { mut contexts, continuation, gold } => {
            (contexts.swap_remove(gold), continuation)
        }
        Parts::Continuation { context, target } | Parts::Generate { context, target } => (context, target),
        Parts::Rolling { text, .. } => (String::new(), text),
    }
}

impl Example {
    /// The requests as the harness logs them: a list of the arguments of each.
    pub fn arguments(&self) -> serde_json::Value {
        let arguments = self.requests.iter().map(|request| match request {
            Request::LogLikelihood { context, continuation } => json!([context, continuation]),
            Request::Rolling { text } => json!([text]),
            Request::Generate { context, until, max_tokens } => json!([
                context,
                {"until": until, "do_sample": false, "temperature": 0.0, "max_gen_toks": max_tokens},
            ]),
        });
        arguments.collect()
    }

    /// SHA-256 of the document, as the harness computes its `doc_hash`.
    pub fn document_hash(&self) -> String {
        self.document.digest()
    }

    /// SHA-256 of the first request's text, the harness's `prompt_hash`.
    pub fn prompt_hash(&self) -> String {
        let prompt = match self.requests.first() {
            Some(Request::LogLikelihood { context, .. } | Request::Generate { context, .. }) => context,
            Some(Request::Rolling { text }) => text,
            None => "",
        };
        hex(&Sha256::digest(prompt))
    }

    /// SHA-256 of the target, the harness's `target_hash`.
    pub fn target_hash(&self) -> String {
        match &self.target {
            Json::String(text) => hex(&Sha256::digest(text)),
            other => hex(&Sha256::digest(serde_json::to_string(other).expect("no names but strings"))),
        }
    }
}
