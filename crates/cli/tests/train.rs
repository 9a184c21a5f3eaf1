//! `tercet train` through the binary: runs, estimates, interruptions and refusals.

mod command;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use command::{command, outcome, tercet};
use tercet_train::config::TrainConfig;

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
    let told = tercet(["train", "nowhere.toml"]);
    assert_eq!(told.code, Some(2), "{}", told.stderr);
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
