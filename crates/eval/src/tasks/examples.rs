//! From documents to requests: contexts with few-shot examples, as the harness builds them.
//!
//! It knows messages and the order of random numbers; no tokens and no model.
//!
//! ```text
//! context = instruction description  { question delimiter answer fewshot_delimiter } × num_fewshot  question
//! ```
//!
//! That is a context as text. By a chat template it is a conversation of the same messages, and nothing
//! stands between it and a choice: the template has said who speaks.

use std::slice;
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};
use tercet::digest::hex;

use super::description::{Kind, Sampler};
use super::documents::{Document, Documents, Fewshot, Json};
use super::error::TaskError;
use super::messages::{Chat, Message, as_text};
use super::parts::Parts;
use super::task::{Rules, Task};
use crate::{PythonRandom, Request};

/// Few-shot examples at most, so that a mistyped number is an error and not a long wait.
const FEWSHOT_MAX: usize = 10_000;

/// How examples are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExampleSettings {
    /// Few-shot examples in each context.
    pub num_fewshot: usize,
    /// The seed of their choice; tasks of version 0.3.0 of the harness have one of their own.
    pub fewshot_seed: u64,
    /// Only the first so many documents.
    pub limit: Option<usize>,
    /// What stands before the description of each task.
    pub system_instruction: Option<String>,
}

impl Default for ExampleSettings {
    fn default() -> Self {
        Self { num_fewshot: 0, fewshot_seed: 1234, limit: None, system_instruction: None }
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
    /// What stands before the question.
    before: Arc<[Message]>,
    /// How the answer begins; may be empty.
    prefix: String,
    pub(super) parts: Parts,
}

/// Examples whose contexts are conversations.
#[derive(Debug, Clone)]
pub struct Conversations {
    /// The examples, as many as before.
    pub examples: Vec<Example>,
    /// Contexts that lack what the system says, for the template refuses it.
    pub without_system: usize,
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
            let before = self.messages_before(documents, document, settings, &mut random)?;
            let prefix = self.prefix(document)?;
            let asked = questions(&parts).iter();
            let contexts = asked.map(|question| as_text(&self.messages(&before, question, &prefix)));
            let requests = self.requests(&parts, &contexts.collect::<Vec<_>>(), &self.target_delimiter);
            let (document, before) = (document.json.clone(), before.into());
            Ok(Example { index, document, target, requests, before, prefix, parts })
        });
        examples.collect()
    }

    /// The same examples with conversations for contexts. Whole texts are asked as they are.
    ///
    /// # Errors
    /// [`TaskError::Conversation`] for one that the template does not write, with what the system says or without.
    pub fn conversations(&self, examples: &[Example], chat: &Chat<'_>) -> Result<Conversations, TaskError> {
        let delimiter = if self.delimits_after_prefix { self.target_delimiter.as_str() } else { "" };
        let mut without_system = 0;
        let examples = examples.iter().map(|example| {
            let contexts = questions(&example.parts).iter().map(|question| {
                let messages = self.messages(&example.before, question, &example.prefix);
                let rendered = chat.rendered(&messages).map_err(|error| TaskError::Conversation {
                    task: self.name.clone(),
                    document: example.index,
                    error: Box::new(error),
                })?;
                without_system += usize::from(rendered.is_without_system);
                Ok(rendered.text)
            });
            let contexts = contexts.collect::<Result<Vec<_>, TaskError>>()?;
            let requests = self.requests(&example.parts, &contexts, delimiter);
            Ok(Example { requests, ..example.clone() })
        });
        let examples = examples.collect::<Result<_, TaskError>>()?;
        Ok(Conversations { examples, without_system })
    }

    /// What is said before an answer is to come.
    fn messages(&self, before: &[Message], question: &str, prefix: &str) -> Vec<Message> {
        // The contexts of several are whole sentences, with nothing after them.
        let delimiter = if self.kind == Kind::MultipleContext { "" } else { self.target_delimiter.as_str() };
        let asked = Message::of_question(question.to_owned(), prefix, delimiter);
        before.iter().cloned().chain(asked).collect()
    }

    /// What the system says and the few-shot examples before a document.
    fn messages_before(
        &self,
        documents: &Documents,
        document: &Document,
        settings: &ExampleSettings,
        random: &mut PythonRandom,
    ) -> Result<Vec<Message>, TaskError> {
        if self.kind == Kind::Rolling {
            return Ok(Vec::new());
        }
        let num_fewshot = settings.num_fewshot;
        let instruction = settings.system_instruction.as_deref().unwrap_or_default();
        let system = Message::of_system(instruction, &self.description(document)?, &self.fewshot_delimiter);
        let mut messages: Vec<Message> = system.into_iter().collect();
        if num_fewshot == 0 {
            return Ok(messages);
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
            let prefix = self.prefix(&pool[place])?;
            let delimiters = [self.target_delimiter.as_str(), &self.fewshot_delimiter];
            messages.extend(Message::of_example(question, &answer, &prefix, delimiters));
        }
        Ok(messages)
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

    /// What is asked after contexts, one for each of [`questions`], with a delimiter before an answer to choose.
    fn requests(&self, parts: &Parts, contexts: &[String], delimiter: &str) -> Vec<Request> {
        let scored = |context: &String, answer: &str| Request::LogLikelihood {
            context: context.clone(),
            continuation: answer.to_owned(),
        };
        let chosen = |context, answer: &String| scored(context, &[delimiter, answer].concat());
        let contexts = contexts.iter();
        match parts {
            Parts::MultipleChoice { choices, .. } => contexts
                .flat_map(|context| choices.iter().map(move |choice| chosen(context, choice)))
                .collect(),
            Parts::MultipleContext { continuation, .. } => {
                contexts.map(|context| chosen(context, continuation)).collect()
            }
            Parts::Continuation { target, .. } => contexts.map(|context| scored(context, target)).collect(),
            Parts::Rolling { text, .. } => vec![Request::Rolling { text: text.clone() }],
            Parts::Generate { .. } => {
                let generation = self.generation();
                let until =
                    generation.map_or_else(|| vec![self.fewshot_delimiter.clone()], |how| how.until.clone());
                let max_tokens = generation.map_or(256, |how| how.max_tokens);
                let generate = |context: &String| Request::Generate {
                    context: context.clone(),
                    until: until.clone(),
                    max_tokens,
                };
                contexts.map(generate).collect()
            }
        }
    }
}

/// What is asked of a document: a text, several where each has a context of its own, none where nothing stands before.
fn questions(parts: &Parts) -> &[String] {
    match parts {
        Parts::MultipleChoice { context, .. }
        | Parts::Continuation { context, .. }
        | Parts::Generate { context, .. } => slice::from_ref(context),
        Parts::MultipleContext { contexts, .. } => contexts,
        Parts::Rolling { .. } => &[],
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
