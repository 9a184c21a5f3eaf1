//! The figures that lm-evaluation-harness publishes with its own tests, from the real data sets.
//!
//! The data is not part of the project: `TERCET_SHARED` names the folder that holds
//! `data/zero_shot` and `data/wikitext-2`. `reference.json` there has, for each task, a digest of
//! all request strings and the scores of random log-likelihoods.

#[path = "../../tercet/tests/skipping/mod.rs"]
mod skipping;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tercet::digest::hex;
use tercet_eval::tasks::{ExampleSettings, Source, SplitFiles, aggregate, find};
use tercet_eval::{PythonRandom, Request, Response};

/// The folder of the data; nothing if the variable is not set.
fn data(test: &str) -> Option<PathBuf> {
    let Some(shared) = std::env::var_os("TERCET_SHARED").map(PathBuf::from) else {
        skipping::skip(test, "TERCET_SHARED is not set");
        return None;
    };
    let data = shared.join("data/zero_shot");
    assert!(data.is_dir(), "TERCET_SHARED has no folder {}", data.display());
    Some(data)
}

fn reference(data: &Path) -> Json {
    let text = fs::read_to_string(data.join("reference.json")).expect("reference.json");
    serde_json::from_str(&text).expect("JSON")
}

/// Text as Python's `json.dumps` writes it.
fn python_json(text: &str) -> String {
    let mut written = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => written.push_str("\\\""),
            '\\' => written.push_str("\\\\"),
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\t' => written.push_str("\\t"),
            '\u{8}' => written.push_str("\\b"),
            '\u{c}' => written.push_str("\\f"),
            ' '..='~' => written.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    written.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    written + "\""
}

fn digest_of(requests: &[&Request]) -> String {
    let lists = requests.iter().map(|request| match request {
        Request::LogLikelihood { context, continuation } => {
            format!("[{}, {}]", python_json(context), python_json(continuation))
        }
        Request::Rolling { text } => format!("[{}]", python_json(text)),
        Request::Generate { .. } => panic!("no task of the reference generates"),
    });
    let all = format!("[{}]", lists.collect::<Vec<_>>().join(", "));
    hex(&Sha256::digest(all))
}

fn check(data: &Path, name: &str, wanted: &Json) {
    let task = match name {
        "hellaswag_activitynet" => "hellaswag@0.3.0".to_owned(),
        other => format!("{other}@0.3.0"),
    };
    let selection = find(&[&task]).expect("known");
    let task = &selection.tasks[0];
    let split = task.dataset.as_ref().expect("of the Hub").evaluation_split.clone();
    let file = data.join(wanted["file"].as_str().expect("a name"));
    let source = Source::Files(vec![SplitFiles { split, paths: vec![file] }]);
    let documents = task.documents(&source, 0).expect("readable");
    assert_eq!(documents.len() as u64, wanted["docs"].as_u64().expect("a number"), "{name}");
    let examples = task.examples(&documents, &ExampleSettings::default()).expect("examples");

    let requests: Vec<&Request> = examples.iter().flat_map(|example| &example.requests).collect();
    assert_eq!(requests.len() as u64, wanted["requests"].as_u64().expect("a number"), "{name}");
    assert_eq!(digest_of(&requests), wanted["requests_sha256"].as_str().expect("a digest"), "{name}");

    let mut random = PythonRandom::new(42);
    let measures = examples.iter().map(|example| {
        let responses: Vec<Response> = example
            .requests
            .iter()
            .map(|request| {
                let log_likelihood = -random.random();
                match request {
                    Request::Rolling { .. } => Response::Rolling { log_likelihood },
                    _ => Response::LogLikelihood { log_likelihood, is_greedy: false },
                }
            })
            .collect();
        task.measure(example, &responses)
    });
    let metrics = aggregate(task, &measures.collect::<Vec<_>>());
    let mut compared = 0;
    for metric in metrics {
        if let Some(value) = wanted[&format!("random_{}", metric.name)].as_f64() {
            assert!((metric.value - value).abs() < 1e-12, "{name}: {} is {}", metric.name, metric.value);
            compared += 1;
        }
    }
    assert!(compared > 0, "{name}: no figure was compared");
}

#[test]
fn requests_and_random_scores_are_the_published_ones() {
    const NAME: &str = "requests_and_random_scores_are_the_published_ones";
    let Some(data) = data(NAME) else { return };
    let reference = reference(&data);
    let tasks = reference["tasks"].as_object().expect("tasks");
    assert_eq!(tasks.len(), 8);
    for (name, wanted) in tasks {
        check(&data, name, wanted);
    }
}

#[test]
fn every_file_of_the_folder_is_found_by_its_name() {
    const NAME: &str = "every_file_of_the_folder_is_found_by_its_name";
    let Some(data) = data(NAME) else { return };
    let names = ["paper", "arc_easy", "boolq", "lambada_openai"];
    let source = Source::Folder(data);
    for task in find(&names).expect("known").tasks {
        let documents = task.documents(&source, 0).expect("found");
        let limit = ExampleSettings { limit: Some(3), ..ExampleSettings::default() };
        assert_eq!(task.examples(&documents, &limit).expect("examples").len(), 3, "{}", task.name);
    }
}

#[test]
fn pages_of_wikitext_are_found_by_their_name() {
    const NAME: &str = "pages_of_wikitext_are_found_by_their_name";
    let Some(data) = data(NAME) else { return };
    let parent = data.parent().expect("has one").to_path_buf();
    let selection = find(&["wikitext"]).expect("known");
    let documents = selection.tasks[0].documents(&Source::Folder(parent), 0).expect("found");
    assert_eq!(documents.len(), 62);
}
