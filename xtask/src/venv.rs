//! The project's one virtual environment of Python, `.venv`, made when it is first wanted.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::process;

const PYTHON: &str = ".venv/bin/python";
/// Remembers what was installed last.
const INSTALLED: &str = ".venv/installed-requirements.txt";

/// The interpreter of an environment in which these requirements are installed.
///
/// # Errors
/// What is missing: Python, its `venv` module, or the packages.
pub(crate) fn python(requirements: &str) -> Result<String> {
    let root = process::root();
    if !root.join(PYTHON).exists() {
        if !process::exists("python3") {
            bail!("python3 is not installed; the other software runs in it");
        }
        let made = process::run(&mut process::command("python3", &["-m", "venv", ".venv"]));
        made.context("python3 has no `venv` module (on Debian: apt install python3-venv)")?;
    }
    let wanted = fs::read_to_string(root.join(requirements))?;
    if fs::read_to_string(root.join(INSTALLED)).unwrap_or_default() != wanted {
        let install = ["-m", "pip", "install", "--quiet", "-r", requirements];
        let installed = process::run(&mut process::command(PYTHON, &install));
        installed.context("the packages could not be installed; is there a network?")?;
        fs::write(root.join(INSTALLED), wanted)?;
    }
    Ok(root.join(PYTHON).display().to_string())
}
