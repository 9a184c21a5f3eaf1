//! The output folder of a run: what it may write over, and what it may not.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::finish::MODEL;
use super::state::CONFIG_FILE;
use super::{CACHE, CHECKPOINTS, Prepared, TrainError};
use crate::checkpoint::Store;
use crate::config::TrainConfig;
use crate::data::DataError;
use crate::log::{CSV_FILE, LOG_FILE, Row, TIMINGS_FILE, read_rows};

/// The first line of a configuration that a run has left.
pub(super) const MARK: &str = "# Of a run of `tercet train`: the same command goes on with it.\n";

/// Refuses a folder that holds something and no run, before anything is written into it.
///
/// A start that was interrupted may have left tokens in `cache` and nothing else: that is no reason to refuse. Nor are
/// names that begin with a dot, which systems and editors leave.
pub(super) fn check_is_of_a_run(output: &Path, cache: &Path) -> Result<(), TrainError> {
    if let Some(path) = output.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir()) {
        return Err(TrainError::NotAFolder { path: path.to_owned() });
    }
    let has_run = is_run(output) || Store::has_been_opened(&output.join(CHECKPOINTS));
    if has_run || !output.exists() {
        return Ok(());
    }
    let is_of_a_start = |name: &OsStr| {
        name == CACHE
            || name == CHECKPOINTS
            || cache.starts_with(output.join(name))
            || name.as_encoded_bytes().starts_with(b".")
    };
    // The first by name: what a folder is listed in has no order.
    let mut foreign: Option<OsString> = None;
    for entry in fs::read_dir(output).map_err(failed(output, "read"))? {
        let name = entry.map_err(failed(output, "read"))?.file_name();
        if !is_of_a_start(&name) && foreign.as_ref().is_none_or(|first| name < *first) {
            foreign = Some(name);
        }
    }
    match foreign {
        Some(name) => {
            let found = name.to_string_lossy().into_owned();
            Err(TrainError::NotARun { folder: output.to_owned(), found })
        }
        None => Ok(()),
    }
}

/// The folders that a start has made, so that one that is refused leaves none behind.
pub(super) struct NewFolders {
    /// Each after the one that it lies in.
    made: Vec<PathBuf>,
    /// That of the tokens, if it is the run's own.
    cache: Option<PathBuf>,
}

impl NewFolders {
    /// Makes the folder of a run and the one of its tokens, where they are not there.
    pub(super) fn make(output: &Path, shared_cache: Option<&Path>) -> Result<Self, TrainError> {
        let own = output.join(CACHE);
        let mut folders = Self { made: Vec::new(), cache: shared_cache.is_none().then(|| own.clone()) };
        let caches = shared_cache.map_or(("run.output", &*own, output), |cache| ("data.cache", cache, cache));
        for (field, folder, named) in [("run.output", output, output), caches] {
            let is_new = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
            let mut new: Vec<PathBuf> = folder.ancestors().take_while(is_new).map(Path::to_owned).collect();
            new.reverse();
            folders.made.append(&mut new);
            if let Err(source) = fs::create_dir_all(folder) {
                folders.remove_empty();
                return Err(TrainError::Unwritable { field, folder: named.to_owned(), source });
            }
        }
        Ok(folders)
    }

    /// Removes those that are empty, and the tokens of a text that is too short to be trained on.
    pub(super) fn clean_up(&self, error: &TrainError) {
        let is_useless =
            matches!(error, TrainError::Data(DataError::Empty { .. } | DataError::TooSmall { .. }));
        if let Some(cache) = self.cache.as_ref().filter(|cache| is_useless && self.made.contains(cache)) {
            // What cannot be removed is found again by the next start.
            drop(fs::remove_dir_all(cache));
        }
        self.remove_empty();
    }

    fn remove_empty(&self) {
        for folder in self.made.iter().rev() {
            // The system refuses to remove a folder with something in it.
            drop(fs::remove_dir(folder));
        }
    }
}

/// The model in the folder of a run: the finished one, or else that of the newest checkpoint.
///
/// None if there is neither, or if no run has left its configuration in the folder.
pub fn model_of_run(folder: &Path) -> Option<PathBuf> {
    if !is_run(folder) {
        return None;
    }
    let model = folder.join(MODEL);
    if model.is_dir() { Some(model) } else { Store::newest_in(&folder.join(CHECKPOINTS)) }
}

/// Whether a run has left its configuration in a folder.
pub fn is_run(output: &Path) -> bool {
    let mut start = Vec::new();
    let file = fs::File::open(output.join(CONFIG_FILE));
    let read = file.and_then(|file| file.take(MARK.len() as u64).read_to_end(&mut start));
    read.is_ok() && start == MARK.as_bytes()
}

/// Refuses a folder without checkpoints in which something bears a name that a run writes, unless
/// a run was ended there before its first checkpoint: that one begins anew.
pub(super) fn check_unused(output: &Path) -> Result<(), TrainError> {
    let refused = |name: &str| TrainError::Occupied { path: output.join(name) };
    // A run that was ended so early has left no model.
    if output.join(MODEL).exists() {
        return Err(refused(MODEL));
    }
    let is_ours = is_run(output);
    let names = [CONFIG_FILE, LOG_FILE, CSV_FILE, TIMINGS_FILE];
    match names.into_iter().find(|name| !is_ours && output.join(name).exists()) {
        Some(name) => Err(refused(name)),
        None if is_ours => check_nothing_was_saved(output),
        None => Ok(()),
    }
}

