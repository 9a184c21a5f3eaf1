//! Arguments, exit codes and messages: what is understood, and how everything else is refused.

mod command;

use std::path::Path;

use command::{command, golden, outcome, tercet};

/// Runs in a folder of its own, which holds `models/stories` (no model, but the start of one), a
/// file `model.gguf`, a file `weights.bin` and a text `text.md`.
fn run_in_folder(arguments: &[&str]) -> command::Outcome {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("arguments");
    let model = folder.join("models/stories");
    std::fs::create_dir_all(&model).unwrap();
    std::fs::write(model.join("config.json"), "{}").unwrap();
    for file in ["model.gguf", "weights.bin", "text.md"] {
        std::fs::write(folder.join(file), "").unwrap();
    }
    outcome(command().arg("run").args(arguments).args(["-n", "1"]).current_dir(folder))
}

#[test]
fn a_lone_argument_is_a_model_or_a_prompt() {
    for (argument, code, says) in [
        ("Once upon a time", 0, "the small model inside"),
        ("Once", 0, "the small model inside"),
        ("either / or", 0, "the small model inside"),
        ("modl.ggf", 3, "the nearest existing one is `model.gguf`"),
        (
            "tale.txt",
            0,
            "found no file `tale.txt`, so it is the text to continue; `-f tale.txt` reads a file, `-m` names a model\n",
        ),
        ("text.md", 3, "hint: `tercet run -f text.md` continues the text that is in it\n"),
        ("nosuch", 0, "found no model `nosuch`, so it is the text to continue; `-m` names a model\n"),
        ("models", 3, "hint: there is a model in it: `models/stories`"),
        ("runs/mine/model", 3, "runs/mine/model: found nothing, expected a model folder"),
        ("runs/", 3, "runs/: found nothing"),
        ("./nowhere", 3, "found nothing"),
        ("/nowhere/at/all", 3, "found nothing"),
        ("~/nowhere/at/all", 3, "found nothing"),
        ("nowhere.gguf", 3, "found nothing"),
        ("model.gguf", 3, "the file is empty"),
        ("weights.bin", 3, "pickled file"),
        ("org/name", 4, "org/name: not in the cache, and `HF_HUB_OFFLINE` forbids"),
        ("org/name@main", 4, "or run `tercet pull org/name@main` where there is a network"),
        ("org/what's-this", 3, "expected `org/name` or `org/name@revision`"),
        ("models/storys", 3, "if a model of the Hub is meant, `tercet pull models/storys` first"),
        ("./model/stories", 3, "hint: the nearest existing one is `./models/stories`"),
    ] {
        let found = run_in_folder(&[argument]);
        assert_eq!(found.code, Some(code), "`{argument}`: {}", found.stderr);
        assert!(found.stderr.contains(says), "`{argument}`: {}", found.stderr);
    }
}

#[test]
fn a_folder_of_pickles_is_called_so() {
    for file in ["pytorch_model.bin", "model.ckpt", "model.PKL", "consolidated.00.pth"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), "").unwrap();
        let found = outcome(command().arg("inspect").arg(folder.path()));
        assert_eq!(found.failure(), Some(3), "{file}");
        let says = format!("{file}: found a pickled file, expected safetensors");
        assert!(found.stderr.contains(&says), "{file}: {}", found.stderr);
    }
}

