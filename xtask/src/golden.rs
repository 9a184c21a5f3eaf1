//! `cargo xtask golden`: the golden files, made anew by the reference implementation.

use anyhow::{Result, ensure};

use crate::process;

const GOLDEN: &str = "crates/tercet/tests/data/golden";
const PYTHON: &str = ".venv/bin/python";

pub(crate) fn run() -> Result<()> {
    if !process::root().join(PYTHON).exists() {
        process::run(&mut process::command("python3", &["-m", "venv", ".venv"]))?;
    }
    let requirements = "tools/requirements-reference.txt";
    process::run(&mut process::command(PYTHON, &["-m", "pip", "install", "--quiet", "-r", requirements]))?;
    process::run(&mut process::command(PYTHON, &["tools/reference.py", GOLDEN]))?;
    let status = process::command("git", &["status", "--porcelain", "--", GOLDEN]).output()?;
    let changes = String::from_utf8_lossy(&status.stdout);
    ensure!(changes.is_empty(), "the golden files have changed:\n{changes}");
    println!("the golden files are as committed");
    Ok(())
}
