//! The folder of a run's checkpoints.
//!
//! ```text
//! created   .partial-step-00000100      a temporary sibling, on the same file system
//! written   its files
//! synced    each is on disk and hashed
//! manifest  manifest.json is on disk, and so is the folder
//! renamed   step-00000100               from here on it counts
//! pruned    the last N, the best and the newest are left
//! ```
//!
//! Killed before the rename, a temporary is left, which the next run removes; after it, a whole
//! checkpoint. One of the same step is moved aside as `.replaced-step-00000100` before the rename,
//! and moved back if the rename never came. It knows no contents of files.

mod folder;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::manifest::Manifest;
use folder::{
    LOCK_FILE, PARTIAL, REPLACED, failed, file_name, lock, name_of, remove, step_of, sync_folder,
    sync_folders,
};

/// The checkpoints of one run. While it lives, no other process can open the same folder.
pub struct Store {
    folder: PathBuf,
    keep: usize,
    /// Held, not read: closing it frees the lock.
    _lock: File,
    /// Hears of every stage of a save, so that a test can end the process inside the window.
    pub on_stage: Option<Box<dyn FnMut(Stage) + Send>>,
}

/// How far a save has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The temporary folder is there.
    Created,
    /// It has its files.
    Written,
    /// They are on disk.
    Synced,
    /// The manifest is on disk too.
    Manifest,
    /// The checkpoint has its name.
    Renamed,
    /// Older ones are gone.
    Pruned,
}

/// When and why a checkpoint is saved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// The steps that were done.
    pub step: u64,
    /// What was measured then, such as the validation loss; the less, the better.
    pub metric: Option<f64>,
    /// Whether a run that is never stopped saves here too. One that is not scheduled is there to go on from, and is
    /// no place to go back to: a run would become another by being stopped.
    pub is_scheduled: bool,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The steps that were done.
    pub step: u64,
    /// What was measured then, if anything was finite.
    pub metric: Option<f64>,
    /// As its [`Moment`] has it.
    pub is_scheduled: bool,
    /// Its folder.
    pub path: PathBuf,
}

/// The checkpoint that was looked for.
#[derive(Debug)]
pub struct Found {
    /// It, verified; none if there is none at all.
    pub checkpoint: Option<Checkpoint>,
    /// Those that were passed over, newest first, and why.
    pub damaged: Vec<StoreError>,
}

impl Store {
    /// Opens a folder of checkpoints, made if it is not there, and cleans up after a run that was
    /// killed; `keep` is how many of the last scheduled ones are kept.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it open; [`StoreError::Io`] from the system.
    ///
    /// # Panics
    /// If `keep` is 0.
    pub fn open(folder: &Path, keep: usize) -> Result<Self, StoreError> {
        assert!(keep > 0, "open: at least one checkpoint is kept");
        fs::create_dir_all(folder).map_err(failed(folder, "made"))?;
        let lock = lock(folder)?;
        let store = Self { folder: folder.to_owned(), keep, _lock: lock, on_stage: None };
        store.clean_up()?;
        Ok(store)
    }

    /// Whether [`open`](Self::open) has made a store of this folder before.
    pub fn has_been_opened(folder: &Path) -> bool {
        folder.join(LOCK_FILE).exists()
    }

    /// The name of the checkpoint of a step.
    pub fn name_of(step: u64) -> String {
        name_of(step)
    }

