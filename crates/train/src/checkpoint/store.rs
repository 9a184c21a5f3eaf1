//! The folder of a run's checkpoints.
//!
//! ```text
//! created   .partial-step-00000100      a temporary sibling, on the same file system
//! written   its files
//! synced    each is on disk and hashed
//! manifest  manifest.json is on disk, and so is the folder
//! renamed   step-00000100               from here on it counts
//! pruned    the last N and the best are left
//! ```
//!
//! Killed before the rename, a temporary is left, which the next run removes; after it, a whole
//! checkpoint. One of the same step is moved aside as `.replaced-step-00000100` before the rename,
//! and moved back if the rename never came. It knows no contents of files.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::manifest::Manifest;

const LOCK_FILE: &str = ".lock";
const PREFIX: &str = "step-";
const PARTIAL: &str = ".partial-";
const REPLACED: &str = ".replaced-";

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

/// One checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The steps that were done.
    pub step: u64,
    /// What was measured then, such as the validation loss; the less, the better.
    pub metric: Option<f64>,
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
    /// killed; `keep` is how many of the last ones are kept.
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

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Saves a checkpoint: `write` puts files into the folder it is given. One of the same step is
    /// replaced.
    ///
    /// # Errors
    /// [`StoreError::Save`] if `write` or the system fails before the checkpoint has its name: then
    /// nothing is left of it, and all others are as they were.
    pub fn save(
        &mut self,
        step: u64,
        metric: Option<f64>,
        write: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<Checkpoint, StoreError> {
        let path = self.path_of(step);
        let partial = self.folder.join(format!("{PARTIAL}{}", name_of(step)));
        let saved = self.write_partial(&partial, step, metric, write).and_then(|manifest| {
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
        Ok(Checkpoint { step, metric: manifest.metric, path })
    }

    /// The newest intact checkpoint; every file of it was hashed.
    ///
    /// # Errors
    /// [`StoreError::NoneIntact`] if there are checkpoints and all are damaged, so that nobody
    /// begins anew by accident; [`StoreError::Io`] from the system.
    pub fn latest(&self) -> Result<Found, StoreError> {
        self.newest(|_| true)
    }

    /// The newest intact checkpoint of an earlier step than this.
    ///
    /// # Errors
    /// As [`latest`](Self::latest), of those before the step.
    pub fn before(&self, step: u64) -> Result<Found, StoreError> {
        self.newest(|found| found < step)
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

    /// Removes all checkpoints of later steps than this, after going back to it.
    ///
    /// # Errors
    /// [`StoreError::Io`] from the system.
    pub fn discard_after(&mut self, step: u64) -> Result<(), StoreError> {
        for later in self.steps()?.into_iter().rev().take_while(|later| *later > step) {
            remove(&self.path_of(later))?;
        }
        sync_folder(&self.folder).map_err(failed(&self.folder, "synced"))
    }

    /// The step of every checkpoint folder, ascending.
    fn steps(&self) -> Result<Vec<u64>, StoreError> {
        let mut steps: Vec<u64> = self.entries()?.iter().filter_map(|name| step_of(name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn newest(&self, is_wanted: impl Fn(u64) -> bool) -> Result<Found, StoreError> {
        self.first_intact(self.steps()?.into_iter().rev().filter(|step| is_wanted(*step)))
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
        Ok((Checkpoint { step, metric: manifest.metric, path }, manifest))
    }

    fn write_partial(
        &mut self,
        partial: &Path,
        step: u64,
        metric: Option<f64>,
        write: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Manifest> {
        if partial.exists() {
            fs::remove_dir_all(partial)?;
        }
        fs::create_dir(partial)?;
        self.reached(Stage::Created);
        write(partial)?;
        self.reached(Stage::Written);
        let manifest = Manifest::of(partial, step, metric)?;
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

    /// Removes all but the last `keep`, the best, and `newest`, which was just saved.
    ///
    /// A damaged checkpoint counts for none of them, so no good one goes in its favour.
    fn prune(&self, newest: u64) -> Result<(), StoreError> {
        let readable = self.list()?;
        let mut kept: Vec<u64> = readable.iter().rev().take(self.keep).map(|one| one.step).collect();
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

fn name_of(step: u64) -> String {
    format!("{PREFIX}{step:08}")
}

/// The step of a folder's name, if it is one that [`name_of`] gives.
fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix(PREFIX)?.parse().ok()?;
    (name_of(step) == name).then_some(step)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Removes a checkpoint, under another name, so that a half removed one counts for nothing.
fn remove(path: &Path) -> Result<(), StoreError> {
    let name = file_name(path);
    let doomed = match name.strip_prefix(PREFIX) {
        Some(_) => path.with_file_name(format!("{PARTIAL}{name}")),
        None => path.to_owned(),
    };
    if doomed != path {
        if doomed.exists() {
            fs::remove_dir_all(&doomed).map_err(failed(&doomed, "removed"))?;
        }
        fs::rename(path, &doomed).map_err(failed(path, "renamed"))?;
    }
    fs::remove_dir_all(&doomed).map_err(failed(&doomed, "removed"))
}

/// Locks a folder for this process, whose id the lock file then holds.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK_FILE);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(failed(&path, "opened"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            const ID_MAX_BYTES: u64 = 20;
            let mut holder = String::new();
            // Whoever holds the lock may not have written its id yet, or keep it unreadable.
            let is_read = file.take(ID_MAX_BYTES).read_to_string(&mut holder).is_ok();
            let holder =
                Some(holder).filter(|id| is_read && !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
            return Err(StoreError::Locked { folder: folder.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => {
            return Err(StoreError::Io { path, action: "locked", source });
        }
    }
    let write_id = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(std::process::id().to_string().as_bytes())
    };
    write_id(&mut file).map_err(failed(&path, "written"))?;
    Ok(file)
}

/// Waits until the entries of a folder and of those inside it are on disk.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync_folder(folder)
}

/// Waits until the entries of a folder are on disk, where the system can.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, action, source }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::super::MANIFEST_FILE;
    use super::*;

    fn open(folder: &TempDir, keep: usize) -> Store {
        Store::open(folder.path(), keep).unwrap()
    }

    /// Saves a checkpoint with two files, one in a folder inside.
    fn save(store: &mut Store, step: u64, metric: Option<f64>) -> Checkpoint {
        let write = |folder: &Path| {
            fs::write(folder.join("masters"), format!("weights of step {step}"))?;
            fs::create_dir(folder.join("state"))?;
            fs::write(folder.join("state/optimizer"), [step as u8; 9])
        };
        store.save(step, metric, write).unwrap()
    }

    fn steps(store: &Store) -> Vec<u64> {
        store.list().unwrap().iter().map(|checkpoint| checkpoint.step).collect()
    }

    fn latest_step(store: &Store) -> Option<u64> {
        store.latest().unwrap().checkpoint.map(|checkpoint| checkpoint.step)
    }

    /// Damages the newer of two checkpoints and checks that it is passed over aloud.
    #[track_caller]
    fn check_damage(damage: impl FnOnce(&Path), want: &str) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 2);
        save(&mut store, 1, None);
        let newer = save(&mut store, 2, None);
        damage(&newer.path);
        let found = store.latest().unwrap();
        assert_eq!(found.checkpoint.unwrap().step, 1);
        let message = found.damaged[0].to_string();
        assert!(
            message.contains("step-00000002") && message.contains(want),
            "found `{message}`, expected `{want}`"
        );
        assert_eq!(found.damaged.len(), 1);
    }

    #[test]
    fn what_is_saved_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 2);
        assert_eq!(latest_step(&store), None);
        let saved = save(&mut store, 100, Some(2.5));
        assert_eq!(saved.path, folder.path().join("step-00000100"));
        assert_eq!(store.latest().unwrap().checkpoint, Some(saved.clone()));
        assert_eq!(store.best().unwrap().checkpoint, Some(saved));
        assert!(store.before(100).unwrap().checkpoint.is_none());
        drop(store);
        assert_eq!(latest_step(&open(&folder, 2)), Some(100));
    }

    #[test]
    fn the_last_and_the_best_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 2);
        let metrics = [Some(3.0), Some(1.0), None, Some(2.0), Some(f64::NAN), Some(1.5)];
        let want: [&[u64]; 6] = [&[1], &[1, 2], &[2, 3], &[2, 3, 4], &[2, 4, 5], &[2, 5, 6]];
        for ((step, metric), want) in (1..).zip(metrics).zip(want) {
            save(&mut store, step, metric);
            assert_eq!(steps(&store), want);
        }
        assert_eq!(store.best().unwrap().checkpoint.unwrap().step, 2);
        assert_eq!(store.before(5).unwrap().checkpoint.unwrap().step, 2);
    }

    #[test]
    fn a_damaged_checkpoint_counts_for_nothing_when_others_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 2);
        save(&mut store, 1, None);
        let damaged = save(&mut store, 2, None);
        fs::remove_file(damaged.path.join(MANIFEST_FILE)).unwrap();
        save(&mut store, 3, None);
        assert_eq!(steps(&store), [1, 3]);
    }

    #[test]
    fn a_save_that_goes_back_in_time_is_not_removed_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 1);
        save(&mut store, 5, Some(1.0));
        save(&mut store, 3, Some(2.0));
        assert_eq!(steps(&store), [3, 5]);
        store.discard_after(3).unwrap();
        assert_eq!(steps(&store), [3]);
    }

    #[test]
    fn every_kind_of_damage_is_told_and_the_one_before_is_taken() {
        check_damage(|path| fs::write(path.join("masters"), "Weights of step 2").unwrap(), "found SHA-256");
        check_damage(
            |path| fs::write(path.join("masters"), "weights").unwrap(),
            "found 7 bytes, expected 17",
        );
        check_damage(
            |path| fs::remove_file(path.join("state/optimizer")).unwrap(),
            "optimizer: the file is missing",
        );
        check_damage(
            |path| fs::remove_file(path.join(MANIFEST_FILE)).unwrap(),
            "manifest.json: the file is missing",
        );
        check_damage(|path| fs::write(path.join(MANIFEST_FILE), "{}").unwrap(), "the manifest is damaged");
        check_damage(
            |path| fs::write(path.join(MANIFEST_FILE), [0xff; 9]).unwrap(),
            "the manifest is damaged",
        );
        check_damage(
            |path| fs::write(path.join("extra"), "").unwrap(),
            "extra: found a file that the manifest",
        );
        check_damage(
            |path| {
                fs::copy(path.with_file_name("step-00000001").join(MANIFEST_FILE), path.join(MANIFEST_FILE))
                    .map(|_| ())
                    .unwrap()
            },
            "found a checkpoint of step 1, expected step 2",
        );
        #[cfg(unix)]
        check_damage(
            |path| std::os::unix::fs::symlink("masters", path.join("link")).unwrap(),
            "other than a file",
        );
    }

    #[test]
    fn all_damaged_is_an_error_and_no_new_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 2);
        let saved = save(&mut store, 1, None);
        fs::write(saved.path.join("masters"), "").unwrap();
        let error = store.latest().unwrap_err();
        assert!(error.to_string().contains("found no intact checkpoint among 1"), "{error}");
        assert!(error.hint().is_some());
    }

    #[test]
    fn a_failed_write_leaves_the_last_state_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 1);
        save(&mut store, 1, None);
        let error = store
            .save(2, None, |partial| {
                fs::write(partial.join("masters"), "half")?;
                Err(io::ErrorKind::StorageFull.into())
            })
            .unwrap_err();
        let message = error.to_string();
        assert!(message.contains("the checkpoint of step 2 cannot be written"), "{message}");
        assert!(message.contains("those before it are intact"), "{message}");
        assert!(error.hint().unwrap().contains("free some space"));
        assert_eq!(latest_step(&store), Some(1));
        let mut names = store.entries().unwrap();
        names.sort_unstable();
        assert_eq!(names, [".lock", "step-00000001"]);
    }

    #[test]
    fn a_run_killed_at_any_stage_has_a_whole_checkpoint() {
        for (stage, want) in [
            (Stage::Created, 1),
            (Stage::Written, 1),
            (Stage::Synced, 1),
            (Stage::Manifest, 1),
            (Stage::Renamed, 2),
            (Stage::Pruned, 2),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let killed = tempfile::tempdir().unwrap();
            let mut store = open(&folder, 1);
            save(&mut store, 1, None);
            // The folder as it is at that stage, copied: what a kill would leave.
            let (from, to) = (folder.path().to_owned(), killed.path().to_owned());
            store.on_stage = Some(Box::new(move |reached| {
                if reached == stage {
                    copy(&from, &to);
                }
            }));
            save(&mut store, 2, None);
            let store = open(&killed, 1);
            assert_eq!(latest_step(&store), Some(want), "{stage:?}");
            let names = store.entries().unwrap();
            assert!(names.iter().all(|name| name == LOCK_FILE || step_of(name).is_some()), "{names:?}");
        }
    }

    fn copy(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                fs::create_dir(&to).unwrap();
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }

    #[test]
    fn stages_come_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 1);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        store.on_stage = Some(Box::new(move |stage| hears.lock().unwrap().push(stage)));
        save(&mut store, 1, None);
        let want =
            [Stage::Created, Stage::Written, Stage::Synced, Stage::Manifest, Stage::Renamed, Stage::Pruned];
        assert_eq!(*heard.lock().unwrap(), want);
    }

    #[test]
    fn a_step_that_is_saved_again_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 2);
        save(&mut store, 1, Some(2.0));
        save(&mut store, 1, Some(1.0));
        assert_eq!(store.latest().unwrap().checkpoint.unwrap().metric, Some(1.0));
        // Killed between the two renames, the replaced one is moved back.
        fs::rename(folder.path().join("step-00000001"), folder.path().join(".replaced-step-00000001"))
            .unwrap();
        drop(store);
        assert_eq!(latest_step(&open(&folder, 2)), Some(1));
        // Killed after them, it is removed.
        fs::create_dir(folder.path().join(".replaced-step-00000001")).unwrap();
        let store = open(&folder, 2);
        assert_eq!(latest_step(&store), Some(1));
        assert!(!folder.path().join(".replaced-step-00000001").exists());
    }

    #[test]
    fn two_runs_do_not_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, 1);
        let error = Store::open(folder.path(), 1).unwrap_err();
        assert!(error.to_string().contains(&format!("process {},", std::process::id())), "{error}");
        assert!(error.hint().is_some());
        drop(store);
        open(&folder, 1);
    }

    #[test]
    fn other_folders_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["step-1", "step-x", "notes", "step-00000001x"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut store = open(&folder, 1);
        save(&mut store, 7, None);
        save(&mut store, 8, None);
        assert_eq!(steps(&store), [8]);
        assert_eq!(store.entries().unwrap().len(), 6);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn one_bit_flipped_in_any_file_is_found(
            file in 0usize..3,
            place in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut store = open(&folder, 2);
            let saved = save(&mut store, 1, Some(0.5));
            let path = saved.path.join([MANIFEST_FILE, "masters", "state/optimizer"][file]);
            let mut bytes = fs::read(&path).unwrap();
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
            prop_assert!(store.latest().is_err());
        }

        #[test]
        fn a_file_cut_anywhere_is_found(file in 0usize..3, place in any::<prop::sample::Index>()) {
            let folder = tempfile::tempdir().unwrap();
            let mut store = open(&folder, 2);
            let saved = save(&mut store, 1, Some(0.5));
            let path = saved.path.join([MANIFEST_FILE, "masters", "state/optimizer"][file]);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..place.index(bytes.len())]).unwrap();
            prop_assert!(store.latest().is_err());
        }
    }
}
