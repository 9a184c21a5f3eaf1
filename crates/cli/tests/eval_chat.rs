//! `tercet eval --apply-chat-template`: what a model is asked, what is told of it, and what is refused.

mod command;

use std::fs;
use std::path::Path;

use command::{Outcome, TEMPLATE, command, conversing_model, outcome, tercet};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tercet::digest::hex;

const FEW: [&str; 5] = ["--tasks", "arc_easy", "--limit", "4", "--json"];

fn eval(model: &Path, arguments: &[&str]) -> Outcome {
    outcome(command().arg("eval").arg(model).args(arguments))
}

/// The first request of the first document, from the file of samples.
fn first_request(folder: &Path) -> [String; 2] {
    let of_model = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut files = fs::read_dir(of_model).unwrap().map(|entry| entry.unwrap().path());
    let samples = files.find(|path| path.extension().is_some_and(|end| end == "jsonl")).unwrap();
    let lines = fs::read_to_string(samples).unwrap();
    let sample: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let arguments = &sample["arguments"]["gen_args_0"];
    ["arg_0", "arg_1"].map(|argument| arguments[argument].as_str().unwrap().to_owned())
}

#[test]
fn a_model_is_asked_by_its_template_and_the_results_say_so() {
    let model = conversing_model("eval-chat-asked");
    for (more, multiturn, beginning, answers) in [
        (&[][..], true, "<s>system: Be brief.\nuser: Question: ", 1),
        (&["--fewshot-as-multiturn"], true, "<s>system: Be brief.\nuser: Question: ", 1),
        (&["--fewshot-as-multiturn", "false"], false, "<s>system: Be brief.\nuser: Question: ", 0),
    ] {
        let out = tempfile::tempdir().unwrap();
        let asked = ["-f", "1", "--apply-chat-template", "--system-instruction", "Be brief.", "--no-cache"];
        let written = ["--log-samples", "-o", out.path().to_str().unwrap()];
        let found = eval(&model, &[&FEW[..], &asked, &written, more].concat()).success().json();
        assert_eq!(found["chat_template"], TEMPLATE);
        let sha = |text: &str| hex(&Sha256::digest(text));
        assert_eq!(found["chat_template_sha"], sha(TEMPLATE));
        assert_eq!(found["system_instruction"], "Be brief.");
        assert_eq!(found["system_instruction_sha"], sha("Be brief."));
        assert_eq!(found["fewshot_as_multiturn"], multiturn, "{more:?}");
        let [context, continuation] = first_request(out.path());
        assert!(context.starts_with(beginning), "{context}");
        assert!(context.ends_with("\nAnswer:\nassistant:"), "{context}");
        assert_eq!(context.matches("\nassistant: ").count(), answers, "{context}");
        assert!(!continuation.starts_with(' '), "`{continuation}`");
    }
}

#[test]
fn without_a_template_the_results_say_nothing_of_one() {
    let model = conversing_model("eval-chat-plain");
    let fields = ["chat_template", "chat_template_sha", "system_instruction_sha", "fewshot_as_multiturn"];
    let found = eval(&model, &[&FEW[..], &["--no-cache"]].concat()).success().json();
    for field in fields {
        assert_eq!(found.get(field), Some(&Value::Null), "{field}");
    }
    let out = tempfile::tempdir().unwrap();
    let more = [
        "--system-instruction",
        "Be brief.",
        "--fewshot-as-multiturn",
        "false",
        "--log-samples",
        "-o",
        out.path().to_str().unwrap(),
        "--no-cache",
    ];
    let found = eval(&model, &[&FEW[..], &more].concat()).success().json();
    assert_eq!(found["fewshot_as_multiturn"], json!(false));
    let [context, continuation] = first_request(out.path());
    assert!(context.starts_with("Be brief.Question: "), "{context}");
    assert!(continuation.starts_with(' '), "`{continuation}`");
}

#[test]
fn kept_answers_of_both_manners_are_not_mixed() {
    let model = conversing_model("eval-chat-kept");
    let cache = tempfile::tempdir().unwrap();
    let kept = ["--use-cache", cache.path().to_str().unwrap()];
    for round in 0..2 {
        for manner in [&[][..], &["--apply-chat-template"]] {
            let fresh = eval(&model, &[&FEW[..], manner, &["--no-cache"]].concat()).success().json();
            let found = eval(&model, &[&FEW[..], manner, &kept].concat()).success().json();
            assert_eq!(found["results"], fresh["results"], "{manner:?}, round {round}");
        }
    }
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1, "one function, one file");
}

