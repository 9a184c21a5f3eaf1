//! `tercet eval`: tasks over the project's own documents, perplexity, what is kept, and what is refused.

mod command;

use std::fs;
use std::path::Path;

use command::{Outcome, command, outcome, tercet};
use serde_json::Value;

fn eval(arguments: &[&str]) -> Outcome {
    tercet(["eval"].iter().chain(arguments))
}

/// With the answers kept in a folder.
fn eval_kept(cache: &Path, arguments: &[&str]) -> Outcome {
    outcome(command().arg("eval").args(arguments).arg("--use-cache").arg(cache))
}

fn results(outcome: Outcome) -> Value {
    outcome.success().json()["results"].clone()
}

const TASKS: [&str; 5] = ["--tasks", "arc_easy,piqa", "--limit", "20", "--json"];

#[test]
fn tasks_run_with_nothing_but_the_binary() {
    let found = eval(&TASKS).success();
    let told = ["the small model inside, ", "arc_easy, piqa: small documents of this project's own"];
    for (line, want) in found.stderr.lines().zip(told) {
        assert!(line.starts_with(want), "{}", found.stderr);
    }
    let json = found.json();
    assert_eq!(json["tercet"]["project_documents"], serde_json::json!(["arc_easy", "piqa"]));
    for task in ["arc_easy", "piqa"] {
        assert_eq!(json["results"][task]["sample_len"], 20);
        for metric in ["acc,none", "acc_norm,none", "acc_stderr,none"] {
            let value = json["results"][task][metric].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&value), "{task} {metric} {value}");
        }
        assert_eq!(json["n-shot"][task], 0);
        assert_eq!(json["higher_is_better"][task]["acc"], true);
    }
}

#[test]
fn every_task_runs_to_its_end() {
    // A greater context than the model's, for the longest texts.
    let names = "arc_challenge,boolq,c4,commonsense_qa,copa,gsm8k,hellaswag,lambada_openai,mmlu_virology,openbookqa,\
                 sciq,social_iqa,wikitext,winogrande,wsc273,boolq@0.3.0";
    let found =
        eval(&["--tasks", names, "--limit", "2", "--json", "-c", "2048", "--no-cache"]).success().json();
    for name in names.split(',') {
        assert_eq!(found["results"][name]["sample_len"], 2, "{name}");
    }
    assert!(found["results"]["gsm8k"]["exact_match,strict-match"].is_number());
    assert!(found["results"]["wikitext"]["word_perplexity,none"].as_f64().unwrap() > 1.0);
}

#[test]
fn results_are_the_same_however_they_are_computed() {
    let tasks = [&TASKS[..], &["--no-cache", "--num-fewshot", "2"]].concat();
    let want = results(eval(&tasks));
    for how in [["-t", "1"], ["-t", "3"], ["-b", "7"], ["-b", "300"], ["--weights", "1.6bit"]] {
        assert_eq!(results(eval(&[&tasks[..], &how].concat())), want, "{how:?}");
    }
}

#[test]
fn what_was_answered_is_not_asked_again() {
    let cache = tempfile::tempdir().unwrap();
    let want = results(eval_kept(cache.path(), &TASKS));
    let file = fs::read_dir(cache.path()).unwrap().next().unwrap().unwrap().path();
    let kept = fs::read_to_string(&file).unwrap();
    // As a killed process leaves it: half of the answers, the last cut off.
    fs::write(&file, &kept[..kept.len() / 2]).unwrap();
    assert_eq!(results(eval_kept(cache.path(), &TASKS)), want);
    let mended = fs::read_to_string(&file).unwrap();
    assert_eq!(
        mended.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(),
        kept.lines().count()
    );
    assert_eq!(results(eval_kept(cache.path(), &TASKS)), want);
    assert_eq!(fs::read_to_string(&file).unwrap(), mended, "all was known");
    // Another function has another file.
    eval_kept(cache.path(), &[&TASKS[..], &["--head", "q8"]].concat()).success();
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 2);
}

