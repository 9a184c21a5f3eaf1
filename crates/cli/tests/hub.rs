//! `tercet pull`, `ls`, `rm` and names of the Hub as MODEL, with a Hub on this machine.

mod command;
#[path = "../../hub/tests/server/mod.rs"]
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use command::{command, golden, outcome};
use server::{COMMIT, Fault, File, Server, TOKEN, digest};
use tercet::embedded;
use tercet::source::Source;

const STORIES: &str = "tiny/stories";
const SHARDED: &str = "tiny/sharded";
const GGUF: &str = "tiny/gguf";
const PICKLED: &str = "tiny/pickled";

/// The model inside the binary, as its repository would be.
fn stories() -> Vec<File> {
    let Source::Embedded(folder) = embedded::stories() else { panic!("it is compiled in") };
    let mut files: Vec<File> = folder
        .files
        .iter()
        .map(|(name, bytes)| (*name, bytes.to_vec(), name.ends_with(".safetensors")))
        .filter(|(name, _, _)| *name != "README.md")
        .collect();
    files.push(("README.md", b"# Stories".to_vec(), false));
    files.push(("pytorch_model.bin", b"pickle".to_vec(), true));
    files.push(("onnx/model.onnx", b"others".to_vec(), true));
    files
}

fn sharded() -> Vec<File> {
    let folder = golden().join("bitnet-packed-h64-sharded");
    let names = [
        "config.json",
        "model.safetensors.index.json",
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
    ];
    names.map(|name| (name, fs::read(folder.join(name)).unwrap(), name.ends_with(".safetensors"))).to_vec()
}

struct Scene {
    server: Server,
    home: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let gguf: Vec<File> = vec![("a-f16.gguf", b"a".to_vec(), true), ("b-q8_0.gguf", b"b".to_vec(), true)];
        let pickled: Vec<File> =
            vec![("config.json", b"{}".to_vec(), false), ("pytorch_model.bin", b"p".to_vec(), true)];
        let repositories: [(&'static str, &[File]); 4] =
            [(STORIES, &stories()), (SHARDED, &sharded()), (GGUF, &gguf), (PICKLED, &pickled)];
        Scene { server: Server::new(&repositories), home: tempfile::tempdir().unwrap() }
    }

    /// The binary with the server as its Hub.
    fn online(&self, arguments: &[&str]) -> Command {
        let mut command = self.offline(arguments);
        command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &self.server.endpoint);
        command
    }

    fn offline(&self, arguments: &[&str]) -> Command {
        let mut command = command();
        command.args(arguments).env("HF_HOME", self.home.path()).current_dir(self.home.path());
        command
    }

    fn model(&self, id: &str) -> PathBuf {
        self.home.path().join("hub").join(format!("models--{}", id.replace('/', "--")))
    }

    fn snapshot(&self, id: &str) -> PathBuf {
        self.model(id).join("snapshots").join(COMMIT)
    }

    /// The paths that the server was asked for.
    fn asked(&self) -> Vec<String> {
        self.server.take_log().into_iter().map(|logged| logged.line).collect()
    }
}

