//! `tercet run`: what it writes, where it stops, and that it is the same everywhere.

mod command;
#[path = "../../tercet/tests/tiny_model/mod.rs"]
mod tiny_model;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use command::{command, outcome, tercet};
use tercet::embedded::STORIES_LOGITS_SHA256;
use tercet_kernels::Isa;
use tiny_model::{Kind, TinyModel};

const PROMPT: &str = "Once upon a time";

/// A folder with a tiny model, which writes random bytes.
fn tiny_folder(name: &str, kind: Kind) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    for (file, bytes) in TinyModel::new(kind).folder().files {
        std::fs::write(folder.join(file), bytes).unwrap();
    }
    folder
}

fn run(arguments: &str) -> command::Outcome {
    let arguments = arguments.split_whitespace();
    tercet(["run", "-p", PROMPT].into_iter().chain(arguments))
}

#[test]
fn a_story_is_told_after_its_beginning() {
    let story = run("--temp 0 -n 40").success();
    assert!(story.stdout.starts_with(PROMPT) && story.stdout.ends_with('\n'), "{}", story.stdout);
    assert!(story.stdout.len() > PROMPT.len() + 40, "{}", story.stdout);
    let alone = run("--temp 0 -n 40 --no-display-prompt").success();
    assert_eq!(format!("{PROMPT}{}", alone.stdout), story.stdout);
    assert_eq!(tercet(["run", PROMPT, "--temp", "0", "-n", "40"]).success().stdout, story.stdout);
}

#[test]
fn the_last_line_says_how_fast_it_was() {
    let last = run("--temp 0 -n 20").success().last_line().to_owned();
    for part in ["prompt ", " tokens ", "/s · text 20 tokens ", "B/s, ", " % of "] {
        assert!(last.contains(part), "`{part}` is not in `{last}`");
    }
}

#[test]
fn logits_are_the_published_ones_whatever_computes_them() {
    let digest = format!("logits-sha256 {STORIES_LOGITS_SHA256}");
    let recipe = "--temp 0 -n 64 --ignore-eos --kv f32 --logits-sha256";
    for isa in Isa::available() {
        for choice in ["-t 1", "-t 2 -b 1", "-t 1 -b 7 --weights 1.6bit"] {
            let arguments = format!("{recipe} {choice}");
            let mut command = command();
            command.args(["run", PROMPT]).args(arguments.split(' ')).env("TERCET_ISA", isa.name());
            let found = outcome(&mut command).success();
            assert_eq!(found.last_line(), digest, "{isa:?} {choice}");
        }
    }
    assert_ne!(run(&recipe.replace("f32", "f16")).last_line(), digest, "the cache is rounded");
}

#[test]
fn chunks_of_the_prompt_change_nothing() {
    let prompt = "Once upon a time there was a little dog. The dog liked to run and to play in the sun. ";
    let digest = |batch: &str| {
        let arguments =
            ["run", "-p", prompt, "--temp", "0", "-n", "8", "-b", batch, "--logits-sha256", "-t", "2"];
        tercet(arguments).success().last_line().to_owned()
    };
    let whole = digest("512");
    assert!(whole.starts_with("logits-sha256 "), "{whole}");
    for batch in ["1", "7"] {
        assert_eq!(digest(batch), whole, "chunks of {batch}");
    }
}

#[test]
fn drafts_change_nothing_but_what_is_said_of_them() {
    let plain = run("--temp 0 -n 60 --ignore-eos --json --logits-sha256").success();
    let drafted = run("--temp 0 -n 60 --ignore-eos --json --logits-sha256 --speculative lookup").success();
    let [plain, drafted] =
        [plain, drafted].map(|found| serde_json::from_str::<serde_json::Value>(&found.stdout).unwrap());
    for field in ["text", "tokens", "logits_sha256"] {
        assert_eq!(plain[field], drafted[field], "{field}");
    }
    assert_eq!(plain["timings"]["draft_n"], 0);
    let [right, all] =
        ["draft_n_accepted", "draft_n"].map(|field| drafted["timings"][field].as_u64().unwrap());
    assert!(right <= all, "{right} of {all}");
}

#[test]
fn a_seed_gives_the_same_text_and_is_printed() {
    let first = run("-n 40").success();
    let seed = first.last_line().rsplit_once("seed ").expect("the last line has the seed").1;
    assert_eq!(run(&format!("-n 40 --seed {seed}")).success().stdout, first.stdout);
    assert_ne!(run("-n 40 -s 1").stdout, run("-n 40 -s 2").stdout);
}

