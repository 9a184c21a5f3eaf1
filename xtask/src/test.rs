//! `cargo xtask test`: every test that needs only Rust and the clone.
//!
//! A test that cannot run appends its name and why, parted by a tab, to the file that
//! `TERCET_SKIP_LOG` names, and passes; it is counted here as skipped. The last line is
//! `N passed, N failed, N skipped`.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::process;
use crate::report::{PythonLines, Report, RustLines};

/// Variable that names the file where tests say that they were skipped.
const SKIP_LOG: &str = "TERCET_SKIP_LOG";
/// Variable that names the folder with data that is not part of the project.
const SHARED: &str = "TERCET_SHARED";
/// Variable that forces an instruction set.
const ISA: &str = "TERCET_ISA";

pub(crate) fn run() -> Result<ExitCode> {
    let report = run_all()?;
    println!("\n{report}");
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs every kind of test.
pub(crate) fn run_all() -> Result<Report> {
    let mut report = rust_tests()?;
    report.add(python_tests()?);
    Ok(report)
}

/// Once, on the best instruction set: the kernels' tests, the digests and those of `tercet run` go
/// through every set of this machine by themselves.
fn rust_tests() -> Result<Report> {
    const TITLE: &str = "tests";
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("skipped");
    let arguments = ["test", "--workspace", "--profile", "test-fast", "--no-fail-fast"];
    let mut cargo = process::command("cargo", &arguments);
    cargo.env(SKIP_LOG, &log).env_remove(ISA);
    if let Some(shared) = std::env::var_os(SHARED) {
        // Tests run in their crate's folder, so a relative path would mean something else there.
        let shared = std::path::absolute(&shared)?;
        cargo.env(SHARED, shared);
    }
    let mut lines = RustLines::default();
    let is_success = stream(TITLE, &mut cargo, |line| lines.read(line))?;
    let logged = std::fs::read_to_string(&log).unwrap_or_default();
    Ok(lines.finish(TITLE, &logged, is_success))
}

/// Runs `tools/test_*.py`, which need the standard library alone.
fn python_tests() -> Result<Report> {
    if !process::exists("python3") {
        let mut report = Report::default();
        report.add_skip("tools/test_*.py", "python3 is not installed");
        return Ok(report);
    }
    // It reports on stderr: the shell joins the two streams.
    let script = "exec python3 -B -m unittest discover --verbose -s tools -p 'test_*.py' 2>&1";
    let mut lines = PythonLines::default();
    let is_success =
        stream("tests of tools", &mut process::command("sh", &["-c", script]), |line| lines.read(line))?;
    Ok(lines.finish(is_success))
}

/// Runs a command, shows its output as it comes and gives its lines away; whether it succeeded.
fn stream(title: &str, command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<bool> {
    eprintln!("\n{title}");
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start it")?;
    let output = child.stdout.take().expect("the output is piped");
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        on_line(&line);
    }
    let is_success = child.wait()?.success();
    eprintln!("{title}: {:.0} s", started.elapsed().as_secs_f64());
    Ok(is_success)
}
