//! What is in a cache: models, their revisions, and the room they take.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::files::walk;
use super::{BLOBS, Cache, REFERENCES, Reference, SNAPSHOTS, Snapshot, commit_in};
use crate::error::HubError;
use crate::id::{RepositoryId, is_commit, is_revision};

/// A model in the cache.
#[derive(Debug, Clone)]
pub struct CachedModel {
    /// The model.
    pub id: RepositoryId,
    /// Its revisions, by their commits.
    pub revisions: Vec<CachedRevision>,
    /// What it takes on disk, with what came in part.
    pub bytes: u64,
    /// What came in part.
    pub partial_bytes: u64,
    /// The branches and tags whose files say no commit.
    pub damaged_references: Vec<String>,
}

/// What the files of branches and tags say.
#[derive(Debug, Default)]
pub(super) struct References {
    /// The names that were at each commit, sorted.
    pub(super) by_commit: BTreeMap<String, Vec<String>>,
    /// The names of those that say no commit, sorted.
    pub(super) damaged: Vec<String>,
}

/// A commit of a model in the cache.
#[derive(Debug, Clone)]
pub struct CachedRevision {
    /// Its files.
    pub snapshot: Snapshot,
    /// The branches and tags that were at this commit.
    pub references: Vec<String>,
    /// What its files take on disk; revisions can have files in common.
    pub bytes: u64,
}

impl Cache {
    /// All models that are here, by their names.
    ///
    /// # Errors
    /// [`HubError::Io`] if a folder or record cannot be read.
    pub fn models(&self) -> Result<Vec<CachedModel>, HubError> {
        let folders = self.folders_in(&self.root)?;
        let ids = folders.iter().filter_map(|folder| RepositoryId::of_folder(folder));
        let mut models: Vec<CachedModel> = ids.map(|id| self.scan(id)).collect::<Result<_, _>>()?;
        models.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(models)
    }

    /// The model whatever its revision; `None` if nothing of it is here.
    ///
    /// # Errors
    /// [`HubError::Io`] if a folder or record cannot be read.
    pub fn model_of(&self, id: &RepositoryId) -> Result<Option<CachedModel>, HubError> {
        if !self.folder(id).is_dir() {
            return Ok(None);
        }
        let whole = id.name().parse().expect("the name of an id is an id");
        self.scan(whole).map(Some)
    }

    fn scan(&self, id: RepositoryId) -> Result<CachedModel, HubError> {
        let folder = self.folder(&id);
        let mut references = self.references(&id)?;
        let mut revisions = Vec::new();
        for commit in self.folders_in(&folder.join(SNAPSHOTS))? {
            if !is_commit(&commit) {
                continue;
            }
            let snapshot = self.open_snapshot(&id, commit)?;
            let bytes = files_of(&snapshot.folder)?.values().sum();
            let mut references = references.by_commit.remove(&snapshot.commit).unwrap_or_default();
            // What a process that was killed has left has no name that can be asked for.
            references.retain(|name| is_revision(name));
            revisions.push(CachedRevision { snapshot, references, bytes });
        }
        references.damaged.retain(|name| is_revision(name));
        let (mut bytes, mut partial_bytes) = (0, 0);
        // Contents lie in the snapshots themselves where a disk knows no links.
        let files = walk(&folder.join(SNAPSHOTS))?;
        let found = files.iter().filter_map(|path| fs::symlink_metadata(path).ok());
        bytes += found.filter(|found| found.is_file()).map(|found| found.len()).sum::<u64>();
        for blob in walk(&folder.join(BLOBS))? {
            let blob_bytes = fs::metadata(&blob).map_or(0, |found| found.len());
            bytes += blob_bytes;
            if blob.extension().is_some_and(|is| is == "incomplete") {
                partial_bytes += blob_bytes;
            }
        }
        Ok(CachedModel { id, revisions, bytes, partial_bytes, damaged_references: references.damaged })
    }

    /// The branches and tags of a model, and whatever else lies there: a removal takes it along.
    pub(super) fn references(&self, id: &RepositoryId) -> Result<References, HubError> {
        let folder = self.folder(id).join(REFERENCES);
        let mut references = References::default();
        for path in walk(&folder)? {
            let name = path.strip_prefix(&folder).ok().and_then(Path::to_str).map(str::to_owned);
            match commit_in(&path)? {
                Reference::Commit(commit) => references.by_commit.entry(commit).or_default().extend(name),
                Reference::Damaged => references.damaged.extend(name),
                Reference::Absent => {}
            }
        }
        references.by_commit.values_mut().for_each(|names| names.sort_unstable());
        references.damaged.sort_unstable();
        Ok(references)
    }
}

/// What is behind each name in a snapshot, once, with its size; dead links are left out.
pub(super) fn files_of(snapshot: &Path) -> Result<BTreeMap<PathBuf, u64>, HubError> {
    let mut files = BTreeMap::new();
    for path in walk(snapshot)? {
        if let (Ok(found), Ok(place)) = (fs::metadata(&path), fs::canonicalize(&path)) {
            files.insert(place, found.len());
        }
    }
    Ok(files)
}
