//! The cache that all software of the Hub shares: which file lies where.
//!
//! ```text
//! CACHEDIR.TAG                               what backups may leave out
//! .locks/models--org--name/DIGEST.lock       held while a blob is written
//! models--org--name/
//!   blobs/DIGEST                             contents; DIGEST.incomplete while they come
//!   refs/main                                the commit that a branch was at
//!   snapshots/COMMIT/config.json             -> ../../blobs/DIGEST
//!   trees/COMMIT.json                        all files of the commit, with sizes and digests
//!   .no_exist/COMMIT/config.json             others note here what a commit has not
//! ```
//!
//! The record in `trees` is what tells a whole snapshot from a part of one.

mod files;
mod removal;
mod scan;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::HubError;
use crate::id::{RepositoryId, is_commit};
use crate::repository::{RemoteFile, Repository};
use files::{failed, link, read_small, write_whole};

pub use removal::Removal;
pub use scan::{CachedModel, CachedRevision};

const TAG_FILE: &str = "CACHEDIR.TAG";
/// The signature is that of the standard of such tags.
const TAG: &str = "\
Signature: 8a477f597d28d172789f06886806bc55
# This folder is a cache of models of the Hugging Face Hub.
# About such tags: https://bford.info/cachedir/
";
const LOCKS: &str = ".locks";
const BLOBS: &str = "blobs";
const REFERENCES: &str = "refs";
const SNAPSHOTS: &str = "snapshots";
const TREES: &str = "trees";
const NO_EXIST: &str = ".no_exist";
/// The longest record of a tree that is read: of as many files as there may be, with names and digests.
const TREE_MAX_BYTES: u64 = 64 << 20;
const REFERENCE_MAX_BYTES: u64 = 4096;

/// What the file of a branch or tag says.
enum Reference {
    Commit(String),
    /// There is no such file.
    Absent,
    /// Something else than a commit.
    Damaged,
}

/// The commit in the file of a branch or tag.
fn commit_in(path: &Path) -> Result<Reference, HubError> {
    let bytes = match read_small(path, REFERENCE_MAX_BYTES) {
        // Longer than any commit.
        Err(HubError::Cache { .. }) => return Ok(Reference::Damaged),
        bytes => bytes?,
    };
    let Some(bytes) = bytes else { return Ok(Reference::Absent) };
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    Ok(if is_commit(&text) { Reference::Commit(text) } else { Reference::Damaged })
}

/// A folder of repositories.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// The files of a repository at one commit, as far as they are in the cache.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The folder that holds the files.
    pub folder: PathBuf,
    /// The commit.
    pub commit: String,
    /// All that the commit holds, where the cache has a record of it.
    pub repository: Option<Repository>,
}

impl Snapshot {
    /// Whether a file is there, as long as the record says.
    pub fn has(&self, name: &str) -> bool {
        let Ok(found) = fs::metadata(self.folder.join(name)) else { return false };
        let listed = self.repository.as_ref().and_then(|repository| repository.file(name));
        found.is_file() && listed.is_none_or(|file| file.bytes == found.len())
    }

    /// The names of all files that are there, sorted.
    ///
    /// # Errors
    /// [`HubError::Io`] if a folder cannot be listed.
    pub fn names(&self) -> Result<Vec<String>, HubError> {
        let names = files::walk(&self.folder)?.into_iter().filter_map(|path| {
            let name = path.strip_prefix(&self.folder).ok()?;
            Some(name.to_str()?.to_owned())
        });
        let mut names: Vec<String> = names.filter(|name| self.has(name)).collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// Where the contents of one repository's files lie.
pub(crate) struct Blobs {
    folder: PathBuf,
    locks: PathBuf,
}

impl Blobs {
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, file: &RemoteFile) -> PathBuf {
        self.folder.join(file.digest.to_string())
    }

    pub(crate) fn partial(&self, file: &RemoteFile) -> PathBuf {
        self.folder.join(format!("{}.incomplete", file.digest))
    }

    pub(crate) fn lock(&self, file: &RemoteFile) -> PathBuf {
        self.locks.join(format!("{}.lock", file.digest))
    }

    /// Whether the contents are there, whole.
    pub(crate) fn has(&self, file: &RemoteFile) -> bool {
        fs::metadata(self.path(file)).is_ok_and(|found| found.is_file() && found.len() == file.bytes)
    }
}

impl Cache {
    /// The cache in a folder, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Cache { root: root.into() }
    }

    /// The folder that holds all repositories.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is here of a repository at its revision; `None` if the revision is not known here.
    ///
    /// # Errors
    /// [`HubError::Io`] if something is there and cannot be read.
    pub fn snapshot(&self, id: &RepositoryId) -> Result<Option<Snapshot>, HubError> {
        let Some(commit) = self.commit(id)? else { return Ok(None) };
        let folder = self.snapshot_folder(id, &commit);
        if !folder.is_dir() {
            return Ok(None);
        }
        self.open_snapshot(id, commit).map(Some)
    }

    /// What is here of a repository.
    pub fn snapshot_of(&self, repository: &Repository) -> Snapshot {
        let (id, commit) = (repository.id(), repository.commit().to_owned());
        let folder = self.snapshot_folder(id, &commit);
        Snapshot { folder, commit, repository: Some(repository.clone()) }
    }