#[test]
fn another_end_of_text_is_another_function() {
    let folder = tempfile::tempdir().unwrap();
    let (model, cache) = (folder.path().join("model"), folder.path().join("cache"));
    let path = model.to_str().unwrap();
    tercet(["convert", path, "--to", "hf-autobitlinear", "--no-verify"]).success();
    for file in ["generation_config.json", "tokenizer.json"] {
        let kept = || fs::read_dir(&cache).map_or(0, Iterator::count);
        let arguments = [path, "--tasks", "arc_easy", "--limit", "1"];
        eval_kept(&cache, &arguments).success();
        let before = kept();
        // White space is enough: what a file says is not looked into.
        let text = fs::read_to_string(model.join(file)).unwrap();
        fs::write(model.join(file), text + "\n").unwrap();
        eval_kept(&cache, &arguments).success();
        assert_eq!(kept(), before + 1, "{file}");
    }
}

#[test]
fn files_are_those_of_the_harness() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().to_str().unwrap();
    eval(&["--tasks", "arc_easy", "--limit", "3", "-o", path, "--log-samples", "--no-cache"]).success();
    let folder = out.path().join("the model inside");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names[0].starts_with("results_20") && names[0].ends_with(".json"), "{names:?}");
    assert!(names[1].starts_with("samples_arc_easy_20") && names[1].ends_with(".jsonl"), "{names:?}");
    let lines = fs::read_to_string(folder.join(&names[1])).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    let first = &lines[0];
    assert_eq!(first["doc_id"], 0);
    assert!(first["arguments"]["gen_args_0"]["arg_0"].as_str().unwrap().starts_with("Question: "));
    assert!(first["filtered_resps"][0][0].as_str().unwrap().parse::<f64>().unwrap() < 0.0);
    assert_eq!(first["doc_hash"].as_str().unwrap().len(), 64);
}

#[test]
fn two_models_are_compared_document_by_document() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name).display().to_string());
    for (path, form) in [(&a, "hf-packed"), (&b, "hf-autobitlinear")] {
        tercet(["convert", path, "--to", form, "--no-verify"]).success();
    }
    let found = eval(&["--compare", &a, &b, "--tasks", "arc_easy", "--no-cache"]).success();
    assert!(found.stdout.contains("| arc_easy "), "{}", found.stdout);
    let arguments =
        ["--compare", &a, &b, "--tasks", "arc_easy,lambada_openai", "--json", "--no-cache", "-c", "2048"];
    let json = eval(&arguments).success().json();
    let rows = json["differences"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert_eq!((row["difference"].as_f64(), row["p_value"].as_f64()), (Some(0.0), Some(1.0)), "{row}");
    }
}

#[test]
fn a_task_of_ones_own_is_a_file_of_documents() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.jsonl");
    let document = r#"{"ctx": "Once upon a", "choices": ["time", "xylophone"], "gold": 0}"#;
    fs::write(&path, format!("{document}\n{document}\n")).unwrap();
    let json = eval(&["--task-file", path.to_str().unwrap(), "--json", "--no-cache"]).success().json();
    assert_eq!(json["results"]["mine"]["acc,none"], 1.0);
    fs::write(&path, document.replace("\"gold\": 0", "\"gold\": 2")).unwrap();
    let found = eval(&["--task-file", path.to_str().unwrap()]);
    assert_eq!(found.failure(), Some(3));
    assert!(found.stderr.contains("line 1: `gold` is 2"), "{}", found.stderr);
}

#[test]
fn perplexity_has_the_ways_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.txt");
    let story = "Once upon a time, there was a little girl named Lily. She liked to play.\n\n";
    fs::write(&path, story.repeat(40)).unwrap();
    let text = path.to_str().unwrap();
    let run = |more: &[&str]| {
        eval(&[&["--perplexity", text, "--json", "--no-cache", "--window", "64"], more].concat())
            .success()
            .json()
    };
    let number = |json: &Value, key: &str| json[key].as_f64().unwrap();
    let papers = run(&[]);
    assert_eq!((&papers["method"], &papers["window"]), (&"papers".into(), &64.into()));
    assert_eq!(number(&papers, "tokens"), 63.0 * number(&papers, "windows"));
    assert!((number(&papers, "loss").exp() - number(&papers, "perplexity")).abs() < 1e-9);
    let strided = run(&["--stride", "32"]);
    assert!(number(&strided, "tokens") > number(&papers, "tokens"), "the rest is scored too");
    assert!(number(&strided, "loss") < number(&papers, "loss"), "with more of the text before it");
    let llama = run(&["--method", "llama.cpp"]);
    assert_eq!(number(&llama, "tokens"), 31.0 * number(&llama, "windows"));
    let paragraphs = run(&["--method", "paragraphs"]);
    assert_eq!(number(&paragraphs, "bytes"), 40.0 * (story.len() - 2) as f64);
    assert_eq!(run(&["--method", "paragraphs", "-b", "5", "-t", "1"])["loss"], paragraphs["loss"]);
    assert_eq!(run(&["--limit", "3"])["windows"], 3);
}

