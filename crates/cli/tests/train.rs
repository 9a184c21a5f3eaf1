//! `tercet train` through the binary: runs, estimates, interruptions and refusals.

mod command;

use std::fs;
#[cfg(unix)]
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use command::{command, outcome, tercet};
use tercet_train::config::{NormPlacement, TrainConfig};

/// A configuration of a small model on a text of its own, in a folder.
fn write_config(folder: &Path) -> String {
    let line =
        |i: usize| format!("{} {} {}\n", ["one", "two", "six"][i % 3], i % 7, ["ducks", "hens"][i % 2]);
    fs::write(folder.join("text.txt"), (0..2000).map(line).collect::<String>()).unwrap();
    let config = format!(
        r#"
        [run]
        output = "{0}/run"
        [model]
        hidden_size = 32
        intermediate_size = 48
        num_hidden_layers = 2
        num_attention_heads = 4
        [data]
        train = ["{0}/text.txt"]
        sequence_length = 32
        [tokenizer]
        vocab_size = 300
        [train]
        steps = 60
        micro_batch = 8
        [watch]
        validate_every = 0
        sample_every = 30
        sample_tokens = 4
        save_every = 10
        "#,
        folder.display()
    );
    let path = folder.join("run.toml");
    fs::write(&path, config).unwrap();
    path.display().to_string()
}

/// The configuration beside itself without sizes and tokenizer, which another model brings.
fn without_a_model(config: &str) -> String {
    let text = fs::read_to_string(config).unwrap();
    let (before, after) = text.split_once("[model]").unwrap();
    let (_, after) = after.split_once("[data]").unwrap();
    let text = format!("{before}[data]{after}").replace("[tokenizer]\n        vocab_size = 300\n", "");
    let path = Path::new(config).with_file_name("from.toml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn train(config: &str, more: &[&str]) -> Command {
    let mut command = command();
    command.args(["train", config, "-t", "1"]).args(more);
    command
}

fn results(folder: &Path) -> Vec<Vec<u8>> {
    let files = ["run/model/model.safetensors", "run/log.jsonl", "run/log.csv"];
    files.map(|file| fs::read(folder.join(file)).unwrap()).to_vec()
}

/// Starts a run and waits until it has recorded some steps.
fn start(config: &str, folder: &Path, steps: usize) -> Child {
    let child = train(config, &["--quiet"]).stderr(Stdio::null()).spawn().unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    let recorded = || fs::read_to_string(folder.join("run/log.jsonl")).unwrap_or_default().lines().count();
    while recorded() < steps {
        assert!(Instant::now() < limit, "the run takes steps");
        std::thread::yield_now();
    }
    child
}

#[test]
fn a_run_tells_of_itself_and_leaves_a_model_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let told = outcome(&mut train(&config, &["--json"])).success();
    for part in
        ["step 60/60  loss", "-1/0/+1", "validation: ", "sample: ", "saved: ", "[train]", "tercet run "]
    {
        assert!(told.stderr.contains(part), "`{part}` is told: {}", told.stderr);
    }
    let json = told.json();
    assert_eq!((json["finished"].as_bool(), json["steps_done"].as_u64()), (Some(true), Some(60)));
    let model = folder.path().join("run/model").display().to_string();
    tercet(["run", &model, "one 1", "-n", "4", "--temp", "0"]).success();
    let again = outcome(&mut train(&config, &["--quiet"])).success();
    assert!(again.stderr.contains("going on after step 60 of 60"), "{}", again.stderr);
}

