//! `tercet eval --tasks`: documents to requests, requests to answers, answers to results.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use tercet_chat::Templates;
use tercet_eval::results::{Run, TaskResult};
use tercet_eval::score::EncodeError;
use tercet_eval::tasks::{
    self, Chat, Documents, Example, ExampleSettings, Group, Selection, Source, Task, TaskError,
};
use tercet_eval::{AnswerError, Asked, Progress as Listener, Request, Respondent, Response};
use tercet_kernels::Pool;

use super::How;
use super::conversation::Manner;
use super::subject::Subject;
use crate::failure::{Exit, Failure};
use crate::hub::data_set;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::terminal::note;

#[derive(Args)]
pub(super) struct Tasks {
    /// These tasks and groups, parted by commas; `--list-tasks` shows all
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Tasks")]
    tasks: Vec<String>,
    /// A task of one's own: a file of documents, or a description; may be given several times
    #[arg(long, value_name = "FILE", help_heading = "Tasks")]
    task_file: Vec<PathBuf>,
    /// The folder with the documents, or `hub` for the Hugging Face Hub; may be given several times, and the first
    /// that has them is taken. Without it, small ones of this project's own
    #[arg(long, value_name = "FOLDER", conflicts_with = "perplexity", help_heading = "Tasks")]
    data: Vec<PathBuf>,
    /// Solved examples before each question [default: 0, or what the task has]
    #[arg(short = 'f', long, value_name = "N", conflicts_with = "perplexity", help_heading = "Tasks")]
    num_fewshot: Option<usize>,
    /// The seed that chooses them
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1234,
        visible_alias = "seed",
        conflicts_with = "perplexity"
    )]
    #[arg(help_heading = "Tasks")]
    fewshot_seed: u64,
    /// Show the names of all tasks and groups
    #[arg(long, help_heading = "Tasks")]
    pub(super) list_tasks: bool,
}

/// The place of `--data` that is no folder.
const HUB: &str = "hub";

impl Tasks {
    pub(super) fn is_empty(&self) -> bool {
        self.names().next().is_none() && self.task_file.is_empty()
    }

    /// The names that are asked for, without those that are empty.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().map(|name| name.trim()).filter(|name| !name.is_empty())
    }

    /// What is asked about, with all its documents read, before any model is loaded.
    pub(super) fn questions(&self, limit: Option<usize>, manner: Manner) -> Result<Questions, Failure> {
        let names: Vec<&str> = self.names().collect();
        let Selection { mut tasks, groups } = tasks::find(&names)?;
        for path in &self.task_file {
            let task = tasks::task_file(path)?;
            if tasks.iter().any(|other| other.name == task.name) {
                let message = format!(
                    "{}: a task is called `{}` already, expected another name",
                    path.display(),
                    task.name
                );
                return Err(Failure::message(Exit::Usage, message));
            }
            tasks.push(Arc::new(task));
        }
        let tasks = tasks.into_iter().map(|task| {
            let num_fewshot = self.num_fewshot.unwrap_or(task.num_fewshot);
            let documents = self.documents(&task, num_fewshot)?;
            let system_instruction = manner.system_instruction.clone();
            let fewshot_seed = self.fewshot_seed;
            let settings = ExampleSettings { num_fewshot, fewshot_seed, limit, system_instruction };
            let examples = task.examples(&documents, &settings)?;
            Ok(Question { task, num_fewshot, documents, examples })
        });
        let tasks = tasks.collect::<Result<_, Failure>>()?;
        Ok(Questions { tasks, groups, limit, fewshot_seed: self.fewshot_seed, manner })
    }

    /// A task's documents, from the first folder that has them.
    fn documents(&self, task: &Task, num_fewshot: usize) -> Result<Documents, Failure> {
        let mut missing = None;
        for place in &self.data {
            let source = match &task.dataset {
                Some(dataset) if place.as_os_str() == HUB => data_set::documents(dataset, num_fewshot)?,
                _ => Source::Folder(place.clone()),
            };
            match task.documents(&source, num_fewshot) {
                Err(error @ TaskError::NoFile { .. }) => missing = missing.or(Some(error)),
                found => return Ok(found?),
            }
        }
        match missing {
            Some(error) => Err(error.into()),
            None => Ok(task.documents(&Source::Project, num_fewshot)?),
        }
    }
}

