//! lm-evaluation-harness with its `hf` model, and `tercet eval`, over the same real documents.
//!
//! The harness's own task files are used, and its model is transformers' in f32. Every document must get the same
//! choice and every request nearly the same log-likelihood. A ternary model rounds activations: where an activation
//! lies within the last bits of a tie, its code differs between two implementations, so there choices may turn where
//! two are nearly as likely.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::ties;
use crate::process;
use crate::report::Report;

const TASKS: &str = "arc_easy,piqa,winogrande,lambada_openai,wikitext";
/// Documents of each task; WikiText has 62 pages.
const LIMIT: &str = "200";
/// transformers computes a ternary model in floats, so slowly that it gets no pages.
const TERNARY_TASKS: &str = "arc_easy,piqa,winogrande,lambada_openai";
/// Tasks of one context and of several, asked in conversations.
const CHAT_TASKS: &str = "arc_easy,winogrande";
/// What writes those: it trims, and does not begin with the token that the tokenizer then adds.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ message.role }}: {{ message.content | trim }}\n\
    {% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
/// How both programs are told to ask so.
const CHAT_FLAGS: [&str; 3] = ["--apply-chat-template", "--system-instruction", "Answer the question."];

/// The kind of model whose codes may flip.
const TERNARY: &str = "ternary";

/// What a log-likelihood of f32 sums may differ by, in nats.
const CLOSE: f64 = 1e-3;
/// And that of a page, which is a sum of hundreds of tokens: as a share of itself.
const CLOSE_PAGE: f64 = 1e-6;
/// What rounding flips may do to a log-likelihood, as a share of itself.
const FLIPPED: f64 = 2e-2;
/// How much likelier, in nats, a choice may be that they turn. The greatest that was met is 0.13, with torch's
/// products of an Intel Xeon with AMX; on an AMD Zen 5 it was 0.02.
const TURNED: f64 = 0.25;
/// The share of the documents whose choice they may turn.
const TURNED_SHARE: f64 = 0.02;

pub(super) fn run(python: &str, report: &mut Report) -> Result<()> {
    let Some(shared) = env::var_os("TERCET_SHARED") else {
        bail!("TERCET_SHARED is not set; it names the folder with `data/zero_shot` and `models/stories260K`");
    };
    let shared = Path::new(&shared).canonicalize().context("TERCET_SHARED")?;
    let built =
        process::command("cargo", &["build", "--release", "--quiet", "--package", "tercet-cli"]).status()?;
    if !built.success() {
        bail!("tercet cannot be built");
    }
    let folder = tempfile::tempdir()?;
    let dense = folder.path().join("dense");
    let stories = shared.join("models/stories260K");
    let (weights, words) = (stories.join("stories260K.bin"), stories.join("tok512.bin"));
    super::run_quietly(
        process::command(python, &["tools/import_llama2c.py"])
            .args([&weights, &dense])
            .arg("--tokenizer")
            .arg(&words),
    )?;
    compare(python, &shared, &dense, ("dense", TASKS), &[], report)?;
    fs::write(dense.join("chat_template.jinja"), CHAT_TEMPLATE)?;
    compare(python, &shared, &dense, ("in conversations", CHAT_TASKS), &CHAT_FLAGS, report)?;
    let ternary = folder.path().join("ternary");
    super::run_quietly(tercet(&["convert"]).arg(&ternary).args(["--to", "hf-autobitlinear", "--no-verify"]))?;
    compare(python, &shared, &ternary, (TERNARY, TERNARY_TASKS), &[], report)
}

fn tercet(arguments: &[&str]) -> Command {
    process::command(&process::root().join("target/release/tercet").to_string_lossy(), arguments)
}

/// Lets both evaluate a model, of this kind and on these tasks, with the same flags.
fn compare(
    python: &str,
    shared: &Path,
    model: &Path,
    (kind, tasks): (&str, &str),
    flags: &[&str],
    report: &mut Report,
) -> Result<()> {
    let is_ternary = kind == TERNARY;
    let data = shared.join("data");
    let script = process::command(python, &["tools/interop/lm_eval_run.py"])
        .arg(model)
        .arg(&data)
        .args([tasks, LIMIT])
        .args(flags)
        .output()?;
    let theirs: Value = serde_json::from_slice(&script.stdout).with_context(|| {
        format!("the harness printed no JSON: {}", String::from_utf8_lossy(&script.stderr))
    })?;
    let version = |name: &str| theirs[name].as_str().unwrap_or("?").to_owned();
    println!(
        "  lm-eval {}, transformers {}, torch {}",
        version("harness"),
        version("transformers"),
        version("torch")
    );
    let out = tempfile::tempdir()?;
    let mut command = tercet(&["eval"]);
    command.arg(model).args([
        "--tasks",
        tasks,
        "--limit",
        LIMIT,
        "--no-cache",
        "--log-samples",
        "--output-path",
    ]);
    command
        .arg(out.path())
        .args(flags)
        .arg("--data")
        .arg(data.join("zero_shot"))
        .arg("--data")
        .arg(data.join("wikitext-2"));
    super::run_quietly(&mut command)?;
    for task in tasks.split(',') {
        let ours = samples(out.path(), task)?;
        let documents =
            theirs["tasks"][task]["documents"].as_array().context("the harness has no such task")?;
        let theirs: Vec<Vec<f64>> = documents.iter().map(log_likelihoods).collect();
        let log_likelihoods: Vec<Vec<f64>> =
            ours.iter().map(|sample| sample.log_likelihoods.clone()).collect();
        check_task(&format!("{kind}, {task}"), is_ternary, &log_likelihoods, &theirs, report);
        if is_ternary {
            let turned =
                |(ours, theirs): (&Sample, &Vec<f64>)| likeliest(&ours.log_likelihoods) != likeliest(theirs);
            let turned: Vec<usize> = ours
                .iter()
                .zip(&theirs)
                .enumerate()
                .filter(|(_, pair)| turned(*pair))
                .map(|(at, _)| at)
                .collect();
            // The documents whose choice turned, and one where it did not.
            for at in turned.iter().chain(&[0]) {
                let name = format!("{kind}, {task}, document {at}");
                ties::trace(python, &name, model, &ours[*at].text, report)?;
            }
        }
    }
    Ok(())
}

/// What tercet found for a document.
pub(super) struct Sample {
    pub(super) log_likelihoods: Vec<f64>,
    /// Of each request, whether its continuation is the likeliest; false where that is not asked.
    pub(super) is_greedy: Vec<bool>,
    /// Context and continuation of the first request.
    text: String,
}

/// Compares what both found for each document of a task.
fn check_task(name: &str, is_ternary: bool, ours: &[Vec<f64>], theirs: &[Vec<f64>], report: &mut Report) {
    let is_like = |(a, b): (&Vec<f64>, &Vec<f64>)| {
        a.len() == b.len() && !a.is_empty() && a.iter().chain(b).all(|number| number.is_finite())
    };
    let have_same_requests = ours.iter().zip(theirs).all(is_like);
    if ours.len() != theirs.len() || ours.is_empty() || !have_same_requests {
        return super::check(
            report,
            name,
            false,
            &format!("{} documents, the harness has {}, or their requests differ", ours.len(), theirs.len()),
        );
    }
    let pairs = || ours.iter().zip(theirs);
    let differences = pairs().flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a - b).abs()));
    let greatest = differences.fold(0.0, f64::max);
    let relative =
        pairs().flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs())).fold(0.0, f64::max);
    let turned: Vec<f64> = pairs()
        .filter(|(a, b)| likeliest(a) != likeliest(b))
        .map(|(a, b)| b[likeliest(b)] - b[likeliest(a)])
        .collect();
    let is_page = ours[0].len() == 1 && name.ends_with("wikitext");
    let is_close = match (is_ternary, is_page) {
        (true, _) => {
            let are_few = turned.len() as f64 <= TURNED_SHARE * ours.len() as f64;
            relative <= FLIPPED && are_few && turned.iter().all(|margin| *margin <= TURNED)
        }
        (false, true) => relative <= CLOSE_PAGE,
        (false, false) => greatest <= CLOSE && turned.is_empty(),
    };
    let detail = format!(
        "{} documents, {} other choices{}, log-likelihoods within {greatest:.1e} ({relative:.1e} of themselves)",
        ours.len(),
        turned.len(),
        if turned.is_empty() { String::new() } else { format!(" (margins {turned:.4?})") },
    );
    super::check(report, name, is_close, &detail);
}