#[test]
fn a_dry_run_says_what_a_run_takes() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let told = outcome(&mut train(&config, &["--dry-run"])).success();
    for part in ["parameters", "memory", "tokens/s", "time", "disk"] {
        assert!(told.stdout.contains(part), "{}", told.stdout);
    }
    let json = outcome(&mut train(&config, &["--dry-run", "--json", "train.steps=7"])).success().json();
    assert_eq!((json["steps"].as_u64(), json["tokens_per_step"].as_u64()), (Some(7), Some(256)));
    assert!(!folder.path().join("run/checkpoints").exists(), "nothing is trained");
    outcome(&mut train(&config, &["-q", "train.steps=6", "watch.save_every=2"])).success();
    fs::remove_dir_all(folder.path().join("run/checkpoints/step-00000006")).unwrap();
    let stopped = ["--dry-run", "train.steps=6"];
    let told = outcome(&mut train(&config, &stopped)).success().stdout;
    assert!(told.contains("steps       6 of 256 tokens: 1.54 k; 4 are done, 2 are left\n"), "{told}");
    assert!(told.contains(" for what is left, without validation"), "{told}");
    let json = outcome(&mut train(&config, &[&stopped[..], &["--json"]].concat())).success().json();
    assert_eq!((json["steps"].as_u64(), json["steps_done"].as_u64()), (Some(6), Some(4)));
    fs::remove_dir_all(folder.path().join("run")).unwrap();
    let more = (std::thread::available_parallelism().unwrap().get() + 1).to_string();
    let told = outcome(command().arg("train").arg(&config).args(["--dry-run", "-t", &more])).success().stderr;
    assert!(told.contains("more threads than cores make it slower"), "{told}");
}

/// In the clone, with nothing in place of what the files name but where results go, and how long it takes.
#[test]
fn the_example_of_a_chat_takes_its_conversations_and_template_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let in_clone = |arguments: &[&str]| {
        let clone = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        outcome(command().current_dir(clone).args(arguments)).success()
    };
    let short = ["watch.sample_every=0", "watch.validation_sequences=1", "-q"];
    let (tiny, chat) = (path("tiny"), path("chat"));
    let arguments =
        ["train", "examples/tiny.toml", "train.steps=1", "train.micro_batch=1", "-o", tiny.as_str()];
    in_clone(&[&arguments[..], &short].concat());

    let from = format!("model.from={tiny}/checkpoints/step-00000001");
    let arguments = ["train", "examples/chat.toml", "train.epochs=0.02", &from, "-o", chat.as_str()];
    let told = in_clone(&[&arguments[..], &short].concat()).stderr;
    assert!(told.contains("whole conversations packed into sequences"), "{told}");
    for lost in ["cut after", "left out"] {
        assert!(!told.contains(lost), "each fits into a sequence: {told}");
    }
    let model = format!("{chat}/model");
    in_clone(&["chat", &model, "-p", "What is a ternary weight?", "--system", "Be brief.", "-n", "2"]);
}

#[test]
fn a_short_text_is_told_how_many_steps_it_bears() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let told = |steps: u64| {
        outcome(&mut train(&config, &["--dry-run", &format!("train.steps={steps}")])).success().stderr
    };
    let many = told(100_000);
    let (_, after) = many.split_once("give more text, take fewer steps (`train.steps=").expect(&many);
    let steps: u64 = after.split_once('`').unwrap().0.parse().unwrap();
    assert!(told(steps + 1).contains("by heart") && !told(steps).contains("by heart"), "{many}");
    let text = fs::read_to_string(folder.path().join("text.txt")).unwrap();
    fs::write(folder.path().join("text.txt"), &text[..2000]).unwrap();
    let short = told(2000);
    assert!(short.contains("the text is too short for a model to learn from"), "{short}");
    assert!(!short.contains("train.steps="), "fewer steps learn nothing: {short}");
}

#[test]
fn mistakes_are_told_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let check = |more: &[&str], exit: i32, part: &str| {
        let told = outcome(&mut train(&config, more));
        assert_eq!(told.code, Some(exit), "{more:?}: {}", told.stderr);
        assert!(told.stderr.contains(part), "{more:?}: {}", told.stderr);
    };
    check(&["train.stepz=7"], 2, "`train.steps`");
    check(&["train.steps=many"], 2, "train.steps");
    check(&["--data", "nowhere.txt"], 3, "nowhere.txt");
    check(&["model.preset=71b"], 2, "70b");
    let sizes = ["model.hidden_size=65536", "model.intermediate_size=262144", "model.num_hidden_layers=64"];
    check(&sizes, 5, "training needs");
}

