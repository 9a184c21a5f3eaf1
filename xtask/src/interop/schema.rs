//! schemathesis asks every operation of `/openapi.json`, with requests that fit it and with such that do not.
//!
//! No answer may be a 5xx or fail to come, and every error has OpenAI's shape.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::served;
use crate::process;
use crate::report::Report;

/// Requests of each operation, and with `--full`.
const EXAMPLES: u32 = 30;
const EXAMPLES_FULL: u32 = 1000;
/// Its own checks, and ours.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,errors_have_the_shape_of_openai,requests_have_an_id";
/// An answer that takes longer hangs: the longest is a few hundred tokens of a small model.
const PATIENCE_SECONDS: &str = "60";
/// Positions of a sequence, so that answers are short.
const CONTEXT: &str = "256";
const SEED: &str = "1";

pub(super) fn run(python: &str, report: &mut Report) -> Result<()> {
    ask(python, EXAMPLES, report)
}

/// The same with many more examples.
pub(super) fn run_full(python: &str, report: &mut Report) -> Result<()> {
    ask(python, EXAMPLES_FULL, report)
}

fn ask(python: &str, examples: u32, report: &mut Report) -> Result<()> {
    served::build()?;
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("chat-stories");
    served::write_chat_model(&model)?;
    let mut server = served::start(&[&model.display().to_string(), "--ctx-size", CONTEXT])?;
    let found = folder.path().join("report.json");
    let schema = format!("{}/openapi.json", served::url(&server));
    let program = Path::new(python).with_file_name("schemathesis");
    let mut command = process::command(&program.display().to_string(), &["run", &schema, "--checks", CHECKS]);
    command.args(["--mode", "all", "--max-examples", &examples.to_string(), "--seed", SEED]);
    command.args([
        "--generation-allow-x00",
        "true",
        "--generation-database",
        "none",
        "--continue-on-failure",
    ]);
    command.args([
        "--request-timeout",
        PATIENCE_SECONDS,
        "--workers",
        "2",
        "--no-color",
        "--warnings",
        "off",
    ]);
    command.arg("--report-json-path").arg(&found);
    command
        .env("SCHEMATHESIS_HOOKS", "schema_checks")
        .env("PYTHONPATH", process::root().join("tools/clients"));
    // It leaves its own files where it runs.
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(folder.path()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let told = fs::read(&found).with_context(|| format!("schemathesis wrote no report: {said}"))?;
    let told: Value = serde_json::from_slice(&told)?;
    let count = |group: &str, name: &str| told[group][name].as_u64().unwrap_or(0);
    let (tested, total) = (count("operations", "tested"), count("operations", "total"));
    let is_right = output.status.success() && told["complete"] == true && tested > 0 && tested == total;
    if !is_right {
        println!("{said}");
    }
    let detail = format!(
        "{} requests to {tested} of {total} operations, {examples} examples each beside the edges: {} failures",
        count("test_cases", "generated"),
        count("test_cases", "unique_failures"),
    );
    let version = told["schemathesis_version"].as_str().unwrap_or("?");
    super::check(report, &format!("schemathesis {version}"), is_right, &detail);
    let held = server.settle().and_then(|_| server.is_sound());
    super::check(
        report,
        "afterwards",
        held.is_ok(),
        &held.map_or_else(|error| format!("{error:#}"), |()| "nothing is held".into()),
    );
    Ok(())
}