/// A task and what it asks.
struct Question {
    task: Arc<Task>,
    num_fewshot: usize,
    documents: Documents,
    examples: Vec<Example>,
}

/// All that is asked of a model.
pub(super) struct Questions {
    tasks: Vec<Question>,
    pub(super) groups: Vec<Group>,
    limit: Option<usize>,
    fewshot_seed: u64,
    manner: Manner,
}

/// All that is asked of one model, as tokens.
pub(super) struct Encoded<'a> {
    templates: Option<Templates>,
    examples: Vec<Cow<'a, [Example]>>,
    asked: Vec<Vec<Asked>>,
    /// What it took.
    seconds: f64,
}

/// What a model did with all questions.
pub(super) struct Answered {
    pub(super) run: Run,
    pub(super) results: Vec<TaskResult>,
}

impl Answered {
    /// How many documents were asked about.
    pub(super) fn documents(&self) -> usize {
        self.results.iter().map(|result| result.examples.len()).sum()
    }
}

impl Questions {
    /// Says in plain words which scores are not those of the data sets.
    pub(super) fn tell(&self) {
        let of_project = self.tasks.iter().filter(|question| question.documents.is_project());
        let of_project: Vec<&str> = of_project.map(|question| question.task.name.as_str()).collect();
        if !of_project.is_empty() {
            note(&format!(
                "{}: small documents of this project's own, not the data sets; their scores are not comparable with \
                 published ones (`--data FOLDER` or `--data hub` takes the real ones)",
                of_project.join(", ")
            ));
        }
    }

    /// All requests as a model is given them.
    pub(super) fn encode(&self, subject: &Subject, how: &How) -> Result<Encoded<'_>, Failure> {
        let started = Instant::now();
        let encoder = subject.encoder();
        let threads = how.threads.map_or_else(Pool::default_threads, usize::from);
        let templates = self.manner.templates(subject)?;
        let examples = self.examples(templates.as_ref())?;
        let requests: Vec<Vec<Request>> = examples.iter().map(|examples| requests(examples)).collect();
        let room = || Asked::room(&encoder, requests.iter().flatten());
        let asked = self.tasks.iter().zip(&requests).map(|(question, requests)| {
            let asked = Asked::encode(&encoder, requests, threads);
            asked.map_err(|error| question.not_encoded(error, room))
        });
        let asked: Vec<Vec<Asked>> = asked.collect::<Result<_, _>>()?;
        Ok(Encoded { templates, examples, asked, seconds: started.elapsed().as_secs_f64() })
    }

    /// Asks a model; none if it was stopped.
    pub(super) fn ask(
        &self,
        subject: Subject,
        encoded: Encoded<'_>,
        how: &How,
        interrupt: &Interrupt,
    ) -> Result<Option<Answered>, Failure> {
        let date = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let started = Instant::now();
        let encoder = subject.encoder();
        let Encoded { templates, examples, asked, seconds } = encoded;
        let positions = asked.iter().flatten().map(Asked::positions).max().unwrap_or(1);
        let digest = subject.digest(how)?;
        let mut store = Subject::store(how, digest.as_deref())?;
        let loaded = subject.load(how, positions)?;
        let mut session = loaded.session();
        interrupt.expect();
        let mut answers = Vec::new();
        for (question, asked) in self.tasks.iter().zip(&asked) {
            let mut respondent = Respondent {
                session: &mut session,
                kv_type: how.kv.kv_type(),
                lanes: loaded.lanes,
                store: &mut store,
            };
            let mut shown = Shown { name: &question.task.name, progress: None, interrupt };
            let Some(responses) = respondent.answers(&subject.tokenizer, asked, &mut shown)? else {
                return Ok(None);
            };
            answers.push(responses);
        }
        interrupt.no_longer_expect();
        let cut_of = |asked: &Vec<Asked>| asked.iter().filter(|one| one.is_cut()).count();
        let names = self.tasks.iter().map(|question| question.task.name.clone());
        let cut_requests: Vec<(String, usize)> = names.zip(asked.iter().map(cut_of)).collect();
        let cut = cut_requests.iter().map(|(_, cut)| cut).sum();
        if cut > 0 {
            let all = asked.iter().map(Vec::len).sum();
            note(&format!("{}: {}", subject.origin.name(), cut_line(cut, all, encoder.max_length())));
        }
        let run = Run {
            model: subject.origin.name(),
            model_digest: digest,
            numbers: [how.head.name(), how.kv.name()],
            max_length: encoder.max_length(),
            batch_size: how.batch_size as usize,
            limit: self.limit,
            fewshot_seed: self.fewshot_seed,
            chat_template: templates.as_ref().and_then(Templates::source).map(str::to_owned),
            system_instruction: self.manner.system_instruction.clone(),
            fewshot_as_multiturn: self.manner.fewshot_as_multiturn,
            cut_requests,
            date,
            seconds: seconds + started.elapsed().as_secs_f64(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let questions = self.tasks.iter().zip(examples).zip(answers);
        let results = questions
            .map(|((question, examples), responses)| question.result(examples.into_owned(), responses));
        Ok(Some(Answered { run, results: results.collect() }))
    }

    /// The examples of each task as a model is asked: by its template, if there is one.
    fn examples(&self, templates: Option<&Templates>) -> Result<Vec<Cow<'_, [Example]>>, Failure> {
        let Some(templates) = templates else {
            return Ok(self.tasks.iter().map(|question| Cow::from(&question.examples)).collect());
        };
        let fewshot_as_multiturn = self.manner.fewshot_as_multiturn.unwrap_or(true);
        let chat = Chat { templates, fewshot_as_multiturn };
        let mut without_system = 0;
        let examples = self.tasks.iter().map(|question| {
            let asked = question.task.conversations(&question.examples, &chat)?;
            without_system += asked.without_system;
            Ok(Cow::from(asked.examples))
        });
        let examples = examples.collect::<Result<_, Failure>>()?;
        if without_system > 0 {
            note(&format!(
                "the chat template fails with what the system says; prompts asked without it, as \
                 lm-evaluation-harness asks them: {without_system}"
            ));
        }
        Ok(examples)
    }
}