#[test]
fn files_where_a_value_or_one_file_is_wanted_are_told_how_texts_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    fs::write(folder.path().join("more.txt"), "").unwrap();
    let check = |more: &[&str], want: &str| {
        let told = outcome(train(&config, more).current_dir(folder.path()));
        assert_eq!((told.failure(), told.stderr.as_str()), (Some(2), want));
    };
    let pattern = "; a pattern stands in quotes, or the shell puts files in its place: `--data '*.txt'`\n";
    let hint =
        format!("hint: texts are given by `--data`, each by one of its own: `--data 'text.txt'`{pattern}");
    let found = "error: found the file `text.txt`, expected `KEY=VALUE`\n";
    check(&["--data", "more.txt", "text.txt", "train.steps=1"], &format!("{found}{hint}"));
    let found = "error: --data: found `more.txt,text.txt`, expected one file or pattern\n";
    let hint = "hint: each text is given by a `--data` of its own: `--data 'more.txt' --data 'text.txt'`\n";
    check(&["--data", "more.txt,text.txt"], &format!("{found}{hint}"));
}

#[test]
fn a_flag_that_sets_a_value_of_the_configuration_is_told_its_key() {
    let check = |more: &[&str], tip: &str| {
        let told = tercet([&["train", "run.toml"], more].concat());
        assert_eq!(told.failure(), Some(2), "{}", told.stderr);
        assert!(told.stderr.contains(tip), "{more:?}: {}", told.stderr);
        assert!(!told.stderr.contains("as a value"), "{more:?}: {}", told.stderr);
    };
    let given = "values of the configuration are given after it, without dashes: ";
    check(&["--step", "10"], &format!("tip: {given}`train.steps=10`"));
    check(&["--steps=10"], &format!("{given}`train.steps=10`"));
    check(&["--lr", "1e-3", "-q"], &format!("{given}`schedule.learning_rate=1e-3`"));
    check(&["--sequence-length", "--quiet"], &format!("{given}`data.sequence_length=…`"));
    check(&["--zzz", "7"], "given after it as `KEY=VALUE`, such as `train.steps=1000`");
    check(&["--outptu", "runs/a"], "--output");
}

#[test]
fn a_configuration_that_is_none_is_told_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let here = folder.path();
    let check = |argument: &str, want: &str| {
        let told = outcome(command().current_dir(here).args(["train", argument]));
        // Only a value in its place is wrong usage.
        let exit = if argument.contains('=') { 2 } else { 3 };
        assert_eq!((told.failure(), told.stderr.as_str()), (Some(exit), want));
    };
    check("nowhere/a.toml", "error: nowhere/a.toml: found nothing, expected a TOML file\n");
    let hint = "hint: the nearest is `run.toml`\n";
    check("rum.toml", &format!("error: rum.toml: found nothing, expected a TOML file\n{hint}"));
    let hint = "hint: the configuration comes first: `tercet train CONFIG train.steps=5`\n";
    check("train.steps=5", &format!("error: train.steps=5: found nothing, expected a TOML file\n{hint}"));
    fs::create_dir(here.join("examples")).unwrap();
    check("examples", "error: examples: found a folder, expected a TOML file\n");
    fs::write(here.join("examples/tiny.toml"), "").unwrap();
    let hint = "hint: the nearest is `examples/tiny.toml`\n";
    check("tiny.toml", &format!("error: tiny.toml: found nothing, expected a TOML file\n{hint}"));
    let hint = "hint: the configurations there are `examples/tiny.toml`\n";
    check("examples", &format!("error: examples: found a folder, expected a TOML file\n{hint}"));

    outcome(&mut train(&config, &["-q", "train.steps=1", "watch.sample_every=0"])).success();
    let hint =
        "hint: its configuration is `run/config.toml`: `tercet train run/config.toml` goes on with it\n";
    check("run", &format!("error: run: found the folder of a run, expected a TOML file\n{hint}"));
    let again = outcome(command().current_dir(here).args(["train", "run/config.toml", "-q"])).success();
    assert!(again.stderr.contains("going on after step 1 of 1"), "{}", again.stderr);
}

