//! `tercet train`: train a model as a configuration says.

mod config_argument;
mod display;
mod live;
mod plain;
mod report;
mod texts;
mod unknown_flag;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::Args;
use tercet_kernels::{Isa, Pool};
use tercet_train::config::TrainConfig;
use tercet_train::data::DataError;
use tercet_train::trainer::{Outcome, Prepared, TrainError, estimate, prepare, train};

use crate::failure::{Exit, Failure};
use crate::flag_bounds::THREADS_MAX;
use crate::interrupt::Interrupt;
use crate::terminal::{note, print_json};
use crate::{figures, machine, origin};
use display::{Display, Lines, Watcher};
use report::{EstimateReport, OutcomeReport};
pub(crate) use unknown_flag::explained;

/// Train a model
///
/// A run is one TOML file. It says what is trained on which text and how; `examples/` has some to
/// begin with. Stop it with Ctrl-C whenever you like: the same command goes on where it stopped, and
/// ends in the same model, to the last bit, as if it had not been stopped.
///
/// The run leaves `model` (to run), `checkpoints` (to go on from), `log.jsonl`, `log.csv`,
/// `curves.svg` and TensorBoard's files in its output folder.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Train {
    /// The configuration of the run
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// Values that replace those of the configuration, such as `train.steps=1000`
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// A file or pattern of files to train on, in place of the configuration's; may be given several
    /// times
    #[arg(long, value_name = "FILE")]
    data: Vec<String>,
    /// The folder that takes the run, in place of the configuration's
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<String>,
    /// Say what the run will take, from a short probe, and train nothing
    ///
    /// The text is made into tokens all the same, since its length is not known before; the tokens
    /// are kept for the run itself.
    #[arg(long)]
    dry_run: bool,
    /// Threads [default: the cores this process may use]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: Option<u16>,
    /// Lines in place of a live display, also on a terminal
    #[arg(long)]
    plain: bool,
    /// Leave the configuration out of what is told
    #[arg(short, long)]
    quiet: bool,
    /// Print one JSON object when all is done
    #[arg(long)]
    json: bool,
}

/// How long a signal waits until somebody says that it was heard.
const SIGNAL_POLL: Duration = Duration::from_millis(50);
const STOPPED_EARLY: &str = "stopped before training began; what was finished is kept";
/// Passes over a text from which a run is warned of learning it by heart.
const PASSES_MANY: f64 = 20.0;
/// Steps in which a model that begins with random weights learns next to nothing.
const STEPS_FEW: f64 = 300.0;
const EXAMPLES: &str = "\
Examples:
  tercet train examples/tiny.toml
  tercet train examples/tiny.toml --data my-text.txt --output runs/mine
  tercet train examples/tiny.toml --dry-run
  tercet train examples/tiny.toml train.steps=800 model.norms=in-linear -o runs/in-linear

Keys that are changed most: train.steps, train.tokens, train.epochs, train.micro_batch,
schedule.learning_rate, schedule.warmup_steps, data.sequence_length, model.norms, model.from,
run.seed. A run tells all of its own at the start, and docs/training.md explains them.";

