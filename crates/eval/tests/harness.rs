//! What lm-evaluation-harness asks and measures over the project's documents, and what is here.
//!
//! `tools/reference_eval.py` runs the harness's own task files over `documents/` and writes
//! `tests/data/requests/`; its first lines say what the files hold. Requests and digests must be the
//! same to the last byte, values the same number.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tercet::digest::hex;
use tercet_eval::tasks::{
    Documents, Example, ExampleSettings, HARNESS_VERSION, Measures, Source, Task, Value, aggregate, find,
    names,
};
use tercet_eval::{PythonRandom, Request, Response};

/// Sums of the same numbers in the same order, but for the harness's numpy.
const TOLERANCE: f64 = 1e-12;

const TEXTS: [&str; 5] = [
    " Let us see.\n#### {}",
    " It is {} in all.",
    " #### {}.\nNo, wait: 7",
    " I do not know.",
    " First 12, then ${}",
];

fn golden(name: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/requests/{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn arguments(request: &Request) -> Json {
    match request {
        Request::LogLikelihood { context, continuation } => json!([context, continuation]),
        Request::Rolling { text } => json!([text]),
        Request::Generate { context, until, .. } => json!([context, until]),
    }
}

fn requests(example: &Example) -> Json {
    example.requests.iter().map(arguments).collect()
}

fn examples(task: &Task, num_fewshot: usize) -> (Documents, Vec<Example>) {
    let documents = task.documents(&Source::Project, num_fewshot).expect("the project's documents");
    let settings = ExampleSettings { num_fewshot, ..ExampleSettings::default() };
    let examples = task.examples(&documents, &settings).expect("examples");
    (documents, examples)
}

/// The responses that `reference_eval.py` gives.
fn respond(example: &Example, random: &mut PythonRandom) -> Vec<Response> {
    let responses = example.requests.iter().map(|request| match request {
        Request::LogLikelihood { .. } => {
            let log_likelihood = -10.0 * random.random();
            Response::LogLikelihood { log_likelihood, is_greedy: random.random() < 0.5 }
        }
        Request::Rolling { .. } => Response::Rolling { log_likelihood: -10.0 * random.random() },
        Request::Generate { .. } => {
            let target = example.target.as_str().expect("a text");
            let answer = target.rsplit("#### ").next().expect("has a last part");
            Response::Generated { text: TEXTS[example.index % TEXTS.len()].replace("{}", answer) }
        }
    });
    responses.collect()
}

fn near(found: f64, wanted: &Json, what: &str) {
    let wanted = wanted.as_f64().unwrap_or_else(|| panic!("{what}: {wanted} is no number"));
    assert!((found - wanted).abs() <= TOLERANCE * wanted.abs().max(1.0), "{what}: {found} is not {wanted}");
}

fn check_values(measures: &Measures, wanted: &Json, what: &str) {
    let wanted = wanted.as_object().expect("by filter");
    assert_eq!(measures.filtered.len(), wanted.len(), "{what}");
    for filtered in &measures.filtered {
        let wanted = &wanted[&filtered.filter];
        assert_eq!(filtered.values.len(), wanted.as_object().expect("by metric").len(), "{what}");
        for (name, value) in &filtered.values {
            let what = format!("{what}: {name}, {}", filtered.filter);
            match value {
                Value::Number(number) => near(*number, &wanted[name], &what),
                Value::Weighted { log_likelihood, weight } => {
                    near(*log_likelihood, &wanted[name][0], &what);
                    assert_eq!(json!(weight), wanted[name][1], "{what}");
                }
            }
        }
    }
}

fn check_shots(task: &Task, num_fewshot: usize, wanted: &Json) {
    let (_, examples) = examples(task, num_fewshot);
    let documents = wanted["documents"].as_array().expect("documents");
    assert_eq!(examples.len(), documents.len(), "{}", task.name);
    let mut random = PythonRandom::new(42);
    let mut all = Vec::new();
    for (example, wanted) in examples.iter().zip(documents) {
        let what = format!("{}, {num_fewshot} shots, document {}", task.name, example.index);
        let requests = requests(example);
        if let Some(wanted) = wanted.get("requests") {
            assert_eq!(&requests, wanted, "{what}");
        }
        assert_eq!(sha256(&requests.to_string()), wanted["sha256"], "{what}");
        let hashes = [example.document_hash(), example.prompt_hash(), example.target_hash()];
        assert_eq!(json!(hashes), wanted["hashes"], "{what}");
        let measures = task.measure(example, &respond(example, &mut random));
        check_values(&measures, &wanted["values"], &what);
        all.push(measures);
    }
    let metrics = aggregate(task, &all);
    let wanted = wanted["metrics"].as_array().expect("metrics");
    assert_eq!(metrics.len(), wanted.len(), "{}", task.name);
    for (metric, wanted) in metrics.iter().zip(wanted) {
        let what = format!("{}, {num_fewshot} shots, {}, {}", task.name, metric.name, metric.filter);
        assert_eq!(json!([metric.name, metric.filter]), json!([wanted[0], wanted[1]]), "{what}");
        near(metric.value, &wanted[2], &what);
        if !wanted[3].is_null() {
            near(metric.stderr.expect("of many"), &wanted[3], &what);
        }
    }
}

fn check(name: &str, task: &str) {
    let golden = golden(name);
    let selection = find(&[task]).expect("known");
    let task = &selection.tasks[0];
    assert_eq!(golden["harness"], HARNESS_VERSION);
    assert_eq!(golden["version"], task.version.as_str(), "{}", task.name);
    for num_fewshot in [0, 5] {
        check_shots(task, num_fewshot, &golden["shots"][num_fewshot.to_string()]);
    }
}

#[test]
fn every_task_asks_and_measures_as_the_harness_does() {
    let names = names().into_iter().filter(|name| {
        let is_group = !find(&[name]).expect("known").groups.is_empty();
        !is_group && !name.contains('@') && !name.starts_with("mmlu")
    });
    let names: Vec<String> = names.collect();
    assert_eq!(names.len(), 16);
    for name in names {
        check(&name, &name);
    }
}

#[test]
fn every_subject_of_mmlu_asks_as_the_harness_does() {
    check("mmlu", "mmlu_abstract_algebra");
    let golden = golden("mmlu");
    let subjects = golden["subjects"].as_object().expect("subjects");
    let selection = find(&["mmlu"]).expect("known");
    assert_eq!(selection.tasks.len(), subjects.len());
    for task in &selection.tasks {
        for num_fewshot in [0, 5] {
            let (_, examples) = examples(task, num_fewshot);
            let digests: String =
                examples.iter().map(|example| sha256(&requests(example).to_string())).collect();
            let wanted = &subjects[&task.name][num_fewshot.to_string()];
            assert_eq!(sha256(&digests), *wanted, "{}, {num_fewshot} shots", task.name);
        }
    }
}

/// `tools/reference_eval_old.py` says what its file holds.
#[test]
fn tasks_of_the_paper_ask_as_version_0_3_0_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/old.json");
    let golden: Json = serde_json::from_str(&fs::read_to_string(path).expect("old.json")).expect("JSON");
    let selection = find(&["paper"]).expect("known");
    assert_eq!(selection.tasks.len(), golden.as_object().expect("by task").len());
    for task in &selection.tasks {
        let name = task.name.strip_suffix("@0.3.0").expect("of that version");
        for num_fewshot in [0, 5] {
            let (_, examples) = examples(task, num_fewshot);
            let requests: Json =
                examples.iter().flat_map(|example| &example.requests).map(arguments).collect();
            let wanted = &golden[name][num_fewshot.to_string()];
            assert_eq!(sha256(&requests.to_string()), *wanted, "{name}, {num_fewshot} shots");
        }
    }
}

#[test]
fn every_task_has_documents_of_the_project() {
    for name in names() {
        for task in find(&[&name]).expect("known").tasks {
            let (documents, _) = examples(&task, 5);
            assert!(documents.len() >= 20, "{name}");
            assert!(documents.is_project());
        }
    }
}