    /// Refuses a folder that another process has open, and leaves one that is closed so.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn check_is_closed(folder: &Path) -> Result<(), StoreError> {
        if Self::has_been_opened(folder) {
            drop(lock(folder)?);
        }
        Ok(())
    }

    /// The place of the newest checkpoint in a folder that stays closed of which these files are intact; its others
    /// are not looked at.
    pub(crate) fn newest_with(folder: &Path, files: &[&str]) -> Option<PathBuf> {
        let paths = Self::names_in(folder).into_iter().rev().map(|name| folder.join(name));
        let has_all = |path: &PathBuf| {
            let manifest = Manifest::read(path);
            manifest.is_ok_and(|manifest| files.iter().all(|file| manifest.vouches_for(path, file)))
        };
        paths.into_iter().find(has_all)
    }

    /// The place of the newest checkpoint in a folder that stays closed; its files are not looked at.
    pub fn newest_in(folder: &Path) -> Option<PathBuf> {
        Self::names_in(folder).last().map(|name| folder.join(name))
    }

    /// The step of the newest checkpoint in a folder that stays closed; its files are not looked at.
    pub fn newest_step_in(folder: &Path) -> Option<u64> {
        Self::steps_in(folder).pop()
    }

    /// The names of the checkpoints in a folder that stays closed, oldest first; their files are not looked at.
    pub fn names_in(folder: &Path) -> Vec<String> {
        Self::steps_in(folder).into_iter().map(name_of).collect()
    }

    fn steps_in(folder: &Path) -> Vec<u64> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut steps: Vec<u64> = entries.filter_map(|entry| step_of(entry.file_name().to_str()?)).collect();
        steps.sort_unstable();
        steps
    }

    /// Saves a checkpoint: `write` puts files into the folder it is given. One of the same step is
    /// replaced.
    ///
    /// # Errors
    /// [`StoreError::Save`] if `write` or the system fails before the checkpoint has its name: then
    /// nothing is left of it, and all others are as they were.
    pub fn save(
        &mut self,
        moment: Moment,
        write: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<Checkpoint, StoreError> {
        let step = moment.step;
        let path = self.path_of(step);
        let partial = self.folder.join(format!("{PARTIAL}{}", name_of(step)));
        let saved = self.write_partial(&partial, &moment, write).and_then(|manifest| {
            self.put_in_place(&partial, &path)?;
            Ok(manifest)
        });
        let manifest = match saved {
            Ok(manifest) => manifest,
            Err(source) => {
                // The first error is the one to tell; what is left is removed by the next opening.
                drop(fs::remove_dir_all(&partial));
                return Err(StoreError::Save { folder: self.folder.clone(), step, source });
            }
        };
        self.reached(Stage::Renamed);
        self.prune(step)?;
        self.reached(Stage::Pruned);
        Ok(manifest.checkpoint(path))
    }

    /// The newest intact checkpoint; every file of it was hashed.
    ///
    /// # Errors
    /// [`StoreError::NoneIntact`] if there are checkpoints and all are damaged, so that nobody
    /// begins anew by accident; [`StoreError::Io`] from the system.
    pub fn latest(&self) -> Result<Found, StoreError> {
        self.first_intact(self.steps()?.into_iter().rev())
    }

    /// The newest intact checkpoint that was scheduled. One whose manifest cannot be read may have been.
    ///
    /// # Errors
    /// As [`latest`](Self::latest), of these.
    pub fn latest_scheduled(&self) -> Result<Found, StoreError> {
        let was_stop = |step: &u64| self.read(*step).is_ok_and(|(checkpoint, _)| !checkpoint.is_scheduled);
        self.first_intact(self.steps()?.into_iter().rev().filter(|step| !was_stop(step)))
    }

    /// The intact checkpoint with the least metric, of several the newest.
    ///
    /// # Errors
    /// As [`latest`](Self::latest), of those with a metric.
    pub fn best(&self) -> Result<Found, StoreError> {
        let mut found: Vec<Checkpoint> =
            self.list()?.into_iter().filter(|one| one.metric.is_some()).collect();
        found.sort_by(|a, b| a.order().total_cmp(&b.order()).then(b.step.cmp(&a.step)));
        self.first_intact(found.into_iter().map(|checkpoint| checkpoint.step))
    }

    /// All checkpoints whose manifest can be read, oldest first; their files are not looked at.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the folder cannot be listed.
    pub fn list(&self) -> Result<Vec<Checkpoint>, StoreError> {
        let steps = self.steps()?.into_iter();
        Ok(steps.filter_map(|step| self.read(step).ok()).map(|(checkpoint, _)| checkpoint).collect())
    }

    /// The step of every checkpoint folder, ascending.
    fn steps(&self) -> Result<Vec<u64>, StoreError> {
        let mut steps: Vec<u64> = self.entries()?.iter().filter_map(|name| step_of(name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn first_intact(&self, steps: impl Iterator<Item = u64>) -> Result<Found, StoreError> {
        let mut damaged = Vec::new();
        for step in steps {
            let verified = self.read(step).and_then(|(checkpoint, manifest)| {
                manifest.verify(&checkpoint.path)?;
                Ok(checkpoint)
            });
            match verified {
                Ok(checkpoint) => return Ok(Found { checkpoint: Some(checkpoint), damaged }),
                Err(error) => damaged.push(error),
            }
        }
        if damaged.is_empty() {
            return Ok(Found { checkpoint: None, damaged });
        }
        Err(StoreError::NoneIntact { folder: self.folder.clone(), damaged })
    }

    fn read(&self, step: u64) -> Result<(Checkpoint, Manifest), StoreError> {
        let path = self.path_of(step);
        let manifest = Manifest::read(&path)?;
        if manifest.step != step {
            return Err(StoreError::Step { path, found: manifest.step, expected: step });
        }
        Ok((manifest.checkpoint(path), manifest))
    }

    fn write_partial(
        &mut self,
        partial: &Path,
        moment: &Moment,
        write: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Manifest> {
        if partial.exists() {
            fs::remove_dir_all(partial)?;
        }
        fs::create_dir(partial)?;
        self.reached(Stage::Created);
        write(partial)?;
        self.reached(Stage::Written);
        let manifest = Manifest::of(partial, moment)?;
        self.reached(Stage::Synced);
        manifest.write(partial)?;
        sync_folders(partial)?;
        self.reached(Stage::Manifest);
        Ok(manifest)
    }

    /// Gives a complete temporary its name.
    fn put_in_place(&self, partial: &Path, path: &Path) -> io::Result<()> {
        if !path.exists() {
            fs::rename(partial, path)?;
            return sync_folder(&self.folder);
        }
        let replaced = self.folder.join(format!("{REPLACED}{}", file_name(path)));
        if replaced.exists() {
            fs::remove_dir_all(&replaced)?;
        }
        fs::rename(path, &replaced)?;
        if let Err(error) = fs::rename(partial, path) {
            fs::rename(&replaced, path)?;
            return Err(error);
        }
        sync_folder(&self.folder)?;
        fs::remove_dir_all(&replaced)
    }

    /// Removes all but the last `keep` that were scheduled, the best, and `newest`, which was just saved.
    ///
    /// A damaged checkpoint counts for none of them, so no good one goes in its favour.
    fn prune(&self, newest: u64) -> Result<(), StoreError> {
        let readable = self.list()?;
        let scheduled = readable.iter().rev().filter(|one| one.is_scheduled);
        let mut kept: Vec<u64> = scheduled.take(self.keep).map(|one| one.step).collect();
        kept.push(newest);
        let best = readable.iter().rev().filter(|one| one.metric.is_some());
        kept.extend(best.min_by(|a, b| a.order().total_cmp(&b.order())).map(|one| one.step));
        for step in self.steps()?.into_iter().filter(|step| !kept.contains(step)) {
            remove(&self.path_of(step))?;
        }
        sync_folder(&self.folder).map_err(failed(&self.folder, "synced"))
    }

    /// Removes what a killed run left, and moves back what it had moved aside.
    fn clean_up(&self) -> Result<(), StoreError> {
        for name in self.entries()? {
            let path = self.folder.join(&name);
            if name.starts_with(PARTIAL) {
                remove(&path)?;
            } else if let Some(step) = name.strip_prefix(REPLACED).and_then(step_of) {
                let place = self.path_of(step);
                if place.exists() {
                    remove(&path)?;
                } else {
                    fs::rename(&path, &place).map_err(failed(&path, "moved back"))?;
                }
            }
        }
        sync_folder(&self.folder).map_err(failed(&self.folder, "synced"))
    }

    fn entries(&self) -> Result<Vec<String>, StoreError> {
        let failed = || failed(&self.folder, "listed");
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed())? {
            names.extend(entry.map_err(failed())?.file_name().into_string());
        }
        Ok(names)
    }

    fn path_of(&self, step: u64) -> PathBuf {
        self.folder.join(name_of(step))
    }

    fn reached(&mut self, stage: Stage) {
        if let Some(on_stage) = &mut self.on_stage {
            on_stage(stage);
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("folder", &self.folder)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// By what the best is found; without a metric last.
    fn order(&self) -> f64 {
        self.metric.unwrap_or(f64::INFINITY)
    }
}