#[test]
fn parameters_of_the_sampler_are_heeded() {
    let greedy = run("-n 30 --temp 0").success().stdout;
    assert_eq!(run("-n 30 --temp 5 --top-k 1").stdout, greedy);
    assert_eq!(run("-n 30 --temp 5 --top-p 0").stdout, greedy);
    assert_eq!(run("-n 30 --temp 5 --min-p 1").stdout, greedy);
    let longer = run("-n 60 --temp 0").success().stdout;
    for penalty in ["--repeat-penalty 3", "--frequency-penalty 5", "--presence-penalty 5"] {
        assert_ne!(run(&format!("-n 60 --temp 0 {penalty}")).success().stdout, longer, "{penalty}");
    }
}

#[test]
fn a_stop_string_ends_the_text_and_is_left_out() {
    let whole = run("--temp 0 -n 40 --no-display-prompt").success().stdout;
    let stop: String = whole.chars().skip(12).take(7).collect();
    let want = &whole[..whole.find(&stop).unwrap()];
    for flag in ["--stop", "-r", "--reverse-prompt"] {
        let arguments =
            ["run", "-p", PROMPT, "--temp", "0", "-n", "40", "--no-display-prompt", flag, &stop, flag, "§"];
        assert_eq!(tercet(arguments).success().stdout.trim_end_matches('\n'), want, "{flag} `{stop}`");
    }
}

#[test]
fn the_end_of_the_text_can_be_ignored() {
    let story = |seed: u32, more: &str| {
        let found = run(&format!("--json --seed {seed} -c 512 {more}")).success().json();
        let tokens = found["tokens"].as_array().unwrap().clone();
        (tokens, found["finish_reason"].as_str().unwrap().to_owned())
    };
    let ended = |seed| Some((seed, story(seed, ""))).filter(|(_, (_, reason))| reason == "stop");
    let (seed, (tokens, _)) = (0..50).find_map(ended).expect("one of fifty stories has an end");
    let limit = tokens.len() + 5;
    let (longer, reason) = story(seed, &format!("--ignore-eos -n {limit}"));
    assert_eq!((longer.len(), reason.as_str()), (limit, "length"));
    assert_eq!(longer[..tokens.len()], tokens);
}

#[test]
fn a_full_context_ends_the_text() {
    let found = run("--ignore-eos -c 20 --json").success().json();
    assert_eq!(found["finish_reason"], "context");
    assert!(run("--ignore-eos -c 20").success().last_line().contains("context full"));
    let too_small = run("-c 2");
    assert_eq!(too_small.failure(), Some(1));
    assert!(too_small.stderr.contains("\nhint: shorten the prompt"), "{}", too_small.stderr);
}

