//! Where outcomes come from: what all runs depend on, as digests, and what they were made with.
//!
//! ```text
//! plan     SHA-256 of examples/scaling.toml and the settings of every size, ternary and dense
//! novels   SHA-256 of a line for each novel, sorted: the SHA-256 of its text, two spaces, its file's name
//! ```

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tercet::digest::hex;
use tercet_kernels::Isa;

use super::command::settings;
use super::plan::{Arm, Run, SEEDS, SIZES};
use crate::process;

const NOVEL_ENDING: &str = ".txt.gz";
/// What `tercet train` is made of.
const SOURCES: [&str; 4] = ["crates", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Origin {
    pub(super) plan: String,
    pub(super) novels: String,
    /// As [`Isa::name`] has it.
    pub(super) instruction_set: String,
    /// Commits of tercet, those of all legs.
    pub(super) commits: BTreeSet<String>,
}

impl Origin {
    /// That of a leg which begins here and now.
    pub(super) fn of_leg(plan: &str, novels: &Path) -> Result<Origin> {
        Ok(Origin {
            plan: plan.to_owned(),
            novels: novels_digest(novels)?,
            instruction_set: Isa::from_environment()?.name().to_owned(),
            commits: BTreeSet::from([commit()?]),
        })
    }
}

/// The digest of what is planned, with the text of the configuration that all runs share.
pub(super) fn plan_digest(config: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(config);
    for size in 0..SIZES.len() {
        for arm in Arm::ALL {
            let run = Run { size, arm, rate: 0, seed: SEEDS[0] };
            hash.update(settings(&run, "novels").join("\n"));
        }
    }
    shown(hash)
}

/// The digest of the texts in a folder. They are unpacked for it: two programs pack one text into other bytes.
fn novels_digest(folder: &Path) -> Result<String> {
    let mut names = BTreeSet::new();
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(NOVEL_ENDING) {
            names.insert(name);
        }
    }
    ensure!(!names.is_empty(), "{}: found no file `*{NOVEL_ENDING}`, expected novels", folder.display());
    let mut lines = String::new();
    for name in &names {
        let path = folder.join(name);
        let mut text = Vec::new();
        let unpacked = File::open(&path).and_then(|file| MultiGzDecoder::new(file).read_to_end(&mut text));
        unpacked.with_context(|| format!("cannot read {}", path.display()))?;
        lines += &format!("{}  {name}\n", shown(Sha256::new_with_prefix(text)));
    }
    Ok(shown(Sha256::new_with_prefix(lines)))
}

/// The commit that is checked out, and whether what is built has changes beside it.
fn commit() -> Result<String> {
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&[&["status", "--porcelain", "--"][..], &SOURCES].concat())?;
    Ok(if changes.is_empty() { commit } else { format!("{commit} with changes") })
}

fn git(arguments: &[&str]) -> Result<String> {
    let line = format!("git {}", arguments.join(" "));
    let output =
        process::command("git", arguments).output().with_context(|| format!("cannot start `{line}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{line}` failed: {}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn shown(hash: Sha256) -> String {
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn write_novel(folder: &Path, name: &str, text: &str, level: u32) {
        let mut file = GzEncoder::new(File::create(folder.join(name)).unwrap(), Compression::new(level));
        file.write_all(text.as_bytes()).unwrap();
        file.finish().unwrap();
    }

    #[test]
    fn the_digest_of_novels_is_of_names_and_texts() {
        let folder = tempfile::tempdir().unwrap();
        let digest = || novels_digest(folder.path()).unwrap();
        assert!(novels_digest(folder.path()).unwrap_err().to_string().contains("found no file `*.txt.gz`"));
        write_novel(folder.path(), "B_Y_1900.txt.gz", "b", 0);
        write_novel(folder.path(), "A_X_1900.txt.gz", &"a".repeat(99), 0);
        let first = digest();
        // Another packing and another kind of file change nothing.
        write_novel(folder.path(), "A_X_1900.txt.gz", &"a".repeat(99), 9);
        fs::write(folder.path().join("README.md"), "x").unwrap();
        assert_eq!(digest(), first);
        write_novel(folder.path(), "A_X_1900.txt.gz", &"a".repeat(98), 9);
        assert_ne!(digest(), first);
        write_novel(folder.path(), "A_X_1900.txt.gz", &"a".repeat(99), 9);
        fs::rename(folder.path().join("B_Y_1900.txt.gz"), folder.path().join("C_Y_1900.txt.gz")).unwrap();
        assert_ne!(digest(), first);
    }

    #[test]
    fn the_digest_of_the_plan_is_of_the_configuration() {
        assert_eq!(plan_digest("[run]"), plan_digest("[run]"));
        assert_ne!(plan_digest("[run]"), plan_digest("[model]"));
    }

    #[test]
    fn a_leg_comes_from_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        write_novel(folder.path(), "A_X_1900.txt.gz", "a", 0);
        let origin = Origin::of_leg("p", folder.path()).unwrap();
        let commit = origin.commits.first().unwrap();
        let name = commit.strip_suffix(" with changes").unwrap_or(commit);
        assert!(name.len() >= 12 && name.chars().all(|c| c.is_ascii_hexdigit()), "{commit}");
        assert!(Isa::by_name(&origin.instruction_set).is_ok());
    }
}
