//! The built binary, run with arguments, and without a network if a test does not give it one.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tercet::embedded;

/// A format of chats in words that the small model knows.
pub(crate) const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content | trim }}\n\
    {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// What it printed, if it succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self
    }

    /// Its exit code, if all it did is say on stderr why it failed.
    #[track_caller]
    pub(crate) fn failure(&self) -> Option<i32> {
        assert_eq!(self.stdout, "", "a failure prints no results");
        assert!(self.stderr.starts_with("error: "), "stderr: {}", self.stderr);
        self.code
    }

    pub(crate) fn last_line(&self) -> &str {
        self.stderr.lines().next_back().unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in `{}`", self.stdout))
    }
}

/// The binary, with nothing on stdin, no colours asked for, and a cache folder of the tests.
pub(crate) fn command() -> Command {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    let cache = CACHE.get_or_init(|| {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
        // Probes the bandwidth once, which otherwise each of many tests would do at the same time.
        let probe = binary(&cache).args(["run", "-n", "2", "a"]).output().expect("the binary starts");
        assert!(probe.status.success(), "{}", String::from_utf8_lossy(&probe.stderr));
        cache
    });
    binary(cache)
}

fn binary(cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tercet"));
    command.stdin(Stdio::null()).env("XDG_CACHE_HOME", cache);
    let of_hub = |name: &OsStr| name.to_string_lossy().starts_with("HF_");
    let hub = std::env::vars_os().map(|(name, _)| name).filter(|name| of_hub(name));
    let others = ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TRANSFORMERS_OFFLINE"].map(OsString::from);
    for variable in hub.chain(others) {
        command.env_remove(variable);
    }
    command.env("HF_HUB_OFFLINE", "1");
    command
}

/// Runs the binary with these arguments.
pub(crate) fn tercet<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Outcome {
    outcome(command().args(arguments))
}

/// Runs a command of the binary.
pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The golden models of the library.
pub(crate) fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tercet/tests/data/golden")
}

/// The model inside in a folder of its own, with a chat template.
pub(crate) fn conversing_model(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let source = embedded::stories();
    for file in source.files().unwrap() {
        let mut bytes = source.read(&file).unwrap().into_owned();
        if file == "tokenizer_config.json" {
            let mut config: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            config["chat_template"] = TEMPLATE.into();
            bytes = config.to_string().into_bytes();
        }
        std::fs::write(folder.join(file), bytes).unwrap();
    }
    folder
}