#[test]
fn a_pulled_model_is_listed_run_without_a_network_and_removed() {
    let scene = Scene::new();
    let pulled = outcome(&mut scene.online(&["pull", STORIES])).success();
    assert_eq!(Path::new(pulled.stdout.trim_end()), scene.snapshot(STORIES));
    assert!(pulled.stderr.contains("downloading ") && pulled.stderr.contains("model.safetensors  "));
    let asked = scene.asked();
    assert!(!asked.iter().any(|line| line.contains(".bin") || line.contains("onnx")), "{asked:?}");
    assert!(scene.snapshot(STORIES).join("README.md").exists());

    let arguments = ["Once upon a time", "-n", "12", "--temp", "0", "--logits-sha256"];
    let want = outcome(command().arg("run").args(arguments)).success();
    let ran = outcome(scene.offline(&["run", STORIES]).args(arguments)).success();
    assert_eq!(ran.stdout, want.stdout);
    let ran = outcome(scene.online(&["run", STORIES]).args(arguments)).success();
    assert_eq!((ran.stdout, scene.asked().len()), (want.stdout, 0), "what is in the cache is not asked for");

    let listed = outcome(&mut scene.offline(&["ls", "--json"])).success().json();
    let row = &listed["models"][0];
    assert_eq!(row["id"], STORIES);
    assert_eq!((&row["commit"], &row["references"][0]), (&COMMIT.into(), &"main".into()));
    assert_eq!((&row["is_complete"], row["missing"].as_array().unwrap().len()), (&true.into(), 0));
    assert_eq!(Path::new(row["path"].as_str().unwrap()), scene.snapshot(STORIES));
    assert!(row["family"].is_string() && row["bytes"].as_u64() > Some(100_000));
    let table = outcome(&mut scene.offline(&["ls"])).success();
    assert!(
        table.stdout.contains("main (01234567)") && table.stdout.contains("complete"),
        "{}",
        table.stdout
    );

    let removed = outcome(&mut scene.offline(&["rm", STORIES, "--yes"])).success();
    assert!(removed.stdout.starts_with("tiny/stories: removed, "), "{}", removed.stdout);
    assert!(!scene.model(STORIES).exists());
    let listed = outcome(&mut scene.offline(&["ls", "--json"])).success().json();
    assert_eq!((&listed["models"], &listed["bytes"]), (&serde_json::json!([]), &0.into()));
}

