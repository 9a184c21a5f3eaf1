//! `cargo xtask interop`: other people's software reads what tercet writes.
//!
//! Each part runs the real packages, pinned, in the project's one virtual environment; `browser` has a browser look at
//! the page of the server.

mod browser;
mod clients;
mod converted;
mod gguf;
mod hub;
mod llama_cpp;
mod lm_eval;
mod node;
mod schema;
mod served;
mod tensorboard;
mod ties;
mod tiny_run;
mod transformers;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::report::Report;
use crate::venv;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The parts to run: transformers, gguf, llama-cpp, lm-eval, hub, tensorboard, clients, schema, browser; all
    /// without one.
    parts: Vec<String>,
    /// Lets `schema` send 1,000 requests to each operation instead of 30.
    #[arg(long)]
    full: bool,
    /// Where `browser` leaves its screenshots.
    #[arg(long, value_name = "FOLDER", default_value = "target/browser")]
    screenshots: PathBuf,
}

/// A part: what it wants of other software, each with its name, reported.
type Part = fn(&str, &mut Report) -> Result<()>;

/// The packages that read what tercet writes, and those that ask its server.
const READERS: &str = "tools/requirements-interop.txt";
const CLIENTS: &str = "tools/requirements-clients.txt";

/// The part that needs no Python.
const BROWSER: &str = "browser";

const PARTS: [(&str, &str, Part); 8] = [
    ("transformers", READERS, transformers::run),
    ("gguf", READERS, gguf::run),
    ("llama-cpp", READERS, llama_cpp::run),
    ("lm-eval", READERS, lm_eval::run),
    ("hub", READERS, hub::run),
    ("tensorboard", READERS, tensorboard::run),
    ("clients", CLIENTS, clients::run),
    ("schema", CLIENTS, schema::run),
];

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let known: Vec<&str> = PARTS.iter().map(|(name, ..)| *name).chain([BROWSER]).collect();
    if let Some(unknown) = arguments.parts.iter().find(|part| !known.contains(&part.as_str())) {
        bail!("there is no part `{unknown}`, expected {}", known.join(", "));
    }
    let mut report = Report::default();
    let is_wanted =
        |name: &str| arguments.parts.is_empty() || arguments.parts.iter().any(|part| part == name);
    for (name, requirements, part) in PARTS.iter().filter(|(name, ..)| is_wanted(name)) {
        println!("{name}");
        let part = if *name == "schema" && arguments.full { schema::run_full } else { *part };
        if let Err(error) = venv::python(requirements).and_then(|python| part(&python, &mut report)) {
            report.add_failure(format!("{name}: {error:#}"));
        }
    }
    if is_wanted(BROWSER) {
        println!("{BROWSER}");
        if let Err(error) = browser::run(&arguments.screenshots, &mut report) {
            report.add_failure(format!("{BROWSER}: {error:#}"));
        }
    }
    println!("\n{report}");
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts a check, and says how it went.
fn check(report: &mut Report, name: &str, is_right: bool, detail: &str) {
    println!("  {name}: {detail}{}", if is_right { "" } else { "  FAILED" });
    if is_right {
        report.add_pass();
    } else {
        report.add_failure(format!("{name}: {detail}"));
    }
}

/// Runs a command that only has to succeed.
fn run_quietly(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Runs a script and reads the JSON object that it prints; its exit code is part of no report.
fn json_of(command: &mut Command) -> Result<Value> {
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).with_context(|| format!("{command:?} printed no JSON: {errors}"))
}
