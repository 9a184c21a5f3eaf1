//! Scripts for Node with the packages they are pinned to, in a folder of `target`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process;

/// What says which packages are wanted.
const LISTS: [&str; 3] = [".npmrc", "package.json", "package-lock.json"];
/// What was installed last.
const INSTALLED: &str = "installed";

/// Whether there is no Node here.
pub(super) fn is_missing() -> bool {
    !(process::exists("node") && process::exists("npm"))
}

/// Copies the scripts of a folder of the project to another, for a module finds its packages from where it lies, and
/// installs those, if they are not there.
///
/// # Errors
/// The packages cannot be installed.
pub(super) fn prepare(scripts: &str, folder: &str) -> Result<PathBuf> {
    let (scripts, folder) = (process::root().join(scripts), process::root().join(folder));
    fs::create_dir_all(&folder)?;
    let mut wanted = String::new();
    for list in LISTS.map(|name| scripts.join(name)).iter().filter(|list| list.exists()) {
        wanted += &fs::read_to_string(list)?;
        copy_into(&folder, list)?;
    }
    if fs::read_to_string(folder.join(INSTALLED)).unwrap_or_default() != wanted {
        let how = if scripts.join("package-lock.json").exists() { "ci" } else { "install" };
        let mut npm = process::command("npm", &[how, "--no-audit", "--no-fund", "--silent"]);
        process::run(npm.current_dir(&folder)).context("the packages of Node could not be installed")?;
        fs::write(folder.join(INSTALLED), wanted)?;
    }
    for entry in fs::read_dir(&scripts)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            copy_into(&folder, &path)?;
        }
    }
    Ok(folder)
}

fn copy_into(folder: &Path, file: &Path) -> Result<()> {
    let name = file.file_name().expect("a file has a name");
    fs::copy(file, folder.join(name)).with_context(|| file.display().to_string())?;
    Ok(())
}