#[test]
fn windows_longer_than_the_model_was_trained_for_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.txt");
    fs::write(&path, "Once upon a time there was a little girl. ".repeat(100)).unwrap();
    let told = |window: &str| {
        let arguments = ["--perplexity", path.to_str().unwrap(), "--no-cache", "--window", window];
        eval(&arguments).success().stderr
    };
    // The model inside was trained on 512.
    let warning = "beyond the 512 positions that the model was trained for";
    assert!(told("513").contains(warning));
    assert!(!told("512").contains(warning));
}

#[test]
fn what_was_not_scored_is_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (long, short) = (path("long.txt"), path("short.txt"));
    let text =
        "Once upon a time, there was a little girl named Lily. She liked to play outside in the park.\n";
    fs::write(&long, text.repeat(500)).unwrap();
    let run = |file: &str, more: &[&str]| {
        let arguments = ["--perplexity", file, "--json", "--no-cache", "--window", "20"];
        eval(&[&arguments[..], more].concat()).success().json()
    };
    for way in [&["--method", "papers"][..], &["--stride", "7"], &["--method", "llama.cpp"]] {
        let some = run(&long, &[way, &["--limit", "3"]].concat());
        let bytes = some["bytes"].as_u64().unwrap() as usize;
        assert!((20..400).contains(&bytes), "{some}");
        // The text up to there is all that a file need hold, to the byte.
        fs::write(&short, &text.repeat(5)[..bytes]).unwrap();
        let all = run(&short, way);
        for field in ["windows", "tokens", "bytes", "loss", "bits_per_byte"] {
            assert_eq!(some[field], all[field], "{way:?}, {field}");
        }
    }
}

#[test]
fn tokens_that_were_known_are_no_speed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, cache) = (folder.path().join("text.txt"), folder.path().join("cache"));
    // No window is like another, or it would be known from that one.
    fs::write(&path, (0..100).map(|i| format!("Lily saw {i} birds. ")).collect::<String>()).unwrap();
    let arguments = ["--perplexity", path.to_str().unwrap(), "--window", "20", "--limit"];
    let told = |limit: &str| eval_kept(&cache, &[&arguments[..], &[limit]].concat()).success().stderr;
    assert!(told("3").contains(" tokens/s on "));
    let some = told("5");
    assert!(some.contains(", 57 of the tokens known from before, the others in "), "{some}");
    let all = told("5");
    assert!(all.ends_with("all of them known from before: nothing was computed\n"), "{all}");
    let json = eval_kept(&cache, &[&arguments[..], &["5", "--json"]].concat()).success().json();
    assert_eq!((&json["tokens"], &json["kept_tokens"]), (&95.into(), &95.into()));
}

#[test]
fn a_context_that_is_too_short_is_said_with_one_that_is_enough() {
    let arguments = ["--tasks", "arc_easy,piqa", "--no-cache", "-c"];
    let found = eval(&[&arguments[..], &["20"]].concat());
    assert_eq!((found.code, found.stdout.as_str()), (Some(1), ""), "{}", found.stderr);
    let (_, rest) = found.stderr.split_once("hint: nothing was computed; `-c ").unwrap();
    let room = rest.split('`').next().unwrap();
    eval(&[&arguments[..], &[room]].concat()).success();
    let less = (room.parse::<usize>().unwrap() - 1).to_string();
    assert_eq!(eval(&[&arguments[..], &[&less]].concat()).code, Some(1));
    // The model may be named as anywhere else.
    let named = eval(&["-m", "./nope", "--tasks", "piqa"]);
    assert!(named.stderr.starts_with("error: ./nope: found nothing"), "{}", named.stderr);
}