/// The first of the greatest.
fn likeliest(log_likelihoods: &[f64]) -> usize {
    let better = |best: usize, at: usize| if log_likelihoods[at] > log_likelihoods[best] { at } else { best };
    (0..log_likelihoods.len()).fold(0, better)
}

/// Of each request of a document: `[[-1.5, true], …]` or `[[-1.5]]`.
fn log_likelihoods(document: &Value) -> Vec<f64> {
    let requests = document.as_array().into_iter().flatten();
    requests.map(|response| response[0].as_f64().unwrap_or(f64::NAN)).collect()
}

/// The same from the lines that `tercet eval --log-samples` wrote.
pub(super) fn samples(folder: &Path, task: &str) -> Result<Vec<Sample>> {
    let is_of_task = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix(&format!("samples_{task}_"))
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let model = fs::read_dir(folder)?.next().context("tercet wrote no results")??.path();
    let files = fs::read_dir(model)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let file = files.iter().find(|path| is_of_task(path)).context("tercet wrote no samples")?;
    let parse = |line: &str| -> Result<Sample> {
        let sample: Value = serde_json::from_str(line)?;
        let responses = sample["filtered_resps"].as_array().context("a sample has responses")?;
        let number =
            |response: &Value| response.as_str().or_else(|| response[0].as_str()).unwrap_or_default().parse();
        let log_likelihoods = responses.iter().map(number).collect::<Result<_, _>>()?;
        let is_greedy = responses.iter().map(|response| response[1] == "True").collect();
        let first = &sample["arguments"]["gen_args_0"];
        let text = ["arg_0", "arg_1"].map(|at| first[at].as_str().unwrap_or_default()).concat();
        Ok(Sample { log_likelihoods, is_greedy, text })
    };
    fs::read_to_string(file)?.lines().map(parse).collect()
}
