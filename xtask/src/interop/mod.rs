//! `cargo xtask interop`: other people's software reads what tercet writes.
//!
//! Each part runs the real packages, pinned, in the project's one virtual environment.

mod converted;
mod gguf;
mod hub;
mod llama_cpp;
mod lm_eval;
mod tensorboard;
mod ties;
mod tiny_run;
mod transformers;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::report::Report;
use crate::venv;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The parts to run: transformers, gguf, llama-cpp, lm-eval, hub, tensorboard; all without one.
    parts: Vec<String>,
}

/// A part: what it wants of other software, each with its name, reported.
type Part = fn(&str, &mut Report) -> Result<()>;

const PARTS: [(&str, Part); 6] = [
    ("transformers", transformers::run),
    ("gguf", gguf::run),
    ("llama-cpp", llama_cpp::run),
    ("lm-eval", lm_eval::run),
    ("hub", hub::run),
    ("tensorboard", tensorboard::run),
];

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let known: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = arguments.parts.iter().find(|part| !known.contains(&part.as_str())) {
        bail!("there is no part `{unknown}`, expected {}", known.join(", "));
    }
    let python = venv::python("tools/requirements-interop.txt")?;
    let mut report = Report::default();
    let is_wanted =
        |name: &str| arguments.parts.is_empty() || arguments.parts.iter().any(|part| part == name);
    for (name, part) in PARTS.iter().filter(|(name, _)| is_wanted(name)) {
        println!("{name}");
        if let Err(error) = part(&python, &mut report) {
            report.add_failure(format!("{name}: {error:#}"));
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
