//! The project's one virtual environment of Python, `.venv`, made when it is first wanted.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::process;

const PYTHON: &str = ".venv/bin/python";

/// The interpreter of an environment in which these requirements are installed.
///
/// Other lists may be installed beside them, so where two have the same package they have the same version of it.
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
    // Remembers what was installed last of each list.
    let installed = root.join(".venv").join(format!("installed-{}", requirements.replace('/', "-")));
    if fs::read_to_string(&installed).unwrap_or_default() != wanted {
        let install = ["-m", "pip", "install", "--quiet", "-r", requirements];
        process::run(&mut process::command(PYTHON, &install))
            .context("the packages could not be installed; is there a network?")?;
        fs::write(&installed, wanted)?;
    }
    Ok(root.join(PYTHON).display().to_string())
}