#[test]
fn named_arguments_are_never_ambiguous() {
    for (arguments, code, says) in [
        (&["-p", "./nowhere"][..], 0, "the small model inside"),
        (
            &["-m", "nowhere", "text.md"],
            3,
            "`text.md` is the text to continue; `-f text.md` continues what is in the file\n",
        ),
        (&["-m", "Once"], 3, "Once: found nothing"),
        (&["-m", "models", "./nowhere"], 3, "models: found no `config.json`, expected the folder of a model"),
        (&["Once", "upon a time"], 3, "Once: found nothing"),
        (&["-m", "a", "b", "c"], 2, "the model is given twice"),
        (&["-p", "a", "Once upon"], 2, "the prompt is given twice"),
        (&["-p", "a", "-f", "b"], 2, "cannot be used with"),
        (&["-f", "no/such/text"], 3, "no/such/text: cannot be read"),
        (&["--preset", "s", "-m", "a"], 2, "cannot be used with"),
        (&["a", "b", "c"], 2, "unexpected argument"),
    ] {
        let found = run_in_folder(arguments);
        assert_eq!(found.code, Some(code), "{arguments:?}: {}", found.stderr);
        assert!(found.stderr.contains(says), "{arguments:?}: {}", found.stderr);
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &[][..],
        &["walk"],
        &["run", "--no-such-flag"],
        &["run", "-n", "-2", "a"],
        &["run", "-t", "0", "a"],
        &["run", "-b", "0", "a"],
        &["run", "--temp", "-1", "a"],
        &["run", "--temp", "nan", "a"],
        &["run", "--top-p", "1.5", "a"],
        &["run", "--seed", "x", "a"],
        &["run", "--kv", "f8", "a"],
        &["run", "--weights", "dense-f16", "a"],
        &["inspect", "--positions", "3"],
    ] {
        let found = tercet(arguments);
        assert_eq!((found.code, found.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", found.stderr);
    }
}

#[test]
fn negative_numbers_are_refused_in_words() {
    for (arguments, want) in [
        (&["serve", "--drain-timeout", "-1"][..], "`--drain-timeout` is `-1`, expected no negative number"),
        (&["run", "-t", "-12", "a"], "`-t` is `-12`, expected no negative number"),
        (&["bench", "-c", "-1"], "`-c` is `-1`, expected no negative number"),
        (
            &["run", "--top-k", "-2", "a"],
            "invalid value '-2' for '--top-k <N>': expected a whole number, or -1",
        ),
    ] {
        let found = tercet(arguments);
        assert_eq!(found.failure(), Some(2), "{arguments:?}");
        assert!(found.stderr.contains(want), "{arguments:?}: {}", found.stderr);
    }
}

#[test]
fn an_instruction_set_that_is_not_there_is_wrong_usage() {
    for arguments in [&["run", "a"][..], &["inspect"], &["doctor"]] {
        let found = outcome(command().args(arguments).env("TERCET_ISA", "sse9"));
        assert_eq!(found.failure(), Some(2), "{arguments:?}");
        assert!(
            found.stderr.contains("TERCET_ISA: found `sse9`, this machine has `scalar`"),
            "{}",
            found.stderr
        );
    }
}

#[test]
fn other_tools_names_of_flags_are_understood() {
    let want = tercet(["run", "-p", "Once", "--temp", "0", "-n", "5"]).success().stdout;
    for flags in [
        &["-temp", "0", "--n-predict", "5"][..],
        &["--temperature", "0", "--max-tokens", "5"],
        &["--temp", "0", "--predict", "5", "--ctx-size", "64", "--threads", "1", "--batch-size", "2"],
        &["--top-k", "-1", "--temp", "0", "-n", "5"],
        &["--top-k", "1", "-n", "5", "--seed", "-1", "--repeat-penalty", "1", "--min-p", "0.1"],
    ] {
        assert_eq!(tercet([&["run", "-p", "Once"], flags].concat()).success().stdout, want, "{flags:?}");
    }
}

#[test]
fn more_threads_than_cores_are_told_of() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for (threads, is_told) in [(cores, false), (cores + 1, true)] {
        let threads = threads.to_string();
        let found = tercet(["run", "-p", "Once", "-n", "1", "-t", &threads]).success();
        let told = found.stderr.contains(&format!("{threads} threads on {cores} core"));
        assert_eq!(told, is_told, "{}", found.stderr);
        assert!(found.stderr.contains(" · text 1 token"), "{}", found.stderr);
        assert!(!found.stderr.contains("text 1 tokens"), "{}", found.stderr);
    }
}

#[test]
fn errors_go_to_stderr_with_their_hint() {
    let folder = golden().join("bitnet-packed-h100");
    let found = tercet(["run", "-m", folder.to_str().unwrap(), "a"]);
    assert_eq!(found.failure(), Some(3));
    let lines: Vec<_> = found.stderr.lines().collect();
    assert!(lines[0].contains("file `tokenizer.json` is missing"), "{}", found.stderr);
    assert!(lines[1].starts_with("hint: "), "{}", found.stderr);
    assert_eq!(lines.len(), 2, "{}", found.stderr);
}

#[test]
fn names_in_messages_cannot_steer_a_terminal() {
    let found = tercet(["run", "./\u{1b}[2Jnowhere"]);
    assert_eq!(found.failure(), Some(3));
    assert!(found.stderr.contains("\\u{1b}[2Jnowhere"), "{}", found.stderr);
}

#[test]
fn colours_are_only_used_where_they_are_wanted() {
    let colours = |variables: &[(&str, &str)]| {
        let mut command = command();
        command.args(["run", "./nowhere"]).envs(variables.iter().copied());
        outcome(&mut command).stderr.contains('\u{1b}')
    };
    assert!(!colours(&[]), "stderr is no terminal");
    assert!(colours(&[("CLICOLOR_FORCE", "1")]));
    assert!(!colours(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

#[test]
fn version_and_help_are_results() {
    let version = tercet(["--version"]).success();
    assert_eq!(version.stdout, format!("tercet {}\n", env!("CARGO_PKG_VERSION")));
    for command in [&["--help"][..], &["run", "--help"], &["inspect", "-h"], &["help", "doctor"]] {
        let help = tercet(command).success();
        assert!(help.stdout.contains("Usage: tercet") && help.stderr.is_empty(), "{command:?}");
    }
    assert!(tercet(["--help"]).stdout.contains("Exit codes:"));
}

#[test]
fn help_has_examples_and_names_what_can_be_given() {
    let help = |command: &str| tercet([command, "--help"]).success().stdout;
    for command in
        ["run", "chat", "serve", "train", "eval", "bench", "convert", "verify", "inspect", "doctor"]
    {
        let help = help(command);
        assert!(help.contains(&format!("Examples:\n  tercet {command}")), "{command}: {help}");
        assert!(!help.contains("How many threads"), "{command}: {help}");
    }
    // A line that is broken by hand is one that fits.
    assert!(
        help("serve").contains("--drain-timeout`.\nThen the exit code is 0, or 1 if"),
        "{}",
        help("serve")
    );
    assert!(
        help("train").contains("docs/training.md") && help("train").contains("train.steps, train.tokens")
    );
    // Weights of that type are random ones, which these two have not.
    for (command, has_random) in [("run", true), ("bench", true), ("chat", false), ("eval", false)] {
        assert_eq!(help(command).contains("dense-f16"), has_random, "{command}");
    }
    let refused = tercet(["eval", "--tasks", "piqa", "--limit", "0"]);
    assert_eq!(refused.code, Some(2));
    let want = "invalid value '0' for '--limit <N>': expected a whole number from 1\n";
    assert!(refused.stderr.contains(want), "{}", refused.stderr);
}

#[test]
fn presets_are_listed_and_their_names_have_any_case() {
    for command in ["run", "serve", "bench"] {
        let help = tercet([command, "--help"]).success().stdout;
        assert!(help.contains("2b4t") && help.contains("ternary weights, "), "{command}: {help}");
    }
    let refused = tercet(["bench", "--preset", "help"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("[possible values: "), "{}", refused.stderr);
    tercet(["run", "--preset", "S", "-n", "1"]).success();
}

#[cfg(feature = "completions")]
#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = tercet(["completions", shell]).success().stdout;
        assert!(script.contains("tercet") && script.contains("logits-sha256"), "{shell}");
    }
    assert_eq!(tercet(["completions", "dos"]).code, Some(2));
}

#[cfg(feature = "completions")]
#[test]
fn every_command_has_a_manual_page() {
    let page = tercet(["man"]).success().stdout;
    for part in
        [".TH tercet 1", ".SH \"EXIT STATUS\"\n.nf\n0    done\n", ".SH ENVIRONMENT\n.nf\nTERCET_ISA  "]
    {
        assert!(page.contains(part), "`{part}` is not in {page}");
    }
    assert!(!page.contains("EXTRA"), "{page}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("man/pages");
    let found = tercet(["man", "--out", folder.to_str().unwrap()]).success();
    assert_eq!(found.stdout, "");
    let want = format!(" manual pages are in {}\n", folder.display());
    assert!(found.stderr.ends_with(&want), "{}", found.stderr);
    for page in ["tercet.1", "tercet-run.1", "tercet-bench.1", "tercet-inspect.1", "tercet-doctor.1"] {
        assert!(std::fs::read_to_string(folder.join(page)).unwrap().contains(".SH"), "{page}");
    }
}