/// Refuses a run of which a checkpoint was saved that is not there any more: beginning anew would write over its
/// record.
fn check_nothing_was_saved(output: &Path) -> Result<(), TrainError> {
    let config = TrainConfig::read(&output.join(CONFIG_FILE));
    // What cannot be read tells of no checkpoint.
    let save_every = config.map_or(0, |config| config.watch.save_every);
    let rows = read_rows(&output.join(LOG_FILE)).unwrap_or_default();
    let step = rows.iter().map(Row::step).max().unwrap_or(0);
    if save_every > 0 && step > save_every {
        return Err(TrainError::NoCheckpoint { folder: output.to_owned(), step, saved: save_every });
    }
    Ok(())
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
    fn a_folder_is_that_of_a_run_or_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("run");
        let elsewhere = folder.path().join("tokens");
        let check = || check_is_of_a_run(&output, &elsewhere);
        assert!(check().is_ok(), "it is not there yet");
        fs::create_dir(&output).unwrap();
        assert!(check().is_ok(), "it is empty");
        for left_by_a_start in ["cache", "checkpoints", ".keep"] {
            fs::create_dir(output.join(left_by_a_start)).unwrap();
            assert!(check().is_ok(), "{left_by_a_start}");
        }
        fs::create_dir(output.join("my tokens")).unwrap();
        assert!(check_is_of_a_run(&output, &output.join("my tokens/new")).is_ok());
        fs::write(output.join("a page.md"), "precious").unwrap();
        let error = check().unwrap_err();
        assert!(error.to_string().contains("found `a page.md` and no run"), "{error}");
        assert!(error.hint().unwrap().contains("`--output`"));
        // A run may have neighbours in its folder.
        fs::write(output.join("checkpoints/.lock"), "").unwrap();
        assert!(check().is_ok());
        fs::remove_dir_all(output.join("checkpoints")).unwrap();
        fs::write(output.join(CONFIG_FILE), "[run]").unwrap();
        assert!(check().is_err());
        fs::write(output.join(CONFIG_FILE), format!("{MARK}[run]")).unwrap();
        assert!(check().is_ok());

        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = check_is_of_a_run(&file, &elsewhere).unwrap_err();
        assert!(error.to_string().ends_with("file: found a file, expected a folder"), "{error}");
        let error = check_is_of_a_run(&file.join("inner"), &elsewhere).unwrap_err();
        assert!(error.to_string().ends_with("file: found a file, expected a folder"), "{error}");
    }

    #[test]
    fn a_refused_start_leaves_no_folder_that_it_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (empty, stopped) = (DataError::Empty { split: "training" }.into(), DataError::Stopped.into());
        let make = |cache: Option<&Path>| NewFolders::make(&path("runs/mine"), cache).unwrap();
        let use_cache = |cache: &Path| fs::write(cache.join("tokens.bin"), "").unwrap();

        make(None).clean_up(&stopped);
        assert!(!path("runs").exists(), "all of it was empty");
        let folders = make(None);
        use_cache(&path("runs/mine/cache"));
        folders.clean_up(&stopped);
        assert!(path("runs/mine/cache/tokens.bin").exists(), "tokens are kept for the next start");
        make(None).clean_up(&empty);
        assert!(path("runs/mine/cache/tokens.bin").exists(), "an earlier start made them");
        fs::remove_dir_all(path("runs/mine")).unwrap();
        let folders = make(None);
        use_cache(&path("runs/mine/cache"));
        folders.clean_up(&empty);
        assert!(path("runs").exists() && !path("runs/mine").exists(), "`runs` was there before");
        let shared = path("shared");
        let folders = make(Some(&shared));
        use_cache(&shared);
        folders.clean_up(&empty);
        assert!(shared.join("tokens.bin").exists() && !path("runs/mine").exists(), "others may use it");
    }

    #[test]
    fn the_model_of_a_run_is_the_finished_one_or_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let found = || model_of_run(folder.path());
        fs::create_dir_all(path("checkpoints/step-00000100")).unwrap();
        assert_eq!(found(), None, "nothing says that this is a run");
        fs::write(path(CONFIG_FILE), format!("{MARK}[run]")).unwrap();
        assert_eq!(found(), Some(path("checkpoints/step-00000100")));
        for name in ["step-00000090", "step-00000200", ".partial-step-00000300", "step-9"] {
            fs::create_dir(path("checkpoints").join(name)).unwrap();
        }
        assert_eq!(found(), Some(path("checkpoints/step-00000200")));
        fs::create_dir(path(MODEL)).unwrap();
        assert_eq!(found(), Some(path(MODEL)));
        fs::remove_dir_all(path(MODEL)).unwrap();
        fs::remove_dir_all(path("checkpoints")).unwrap();
        assert_eq!(found(), None);
    }

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