#[test]
fn all_that_is_missing_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = without_a_model(&write_config(folder.path()));
    let nowhere = |name: &str| folder.path().join("nowhere").join(name).display().to_string();
    let keys = ["model.from", "distillation.teacher", "tokenizer.path", "data.chat.template"];
    let mut more: Vec<String> = keys.map(|key| format!("{key}={}", nowhere(key))).into();
    more.push(format!("data.validation=[{:?}]", nowhere("held-out.txt")));
    more.extend(["--data".to_owned(), nowhere("*.txt"), "--data".to_owned(), nowhere("more.txt")]);
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let told = outcome(&mut train(&config, &[&more[..], &["--dry-run"]].concat()));
    assert_eq!(told.failure(), Some(3), "{}", told.stderr);
    let lines: Vec<&str> = told.stderr.lines().collect();
    assert_eq!(lines.len(), 8, "{}", told.stderr);
    let paths = keys.map(nowhere);
    let names = ["*.txt", "more.txt", "held-out.txt"].map(nowhere);
    let in_order = [&paths[..2], &names[..], &paths[2..]].concat();
    for (line, path) in lines.iter().zip(in_order) {
        assert!(line.contains(&path), "{path}: {line}");
    }
    assert_eq!(lines[7].matches("the folder of a model has `config.json`").count(), 1, "{}", told.stderr);
    assert!(!folder.path().join("run").exists(), "nothing is left of it");
}

#[test]
fn text_and_folder_can_be_named_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let (other, output) = (folder.path().join("other.txt"), folder.path().join("other run"));
    fs::copy(folder.path().join("text.txt"), &other).unwrap();
    fs::remove_file(folder.path().join("text.txt")).unwrap();
    let more = ["--data", other.to_str().unwrap(), "-o", output.to_str().unwrap(), "train.steps=2"];
    outcome(&mut train(&config, &more)).success();
    assert!(output.join("model/config.json").exists());
}

#[test]
fn a_gguf_file_is_trained_on_as_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (file, start, packed) = (path("stories.gguf"), path("start"), path("packed"));
    tercet(["convert", &file, "--to", "gguf-i2_s", "--no-verify"]).success();
    tercet(["convert", &packed, "--to", "hf-packed", "--no-verify"]).success();
    let config = without_a_model(&config);
    let check = |from: &str, says: &str, hint: &str| {
        let told = outcome(&mut train(&config, &[&format!("model.from={from}")]));
        assert_eq!(told.failure(), Some(3), "{}", told.stderr);
        assert!(told.stderr.contains(says) && told.stderr.contains(hint), "{}", told.stderr);
    };
    let hint = "--to hf-bf16` makes";
    check(&file, "model.from: ", "stories.gguf: found a GGUF file, expected the folder of a model");
    check(&file, "\nhint: `tercet convert FILE.gguf FOLDER ", hint);
    check(&packed, "packed: found packed ternary weights, expected floats to train", hint);
    check(&path("text.txt"), "text.txt: found a file, expected the folder of a model", "`config.json`");
    check(&path("nowhere"), "nowhere: found nothing, expected the folder of a model", "`config.json`");
    tercet(["convert", &file, &start, "--to", "hf-bf16", "--no-verify"]).success();
    let from = format!("model.from={start}");
    outcome(&mut train(&config, &["-q", &from, "train.steps=1", "train.micro_batch=1"])).success();
}

