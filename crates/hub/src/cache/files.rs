//! Small files and links of a cache: read within bounds, written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::HubError;

/// Folders inside each other; a loop of links has more.
const DEPTH_MAX: usize = 32;

/// The error of an attempt on a path.
pub(super) fn failed(path: &Path, attempt: &'static str) -> impl Fn(io::Error) -> HubError {
    move |source| HubError::Io { path: path.to_path_buf(), attempt, source }
}

/// Reads a file; `None` if there is none.
pub(super) fn read_small(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, HubError> {
    // Asked before opening, because opening a pipe would wait for its other end.
    match fs::metadata(path) {
        Err(error) if is_absent(&error) => return Ok(None),
        Ok(found) if !found.is_file() => return Ok(None),
        found => found.map_err(failed(path, "be read"))?,
    };
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(max_bytes + 1).read_to_end(&mut bytes));
    opened.map_err(failed(path, "be read"))?;
    if bytes.len() as u64 > max_bytes {
        let (found, expected) = ("a file longer than any of its kind", "a short one");
        return Err(HubError::Cache { path: path.to_path_buf(), found, expected });
    }
    Ok(Some(bytes))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Writes a file beside its place, and renames it when its bytes are on the disk: a loss of power leaves the
/// earlier one or this one, and nothing between.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    let folder = path.parent().expect("a file of a cache lies in a folder");
    fs::create_dir_all(folder).map_err(failed(folder, "be made"))?;
    let partial = beside(path);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let written = written.map_err(failed(&partial, "be written"));
    let named = written.and_then(|()| fs::rename(&partial, path).map_err(failed(path, "be written")));
    named.inspect_err(|_| forget(&partial))
}

/// Removes what did not get its name: in `refs`, it would pass for a branch.
fn forget(partial: &Path) {
    // The error to tell is the one before.
    let _ = fs::remove_file(partial);
}

/// Makes `pointer` lead to what from there is at `target`; replaces what is there.
pub(super) fn link(target: &Path, pointer: &Path) -> Result<(), HubError> {
    let partial = beside(pointer);
    let _ = fs::remove_file(&partial);
    let linked = symlink(target, &partial).and_then(|()| fs::rename(&partial, pointer));
    linked.map_err(failed(pointer, "be linked")).inspect_err(|_| forget(&partial))
}

/// A name in the same folder that nobody else uses now. It does not hold the name that the file will have, which
/// may be as long as names can be.
fn beside(path: &Path) -> PathBuf {
    let (process, thread) = (std::process::id(), std::thread::current().id());
    path.with_file_name(format!(".{process}.{thread:?}.partial"))
}

/// All files below a folder, links not followed.
pub(super) fn walk(folder: &Path) -> Result<Vec<PathBuf>, HubError> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if is_absent(&error) => continue,
            entries => entries.map_err(failed(&folder, "be listed"))?,
        };
        for entry in entries {
            let entry = entry.map_err(failed(&folder, "be listed"))?;
            let is_folder = entry.file_type().is_ok_and(|is| is.is_dir());
            match is_folder {
                true if depth < DEPTH_MAX => folders.push((entry.path(), depth + 1)),
                true => {}
                false => found.push(entry.path()),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_names_are_written_and_linked() {
        let folder = tempfile::tempdir().unwrap();
        let [file, pointer] = ["f", "p"].map(|letter| folder.path().join(letter.repeat(255)));
        write_whole(&file, b"one").unwrap();
        write_whole(&file, b"two").unwrap();
        assert_eq!(read_small(&file, 3).unwrap().as_deref(), Some(&b"two"[..]));
        link(&file, &pointer).unwrap();
        assert_eq!(fs::read(&pointer).unwrap(), b"two");
        assert_eq!(walk(folder.path()).unwrap().len(), 2, "nothing else is left");
    }

    #[test]
    fn what_gets_no_name_is_not_left() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("place");
        fs::create_dir_all(place.join("something")).unwrap();
        write_whole(&place, b"one").unwrap_err();
        link(&place, &place).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the folder alone");
    }
}
