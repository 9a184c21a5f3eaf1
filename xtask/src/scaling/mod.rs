//! `cargo xtask scaling`: does ternary catch up with full precision as models grow?
//!
//! Trains models of five sizes, ternary and dense, and writes what came into `docs/scaling.md`. What a run
//! ended with is kept in `docs/scaling/results.json`, so the command goes on where it was.
//!
//! ```text
//! plan       which runs are wanted, by what is known
//! command    what a run is
//! leg        runs them for some time, and keeps what they end with
//! record     what a run has left says of its end
//! interrupt  Ctrl-C
//! origin     what runs depend on and were made with
//! results    the file
//! gaps       the differences between the arms
//! fit        a line through them, and its interval
//! figure     the drawings
//! page       the tables
//! ```

mod command;
mod figure;
mod fit;
mod gaps;
mod interrupt;
mod leg;
mod origin;
mod page;
mod plan;
mod record;
mod results;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tercet_train::config::TrainConfig;

use crate::process;
use leg::Leg;
use origin::Origin;
use results::Results;

/// What the runs ended with, below the folder of the documentation.
const RESULTS: &str = "scaling/results.json";
/// The longest leg, a year: more is a slip.
const MINUTES_MAX: f64 = 60.0 * 24.0 * 365.0;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder of english-novels: files `Author_Title_Year.txt.gz`.
    #[arg(long, required_unless_present = "report")]
    novels: Option<PathBuf>,
    /// Ends after so many minutes; the same command goes on.
    #[arg(long, value_name = "MINUTES", default_value = "85", value_parser = minutes)]
    minutes: Duration,
    /// Runs at once, each on one thread.
    #[arg(long, default_value = "2")]
    jobs: NonZeroUsize,
    /// Writes the page from what is known, and trains nothing.
    #[arg(long)]
    report: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let docs = process::root().join("docs");
    let shared = Shared::read()?;
    let mut results = Results::open(&docs.join(RESULTS), &shared.plan)?;
    let trained = match &arguments.novels {
        Some(novels) if !arguments.report => train(arguments, novels, &shared, &mut results),
        _ => Ok(()),
    };
    // What came is on the page, however the leg has ended.
    let written = page::write(&docs, &results, shared.run_tokens);
    trained.and(written)
}

/// What all runs have in common.
struct Shared {
    /// The digest of the plan.
    plan: String,
    steps: u64,
    /// Tokens that a run is trained on.
    run_tokens: u64,
}

impl Shared {
    fn read() -> Result<Shared> {
        let path = process::root().join(command::CONFIG);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let config = TrainConfig::parse(command::CONFIG, &text)?;
        let steps = config.train.steps;
        let steps = steps.with_context(|| format!("{}: `train.steps` is missing", command::CONFIG))?;
        Ok(Shared { plan: origin::plan_digest(&text), steps, run_tokens: steps * config.tokens_per_step() })
    }
}

/// One leg, with all that it needs.
fn train(arguments: &Arguments, novels: &Path, shared: &Shared, results: &mut Results) -> Result<()> {
    let novels = novels.canonicalize().with_context(|| format!("--novels {}", novels.display()))?;
    let Some(first) = plan::wanted(results.outcomes()).first().copied() else { return Ok(()) };
    process::run(&mut process::command("cargo", &["build", "--release"]))?;
    results.begin_leg(Origin::of_leg(&shared.plan, &novels)?)?;
    let folder = process::root().join(command::RUNS);
    let novels = novels.to_string_lossy();
    let command = |run: &plan::Run, output: &Path| command::command(run, &novels, output);
    // Makes the tokens, which all runs then find.
    let mut tokens = command(&first, &folder.join(command::name(&first)));
    process::run(tokens.args(["--dry-run", "--quiet"]).stdout(Stdio::null()))?;
    let interrupted = interrupt::listen()?;
    let leg = Leg {
        folder: &folder,
        command: &command,
        steps: shared.steps,
        jobs: arguments.jobs.get(),
        end: Instant::now() + arguments.minutes,
        is_interrupted: &|| interrupted.load(Ordering::SeqCst),
    };
    leg.run(results)
}

fn minutes(text: &str) -> Result<Duration> {
    let minutes: f64 = text.parse()?;
    ensure!(
        minutes > 0.0 && minutes <= MINUTES_MAX,
        "expected more than 0 and at most {MINUTES_MAX} minutes"
    );
    Ok(Duration::from_secs_f64(60.0 * minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_of_the_page_are_whole_and_of_this_plan() {
        let shared = Shared::read().unwrap();
        let results = Results::open(&process::root().join("docs").join(RESULTS), &shared.plan).unwrap();
        assert!(!results.outcomes().is_empty());
        for outcome in results.outcomes().iter().filter(|outcome| !outcome.has_diverged()) {
            assert_eq!(outcome.validations.last().unwrap().0, shared.steps, "{:?}", outcome.run);
        }
    }

    #[test]
    fn minutes_are_a_time_that_ends() {
        assert_eq!(minutes("1.5").unwrap(), Duration::from_secs(90));
        for bad in ["0", "-1", "inf", "NaN", "1e300", "one"] {
            assert!(minutes(bad).is_err(), "{bad}");
        }
    }
}
