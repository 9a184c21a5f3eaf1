//! `tercet eval`: how good a model is, by tasks and by the perplexity of a text.

mod conversation;
mod perplexity;
mod report;
mod subject;
mod tasks;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tercet::model::PROMPT_ROWS;
use tercet_eval::results::compare;

use crate::failure::{Exit, Failure};
use crate::flag_bounds::{BATCH_MAX, CONTEXT_MAX, THREADS_MAX};
use crate::interrupt::Interrupt;
use crate::terminal::{note, print_json};
use crate::weight_types::{Head, Kv, Weights};
use crate::{figures, flag_bounds};
use conversation::{Asking, Manner};
use perplexity::Perplexity;
use report::{Output, differences_json, write_differences};
use subject::Subject;
use tasks::{Answered, Questions, Tasks};

/// Evaluate a model: zero-shot tasks as lm-evaluation-harness has them, and perplexity
///
/// Answers are kept, so that what was interrupted goes on and what was done is not done again.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Eval {
    /// A model's folder, its GGUF file, or its name on the Hub; without one, the small model inside
    #[arg(value_name = "MODEL")]
    positional: Option<OsString>,
    /// The same
    #[arg(short, long, value_name = "MODEL", conflicts_with = "positional", help_heading = "Model")]
    model: Option<OsString>,

    #[command(flatten)]
    tasks: Tasks,
    #[command(flatten)]
    asking: Asking,
    /// Compare two models on the same tasks, document by document
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["model", "positional", "output_path"])]
    #[arg(help_heading = "Tasks")]
    compare: Vec<OsString>,
    #[command(flatten)]
    perplexity: Perplexity,
    #[command(flatten)]
    how: How,

    /// Only the first so many documents of a task, or windows of a text
    #[arg(short, long, value_name = "N", help_heading = "Results")]
    #[arg(value_parser = flag_bounds::from_one)]
    limit: Option<u64>,
    #[command(flatten)]
    output: Output,
    /// Print one JSON object
    #[arg(long, help_heading = "Results")]
    json: bool,
}

/// How a model is run and its answers are kept.
#[derive(Args)]
struct How {
    /// How ternary weights lie in memory; the result is the same
    #[arg(long, value_name = "BITS", default_value = "2bit", help_heading = "Model")]
    #[arg(value_parser = Weights::of_models())]
    weights: Weights,
    /// Numbers of the vocabulary projection: fewer bits are another function, close to the trained one
    #[arg(long, value_name = "TYPE", default_value = "model", help_heading = "Model")]
    head: Head,
    /// Numbers of the cache of keys and values
    #[arg(long, value_name = "TYPE", default_value = "f32", help_heading = "Model")]
    kv: Kv,
    /// Tokens that the model reads at once, at most [default: those it was trained for]
    #[arg(short, long, value_name = "N", visible_alias = "max-length", help_heading = "Model")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=CONTEXT_MAX))]
    ctx_size: Option<u32>,
    /// Threads [default: the cores this process may use]
    #[arg(short, long, value_name = "N", help_heading = "Model")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: Option<u16>,
    /// Tokens that are computed together; the result is the same
    #[arg(short, long, value_name = "N", default_value_t = PROMPT_ROWS as u32, help_heading = "Model")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=BATCH_MAX))]
    batch_size: u32,
    /// Keep answers in this folder [default: `tercet/eval` in the user's cache folder]
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_cache", help_heading = "Results")]
    use_cache: Option<PathBuf>,
    /// Keep no answers, and use none
    #[arg(long, help_heading = "Results")]
    no_cache: bool,
}

const EXAMPLES: &str = "\
Examples:
  tercet eval --tasks arc_easy,piqa --limit 20
  tercet eval ./my-model --tasks paper --data ./zero_shot
  tercet eval --compare ./ternary ./dense --tasks arc_easy,piqa --data ./zero_shot
  tercet eval ./my-model --task-file ./my-questions.jsonl
  tercet eval ./my-chat-model --tasks gsm8k --data hub -f 5 --apply-chat-template
  tercet eval ./my-model --perplexity wiki.test.raw --window 2048
  tercet eval ./my-model --perplexity stories.txt --method paragraphs";