#[test]
fn a_name_of_the_hub_is_downloaded_and_run() {
    let scene = Scene::new();
    let ran = outcome(&mut scene.online(&["run", STORIES, "Once", "-n", "3", "--temp", "0"])).success();
    assert!(ran.stdout.starts_with("Once") && ran.stderr.contains("tiny/stories is not whole in the cache"));
    let shown = outcome(&mut scene.online(&["inspect", SHARDED, "--json"])).success().json();
    assert_eq!(shown["family"], "bitnet");
    let ran = outcome(&mut scene.online(&["run", &format!("{STORIES}@v9"), "Once"]));
    assert_eq!(ran.code, Some(3));
    assert!(
        ran.stderr.contains("error: tiny/stories: the repository has no revision `v9`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn quiet_prints_the_path_and_nothing_else() {
    let scene = Scene::new();
    for _ in 0..2 {
        let pulled = outcome(&mut scene.online(&["pull", "-q", SHARDED])).success();
        assert_eq!(pulled.stdout, format!("{}\n", scene.snapshot(SHARDED).display()));
        assert_eq!(pulled.stderr, "");
    }
    let pulled = outcome(&mut scene.offline(&["pull", SHARDED])).success();
    assert_eq!(pulled.stdout, format!("{}\n", scene.snapshot(SHARDED).display()));
}

#[test]
fn patterns_choose_among_files() {
    let scene = Scene::new();
    let several = outcome(&mut scene.online(&["pull", GGUF]));
    assert_eq!(several.failure(), Some(3));
    for says in ["found several GGUF files: a-f16.gguf, b-q8_0.gguf", "--include a-f16.gguf"] {
        assert!(several.stderr.contains(says), "{}", several.stderr);
    }
    let pulled = outcome(&mut scene.online(&["pull", "-q", GGUF, "--include", "*f16*"])).success();
    assert_eq!(Path::new(pulled.stdout.trim_end()), scene.snapshot(GGUF).join("a-f16.gguf"));
    // What was downloaded is what is meant; this one is no model, and so its path is in the message.
    let ran = outcome(&mut scene.offline(&["run", GGUF, "Once"]));
    assert_eq!(ran.failure(), Some(3));
    assert!(ran.stderr.contains("a-f16.gguf"), "{}", ran.stderr);
    outcome(&mut scene.online(&["pull", STORIES, "--include", "*.json", "--exclude", "tokenizer*"]))
        .success();
    assert!(scene.snapshot(STORIES).join("config.json").exists());
    assert!(!scene.snapshot(STORIES).join("tokenizer.json").exists());
    let ran = outcome(&mut scene.offline(&["run", STORIES, "Once"]));
    assert_eq!(ran.failure(), Some(4));
    assert!(ran.stderr.contains("incomplete in the cache"), "{}", ran.stderr);
    let listed = outcome(&mut scene.offline(&["ls"])).success();
    assert!(listed.stdout.contains("lacks model.safetensors and 2 more"), "{}", listed.stdout);
    for (arguments, code, says) in [
        (&["pull", PICKLED][..], 3, "pickled weights only"),
        (&["pull", PICKLED, "--include", "*.bin"], 3, "no file matches"),
        (&["pull", "a b"], 2, "expected `org/name`"),
        (&["pull", STORIES, "--include", "a["], 2, "--include"),
    ] {
        let refused = outcome(&mut scene.online(arguments));
        assert_eq!(refused.failure(), Some(code), "{}", refused.stderr);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
    }
}

#[test]
fn a_killed_download_goes_on_and_ends_whole() {
    let scene = Scene::new();
    let weights = stories().into_iter().find(|(name, _, _)| *name == "model.safetensors").unwrap().1;
    let sha256: &'static str = digest(&weights, true).leak();
    let half = weights.len() / 2;
    scene.server.fault(sha256, 1, Fault::Stall(half));
    let mut arguments = scene.online(&["pull", STORIES]);
    let mut killed = arguments.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let blobs = scene.model(STORIES).join("blobs");
    let partial = blobs.join(format!("{sha256}.incomplete"));
    let end = Instant::now() + Duration::from_secs(60);
    while fs::metadata(&partial).map_or(0, |found| found.len()) < half as u64 {
        assert!(Instant::now() < end, "the first half does not come");
        std::thread::yield_now();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!blobs.join(sha256).exists() && !scene.model(STORIES).join("refs/main").exists());
    let ran = outcome(&mut scene.offline(&["run", STORIES, "Once"]));
    assert_eq!(ran.failure(), Some(4), "a part is never run");
    let listed = outcome(&mut scene.offline(&["ls"])).success();
    assert!(listed.stdout.contains("lacks "), "{}", listed.stdout);

    scene.asked();
    let pulled = outcome(&mut scene.online(&["pull", STORIES])).success();
    assert!(pulled.stderr.contains("of it from an earlier attempt"), "{}", pulled.stderr);
    let ranges: Vec<_> = scene.server.take_log().into_iter().filter_map(|logged| logged.range).collect();
    assert_eq!(ranges.last(), Some(&format!("bytes={half}-")));
    assert_eq!(fs::read(scene.snapshot(STORIES).join("model.safetensors")).unwrap(), weights);
    assert!(!partial.exists());
}

#[test]
fn an_interrupted_download_says_how_it_goes_on() {
    let scene = Scene::new();
    let weights = stories().into_iter().find(|(name, _, _)| *name == "model.safetensors").unwrap().1;
    let sha256: &'static str = digest(&weights, true).leak();
    scene.server.fault(sha256, 9, Fault::Stall(1000));
    let mut arguments = scene.online(&["pull", STORIES]);
    arguments.env("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    let child = arguments.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let partial = scene.model(STORIES).join("blobs").join(format!("{sha256}.incomplete"));
    let end = Instant::now() + Duration::from_secs(60);
    while fs::metadata(&partial).map_or(0, |found| found.len()) == 0 {
        assert!(Instant::now() < end, "nothing comes");
        std::thread::yield_now();
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.ends_with("stopped; the same command goes on from here\n"), "{stderr}");
    assert!(output.stdout.is_empty());
    scene.server.clear_faults();
    outcome(&mut scene.online(&["pull", STORIES])).success();
}

#[test]
fn an_index_that_names_what_is_not_there_is_refused() {
    let scene = Scene::new();
    let mut files = sharded();
    files.retain(|(name, _, _)| *name != "model-00002-of-00003.safetensors");
    scene.server.commit(COMMIT, SHARDED, &files);
    let pulled = outcome(&mut scene.online(&["pull", SHARDED]));
    assert_eq!((pulled.code, pulled.stdout.as_str()), (Some(3), ""));
    assert!(
        pulled.stderr.contains("file `model-00002-of-00003.safetensors` is missing"),
        "{}",
        pulled.stderr
    );
}

#[test]
fn a_lost_shard_is_noticed_and_comes_again() {
    let scene = Scene::new();
    outcome(&mut scene.online(&["pull", SHARDED])).success();
    let shard = scene.snapshot(SHARDED).join("model-00002-of-00003.safetensors");
    fs::remove_file(fs::canonicalize(&shard).unwrap()).unwrap();
    let ran = outcome(&mut scene.offline(&["inspect", SHARDED]));
    assert_eq!(ran.failure(), Some(4));
    assert!(ran.stderr.contains("`model-00002-of-00003.safetensors` is missing"), "{}", ran.stderr);
    outcome(&mut scene.online(&["inspect", SHARDED])).success();
}

#[test]
fn a_cache_without_records_is_read_too() {
    let scene = Scene::new();
    outcome(&mut scene.online(&["pull", STORIES])).success();
    fs::remove_dir_all(scene.model(STORIES).join("trees")).unwrap();
    let run = &["run", STORIES, "Once", "-n", "1"];
    outcome(&mut scene.offline(run)).success();
    fs::remove_file(scene.snapshot(STORIES).join("tokenizer.json")).unwrap();
    let ran = outcome(&mut scene.offline(run));
    assert_eq!(ran.failure(), Some(4));
    assert!(ran.stderr.contains("`tokenizer.json` is missing"), "{}", ran.stderr);
}

#[test]
fn no_secret_is_ever_shown() {
    let scene = Scene::new();
    scene.server.make_private();
    let with_token =
        |token: &str, arguments: &[&str]| outcome(scene.online(arguments).env("HF_TOKEN", token));
    for (token, code, says) in
        [("", 3, "set `HF_TOKEN`"), ("hf_wrong", 3, "expired"), ("hf wrong", 2, "HF_TOKEN: ")]
    {
        let refused = with_token(token, &["pull", STORIES]);
        assert_eq!(refused.failure(), Some(code), "{}", refused.stderr);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
        assert!(!refused.stderr.contains("wrong"), "{}", refused.stderr);
    }
    let pulled = with_token(TOKEN, &["pull", STORIES]).success();
    assert!(!pulled.stderr.contains(TOKEN) && !pulled.stdout.contains(TOKEN));
    // From a file, and not at all.
    outcome(&mut scene.offline(&["rm", "-y", STORIES])).success();
    fs::write(scene.home.path().join("token"), TOKEN).unwrap();
    let none = outcome(scene.online(&["pull", STORIES]).env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"));
    assert_eq!(none.failure(), Some(3));
    outcome(&mut scene.online(&["pull", STORIES])).success();
}

#[test]
fn nobody_there_is_exit_code_4() {
    let scene = Scene::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    for arguments in [&["run", STORIES, "Once"][..], &["pull", STORIES]] {
        let found = outcome(scene.online(arguments).env("HF_ENDPOINT", &endpoint));
        assert_eq!(found.code, Some(4), "{}", found.stderr);
        assert!(
            found.stderr.contains("cannot be reached") && found.stderr.contains("hint: is there a network?")
        );
    }
}

#[test]
fn a_removal_is_asked_for_and_names_what_is_near() {
    let scene = Scene::new();
    let empty = outcome(&mut scene.offline(&["rm", "-y", SHARDED]));
    assert!(empty.failure() == Some(3) && empty.stderr.contains("`, is empty"), "{}", empty.stderr);
    outcome(&mut scene.online(&["pull", SHARDED])).success();
    let blobs = scene.model("tiny/parts").join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", "d".repeat(64))), "d").unwrap();
    for (arguments, code, says) in [
        (&["rm", SHARDED][..], 2, "expected `--yes`"),
        (&["rm", "-y", "tiny/shraded"], 3, "hint: the nearest one is `tiny/sharded`"),
        (&["rm", "-y", "tiny/sharded@v1"], 3, "hint: it has 01234567"),
        (&["rm", "-y", "sharded"], 3, "hint: the nearest one is `tiny/sharded`"),
        (&["rm", "-y", SHARDED, "tiny/none"], 3, "no model `tiny/none`\nhint: `tercet ls` lists those"),
        (&["rm", "-y", "tiny/parts@v1"], 3, "hint: only parts of files have come: `tercet rm tiny/parts`"),
        (&["rm", "-y", "../../etc"], 2, "expected `org/name`"),
        (&["rm", "-y"], 2, "required"),
    ] {
        let refused = outcome(&mut scene.offline(arguments));
        assert_eq!(refused.failure(), Some(code), "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
        assert!(scene.snapshot(SHARDED).exists());
    }
    outcome(&mut scene.offline(&["rm", "-y", &format!("{SHARDED}@main")])).success();
    assert!(!scene.model(SHARDED).exists());
}

#[test]
fn a_new_commit_is_taken_by_pull_and_not_by_run() {
    let scene = Scene::new();
    outcome(&mut scene.online(&["pull", SHARDED])).success();
    let newer = "f".repeat(40);
    scene.server.commit(&newer, SHARDED, &sharded());
    outcome(&mut scene.online(&["inspect", SHARDED])).success();
    assert!(!scene.model(SHARDED).join("snapshots").join(&newer).exists());
    scene.asked();
    let pulled = outcome(&mut scene.online(&["pull", "-q", SHARDED])).success();
    assert!(pulled.stdout.contains(&newer));
    assert_eq!(scene.asked().len(), 1, "the same files are linked");
    outcome(&mut scene.offline(&["rm", "-y", &format!("{SHARDED}@0123456")])).success();
    outcome(&mut scene.offline(&["inspect", SHARDED])).success();
}

#[test]
fn all_revisions_of_a_model_are_removed_with_their_contents() {
    let scene = Scene::new();
    outcome(&mut scene.online(&["pull", SHARDED])).success();
    scene.server.commit(&"f".repeat(40), SHARDED, &sharded());
    outcome(&mut scene.online(&["pull", SHARDED])).success();
    let (old, new) = (format!("{SHARDED}@0123456"), format!("{SHARDED}@main"));
    let removed = outcome(&mut scene.offline(&["rm", "-y", &old, &new, &new])).success();
    let lines: Vec<&str> = removed.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].starts_with(&format!("{new}: removed, ")), "{lines:?}");
    assert!(!scene.model(SHARDED).exists());
}

#[test]
fn a_part_of_a_new_commit_leaves_the_revision_at_the_old_one() {
    let scene = Scene::new();
    outcome(&mut scene.online(&["pull", STORIES])).success();
    let newer = "f".repeat(40);
    let mut files = stories();
    files.retain(|(name, _, _)| *name != "README.md");
    files.push(("README.md", b"# More stories".to_vec(), false));
    scene.server.commit(&newer, STORIES, &files);
    let pulled = outcome(&mut scene.online(&["pull", STORIES, "--include", "README.md"])).success();
    assert!(pulled.stdout.contains(&newer), "{}", pulled.stdout);
    let reference = || fs::read_to_string(scene.model(STORIES).join("refs/main")).unwrap();
    assert_eq!(reference(), COMMIT);
    outcome(&mut scene.offline(&["run", STORIES, "Once", "-n", "1"])).success();
    outcome(&mut scene.online(&["pull", STORIES])).success();
    assert_eq!(reference(), newer);
}

#[test]
fn patterns_hold_without_a_network_too() {
    let scene = Scene::new();
    let f16 = ["pull", GGUF, "--include", "*f16*"];
    let pulled = outcome(&mut scene.online(&f16)).success();
    assert_eq!(outcome(&mut scene.offline(&f16)).success().stdout, pulled.stdout);
    outcome(&mut scene.online(&["pull", STORIES])).success();
    let folder = format!("{}\n", scene.snapshot(STORIES).display());
    for patterns in [["--include", "*.json"], ["--exclude", "onnx/"]] {
        let found = outcome(scene.offline(&["pull", STORIES]).args(patterns)).success();
        assert_eq!(found.stdout, folder, "{patterns:?}");
    }
    let check = |arguments: &[&str], code: i32, says: &str| {
        let refused = outcome(&mut scene.offline(arguments));
        assert_eq!(refused.failure(), Some(code), "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(says), "{arguments:?}: {}", refused.stderr);
    };
    check(&["pull", GGUF, "--include", "*.gguf"], 4, "`b-q8_0.gguf` is missing");
    check(&["pull", STORIES, "--include", "onnx/"], 4, "`onnx/model.onnx` is missing");
    check(&["pull", STORIES, "--include", "*.gguf"], 3, "no file matches");
    // Without the record, more may exist than is here.
    fs::remove_dir_all(scene.model(STORIES).join("trees")).unwrap();
    check(&["pull", STORIES, "--include", "*.gguf"], 4, "incomplete in the cache");
}

#[test]
fn a_damaged_reference_is_asked_for_again() {
    let scene = Scene::new();
    outcome(&mut scene.online(&["pull", STORIES])).success();
    let reference = scene.model(STORIES).join("refs/main");
    fs::write(&reference, "0123").unwrap();
    let run = &["run", STORIES, "Once", "-n", "1"];
    let refused = outcome(&mut scene.offline(run));
    assert_eq!(refused.failure(), Some(4));
    let told = "of no use in the cache, whose reference `main` is damaged";
    assert!(refused.stderr.contains(told) && refused.stderr.contains("hint: "), "{}", refused.stderr);
    outcome(&mut scene.online(run)).success();
    assert_eq!(fs::read_to_string(&reference).unwrap(), COMMIT);
}

#[test]
fn a_damaged_reference_hides_no_model() {
    let scene = Scene::new();
    outcome(&mut scene.online(&["pull", STORIES])).success();
    fs::write(scene.model(STORIES).join("refs/main"), "0".repeat(5000)).unwrap();
    let told = format!("{STORIES}@main: found no commit in its reference, which is damaged; `tercet pull ");
    let listed = outcome(&mut scene.offline(&["ls"])).success();
    assert!(listed.stdout.contains("complete") && listed.stderr.contains(&told), "{}", listed.stderr);
    let listed = outcome(&mut scene.offline(&["ls", "--json"])).success().json();
    assert_eq!(listed["damaged_references"], serde_json::json!([format!("{STORIES}@main")]));
    let refused = outcome(&mut scene.offline(&["rm", "--yes", &format!("{STORIES}@main")]));
    assert_eq!(refused.failure(), Some(3));
    assert!(refused.stderr.contains("found a damaged reference `main`"), "{}", refused.stderr);
    outcome(&mut scene.offline(&["rm", "--yes", STORIES])).success();
    assert!(!scene.model(STORIES).exists());
}

#[test]
fn an_odd_name_is_refused_only_where_it_is_wanted() {
    let scene = Scene::new();
    let mut files = stories();
    files.push(("eval_2024-05-01T12:30:00.json", b"{}".to_vec(), false));
    files.push(("../outside.json", b"{}".to_vec(), false));
    scene.server.commit(COMMIT, STORIES, &files);
    let refused = outcome(&mut scene.online(&["pull", STORIES, "--include", "eval*"]));
    assert_eq!(refused.failure(), Some(3));
    assert!(refused.stderr.contains("eval_2024-05-01T12:30:00.json"), "{}", refused.stderr);
    assert!(!scene.model(STORIES).exists());
    outcome(&mut scene.online(&["pull", STORIES])).success();
    outcome(&mut scene.offline(&["run", STORIES, "Once", "-n", "1"])).success();
    let listed = outcome(&mut scene.offline(&["ls", "--json"])).success().json();
    assert_eq!(listed["models"][0]["is_complete"], true);
}
