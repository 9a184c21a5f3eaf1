//! The output folder of a run: what it may write over, and what it may not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::finish::MODEL;
use super::state::CONFIG_FILE;
use super::{Prepared, TrainError};
use crate::log::{CSV_FILE, LOG_FILE, TIMINGS_FILE};

/// The first line of a configuration that a run has left.
const MARK: &str = "# Of a run of `tercet train`: the same command goes on with it.\n";

/// Refuses a folder without checkpoints in which something bears a name that a run writes, unless
/// a run was ended there before its first checkpoint.
pub(super) fn check_unused(output: &Path) -> Result<(), TrainError> {
    let refused = |name: &str| TrainError::Occupied { path: output.join(name) };
    // A run that was ended so early has left no model.
    if output.join(MODEL).exists() {
        return Err(refused(MODEL));
    }
    let is_ours = fs::read_to_string(output.join(CONFIG_FILE)).is_ok_and(|text| text.starts_with(MARK));
    let names = [CONFIG_FILE, LOG_FILE, CSV_FILE, TIMINGS_FILE];
    match names.into_iter().find(|name| !is_ours && output.join(name).exists()) {
        Some(name) => Err(refused(name)),
        None => Ok(()),
    }
}

/// Leaves the configuration of the run in its folder.
pub(super) fn write_config(prepared: &Prepared, output: &Path) -> Result<(), TrainError> {
    let path = output.join(CONFIG_FILE);
    let text = format!("{MARK}{}", prepared.config.to_toml()?);
    fs::write(&path, text).map_err(failed(&path, "written"))
}

/// Puts a finished folder in the place of another, which is gone only when the new one is there.
pub(super) fn replace_folder(partial: &Path, folder: &Path) -> Result<(), TrainError> {
    let old = folder.with_extension("old");
    remove(&old)?;
    if folder.exists() {
        fs::rename(folder, &old).map_err(failed(folder, "moved"))?;
    }
    fs::rename(partial, folder).map_err(failed(folder, "written"))?;
    remove(&old)
}

/// Removes a folder that a run has made, if it is there.
pub(super) fn remove(folder: &Path) -> Result<(), TrainError> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).map_err(failed(folder, "removed"))
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> TrainError {
    let path: PathBuf = path.to_owned();
    move |source| TrainError::Io { path, action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_did_not_make_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_unused(folder.path()).is_ok());
        fs::write(folder.path().join(LOG_FILE), "x").unwrap();
        assert!(check_unused(folder.path()).unwrap_err().to_string().contains(LOG_FILE));
        fs::write(folder.path().join(CONFIG_FILE), "[run]").unwrap();
        assert!(check_unused(folder.path()).unwrap_err().to_string().contains(CONFIG_FILE));
        // A run that was killed before its first checkpoint begins again.
        fs::write(folder.path().join(CONFIG_FILE), format!("{MARK}[run]")).unwrap();
        assert!(check_unused(folder.path()).is_ok());
        fs::create_dir(folder.path().join(MODEL)).unwrap();
        assert!(check_unused(folder.path()).is_err());
    }
}
