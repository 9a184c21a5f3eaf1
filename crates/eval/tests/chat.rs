//! What lm-evaluation-harness asks in conversations of made-up tasks, and what is asked here.
//!
//! `tools/reference_eval_chat.py` runs the harness over `tests/data/chat/` and writes `asked.json` there; its
//! first lines say what that holds. Contexts, continuations and tokens must be the same.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tercet::checkpoint::Checkpoint;
use tercet::config::Config;
use tercet::digest::hex;
use tercet::embedded;
use tercet::tokenizer::{TextEnds, Tokenizer};
use tercet_chat::{SpecialTokens, Templates};
use tercet_eval::Request;
use tercet_eval::score::Encoder;
use tercet_eval::tasks::{
    Chat, Conversations, Example, ExampleSettings, HARNESS_VERSION, Source, TaskError, task_file,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/chat")
}

fn templates(text: &str) -> Templates {
    Templates::of_text("test.jinja", text, SpecialTokens::new("<s>", "</s>")).expect("a template")
}

fn template_of_file(name: &str) -> Templates {
    let path = folder().join(format!("../../../../chat/tests/data/templates/{name}.jinja"));
    templates(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The examples of a task, as conversations if there is a template.
fn examples(
    task: &str,
    settings: &ExampleSettings,
    templates: Option<&Templates>,
    fewshot_as_multiturn: bool,
) -> Result<Conversations, TaskError> {
    let task = task_file(&folder().join(format!("{task}.toml")))?;
    let documents = task.documents(&Source::Project, settings.num_fewshot)?;
    let examples = task.examples(&documents, settings)?;
    match templates {
        Some(templates) => task.conversations(&examples, &Chat { templates, fewshot_as_multiturn }),
        None => Ok(Conversations { examples, without_system: 0 }),
    }
}

/// Contexts, and what comes after each.
fn asked(example: &Example) -> [Vec<String>; 2] {
    let (mut contexts, mut continuations) = (Vec::new(), Vec::new());
    let put = |list: &mut Vec<String>, text: &String| {
        if !list.contains(text) {
            list.push(text.clone());
        }
    };
    for request in &example.requests {
        match request {
            Request::LogLikelihood { context, continuation } => {
                put(&mut contexts, context);
                put(&mut continuations, continuation);
            }
            Request::Generate { context, until, .. } => {
                put(&mut contexts, context);
                until.iter().for_each(|stop| put(&mut continuations, stop));
            }
            Request::Rolling { .. } => panic!("no task asks for a whole text"),
        }
    }
    [contexts, continuations]
}

/// The digest of the tokens of all requests.
fn digest(encoder: &Encoder<'_>, example: &Example) -> String {
    let tokens = example.requests.iter().map(|request| match request {
        Request::LogLikelihood { context, continuation } => {
            let scored = encoder.pair(context, continuation).expect("has tokens");
            let context = scored.input.len() + 1 - scored.targets.len();
            json!([scored.input[..context], scored.targets])
        }
        Request::Generate { context, .. } => json!([encoder.text(context).expect("has tokens")]),
        Request::Rolling { .. } => panic!("no task asks for a whole text"),
    });
    let text = tokens.collect::<Json>().to_string();
    hex(&Sha256::digest(text))
}

#[test]
fn conversations_are_those_of_the_harness() {
    let golden = fs::read_to_string(folder().join("asked.json")).expect("asked.json");
    let golden: Json = serde_json::from_str(&golden).expect("JSON");
    assert_eq!(golden["harness"], HARNESS_VERSION);
    let source = embedded::stories();
    let config = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
    let tokenizer = Tokenizer::read(&source, &config).unwrap();
    let ends = TextEnds::read(&source, &tokenizer).unwrap();
    // Long enough that nothing is cut.
    let encoder = Encoder::new(&tokenizer, ends, &config, 1 << 16);
    let cases = golden["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 7 * 12);
    for case in cases {
        let settings = ExampleSettings {
            num_fewshot: usize::try_from(case["shots"].as_u64().unwrap()).unwrap(),
            limit: Some(1),
            system_instruction: case["system"].as_str().map(str::to_owned),
            ..ExampleSettings::default()
        };
        let templates = case["template"].as_str().map(template_of_file);
        let multiturn = case["multiturn"] == true;
        let found = examples(case["task"].as_str().unwrap(), &settings, templates.as_ref(), multiturn);
        let example = &found.unwrap().examples[0];
        let [contexts, continuations] = asked(example);
        let what = format!("{case:#}");
        assert_eq!(json!(contexts), case["contexts"], "{what}");
        assert_eq!(json!(continuations), case["continuations"], "{what}");
        assert_eq!(digest(&encoder, example), case["sha256"], "{what}");
    }
}

#[test]
fn what_a_template_refuses_of_the_system_is_counted() {
    let settings = ExampleSettings {
        system_instruction: Some("Be brief.".to_owned()),
        limit: Some(2),
        ..ExampleSettings::default()
    };
    for (template, without_system) in [("gemma", 2), ("chatml", 0)] {
        let found = examples("written", &settings, Some(&template_of_file(template)), true).unwrap();
        assert_eq!(found.without_system, without_system, "{template}");
    }
}

#[test]
fn a_template_that_refuses_all_is_an_error_with_the_document() {
    let refusing = templates("{{ raise_exception('no ' + messages[0].role) }}");
    let error = examples("written", &ExampleSettings::default(), Some(&refusing), true).unwrap_err();
    let wanted = "task `written`, document 0: the chat template refuses the conversation: no user";
    assert_eq!(error.to_string(), wanted);
}