#[test]
fn what_a_run_has_left_is_named_in_place_of_what_is_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let from_a_model = without_a_model(&config);
    let run = folder.path().join("run").display().to_string();
    let check = |more: &[&str], says: &str, hint: &str| {
        let other = folder.path().join("other").display().to_string();
        let told = outcome(&mut train(&from_a_model, &[more, &["-o", &other]].concat()));
        assert_eq!(told.failure(), Some(3), "{}", told.stderr);
        assert!(told.stderr.contains(says), "{}", told.stderr);
        assert!(told.stderr.contains(&format!("\nhint: {hint}")), "{}", told.stderr);
    };
    let step = |step: u64| format!("{run}/checkpoints/step-{step:08}");
    let nothing = "found nothing, expected the folder of a model";
    let first =
        format!("a run leaves its checkpoints there: train the run whose `run.output` is `{run}` first");
    check(&[&format!("model.from={}", step(2))], nothing, &first);

    let told =
        outcome(&mut train(&config, &["-q", "train.steps=1", "watch.sample_every=0"])).success().stderr;
    assert!(told.contains("; 1 step of 256 tokens") && told.contains(" in 1 document, "), "{told}");
    let of_a_run = "run: found the folder of a run, expected the folder of a model";
    let newest = format!("the newest checkpoint of this run is `{}`", step(1));
    check(&[&format!("model.from={run}")], of_a_run, &newest);
    let one = format!("the checkpoint there is `step-00000001`; `model.from={}` takes it", step(1));
    check(&[&format!("model.from={}", step(2))], nothing, &one);
    let model = format!("the model of this run is `{run}/model`");
    let from = format!("model.from={}", step(1));
    check(&[&format!("distillation.teacher={run}"), &from], of_a_run, &model);
}

#[test]
fn a_loss_that_is_not_finite_is_told_what_is_left_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let check = |more: &str, hint: &str| {
        let told = outcome(&mut train(&config, &["-q", "schedule.learning_rate=1e9", more]));
        assert_eq!(told.code, Some(1), "{}", told.stderr);
        assert!(told.stderr.contains("expected a finite number"), "{}", told.stderr);
        assert!(told.stderr.contains(&format!("\nhint: {hint}")), "{}", told.stderr);
    };
    let helps = "a lower `schedule.learning_rate` or a longer warm-up helps, and `train.on_spike = \"skip\"`";
    let none = format!("there is no checkpoint yet, so the next start begins anew; {helps}");
    check("watch.save_every=0", &none);
    let saved = folder.path().join("run/checkpoints/step-00000001");
    let saved = saved.display();
    check(
        "watch.save_every=1",
        &format!("the newest checkpoint is `{saved}`: a new run, in another `run.output`, "),
    );
}

#[test]
fn a_folder_of_other_things_takes_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let docs = folder.path().join("docs");
    fs::create_dir(&docs).unwrap();
    fs::write(docs.join("page.md"), "precious").unwrap();
    let output = ["-o", docs.to_str().unwrap(), "train.steps=2"];
    for more in [&output[..], &[&output[..], &["--dry-run"]].concat()] {
        let told = outcome(&mut train(&config, more));
        assert_eq!(told.failure(), Some(2), "{}", told.stderr);
        assert!(told.stderr.contains("found `page.md` and no run"), "{}", told.stderr);
        assert!(told.stderr.contains("\nhint: train into another folder: `--output`"), "{}", told.stderr);
        assert_eq!(fs::read_dir(&docs).unwrap().count(), 1, "nothing is left there");
    }
    fs::remove_file(docs.join("page.md")).unwrap();
    // An empty folder will do, and so does one with tokens alone, which a dry run leaves.
    outcome(&mut train(&config, &[&output[..], &["--dry-run"]].concat())).success();
    outcome(&mut train(&config, &output)).success();
    // What others have put beside a run does not keep it from going on.
    fs::write(docs.join("page.md"), "precious").unwrap();
    let again = outcome(&mut train(&config, &output)).success();
    assert!(again.stderr.contains("going on after step 2 of 2"), "{}", again.stderr);
}

