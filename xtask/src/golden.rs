//! `cargo xtask golden`: the golden files, made anew by the reference implementation.

use anyhow::{Result, ensure};

use crate::{process, venv};

/// The scripts, and the folder that each writes.
const SCRIPTS: [(&str, &str); 3] = [
    ("tools/reference.py", "crates/tercet/tests/data/golden"),
    ("tools/reference_gguf.py", "crates/tercet/tests/data/gguf"),
    ("tools/reference_training.py", "crates/train/tests/data/golden"),
];

pub(crate) fn run() -> Result<()> {
    let python = venv::python("tools/requirements-reference.txt")?;
    for (script, folder) in SCRIPTS {
        process::run(&mut process::command(&python, &[script, folder]))?;
        let status = process::command("git", &["status", "--porcelain", "--", folder]).output()?;
        let changes = String::from_utf8_lossy(&status.stdout);
        ensure!(changes.is_empty(), "the golden files have changed:\n{changes}");
    }
    println!("the golden files are as committed");
    Ok(())
}
