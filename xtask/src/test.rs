//! `cargo xtask test`: every test that needs only Rust and the clone.
//!
//! A test that cannot run appends its name and why, parted by a tab, to the file that
//! `TERCET_SKIP_LOG` names, and passes; it is counted here as skipped. The last line is
//! `N passed, N failed, N skipped`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::process;

/// Variable that names the file where tests say that they were skipped.
const SKIP_LOG: &str = "TERCET_SKIP_LOG";
/// Variable that names the folder with data that is not part of the project.
const SHARED: &str = "TERCET_SHARED";

/// What a run of tests came to.
#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: Vec<String>,
}

pub fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("skipped");
    let mut counts = Counts::default();
    rust_tests(&log, &mut counts)?;
    python_tests(&mut counts)?;
    let logged = std::fs::read_to_string(&log).unwrap_or_default();
    for line in logged.lines() {
        counts.passed -= 1;
        counts.skipped.push(line.replacen('\t', ": ", 1));
    }
    println!();
    for skipped in &counts.skipped {
        println!("skipped: {skipped}");
    }
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped.len());
    ensure!(counts.failed == 0, "{} tests failed", counts.failed);
    Ok(())
}

fn rust_tests(log: &Path, counts: &mut Counts) -> Result<()> {
    let arguments = ["test", "--workspace", "--profile", "test-fast", "--no-fail-fast"];
    let mut cargo = process::command("cargo", &arguments);
    cargo.env(SKIP_LOG, log);
    if let Some(shared) = std::env::var_os(SHARED) {
        // Tests run in their crate's folder, so a relative path would mean something else there.
        let shared = std::path::absolute(&shared)?;
        cargo.env(SHARED, shared);
    }
    let (lines, is_success) = stream(&mut cargo)?;
    let failed_before = counts.failed;
    for line in &lines {
        if let Some(results) = line.strip_prefix("test result: ") {
            counts.passed += count(results, "passed");
            counts.failed += count(results, "failed");
        } else if let Some(ignored) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored"))
        {
            counts.skipped.push(format!("{}: ignored{}", ignored.0, ignored.1));
        }
    }
    if !is_success && counts.failed == failed_before {
        // A test that did not compile, or a test binary that died, has no line of its own.
        counts.failed += 1;
    }
    Ok(())
}

fn python_tests(counts: &mut Counts) -> Result<()> {
    if !process::exists("python3") {
        counts.skipped.push("tools/test_*.py: python3 is not installed".to_owned());
        return Ok(());
    }
    let arguments = ["-m", "unittest", "discover", "-s", "tools", "-p", "test_*.py"];
    let output = process::command("python3", &arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .context("cannot start python3")?;
    let text = String::from_utf8_lossy(&output.stderr);
    print!("\ntests of tools\n{text}");
    let ran =
        text.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse().ok()).unwrap_or(0);
    let failed = if output.status.success() {
        0
    } else {
        text.matches("\nFAIL:").count() + text.matches("\nERROR:").count()
    };
    let failed = if output.status.success() { 0 } else { failed.max(1) };
    counts.failed += failed;
    counts.passed += usize::saturating_sub(ran, failed);
    Ok(())
}

/// Runs a command, shows its output as it comes, and returns its lines.
fn stream(command: &mut Command) -> Result<(Vec<String>, bool)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().expect("the output is piped");
    let mut lines = Vec::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        lines.push(line);
    }
    Ok((lines, child.wait()?.success()))
}

/// The number before `word` in a line such as `ok. 3 passed; 0 failed; …`.
fn count(results: &str, word: &str) -> usize {
    let words: Vec<&str> = results.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let line = "ok. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.15s";
        assert_eq!((count(line, "passed"), count(line, "failed")), (12, 3));
    }
}