#[test]
fn json_has_what_the_text_had() {
    let found = run("--json --temp 0 -n 20 --logits-sha256").success();
    assert_eq!(found.stdout.lines().count(), 1);
    let json = found.json();
    let text = run("--temp 0 -n 20 --no-display-prompt").success().stdout;
    assert_eq!(json["text"].as_str().unwrap(), text.strip_suffix('\n').unwrap());
    assert_eq!(json["tokens"].as_array().unwrap().len(), 20);
    assert_eq!(json["timings"]["predicted_n"], 20);
    assert_eq!(json["finish_reason"], "length");
    assert_eq!(json["sampling"]["temp"], 0.0);
    assert_eq!(json["prompt"], PROMPT);
    let digest = json["logits_sha256"].as_str().unwrap();
    assert_eq!(found.last_line(), format!("logits-sha256 {digest}"));
    assert!(json["bandwidth"]["fraction"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_prompt_may_come_from_stdin_or_a_file() {
    let want = run("--temp 0 -n 10").success().stdout;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prompt.txt");
    std::fs::write(&file, format!("{PROMPT}\n")).unwrap();
    let from_file = ["run", "-f", file.to_str().unwrap(), "--temp", "0", "-n", "10"];
    assert_eq!(tercet(from_file).success().stdout, want);
    for arguments in [&["run", "--temp", "0", "-n", "10"][..], &["run", "-f", "-", "--temp", "0", "-n", "10"]]
    {
        let mut child = start(arguments, Stdio::piped());
        child.stdin.take().unwrap().write_all(format!("{PROMPT}\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), want, "{arguments:?}");
    }
    let missing = tercet(["run", "-f", "nowhere.txt"]);
    assert_eq!(missing.failure(), Some(3));
}

#[test]
fn an_empty_prompt_begins_with_the_models_first_token() {
    let found = tercet(["run", "-p", "", "--json", "-n", "3"]).success().json();
    assert_eq!(found["timings"]["prompt_n"], 1);
    assert!(!found["text"].as_str().unwrap().is_empty());
}

fn start(arguments: &[&str], stdin: Stdio) -> Child {
    let mut command = command();
    command.args(arguments).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary starts")
}

/// A run that goes on for as long as anyone listens.
fn start_endless() -> Child {
    start(&["run", PROMPT, "--ignore-eos", "-n", "1000000", "-c", "1000100"], Stdio::null())
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let mut child = start_endless();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_run_with_a_clean_last_line() {
    let mut child = start_endless();
    let mut stdout = child.stdout.take().unwrap();
    let mut text = vec![0; PROMPT.len() + 100];
    stdout.read_exact(&mut text).unwrap();
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    stdout.read_to_end(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(text.last(), Some(&b'\n'));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.lines().next_back().unwrap().contains("interrupted"), "{stderr}");
}

#[test]
fn characters_come_whole() {
    let folder = tiny_folder("utf8", Kind::BitnetMasters);
    let arguments = ["-m", folder.to_str().unwrap(), "-p", "é😀", "--ignore-eos", "-n", "60", "--temp", "3"];
    let mut child = start(
        &[&["run"], &arguments[..], &["--top-p", "1", "--min-p", "0", "--seed", "1"]].concat(),
        Stdio::null(),
    );
    let mut stdout = child.stdout.take().unwrap();
    let mut whole = String::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        // What is written at once is read at once, since a pipe takes up to 4096 bytes as a whole.
        let len = stdout.read(&mut chunk).unwrap();
        if len == 0 {
            break;
        }
        whole += std::str::from_utf8(&chunk[..len]).expect("a write ends with a whole character");
    }
    assert!(child.wait().unwrap().success());
    assert!(whole.starts_with("é😀") && whole.chars().count() > 20, "{whole}");
}

#[test]
fn a_dense_model_says_so() {
    let folder = tiny_folder("dense", Kind::Dense);
    let found = tercet(["run", "-m", folder.to_str().unwrap(), "-p", "the", "-n", "3"]).success();
    assert!(found.stderr.contains("dense model: runs in full precision"), "{}", found.stderr);
}

#[test]
fn the_makers_sampling_is_the_default() {
    let folder = tiny_folder("suggested", Kind::Bitnet);
    let suggestion = br#"{"temperature": 0.5, "top_k": 3}"#;
    std::fs::write(folder.join("generation_config.json"), suggestion).unwrap();
    let sampling = |more: &[&str]| {
        let arguments = ["run", "-m", folder.to_str().unwrap(), "-p", "the", "-n", "1", "--json"];
        tercet([&arguments, more].concat()).success().json()["sampling"].clone()
    };
    let found = sampling(&[]);
    assert_eq!((&found["temp"], &found["top_k"], &found["top_p"]), (&0.5.into(), &3.into(), &0.95.into()));
    assert_eq!(sampling(&["--temp", "2"])["temp"], 2.0);
}

#[test]
fn a_preset_runs_with_random_weights_and_says_so() {
    let arguments = ["run", "--preset", "s", "-n", "4", "--logits-sha256"];
    let found = tercet(arguments).success();
    assert!(found.stderr.contains("random weights: the text is noise"), "{}", found.stderr);
    assert_eq!(found.stdout.split_whitespace().filter(|id| id.parse::<u32>().is_ok()).count(), 4);
    let greedy = |threads| {
        let more = ["--temp", "0", "-t", threads];
        tercet(arguments.iter().chain(&more)).success().last_line().to_owned()
    };
    assert_eq!(greedy("1"), greedy("2"));
}

#[test]
fn a_preset_may_be_dense() {
    let found = tercet(["run", "--preset", "s", "--weights", "dense-f16", "-n", "2", "--json"]).success();
    assert!(found.stderr.contains("dense model: runs in full precision"), "{}", found.stderr);
    assert_eq!(found.json()["weights"], "dense-f16");
}

#[test]
fn an_unknown_preset_lists_those_there_are() {
    let found = tercet(["run", "--preset", "help"]);
    assert_eq!(found.failure(), Some(2));
    assert!(found.stderr.contains("2b4t"), "{}", found.stderr);
    let help = tercet(["run", "--help"]).success();
    assert!(help.stdout.contains("2.08 G ternary"), "{}", help.stdout);
}

#[test]
fn what_would_not_fit_is_not_loaded() {
    // The cache alone would take 300 TB.
    let found = tercet(["run", "--preset", "100b", "-c", "134217728", "-n", "-1"]);
    assert_eq!(found.failure(), Some(5));
    assert!(found.stderr.contains("TB of memory ("), "{}", found.stderr);
    assert!(found.stderr.contains("\nhint: "), "{}", found.stderr);
}