impl Eval {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let interrupt = Interrupt::listen();
        let limit = self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if self.tasks.list_tasks {
            let mut out = io::stdout().lock();
            tercet_eval::tasks::names().iter().try_for_each(|name| writeln!(out, "{name}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.perplexity.perplexity.is_some() && !self.compare.is_empty() {
            let failure = usage("found `--compare` with `--perplexity`, expected it with `--tasks`");
            return Err(failure.with_hint(
                "`--tasks wikitext` compares perplexities, text by text; of a text of one's own evaluate each model by \
                 itself: `tercet eval A --perplexity FILE`",
            ));
        }
        let (model, manner) = self.model_and_manner()?;
        match (&self.perplexity.perplexity, self.tasks.is_empty()) {
            (Some(file), true) => self.perplexity.run(file, model, (&self.how, limit), &interrupt, self.json),
            (Some(_), false) => Err(usage("found both `--tasks` and `--perplexity`, expected one of them")),
            (None, true) => {
                let failure = usage("found neither `--tasks` nor `--perplexity`, expected what to evaluate");
                Err(failure
                    .with_hint("`tercet eval --tasks arc_easy,piqa`; `tercet eval --list-tasks` shows all"))
            }
            (None, false) => {
                let questions = self.tasks.questions(limit, manner)?;
                self.answer(model, &questions, &interrupt)
            }
        }
    }

    /// The model, and how it is asked. What stands after `--apply-chat-template` is the model where no other is named.
    fn model_and_manner(&self) -> Result<(Option<&OsStr>, Manner), Failure> {
        let named = self.model.as_deref().or(self.positional.as_deref());
        let is_named = named.is_some() || !self.compare.is_empty();
        let model = if is_named { named } else { self.asking.model_after_flag() };
        Ok((model, self.asking.manner(!is_named)?))
    }

    fn answer(
        &self,
        model: Option<&OsStr>,
        questions: &Questions,
        interrupt: &Interrupt,
    ) -> Result<ExitCode, Failure> {
        let stopped = || {
            note("stopped; the answers so far are kept, the same command goes on from there");
            ExitCode::from(interrupt.exit_code().unwrap_or(Exit::Failed as u8))
        };
        let groups = &questions.groups;
        let open = |model| Subject::open(model, &self.how);
        let encode = |subject: &Subject| questions.encode(subject, &self.how);
        let ask = |subject, encoded| questions.ask(subject, encoded, &self.how, interrupt);
        if let [first, second] = self.compare.as_slice() {
            // Both are there before either is asked.
            let (first, second) = (open(Some(first))?, open(Some(second))?);
            questions.tell();
            // What one of them cannot be asked is said before the other has answered.
            let (of_first, of_second) = (encode(&first)?, encode(&second)?);
            let Some(first) = ask(first, of_first)? else { return Ok(stopped()) };
            let Some(second) = ask(second, of_second)? else { return Ok(stopped()) };
            let differences = compare(&first.results, &second.results, groups);
            let models = [first.run.model.as_str(), second.run.model.as_str()];
            if self.json {
                print_json(&differences_json(models, &differences))?;
            } else {
                write_differences(models, &differences, &mut io::stdout().lock())?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let subject = open(model)?;
        questions.tell();
        let encoded = encode(&subject)?;
        let Some(answered) = ask(subject, encoded)? else { return Ok(stopped()) };
        answered.save(groups, &self.output)?;
        self.print(&answered, questions)?;
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, answered: &Answered, questions: &Questions) -> Result<(), Failure> {
        if self.json {
            return print_json(&answered.summary(&questions.groups));
        }
        answered.write(&questions.groups, &mut io::stdout().lock())?;
        let documents = figures::number_of(answered.documents(), "document");
        note(&format!("{documents} in {:.1} s", answered.run.seconds));
        Ok(())
    }
}

fn usage(message: &str) -> Failure {
    Failure::message(Exit::Usage, message)
}
