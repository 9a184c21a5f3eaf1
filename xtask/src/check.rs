//! `cargo xtask check`: what CI runs.
//!
//! Every step runs even after one that failed, so that one run shows all there is to mend. The
//! rules on names and text are tests of this crate, in `tests/tidy.rs`.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::{process, test};

/// One check, which says what it found wrong.
type Step = fn() -> Result<()>;

/// What is checked before the tests, all with their profile, so that no dependency is compiled twice.
const STEPS: [(&str, Step); 4] =
    [("format", format), ("lints", lints), ("documentation", documentation), ("dependencies", dependencies)];

pub(crate) fn run() -> Result<ExitCode> {
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        let started = Instant::now();
        if let Err(error) = step() {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
        eprintln!("{name}: {:.0} s", started.elapsed().as_secs_f64());
    }
    let report = test::run_all()?;
    println!();
    for name in &failed {
        println!("failed: {name}");
    }
    println!("{report}");
    Ok(if failed.is_empty() && report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn format() -> Result<()> {
    process::run(&mut process::command("cargo", &["fmt", "--all", "--check"]))
}

fn lints() -> Result<()> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--profile", "test-fast", "--", "-D", "warnings"];
    process::run(&mut process::command("cargo", &clippy))
}

fn documentation() -> Result<()> {
    let doc = ["doc", "--workspace", "--no-deps", "--profile", "test-fast"];
    process::run(process::command("cargo", &doc).env("RUSTDOCFLAGS", "-D warnings"))
}

fn dependencies() -> Result<()> {
    if !process::exists("cargo-deny") {
        // The version stands where CI installs it, and there alone.
        let script = std::fs::read_to_string(process::root().join(".ci/run")).unwrap_or_default();
        let install =
            script.lines().map(str::trim).find(|line| line.starts_with("cargo install cargo-deny "));
        bail!(
            "cargo-deny is not installed\nhint: {}",
            install.unwrap_or("cargo install cargo-deny --locked")
        );
    }
    process::run(&mut process::command("cargo", &["deny", "check", "bans", "licenses", "sources"]))
}