#[test]
fn an_output_that_cannot_be_is_named_and_nothing_is_left_of_a_refused_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let check = |output: &str, exit: i32, says: &str| {
        let told = outcome(&mut train(&config, &["-o", output]));
        assert_eq!(told.code, Some(exit), "{}", told.stderr);
        assert!(told.stderr.contains(&format!("error: {says}")), "{}", told.stderr);
    };
    let file = folder.path().join("text.txt").display().to_string();
    let says =
        format!("run.output: {file}: found a file, expected a folder\nhint: train into another folder");
    check(&file, 2, &says);
    check(&format!("{file}/run"), 2, &says);
    if cfg!(target_os = "linux") {
        check("/proc/a run", 1, "run.output: /proc/a run: cannot be written: ");
    }
    let output = folder.path().join("runs/mine").display().to_string();
    for text in ["", "too short"] {
        fs::write(&file, text).unwrap();
        check(&output, 3, "the training ");
        assert!(!folder.path().join("runs").exists(), "nothing is left");
    }
}

#[cfg(unix)]
#[test]
fn signals_save_and_kills_lose_nothing() {
    let whole = tempfile::tempdir().unwrap();
    let config = write_config(whole.path());
    outcome(&mut train(&config, &[])).success();

    let parts = tempfile::tempdir().unwrap();
    let config = write_config(parts.path());
    for (signal, steps, exit) in [("-INT", 4, Some(130)), ("-KILL", 12, None), ("-TERM", 25, Some(143))] {
        let mut child = start(&config, parts.path(), steps);
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().code(), exit, "{signal}");
    }
    outcome(&mut train(&config, &[])).success();
    assert!(results(whole.path()) == results(parts.path()));
}

/// Starts a run that says so on stderr when `mark` is reached, sends it a Ctrl-C then, and gives all that it said.
#[cfg(unix)]
fn interrupted_at(mark: &str, config: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut child = train(config, more).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while !said.lines().last().is_some_and(|line| line.contains(mark)) {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "`{mark}` is said: {said}");
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    stderr.read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

/// Sizes with which a step, and the probe of a dry run, take a while.
#[cfg(unix)]
const SLOW: [&str; 3] = ["model.hidden_size=512", "model.intermediate_size=2048", "train.micro_batch=16"];

#[cfg(unix)]
#[test]
fn a_signal_ends_a_dry_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let (code, said) = interrupted_at("memory: ", &config, &[&["--dry-run"][..], &SLOW].concat());
    assert_eq!(code, Some(130), "{said}");
}

#[cfg(unix)]
#[test]
fn a_signal_is_answered_before_the_step_ends() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let (code, said) = interrupted_at("step 1/60", &config, &SLOW);
    assert_eq!(code, Some(130), "{said}");
    let (answer, saved) =
        (said.find("stopping after this step").expect(&said), said.find("saved: ").expect(&said));
    assert!(answer < saved, "{said}");
}

#[test]
fn every_example_is_a_right_configuration() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut examples = 0;
    let entries = root.read_dir().unwrap().chain(root.join("stories").read_dir().unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        TrainConfig::read(&path).unwrap_or_else(|error| panic!("{error}"));
        examples += 1;
    }
    assert!(examples >= 8);
}

/// Its comments say that the model is still the dense one at λ = 0.
#[test]
fn the_example_from_a_dense_model_adds_no_norms_and_warms_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let config = TrainConfig::read(&root.join("from-dense.toml")).unwrap();
    assert_eq!(config.model.norms, Some(NormPlacement::Pre));
    assert!(config.quantization.warmup_steps > 0);
}

#[test]
fn the_dense_example_differs_from_the_ternary_one_in_little() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let [ternary, dense] =
        ["tiny.toml", "dense-baseline.toml"].map(|name| TrainConfig::read(&root.join(name)).unwrap());
    let sizes = |config: &TrainConfig| {
        let model = &config.model;
        [model.hidden_size, model.intermediate_size, model.num_hidden_layers, model.num_attention_heads]
    };
    assert_eq!(sizes(&ternary), sizes(&dense));
    let text = |config: &TrainConfig| {
        let (run, data, train) = (&config.run, &config.data, &config.train);
        let share = data.validation_fraction;
        (run.seed, data.train.clone(), share, data.sequence_length, train.steps, train.micro_batch)
    };
    assert_eq!(text(&ternary), text(&dense));
    assert_eq!(ternary.tokenizer.vocab_size, dense.tokenizer.vocab_size);
}
