//! Some time of training: as many runs at once as wanted, each on a thread of its own.
//!
//! Weights do not depend on the number of threads, so runs beside each other are the fastest way through. A run
//! that is stopped saves a checkpoint, and the next leg goes on from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::plan::{self, Arm, Outcome, Run, SIZES};
use super::results::Results;
use crate::process;

/// First letters of the authors whose novels are for validation; all others are for training.
const VALIDATION_LETTERS: [&str; 1] = ["[LTW]"];
const TRAINING_LETTERS: [&str; 2] = ["[A-K]", "[M-S]"];

const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// What `tercet train` ends with after SIGTERM.
const EXIT_STOPPED: i32 = 143;

struct Job {
    run: Run,
    output: PathBuf,
    child: Child,
}

/// Trains what is wanted until the time is over or nothing is wanted.
pub(super) fn run(results: &mut Results, novels: &Path, minutes: f64, jobs: usize) -> Result<()> {
    ensure!(minutes > 0.0 && jobs > 0, "--minutes and --jobs must be more than 0");
    let novels = novels.canonicalize().with_context(|| format!("--novels {}", novels.display()))?;
    process::run(&mut process::command("cargo", &["build", "--release"]))?;
    let Some(first) = plan::wanted(results.outcomes()).first().copied() else { return Ok(()) };
    // Makes the tokens, which all runs then find.
    process::run(command(&first, &novels).args(["--dry-run", "--quiet"]).stdout(Stdio::null()))?;

    let end = Instant::now() + Duration::from_secs_f64(60.0 * minutes);
    let mut running: Vec<Job> = Vec::new();
    loop {
        let wanted = plan::wanted(results.outcomes());
        for run in wanted {
            if running.len() < jobs && running.iter().all(|job| job.run != run) {
                running.push(begin(run, &novels)?);
            }
        }
        if running.is_empty() {
            return Ok(());
        }
        if Instant::now() >= end {
            break;
        }
        thread::sleep(POLL_INTERVAL);
        running = take_finished(running, results)?;
    }
    running.iter().try_for_each(stop)?;
    while !running.is_empty() {
        thread::sleep(POLL_INTERVAL);
        running = take_finished(running, results)?;
    }
    Ok(())
}

/// Takes the outcome of the runs that ended; gives back those that have not.
fn take_finished(running: Vec<Job>, results: &mut Results) -> Result<Vec<Job>> {
    let mut left = Vec::new();
    for mut job in running {
        match job.child.try_wait()? {
            None => left.push(job),
            Some(status) if status.success() => {
                let outcome = outcome(&job)?;
                println!("{}: {:.4} nats a token", name(&job.run), outcome.loss());
                results.add(outcome)?;
            }
            Some(status) if status.code() == Some(EXIT_STOPPED) => {
                println!("{}: stopped, the same command goes on", name(&job.run));
            }
            Some(status) => bail!("{}: {status}; see {}", name(&job.run), log_path(&job.output).display()),
        }
    }
    Ok(left)
}

/// Starts a run, or goes on with it.
fn begin(run: Run, novels: &Path) -> Result<Job> {
    let output = output(&run);
    fs::create_dir_all(&output)?;
    let log = fs::File::options().create(true).append(true).open(log_path(&output))?;
    let child = command(&run, novels).stdout(Stdio::null()).stderr(log).spawn();
    Ok(Job { run, output, child: child.context("cannot start tercet train")? })
}

/// `tercet train` with all that is a run's own.
fn command(run: &Run, novels: &Path) -> Command {
    let binary = process::root().join("target/release/tercet");
    let texts = |letters: &str| format!("{}/{letters}*.txt.gz", novels.display());
    let size = &SIZES[run.size];
    let (linears, norms) = match run.arm {
        Arm::Ternary => ("ternary", "sub"),
        Arm::Dense => ("dense", "pre"),
    };
    let mut command =
        process::command(&binary.to_string_lossy(), &["train", "examples/scaling.toml", "--plain"]);
    command.args(["--threads", "1", "data.cache=runs/scaling/cache", "--output"]).arg(output(run));
    for value in [
        format!("run.seed={}", run.seed),
        format!("model.linears={linears}"),
        format!("model.norms={norms}"),
        format!("model.hidden_size={}", size.hidden_size),
        format!("model.intermediate_size={}", size.intermediate_size),
        format!("model.num_hidden_layers={}", size.num_hidden_layers),
        format!("model.num_attention_heads={}", size.num_attention_heads),
        format!("schedule.learning_rate={}", run.learning_rate()),
        format!("data.train={:?}", TRAINING_LETTERS.map(texts)),
        format!("data.validation={:?}", VALIDATION_LETTERS.map(texts)),
    ] {
        command.arg(value);
    }
    command
}

/// The folder of a run.
fn output(run: &Run) -> PathBuf {
    process::root().join("runs/scaling").join(name(run))
}

/// What a finished run's record says.
fn outcome(job: &Job) -> Result<Outcome> {
    let path = job.output.join("log.jsonl");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut validations = Vec::new();
    let mut bits_per_byte = None;
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).with_context(|| format!("{}", path.display()))?;
        if row["kind"] == "validation" {
            validations.push((row["step"].as_u64().context("step")?, row["loss"].as_f64().context("loss")?));
            bits_per_byte = row["bits_per_byte"].as_f64();
        }
    }
    let bits_per_byte = bits_per_byte.with_context(|| format!("{}: no validation", path.display()))?;
    Ok(Outcome { run: job.run, bits_per_byte, validations })
}

/// Asks a run to save and end.
fn stop(job: &Job) -> Result<()> {
    let id = job.child.id().to_string();
    Command::new("kill").args(["-TERM", &id]).status().context("cannot start `kill`")?;
    Ok(())
}

fn name(run: &Run) -> String {
    let size = SIZES[run.size].name.replace(' ', "");
    let arm = format!("{:?}", run.arm).to_lowercase();
    format!("{size}-{arm}-{}-seed{}", run.learning_rate(), run.seed)
}

fn log_path(output: &Path) -> PathBuf {
    output.with_extension("log")
}
