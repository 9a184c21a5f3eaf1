//! Real clients of OpenAI's interface ask `tercet serve`; each has a script in `tools/clients` with its checks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{lm_eval, node, served};
use crate::process;
use crate::report::Report;

const KEY: &str = "interop-0123456789abcdef0123456789abcdef";
/// Scripts for Python, each with the name of its client.
const SCRIPTS: [(&str, &str); 4] = [
    ("openai for Python", "openai_client.py"),
    ("LangChain", "langchain_client.py"),
    ("LlamaIndex", "llama_index_client.py"),
    ("Open WebUI's calls", "open_webui_client.py"),
];
const NODE: &str = "openai for Node";
/// Where the packages of Node lie.
const NODE_FOLDER: &str = "target/interop-node";
/// What the harness and `tercet eval` are compared on.
const TASKS: &str = "arc_easy,arc_challenge,piqa,hellaswag,winogrande,openbookqa,lambada_openai";
const DOCUMENTS: &str = "crates/eval/documents";
/// Positions of the small model.
const CONTEXT: &str = "512";

pub(super) fn run(python: &str, report: &mut Report) -> Result<()> {
    served::build()?;
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("chat-stories");
    served::write_chat_model(&model)?;
    let key_file = folder.path().join("key");
    fs::write(&key_file, KEY)?;
    let [model, key_file] = [model, key_file].map(|path| path.display().to_string());
    // In f32, as `tercet eval` computes.
    let mut server = served::start(&[&model, "--api-key-file", &key_file, "--kv", "f32"])?;
    let narrow = served::start(&["--parallel", "1", "--max-queue", "1"])?;
    let (url, narrow_url) = (served::url(&server), served::url(&narrow));
    for (client, script) in SCRIPTS {
        let script = format!("tools/clients/{script}");
        let mut command = process::command(python, &[&script, &url, KEY]);
        if client.starts_with("openai") {
            command.arg(&narrow_url);
        }
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        add(client, super::json_of(&mut command), report);
    }
    if node::is_missing() {
        println!("  {NODE}: skipped, `node` and `npm` are not installed");
        report.add_skip(NODE, "`node` and `npm` are not installed");
    } else {
        add(NODE, ask_from_node(&url), report);
    }
    let with_start = Compared {
        name: "with the token that begins a text",
        url: &url,
        model: &model,
        tokenizer: Some(&model),
    };
    compare_with_eval(python, &with_start, report).context("lm-eval local-completions")?;
    let plain = folder.path().join("plain-stories");
    served::write_plain_model(&plain)?;
    let plain = plain.display().to_string();
    let plain_server = served::start(&[&plain, "--kv", "f32"])?;
    let url = served::url(&plain_server);
    let remote = Compared { name: "by the server's tokenizer", url: &url, model: &plain, tokenizer: None };
    compare_with_eval(python, &remote, report).context("lm-eval local-completions")?;
    let sound = server.is_sound();
    super::check(
        report,
        "the server",
        sound.is_ok(),
        &sound.map_or_else(|error| format!("{error:#}"), |()| "sound".into()),
    );
    Ok(())
}

/// Adds what came of a script's checks.
pub(super) fn add(client: &str, told: Result<Value>, report: &mut Report) {
    let told = match told {
        Ok(told) => told,
        Err(error) => return super::check(report, client, false, &format!("{error:#}")),
    };
    println!("  {client} {}", told["versions"]);
    let checks = told["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    super::check(report, client, !checks.is_empty(), &format!("{} checks", checks.len()));
    for check in checks {
        let name = format!("{client}: {}", check["name"].as_str().unwrap_or("?"));
        super::check(report, &name, check["error"].is_null(), check["error"].as_str().unwrap_or("yes"));
    }
}

/// Runs the script of OpenAI's client for Node.
fn ask_from_node(url: &str) -> Result<Value> {
    let folder = node::prepare("tools/clients", NODE_FOLDER)?;
    super::json_of(process::command("node", &["openai_client.mjs", url, KEY]).current_dir(&folder))
}

/// A server and its model.
struct Compared<'a> {
    name: &'a str,
    url: &'a str,
    model: &'a str,
    /// The folder whose tokenizer the harness takes, and with it the token that begins a text. Of the server's routes
    /// it wants no special tokens, so there the model must begin without one.
    tokenizer: Option<&'a str>,
}

/// The harness asks the server, and `tercet eval` computes by itself: each number must be the same.
fn compare_with_eval(python: &str, compared: &Compared<'_>, report: &mut Report) -> Result<()> {
    let script = ["tools/clients/lm_eval_client.py", compared.url, KEY, DOCUMENTS, TASKS, CONTEXT];
    let mut command = process::command(python, &script);
    let theirs = super::json_of(command.args(compared.tokenizer).env("PYTHONDONTWRITEBYTECODE", "1"))?;
    let (name, found) = (compared.name, &theirs["tokenizer"]);
    println!("  lm-eval {}, {name}", theirs["versions"]);
    let expected = if compared.tokenizer.is_some() { "huggingface" } else { "remote" };
    super::check(report, &format!("lm-eval {name}"), found == expected, &format!("it tokenizes by {found}"));
    let out = tempfile::tempdir()?;
    let mut command = served::tercet();
    command.args(["eval", compared.model, "--tasks", TASKS, "--no-cache", "--log-samples", "--output-path"]);
    super::run_quietly(command.arg(out.path()))?;
    for task in TASKS.split(',') {
        check_task(&format!("{name}: {task}"), task, out.path(), &theirs["tasks"][task], report)
            .with_context(|| task.to_owned())?;
    }
    Ok(())
}

/// Compares every request of a task.
fn check_task(name: &str, task: &str, ours: &Path, theirs: &Value, report: &mut Report) -> Result<()> {
    let theirs = theirs.as_array().context("the harness has no such task")?;
    let ours = lm_eval::samples(ours, task)?;
    let (mut requests, mut differing) = (0, 0);
    for (ours, theirs) in ours.iter().zip(theirs) {
        let theirs: Vec<_> = theirs.as_array().into_iter().flatten().collect();
        ensure!(ours.log_likelihoods.len() == theirs.len(), "a document has other requests");
        for (at, theirs) in theirs.iter().enumerate() {
            requests += 1;
            let is_same = theirs[0].as_f64() == Some(ours.log_likelihoods[at])
                && theirs[1].as_bool() == Some(ours.is_greedy[at]);
            differing += usize::from(!is_same);
        }
    }
    let is_right = ours.len() == theirs.len() && requests > 0 && differing == 0;
    let detail = format!(
        "{} documents, the harness has {}; of {requests} log-likelihoods {differing} differ in any bit or in \
         whether they are greedy",
        ours.len(),
        theirs.len()
    );
    super::check(report, &format!("lm-eval and tercet eval {name}"), is_right, &detail);
    Ok(())
}
