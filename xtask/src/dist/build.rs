//! The release build of a target, and which packages it was made of: the compiler's own word for it.
//!
//! Paths of this machine are replaced in the program, so that it is the same wherever it is built.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::packages::{Metadata, Package};
use crate::process;

/// Between flags of the compiler in one variable.
const SEPARATOR: &str = "\u{1f}";

/// A program that was built.
pub(crate) struct Built {
    /// Where it lies.
    pub(crate) program: PathBuf,
    /// Ids of the packages that were compiled for it.
    pub(crate) compiled: BTreeSet<String>,
}

/// A line of what Cargo tells; others are left alone.
#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    executable: Option<PathBuf>,
}

/// Builds the program of `package` for a target, C by `c_compiler` where one is given.
pub(crate) fn build(
    metadata: &Metadata,
    package: &Package,
    program: &str,
    target: &str,
    c_compiler: Option<&str>,
) -> Result<Built> {
    let what = ["build", "--release", "--locked", "--package", package.name.as_str(), "--bin", program];
    let how = ["--target", target, "--message-format", "json-render-diagnostics"];
    let mut cargo = process::command("cargo", &[&what[..], &how[..]].concat());
    let given = [("CARGO_ENCODED_RUSTFLAGS", SEPARATOR), ("RUSTFLAGS", " ")];
    let given = given.iter().find_map(|(name, between)| {
        let flags = std::env::var(name).ok()?;
        Some(flags.split(between).filter(|flag| !flag.is_empty()).map(str::to_owned).collect::<Vec<_>>())
    });
    let flags: Vec<String> = given.into_iter().flatten().chain(renamed(metadata)).collect();
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR));
    if let Some(c_compiler) = c_compiler {
        cargo.env(format!("CC_{}", target.replace('-', "_")), c_compiler);
    }
    eprintln!("\n$ cargo {} {}", what.join(" "), how.join(" "));
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cannot start `cargo build`")?;
    let output = child.stdout.take().expect("the output is piped");
    let (mut executable, mut compiled) = (None, BTreeSet::new());
    for line in BufReader::new(output).lines() {
        let Ok(message) = serde_json::from_str::<Message>(&line?) else { continue };
        if message.reason == "compiler-artifact" {
            compiled.extend(message.package_id);
            executable = message.executable.or(executable);
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "`cargo build` for {target} failed: {status}");
    let program = executable.context("`cargo build` named no program")?;
    Ok(Built { program, compiled })
}

/// Flags by which the folders of this machine have other names in the program.
fn renamed(metadata: &Metadata) -> Vec<String> {
    let of_registry = metadata.packages.iter().filter(|package| package.source.is_some());
    let mut folders: BTreeSet<(PathBuf, &str)> = of_registry
        .filter_map(|package| Some((package.manifest_path.parent()?.parent()?.to_owned(), "registry")))
        .collect();
    folders.insert((process::root(), "tercet"));
    if !metadata.target_directory.starts_with(process::root()) {
        folders.insert((metadata.target_directory.clone(), "target"));
    }
    folders.iter().map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display())).collect()
}

/// Which of these folders the program still names.
pub(crate) fn named_folders<'a>(program: &[u8], folders: &[&'a Path]) -> Vec<&'a Path> {
    let is_named = |folder: &&&Path| {
        let name = folder.as_os_str().as_encoded_bytes();
        program.windows(name.len().max(1)).any(|window| window == name)
    };
    folders.iter().filter(is_named).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::super::packages::tests::metadata;
    use super::*;

    #[test]
    fn each_folder_has_another_name() {
        let flags = renamed(&metadata());
        assert!(flags.contains(&"--remap-path-prefix=/src=registry".to_owned()), "{flags:?}");
        assert!(flags.contains(&"--remap-path-prefix=/target=target".to_owned()), "{flags:?}");
        assert_eq!(flags.len(), 3, "{flags:?}");
    }

    #[test]
    fn a_folder_that_is_named_is_found() {
        let folders = [Path::new("/a/b"), Path::new("/c")];
        assert_eq!(named_folders(b"..\0/a/b/lib.rs\0", &folders), [Path::new("/a/b")]);
        assert!(named_folders(b"", &folders).is_empty());
    }
}