#[test]
fn a_template_is_chosen_by_its_name() {
    let model = conversing_model("eval-chat-named");
    let one_of_one = eval(&model, &[&FEW[..], &["--no-cache", "--apply-chat-template", "other"]].concat());
    let told = "has one chat template, which is taken; it is not called `other`";
    assert!(one_of_one.stderr.contains(told), "{}", one_of_one.stderr);
    assert_eq!(one_of_one.success().json()["chat_template"], TEMPLATE);
    let path = model.join("tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let short = "{% for message in messages %}{{ message.content }}\n{% endfor %}";
    config["chat_template"] = json!([
        { "name": "default", "template": TEMPLATE },
        { "name": "short", "template": short },
        { "name": "wrong", "template": "{% no tag %}" },
    ]);
    fs::write(&path, config.to_string()).unwrap();
    for (name, want) in [(&[][..], TEMPLATE), (&["default"], TEMPLATE), (&["short"], short)] {
        let asked = [&FEW[..], &["--no-cache", "--apply-chat-template"], name].concat();
        assert_eq!(eval(&model, &asked).success().json()["chat_template"], want, "{name:?}");
    }
    for (name, code, want) in [
        ("long", 2, "found the chat templates `default`, `short`, `wrong`, expected one named `long`"),
        ("wrong", 3, "tokenizer_config.json: the chat template is wrong"),
    ] {
        let found = eval(&model, &["--tasks", "arc_easy", "--apply-chat-template", name]);
        assert_eq!(found.code, Some(code), "{}", found.stderr);
        assert!(found.stderr.contains(want), "{}", found.stderr);
    }
}

#[test]
fn the_model_may_stand_after_the_flag() {
    let model = conversing_model("eval-chat-after");
    let path = model.to_str().unwrap();
    let arguments = [&["eval", "--apply-chat-template", path, "--no-cache"], &FEW[..]].concat();
    let found = tercet(arguments).success().json();
    assert_eq!((found["model_name"].as_str(), &found["chat_template"]), (Some(path), &json!(TEMPLATE)));
}

#[test]
fn what_the_template_refuses_of_the_system_is_left_out_aloud() {
    let model = conversing_model("eval-chat-refusing");
    let path = model.join("tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}";
    config["chat_template"] = format!("{refuse}{TEMPLATE}").into();
    fs::write(&path, config.to_string()).unwrap();
    let asked = ["--apply-chat-template", "--no-cache"];
    let plain = eval(&model, &[&FEW[..], &asked].concat()).success();
    let found = eval(&model, &[&FEW[..], &asked, &["--system-instruction", "Be brief."]].concat()).success();
    assert!(
        found.stderr.contains("prompts asked without it, as lm-evaluation-harness asks them: 4"),
        "{}",
        found.stderr
    );
    assert_eq!(found.json()["results"], plain.json()["results"]);
    config["chat_template"] = "{{ raise_exception('nothing at all') }}".into();
    fs::write(&path, config.to_string()).unwrap();
    let found = eval(&model, &["--tasks", "arc_easy", "--apply-chat-template"]);
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    let want = "task `arc_easy`, document 0: the chat template refuses the conversation: nothing at all";
    assert!(found.stderr.contains(want), "{}", found.stderr);
}

#[test]
fn what_cannot_be_asked_so_is_said() {
    let base = conversing_model("eval-chat-base");
    fs::write(base.join("tokenizer_config.json"), "{}").unwrap();
    for (arguments, want) in [
        (&["--tasks", "piqa", "--apply-chat-template"][..], "found no chat template, so it cannot be asked"),
        (&["--tasks", "piqa", "--fewshot-as-multiturn"], "expected `--apply-chat-template` beside it"),
        (&["--tasks", "piqa", "--fewshot-as-multiturn", "often"], "'often'"),
        (&["--perplexity", "Cargo.toml", "--apply-chat-template"], "'--apply-chat-template [<NAME>]'"),
        (&["--perplexity", "Cargo.toml", "--system-instruction", "x"], "'--system-instruction <TEXT>'"),
    ] {
        let found = eval(&base, arguments);
        assert_eq!(found.code, Some(2), "{arguments:?}: {}", found.stderr);
        assert!(found.stderr.contains(want), "{arguments:?}: {}", found.stderr);
    }
}
