//! Names in a folder of checkpoints, its lock, and how a folder is removed or brought to disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use super::super::error::StoreError;

pub(super) const LOCK_FILE: &str = ".lock";
const PREFIX: &str = "step-";
pub(super) const PARTIAL: &str = ".partial-";
pub(super) const REPLACED: &str = ".replaced-";

pub(super) fn name_of(step: u64) -> String {
    format!("{PREFIX}{step:08}")
}

/// The step of a folder's name, if it is one that [`name_of`] gives.
pub(super) fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix(PREFIX)?.parse().ok()?;
    (name_of(step) == name).then_some(step)
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Removes a checkpoint, under another name, so that a half removed one counts for nothing.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
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
pub(super) fn lock(folder: &Path) -> Result<File, StoreError> {
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
pub(super) fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync_folder(folder)
}

/// Waits until the entries of a folder are on disk, where the system can.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

pub(super) fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, action, source }
}