impl Question {
    /// Why a request cannot be given to the model, with the document it is of; `room` says what is enough for all.
    fn not_encoded(&self, error: AnswerError, room: impl FnOnce() -> usize) -> Failure {
        let AnswerError::Encode { number, error } = error else { return error.into() };
        let mut first_of_next = 0;
        let example = self.examples.iter().find(|example| {
            first_of_next += example.requests.len();
            number < first_of_next
        });
        let document = example.map_or(0, |example| example.index);
        let failure = Failure::message(
            Exit::Failed,
            format!("task `{}`, document {document}: {error}", self.task.name),
        );
        match error {
            EncodeError::TooLong { .. } => {
                let room = room();
                failure.with_hint(format!(
                    "nothing was computed; `-c {room}` has room for all that is asked here, and lets the model read beyond \
                     what it was trained for"
                ))
            }
            _ => failure,
        }
    }

    fn result(&self, examples: Vec<Example>, responses: Vec<Response>) -> TaskResult {
        let mut responses = responses.into_iter();
        let of_example = |example: &Example| responses.by_ref().take(example.requests.len()).collect();
        let by_example = examples.iter().map(of_example).collect();
        let (task, documents) = (Arc::clone(&self.task), self.documents.clone());
        TaskResult::new(task, self.num_fewshot, documents, examples, by_example)
    }
}

/// What examples ask, in order.
fn requests(examples: &[Example]) -> Vec<Request> {
    examples.iter().flat_map(|example| example.requests.iter().cloned()).collect()
}

/// Says of how many requests a model has not read all.
fn cut_line(cut: usize, all: usize, max_length: usize) -> String {
    let their = if cut == 1 { "its" } else { "their" };
    format!("{cut} of {all} requests did not fit into {max_length} tokens and lost {their} beginning")
}

/// Shows how far a task is, and hears a wish to stop.
struct Shown<'a> {
    name: &'a str,
    progress: Option<Progress>,
    interrupt: &'a Interrupt,
}

impl Listener for Shown<'_> {
    fn progress(&mut self, tokens: usize, total_tokens: usize) -> ControlFlow<()> {
        let begin = || Progress::begin_tokens(self.name, total_tokens as u64);
        self.progress.get_or_insert_with(begin).set(tokens as u64);
        self.interrupt.flow()
    }
}
