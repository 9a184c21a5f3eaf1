//! `cargo xtask golden`: the golden files, made anew by the reference implementation.

use anyhow::{Result, ensure};

use crate::{process, venv};

/// What the scripts need, and each with its arguments, the last of which is the folder that it writes.
const SCRIPTS: [(&str, &[&[&str]]); 3] = [
    (
        "tools/requirements-reference.txt",
        &[
            &["tools/reference.py", "crates/tercet/tests/data/golden"],
            &["tools/reference_gguf.py", "crates/tercet/tests/data/gguf"],
            &["tools/reference_training.py", "crates/train/tests/data/golden"],
        ],
    ),
    (
        "tools/requirements-eval.txt",
        &[
            &["tools/reference_eval.py", "crates/eval/documents", "crates/eval/tests/data/requests"],
            &["tools/reference_eval_chat.py", "crates/eval/tests/data/chat"],
        ],
    ),
    ("tools/requirements-templates.txt", &[&["tools/reference_templates.py", "crates/chat/tests/data"]]),
];

pub(crate) fn run() -> Result<()> {
    for (requirements, scripts) in SCRIPTS {
        let python = venv::python(requirements)?;
        for script in scripts {
            process::run(&mut process::command(&python, script))?;
            let folder = script.last().expect("a script has a folder");
            let status = process::command("git", &["status", "--porcelain", "--", folder]).output()?;
            let changes = String::from_utf8_lossy(&status.stdout);
            ensure!(changes.is_empty(), "the golden files have changed:\n{changes}");
        }
    }
    println!("the golden files are as committed");
    Ok(())
}