    fn open_snapshot(&self, id: &RepositoryId, commit: String) -> Result<Snapshot, HubError> {
        let repository = self.record(id, &commit)?;
        Ok(Snapshot { folder: self.snapshot_folder(id, &commit), commit, repository })
    }

    /// What the record of a commit says; `None` if there is none that can be understood.
    fn record(&self, id: &RepositoryId, commit: &str) -> Result<Option<Repository>, HubError> {
        let json = match read_small(&self.tree(id, commit), TREE_MAX_BYTES) {
            // Longer than any record.
            Err(HubError::Cache { .. }) => return Ok(None),
            json => json?,
        };
        Ok(json.and_then(|json| Repository::parse_tree(id, commit, &json)))
    }

    /// Whether there is a reference for the revision, and no commit in it.
    ///
    /// # Errors
    /// [`HubError::Io`] if something is there and cannot be read.
    pub fn has_damaged_reference(&self, id: &RepositoryId) -> Result<bool, HubError> {
        Ok(id.commit().is_none() && matches!(commit_in(&self.reference(id))?, Reference::Damaged))
    }

    /// Whether it is known here which commit the revision is.
    ///
    /// # Errors
    /// [`HubError::Io`] if something is there and cannot be read.
    pub fn has_reference(&self, id: &RepositoryId) -> Result<bool, HubError> {
        Ok(self.commit(id)?.is_some())
    }

    /// Remembers that the revision which was asked for is this commit.
    ///
    /// To be called when all is there that is wanted: until then, the revision remains what it was.
    ///
    /// # Errors
    /// [`HubError::Io`] if it cannot be written.
    pub fn set_reference(&self, repository: &Repository) -> Result<(), HubError> {
        let id = repository.id();
        if id.commit().is_some() {
            return Ok(());
        }
        write_whole(&self.reference(id), repository.commit().as_bytes())
    }

    /// Makes the folders of a repository, and the record of what its commit holds.
    pub(crate) fn prepare(&self, repository: &Repository) -> Result<(), HubError> {
        let (id, commit) = (repository.id(), repository.commit());
        let blobs = self.blobs(id);
        for folder in [&blobs.folder, &blobs.locks, &self.snapshot_folder(id, commit)] {
            fs::create_dir_all(folder).map_err(failed(folder, "be made"))?;
        }
        let tag = self.root.join(TAG_FILE);
        if !tag.exists() {
            write_whole(&tag, TAG.as_bytes())?;
        }
        match repository.tree_json() {
            // A damaged one would hide for ever what the commit holds.
            Some(json) if self.record(id, commit)?.is_none() => write_whole(&self.tree(id, commit), &json),
            _ => Ok(()),
        }
    }

    /// Gives the contents their name in the snapshot.
    pub(crate) fn link(
        &self,
        repository: &Repository,
        name: &str,
        file: &RemoteFile,
    ) -> Result<(), HubError> {
        let (id, commit) = (repository.id(), repository.commit());
        let pointer = self.snapshot_folder(id, commit).join(name);
        let folder = pointer.parent().expect("a file of a snapshot lies in a folder");
        fs::create_dir_all(folder).map_err(failed(folder, "be made"))?;
        // From the file's own folder up to that of the repository.
        let up = "../".repeat(name.matches('/').count() + 2);
        let target = PathBuf::from(format!("{up}{BLOBS}/{}", file.digest));
        match fs::read_link(&pointer) {
            Ok(found) if found == target => Ok(()),
            _ => link(&target, &pointer),
        }
    }

    pub(crate) fn blobs(&self, id: &RepositoryId) -> Blobs {
        Blobs { folder: self.folder(id).join(BLOBS), locks: self.root.join(LOCKS).join(id.folder()) }
    }

    pub(crate) fn snapshot_folder(&self, id: &RepositoryId, commit: &str) -> PathBuf {
        self.folder(id).join(SNAPSHOTS).join(commit)
    }

    fn folder(&self, id: &RepositoryId) -> PathBuf {
        self.root.join(id.folder())
    }

    fn reference(&self, id: &RepositoryId) -> PathBuf {
        self.folder(id).join(REFERENCES).join(id.revision())
    }

    /// The commit that a revision is; `None` if it is not known here, or its reference is damaged.
    fn commit(&self, id: &RepositoryId) -> Result<Option<String>, HubError> {
        if let Some(commit) = id.commit() {
            return Ok(Some(commit.to_owned()));
        }
        Ok(match commit_in(&self.reference(id))? {
            Reference::Commit(commit) => Some(commit),
            // The Hub can say what this one cannot.
            Reference::Absent | Reference::Damaged => None,
        })
    }

    fn tree(&self, id: &RepositoryId, commit: &str) -> PathBuf {
        self.folder(id).join(TREES).join(format!("{commit}.json"))
    }

    /// The names of folders in a folder, sorted; none if there is no such folder.
    fn folders_in(&self, folder: &Path) -> Result<Vec<String>, HubError> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed(folder, "be listed"))?,
        };
        let folders = entries.flatten().filter(|entry| entry.path().is_dir());
        let mut names: Vec<String> =
            folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }
}