#[test]
fn requests_that_lose_their_beginning_are_counted() {
    let cache = tempfile::tempdir().unwrap();
    let arguments = ["--tasks", "arc_easy,piqa", "--limit", "4", "--json", "-c", "128"];
    let told = "requests did not fit into 128 tokens and lost their beginning\n";
    let whole = eval_kept(cache.path(), &arguments).success();
    assert!(!whole.stderr.contains(told), "{}", whole.stderr);
    assert_eq!(whole.json()["tercet"]["cut_requests"], serde_json::json!({"arc_easy": 0, "piqa": 0}));
    // The second time all answers are kept ones.
    for _ in 0..2 {
        let cut = eval_kept(cache.path(), &[&arguments[..], &["-f", "5"]].concat()).success();
        let counts = cut.json()["tercet"]["cut_requests"].clone();
        let count = counts["arc_easy"].as_u64().unwrap() + counts["piqa"].as_u64().unwrap();
        // Four documents with four choices, and four with two.
        assert!(count > 0 && cut.stderr.contains(&format!(": {count} of 24 {told}")), "{}", cut.stderr);
    }
}

#[test]
fn a_model_that_is_missing_is_all_that_is_said() {
    let missing = "error: ./nope: found nothing, expected a model folder or a `.gguf` file\n";
    for models in [&["./nope"][..], &["--compare", "./nope", "./nope"]] {
        let found = eval(&[&TASKS, models].concat());
        assert_eq!(found.code, Some(3), "{}", found.stderr);
        assert!(found.stderr.starts_with(missing), "{}", found.stderr);
    }
}

#[test]
fn what_cannot_be_evaluated_is_said() {
    for (arguments, code, want) in [
        (&[][..], 2, "found neither `--tasks` nor `--perplexity`"),
        (&["--tasks", ","], 2, "found neither `--tasks` nor `--perplexity`"),
        (&["--perplexity", "Cargo.toml", "-o", "x"], 2, "'--output-path <FOLDER>'"),
        (&["--perplexity", "Cargo.toml", "--data", "x"], 2, "'--data <FOLDER>'"),
        (&["--perplexity", "Cargo.toml", "-f", "1"], 2, "'--num-fewshot <N>'"),
        (&["--perplexity", "Cargo.toml", "--seed", "1"], 2, "'--fewshot-seed <N>'"),
        (
            &["--perplexity", "Cargo.toml", "--method", "llama.cpp", "--window", "2"],
            2,
            "expected 3 at least with `--method llama.cpp`",
        ),
        (&["--perplexity", "/dev/null", "--method", "paragraphs"], 1, "found no paragraph"),
        (&["--tasks", "arc_eazy"], 2, "hint: did you mean `arc_easy`?"),
        (&["--tasks", "piqa", "--perplexity", "x"], 2, "found both `--tasks` and `--perplexity`"),
        (&["--tasks", "piqa", "--data", "/no/such"], 3, "/no/such"),
        (&["--perplexity", "/no/such/text"], 3, "/no/such/text: cannot be read"),
        (
            &["--perplexity", "Cargo.toml", "--stride", "9", "--method", "papers"],
            2,
            "`--stride` is of `--method strided`",
        ),
        (
            &["--perplexity", "Cargo.toml", "--stride", "99", "--window", "64"],
            2,
            "expected at most the window's 64",
        ),
        (
            &["--perplexity", "Cargo.toml", "--window", "500000", "-c", "500000"],
            1,
            "expected at least one window",
        ),
        (&["--tasks", "piqa", "--data", "hub"], 4, "HF_HUB_OFFLINE"),
        (&["--tasks", "piqa", "-c", "20"], 1, "hint: nothing was computed; `-c "),
        (
            &["--compare", "a", "b", "--perplexity", "Cargo.toml"],
            2,
            "hint: `--tasks wikitext` compares perplexities",
        ),
        (&["x", "-m", "y", "--tasks", "piqa"], 2, "cannot be used with"),
    ] {
        let found = eval(arguments);
        assert_eq!(found.code, Some(code), "{arguments:?}: {}", found.stderr);
        assert!(found.stderr.contains(want), "{arguments:?}: {}", found.stderr);
    }
}
