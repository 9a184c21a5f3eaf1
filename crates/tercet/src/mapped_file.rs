//! A file mapped into memory, read only.
//!
//! The one place with a memory map. It knows nothing of formats: it hands out bytes, and takes
//! ranges back that will not be read again soon.
#![expect(
    unsafe_code,
    reason = "mapping a file is sound only as long as nobody truncates it, which no type can say"
)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

/// Ranges are given back in whole multiples of this many bytes: the largest page size of a
/// supported system (64 KiB on some aarch64 kernels), so of every smaller one too.
const GIVE_BACK_GRANULE_BYTES: usize = 64 * 1024;

/// What went wrong when a file was mapped.
#[derive(Debug, thiserror::Error)]
pub enum MappedFileError {
    /// The file could not be opened, measured or mapped.
    #[error("{path}: cannot be {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as a participle.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The path is a folder, a pipe or a device.
    #[error("{path}: found something other than a file, expected a regular file")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Somebody wrote to the file while it was being mapped.
    #[error(
        "{path}: the file changed while it was opened: found {found_bytes} bytes, \
         expected {expected_bytes}"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its length after mapping.
        found_bytes: u64,
        /// Its length as mapped.
        expected_bytes: u64,
    },
}

/// The bytes of one file, mapped read only.
///
/// Another process that truncates the file while it is mapped ends this one with a bus error; a
/// mapped model must be replaced by renaming a new file over it, never rewritten in place.
#[derive(Debug)]
pub struct MappedFile {
    map: Mmap,
}

impl MappedFile {
    /// Maps `path`, following symbolic links.
    ///
    /// # Errors
    /// [`MappedFileError`] if it is no regular file, cannot be opened, or changes length meanwhile.
    pub fn open(path: &Path) -> Result<Self, MappedFileError> {
        let failed = |action| move |source| MappedFileError::Io { path: path.to_path_buf(), action, source };
        // Asked before opening, because opening a pipe would wait for its other end.
        if !path.metadata().map_err(failed("examined"))?.is_file() {
            return Err(MappedFileError::NotAFile { path: path.to_path_buf() });
        }
        let file = File::open(path).map_err(failed("opened"))?;
        // SAFETY: the map is read only and private to `self`. It stays valid unless the file is
        // truncated by someone else, which the type's documentation excludes and which, on the
        // systems supported, kills the process rather than exposing foreign memory.
        let map = unsafe { Mmap::map(&file) }.map_err(failed("mapped"))?;
        let found_bytes = file.metadata().map_err(failed("examined"))?.len();
        let expected_bytes = map.len() as u64;
        if found_bytes != expected_bytes {
            return Err(MappedFileError::Changed { path: path.to_path_buf(), found_bytes, expected_bytes });
        }
        Ok(Self { map })
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Tells the system that the pages inside `range` are not needed for now.
    ///
    /// They stay readable: the next access reads them from the file again. Only whole pages
    /// within the range are given back. Does nothing where the system has no such advice.
    ///
    /// # Panics
    /// If `range` does not lie within the file.
    pub fn give_back(&self, range: Range<usize>) {
        assert!(
            range.start <= range.end && range.end <= self.map.len(),
            "give_back: the range lies within the file"
        );
        let inner = whole_granules(range);
        if inner.is_empty() {
            return;
        }
        #[cfg(unix)]
        {
            // SAFETY: the map is shared, read only and backed by the file, so a page that is
            // dropped is read from the file again with the same contents; nothing is lost.
            let advised = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, inner.start, inner.len())
            };
            // Advice only: where the system refuses it, memory stays in use a little longer.
            drop(advised);
        }
    }
}

/// The largest range of whole granules inside `range`; empty if there is none.
fn whole_granules(range: Range<usize>) -> Range<usize> {
    let start = range.start.checked_next_multiple_of(GIVE_BACK_GRANULE_BYTES).unwrap_or(range.end);
    let end = range.end - range.end % GIVE_BACK_GRANULE_BYTES;
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_files_bytes_before_and_after_giving_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let bytes: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert_eq!(file.bytes(), bytes);
        file.give_back(0..bytes.len());
        file.give_back(70_000..200_001);
        file.give_back(5..5);
        assert_eq!(file.bytes(), bytes);
    }

    #[test]
    fn an_empty_file_has_no_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        std::fs::write(&path, []).unwrap();
        assert_eq!(MappedFile::open(&path).unwrap().bytes(), b"");
    }

    #[test]
    fn a_folder_is_not_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = MappedFile::open(folder.path()).unwrap_err();
        assert!(matches!(error, MappedFileError::NotAFile { .. }), "{error}");
    }

    #[test]
    fn whole_granules_lie_inside_the_range() {
        const G: usize = GIVE_BACK_GRANULE_BYTES;
        assert_eq!(whole_granules(0..2 * G), 0..2 * G);
        assert_eq!(whole_granules(1..2 * G + 1), G..2 * G);
        assert!(whole_granules(1..G).is_empty());
        assert!(whole_granules(G + 1..G + 2).is_empty());
        assert!(whole_granules(usize::MAX - 2..usize::MAX).is_empty());
    }
}