impl Train {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let interrupt = Interrupt::listen();
        let isa = Isa::from_environment()?;
        config_argument::check(&self.config)?;
        texts::check(&self.overrides, &self.data)?;
        let config = TrainConfig::read_with(&self.config, &self.all_overrides())?;
        let threads = origin::all_threads(self.threads);
        interrupt.expect();
        let is_live = !self.plain && io::stderr().is_terminal();
        let mut watcher = Watcher { interrupt: &interrupt, display: Display::new(is_live) };
        let prepared = match prepare(config, threads, &mut watcher) {
            Ok(prepared) => prepared,
            Err(TrainError::Data(DataError::Stopped)) => {
                watcher.display.end();
                note(STOPPED_EARLY);
                return Ok(ExitCode::from(interrupt.exit_code().unwrap_or(1)));
            }
            Err(error) => {
                watcher.display.end();
                return Err(error.into());
            }
        };
        watcher.display.end();
        // Nobody asks until training begins, and there is nothing to save: a signal ends the process at once.
        interrupt.no_longer_expect();
        if let Some(exit_code) = interrupt.exit_code() {
            note(STOPPED_EARLY);
            return Ok(ExitCode::from(exit_code));
        }
        check_memory(&prepared, isa)?;
        let pool = Arc::new(Pool::new(isa, threads));
        self.introduce(&prepared, isa)?;
        if self.dry_run {
            return self.estimate(&prepared, &pool);
        }
        let outcome = thread::scope(|scope| {
            // Dropped when the run has ended, however it does: then nobody waits for a signal any more.
            let (_runs, has_ended) = mpsc::channel();
            let lines = watcher.display.lines();
            let interrupt = &interrupt;
            scope.spawn(move || say_when_stopped(interrupt, &has_ended, &lines));
            train(&prepared, &pool, &mut watcher, None)
        });
        watcher.display.end();
        self.conclude(&prepared, &outcome?, &interrupt)
    }

    /// Every change of the configuration that the command line asks for.
    fn all_overrides(&self) -> Vec<String> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut all = self.overrides.clone();
        if !self.data.is_empty() {
            let files: Vec<String> = self.data.iter().map(|file| quoted(file)).collect();
            all.push(format!("data.train=[{}]", files.join(", ")));
        }
        all.extend(self.output.as_ref().map(|output| format!("run.output={}", quoted(output))));
        all
    }

    /// Says what will be trained.
    fn introduce(&self, prepared: &Prepared, isa: Isa) -> Result<(), Failure> {
        if !self.quiet {
            note(prepared.config.to_toml()?.trim_end());
            note("");
        }
        let need = prepared.memory_need(isa);
        let parameters = tercet_train::model::ParameterLayout::new(&prepared.model).count();
        note(&format!(
            "{}: {} parameters, {} of them ternary; {} of {} tokens",
            prepared.name(),
            figures::count(parameters),
            figures::count(prepared.model.ternary_parameters()),
            figures::number_of(prepared.steps as usize, "step"),
            figures::count(prepared.config.tokens_per_step()),
        ));
        note(&format!("data: {}", prepared.dataset.description()));
        let passes = prepared.passes();
        note(&format!("passes over the text: {passes:.1}"));
        if let Some(advice) = advice_of(passes, prepared.steps, prepared.config.model.from.is_some()) {
            note(&advice);
        }
        note(&format!(
            "memory: {}; files: {}",
            figures::bytes(need.total_bytes()),
            prepared.output().display()
        ));
        Ok(())
    }

    fn estimate(&self, prepared: &Prepared, pool: &Arc<Pool>) -> Result<ExitCode, Failure> {
        let report = EstimateReport::from(&estimate(prepared, pool));
        if self.json {
            print_json(&report)?;
        } else {
            report.print()?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Says how the run ended and what can be done next.
    fn conclude(
        &self,
        prepared: &Prepared,
        outcome: &Outcome,
        interrupt: &Interrupt,
    ) -> Result<ExitCode, Failure> {
        let folder = outcome.folder.display();
        if outcome.is_finished {
            note(&format!("the model is in {folder}; its card is {folder}/README.md"));
            let config = &prepared.config;
            let prompt = config.watch.sample_prompt.as_deref();
            note(&how_to_try(&outcome.folder, config.data.chat.is_some(), prompt));
            if let Some(step) = outcome.better_step {
                note(&format!(
                    "step {step} validated better than the last: see `checkpoints`, kept as the best"
                ));
            }
        } else if outcome.steps_done == 0 {
            note("stopped before the first step; the same command begins anew");
        } else {
            note(&format!(
                "saved at step {} of {}; the same command goes on from there",
                outcome.steps_done, prepared.steps
            ));
        }
        if self.json {
            print_json(&OutcomeReport::from(outcome))?;
        }
        Ok(ExitCode::from(if outcome.is_finished { 0 } else { interrupt.exit_code().unwrap_or(0) }))
    }
}

/// What to do about a text that the run goes over too often; nothing if it does not.
fn advice_of(passes: f64, steps: u64, is_started: bool) -> Option<String> {
    if passes <= PASSES_MANY {
        return None;
    }
    // Two divisions may leave a whole number a little below itself.
    let fewer = (steps as f64 * PASSES_MANY / passes + 1e-6).floor().max(1.0);
    // A model that exists may be changed in few steps.
    Some(if fewer < STEPS_FEW && !is_started {
        "the text is too short for a model to learn from: so many passes learn it by heart, and fewer steps learn \
         nothing; give more text"
            .to_owned()
    } else {
        format!(
            "so many passes learn a text by heart: give more text, take fewer steps (`train.steps={fewer}` are \
             {PASSES_MANY} passes) or a smaller model"
        )
    })
}

/// The command that shows what a finished model can do.
fn how_to_try(model: &Path, is_chat: bool, prompt: Option<&str>) -> String {
    let model = model.display();
    if is_chat {
        return format!("talk with it:  tercet chat '{model}'");
    }
    format!("run it:  tercet run '{model}' \"{}\"", prompt.unwrap_or("…"))
}

/// Says at once that a signal was heard: the present step may take long.
fn say_when_stopped(interrupt: &Interrupt, has_ended: &Receiver<()>, lines: &Lines) {
    while has_ended.recv_timeout(SIGNAL_POLL) == Err(RecvTimeoutError::Timeout) {
        if interrupt.is_pending() {
            return lines.say("stopping after this step; a second signal ends at once, without saving");
        }
    }
}

/// Refuses what would not fit, before any of it is taken.
fn check_memory(prepared: &Prepared, isa: Isa) -> Result<(), Failure> {
    let (need, Some(memory)) = (prepared.memory_need(isa), machine::memory()) else { return Ok(()) };
    if need.total_bytes() <= memory.available_bytes {
        return Ok(());
    }
    let message = format!(
        "training needs {} of memory ({} parameters and optimizer, {} codes, {} activations, {} buffers, \
         {} a sample, {} teacher), but {} of {} are available",
        figures::bytes(need.total_bytes()),
        figures::bytes(need.parameter_bytes),
        figures::bytes(need.code_bytes),
        figures::bytes(need.activation_bytes),
        figures::bytes(need.scratch_bytes),
        figures::bytes(need.sample_bytes),
        figures::bytes(need.teacher_bytes),
        figures::bytes(memory.available_bytes),
        figures::bytes(memory.total_bytes),
    );
    let hint = if need.parameter_bytes > memory.available_bytes {
        "take a smaller model"
    } else if prepared.config.train.recompute {
        "a smaller `train.micro_batch` takes less; more `train.accumulation` makes up for it"
    } else {
        "`train.recompute=true` or a smaller `train.micro_batch` takes less"
    };
    Err(Failure::message(Exit::Memory, message).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_bears_few_steps_is_too_short_for_a_new_model() {
        let check = |passes, steps, is_started, part: Option<&str>| {
            let advice = advice_of(passes, steps, is_started);
            assert_eq!(advice.is_some(), part.is_some(), "{advice:?}");
            assert!(advice.is_none_or(|advice| advice.contains(part.unwrap_or_default())), "{part:?}");
        };
        check(20.0, 2000, false, None);
        check(40.0, 2000, false, Some("give more text, take fewer steps (`train.steps=1000` are 20 passes)"));
        check(6400.0, 2000, false, Some("too short for a model to learn from"));
        check(6400.0, 2000, true, Some("`train.steps=6` are 20 passes"));
    }

    #[test]
    fn a_model_of_conversations_is_to_be_talked_with() {
        let model = Path::new("runs/a/model");
        assert_eq!(how_to_try(model, true, Some("Once")), "talk with it:  tercet chat 'runs/a/model'");
        assert_eq!(how_to_try(model, false, Some("Once")), "run it:  tercet run 'runs/a/model' \"Once\"");
        assert_eq!(how_to_try(model, false, None), "run it:  tercet run 'runs/a/model' \"…\"");
    }
}
