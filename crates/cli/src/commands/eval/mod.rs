//! `tercet eval`: how good a model is, by tasks and by the perplexity of a text.

mod perplexity;
mod subject;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tercet::model::PROMPT_ROWS;

use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::weight_types::{Head, Kv, Weights};
use perplexity::Perplexity;

/// Evaluate a model: zero-shot tasks as lm-evaluation-harness has them, and perplexity
///
/// Answers are kept, so that what was interrupted goes on and what was done is not done again.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Eval {
    /// A model's folder, its GGUF file, or its name on the Hub; without one, the small model inside
    model: Option<OsString>,

    #[command(flatten)]
    perplexity: Perplexity,
    #[command(flatten)]
    how: How,

    /// Only the first so many documents of a task, or windows of a text
    #[arg(short, long, value_name = "N", help_heading = "Results")]
    limit: Option<usize>,
    /// Print one JSON object
    #[arg(long, help_heading = "Results")]
    json: bool,
}

/// How a model is run and its answers are kept.
#[derive(Args)]
struct How {
    /// How ternary weights lie in memory; the result is the same
    #[arg(long, value_name = "BITS", default_value = "2bit", help_heading = "Model")]
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
  tercet eval ./my-model --perplexity wiki.test.raw --window 2048
  tercet eval ./my-model --perplexity stories.txt --method paragraphs";

/// Wide enough for any model.
const CONTEXT_MAX: i64 = 1 << 27;
const THREADS_MAX: i64 = 1024;
const BATCH_MAX: i64 = 1 << 16;

impl Eval {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let interrupt = Interrupt::listen();
        let Some(file) = &self.perplexity.perplexity else {
            let message = "found neither `--tasks` nor `--perplexity`, expected what to evaluate";
            return Err(Failure::message(Exit::Usage, message));
        };
        self.perplexity.run(file, self.model.as_deref(), (&self.how, self.limit), &interrupt, self.json)
    }
}
