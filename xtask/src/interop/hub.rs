//! huggingface_hub and tercet read each other's cache, filled from a Hub on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tercet::digest::hex;

use super::served;
use crate::process;
use crate::report::Report;

/// One whose files are all taken, and one of whose files some are not.
const WHOLE: &str = "tiny/sharded";
const CHOSEN: &str = "tiny/stories";
/// What is not taken.
const LEFT_OUT: &str = "pytorch_model.bin";
/// What a golden model has beside its own files.
const REFERENCE: &str = "reference.safetensors";

pub(super) fn run(python: &str, report: &mut Report) -> Result<()> {
    served::build()?;
    let folder = tempfile::tempdir()?;
    let models = folder.path().join("models");
    copy(
        &process::root().join("crates/tercet/tests/data/golden/bitnet-packed-h64-sharded"),
        &models.join(WHOLE),
    )?;
    copy(&process::root().join("crates/tercet/models/stories"), &models.join(CHOSEN))?;
    fs::write(models.join(CHOSEN).join(LEFT_OUT), "a pickle")?;
    let server = Server::start(python, &models)?;
    for id in [WHOLE, CHOSEN] {
        let scene = Scene { python, server: &server, home: &folder.path().join(id), models: &models, id };
        scene.read_by_python(report)?;
        scene.read_by_tercet(report)?;
    }
    Ok(())
}

/// A Hub on this machine, for as long as this lives.
struct Server {
    process: Child,
    endpoint: String,
}

impl Server {
    fn start(python: &str, models: &Path) -> Result<Self> {
        let mut command = process::command(python, &["tools/interop/hub_server.py"]);
        let mut process = command.arg(models).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.take().context("the server has no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let told: Value = serde_json::from_str(&line).context("the server told no address")?;
        let endpoint = told["endpoint"].as_str().context("the server told no address")?.to_owned();
        Ok(Server { process, endpoint })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A model, and a cache for each of the two to fill.
struct Scene<'a> {
    python: &'a str,
    server: &'a Server,
    home: &'a Path,
    models: &'a Path,
    id: &'a str,
}

impl Scene<'_> {
    /// Python reads, lists and deletes what tercet has downloaded.
    fn read_by_python(&self, report: &mut Report) -> Result<()> {
        let home = self.home.join("by-tercet");
        let check = |report: &mut Report, what: &str, is_right, detail: &str| {
            super::check(report, &format!("{}, filled by tercet: {what}", self.id), is_right, detail);
        };
        let path = self.tercet(&home, true, &["pull", "--quiet", self.id])?;
        let only: Vec<String> = self.digests(false)?.into_keys().collect();
        let only: Vec<&str> = ["--only"].into_iter().chain(only.iter().map(String::as_str)).collect();
        let read = self.python(&home, &[&["read", self.id][..], &only].concat())?;
        let is_same = read["path"] == path.trim_end() && read["files"] == json!(self.digests(false)?);
        check(report, "snapshot_download", is_same, "the same path, the same files");
        let all = self.python(&home, &["read", self.id])?;
        let is_whole = self.id == WHOLE;
        let is_right =
            if is_whole { all["path"] == path.trim_end() } else { all["error"] == "IncompleteSnapshotError" };
        let detail = if is_whole { "no file is missing" } else { "the pickle that was left out is missing" };
        check(report, "snapshot_download of all", is_right, detail);
        let scan = self.python(&home, &["scan"])?;
        let model = &scan["models"][self.id];
        let bytes: u64 = self.sizes()?.iter().sum();
        let is_listed = model["refs"] == json!(["main"]) && model["bytes"] == json!(bytes);
        let is_clean = scan["warnings"] == json!([]) && scan["incomplete"] == 0;
        check(
            report,
            "scan_cache_dir",
            is_listed && is_clean,
            &format!("{bytes} bytes at main, no warnings"),
        );
        self.python(&home, &["delete", self.id])?;
        let left: Value = serde_json::from_str(&self.tercet(&home, false, &["ls", "--json"])?)?;
        check(report, "delete_revisions", left["models"] == json!([]), "nothing is left for `tercet ls`");
        Ok(())
    }

    /// tercet reads, lists and removes what Python has downloaded.
    fn read_by_tercet(&self, report: &mut Report) -> Result<()> {
        let home = self.home.join("by-python");
        let check = |report: &mut Report, what: &str, is_right, detail: &str| {
            super::check(report, &format!("{}, filled by Python: {what}", self.id), is_right, detail);
        };
        let filled = self.python(&home, &["fill", self.id])?;
        ensure!(
            filled["files"] == json!(self.digests(true)?),
            "huggingface_hub did not fill a cache: {filled}"
        );
        let path = self.tercet(&home, false, &["pull", "--quiet", self.id])?;
        check(report, "pull without a network", filled["path"] == path.trim_end(), "the same path");
        let listed: Value = serde_json::from_str(&self.tercet(&home, false, &["ls", "--json"])?)?;
        let row = &listed["models"][0];
        let is_listed =
            row["id"] == self.id && row["is_complete"] == true && row["references"] == json!(["main"]);
        check(report, "ls", is_listed, "complete, at main");
        let shown: Value =
            serde_json::from_str(&self.tercet(&home, false, &["inspect", self.id, "--json"])?)?;
        check(report, "inspect", shown["family"] == row["family"], &format!("family {}", shown["family"]));
        self.tercet(&home, false, &["rm", "--yes", self.id])?;
        let scan = self.python(&home, &["scan"])?;
        let is_empty = scan["models"] == json!({}) && scan["warnings"] == json!([]);
        check(report, "rm", is_empty, "scan_cache_dir finds nothing, and nothing broken");
        Ok(())
    }

    fn python(&self, home: &Path, arguments: &[&str]) -> Result<Value> {
        let mut command = process::command(self.python, &["tools/interop/hub_cache.py"]);
        command.args(arguments).env("HF_HUB_DISABLE_TELEMETRY", "1");
        super::json_of(self.on_cache(&mut command, home).env("HF_ENDPOINT", &self.server.endpoint))
    }

    /// What tercet prints.
    fn tercet(&self, home: &Path, is_online: bool, arguments: &[&str]) -> Result<String> {
        let mut command = served::tercet();
        self.on_cache(command.args(arguments), home).env("HF_ENDPOINT", &self.server.endpoint);
        if is_online {
            command.env_remove("HF_HUB_OFFLINE");
        }
        let output = command.output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tercet {arguments:?}: {errors}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A command that knows this cache and nothing of the user's.
    fn on_cache<'c>(&self, command: &'c mut Command, home: &Path) -> &'c mut Command {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HF_")) {
            command.env_remove(name);
        }
        command.env("HF_HOME", home)
    }

    /// The SHA-256 of each of the model's files, those that tercet leaves out with `has_all`.
    fn digests(&self, has_all: bool) -> Result<BTreeMap<String, String>> {
        let mut digests = BTreeMap::new();
        for (name, path) in self.files()? {
            if has_all || name != LEFT_OUT {
                digests.insert(name, hex(&Sha256::digest(fs::read(path)?)));
            }
        }
        Ok(digests)
    }

    /// The size of each file that tercet takes.
    fn sizes(&self) -> Result<Vec<u64>> {
        let files = self.files()?.into_iter().filter(|(name, _)| name != LEFT_OUT);
        files.map(|(_, path)| Ok(fs::metadata(path)?.len())).collect()
    }

    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let entries = fs::read_dir(self.models.join(self.id))?;
        entries
            .map(|entry| {
                let entry = entry?;
                Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
            })
            .collect()
    }
}

/// Copies the files of a model.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() != REFERENCE {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
