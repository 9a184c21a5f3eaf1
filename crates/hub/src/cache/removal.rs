//! Taking a model, or one of its revisions, out of a cache, and nothing else.
//!
//! A cache is full of links. What is removed is a link and never what it leads to, but for blobs of the
//! same model that no other revision uses; and only where the folder that holds it lies in the cache.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::files::{failed, walk};
use super::{BLOBS, Cache, CachedModel, LOCKS, NO_EXIST, REFERENCES, SNAPSHOTS, TREES};
use crate::digest::Digest;
use crate::error::HubError;
use crate::id::RepositoryId;

/// The shortest beginning of a commit that stands for it.
const COMMIT_MIN_DIGITS: usize = 7;

/// What would be removed.
#[derive(Debug)]
pub struct Removal {
    /// What was named.
    pub id: RepositoryId,
    /// What this frees on the disk.
    pub bytes: u64,
    root: PathBuf,
    /// Files, links and folders with all they hold.
    paths: Vec<PathBuf>,
}

impl Cache {
    /// What there is to remove of a model, or of the one revision that is named: a branch, a tag, a commit
    /// or the beginning of one, once those that are planned have been run. `None` if it is not here now.
    ///
    /// # Errors
    /// [`HubError::Cache`] if the model's folder is a link, [`HubError::Io`] if it cannot be read.
    pub fn removal(&self, id: &RepositoryId, planned: &[Removal]) -> Result<Option<Removal>, HubError> {
        let Some(mut model) = self.model_of(id)? else { return Ok(None) };
        let folder = self.folder(id);
        if folder.is_symlink() {
            let (found, expected) = ("a link", "a folder; remove the link by hand");
            return Err(HubError::Cache { path: folder, found, expected });
        }
        let commit = match id.given_revision() {
            None => None,
            Some(revision) => match commit_of(&model, revision) {
                None => return Ok(None),
                Some(commit) => Some(commit.to_owned()),
            },
        };
        let is_planned = |path: &Path| planned.iter().any(|removal| removal.covers(path));
        model.revisions.retain(|revision| !is_planned(&revision.snapshot.folder));
        let is_other = |commit: &str| model.revisions.iter().any(|found| found.snapshot.commit != commit);
        let mut paths = match commit {
            Some(commit) if is_other(&commit) => self.paths_of(&model, &commit)?,
            // Without its only revision, nothing of a model is of use.
            _ => vec![folder, self.root.join(LOCKS).join(id.folder())],
        };
        paths.retain(|path| !is_planned(path));
        let mut files = Vec::new();
        for path in &paths {
            let is_file = path.is_symlink() || path.is_file();
            files.extend(if is_file { vec![path.clone()] } else { walk(path)? });
        }
        let bytes = files.iter().filter(|path| !is_planned(path)).map(|path| size(path)).sum();
        Ok(Some(Removal { id: id.clone(), bytes, root: self.root.clone(), paths }))
    }

    /// What belongs to one revision only.
    fn paths_of(&self, model: &CachedModel, commit: &str) -> Result<Vec<PathBuf>, HubError> {
        let folder = self.folder(&model.id);
        let (mut own, mut used) = (BTreeSet::new(), BTreeSet::new());
        for revision in &model.revisions {
            let blobs = blobs_of(&revision.snapshot.folder)?;
            if revision.snapshot.commit == commit { own.extend(blobs) } else { used.extend(blobs) }
        }
        // First what names the revision, so that an interrupted removal leaves none that is not whole.
        let references = self.references(&model.id)?.by_commit.remove(commit).unwrap_or_default();
        let mut paths: Vec<PathBuf> =
            references.iter().map(|reference| folder.join(REFERENCES).join(reference)).collect();
        paths.push(folder.join(SNAPSHOTS).join(commit));
        paths.push(folder.join(TREES).join(format!("{commit}.json")));
        paths.push(folder.join(NO_EXIST).join(commit));
        paths.extend(own.difference(&used).map(|blob| folder.join(BLOBS).join(blob)));
        Ok(paths)
    }
}

impl Removal {
    /// Whether there is nothing to remove, because what was planned before takes it all.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether a path is removed.
    fn covers(&self, path: &Path) -> bool {
        self.paths.iter().any(|own| path.starts_with(own))
    }

    /// Removes it.
    ///
    /// # Errors
    /// [`HubError::Cache`] if a folder on the way leads out of the cache, [`HubError::Io`] if something
    /// cannot be removed.
    pub fn run(&self) -> Result<(), HubError> {
        let root = fs::canonicalize(&self.root).map_err(failed(&self.root, "be found"))?;
        for path in &self.paths {
            let Ok(found) = fs::symlink_metadata(path) else { continue };
            let folder = path.parent().unwrap_or(path);
            if !fs::canonicalize(folder).map_err(failed(folder, "be found"))?.starts_with(&root) {
                let (found, expected) = ("a link out of the cache", "a folder");
                return Err(HubError::Cache { path: folder.to_path_buf(), found, expected });
            }
            let removed = if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            removed.map_err(failed(path, "be removed"))?;
        }
        Ok(())
    }
}

/// The commit that a revision means: that of a branch or tag, or the only one that begins so.
fn commit_of<'a>(model: &'a CachedModel, revision: &str) -> Option<&'a str> {
    let named = model.revisions.iter().find(|found| found.references.iter().any(|name| name == revision));
    let mut begun = model
        .revisions
        .iter()
        .filter(|found| revision.len() >= COMMIT_MIN_DIGITS && found.snapshot.commit.starts_with(revision));
    let found = match (named, begun.next(), begun.next()) {
        (Some(found), _, _) | (None, Some(found), None) => found,
        _ => return None,
    };
    Some(&found.snapshot.commit)
}

/// The names of the blobs that a snapshot's links lead to.
fn blobs_of(snapshot: &Path) -> Result<BTreeSet<OsString>, HubError> {
    let mut names = BTreeSet::new();
    for path in walk(snapshot)? {
        let Ok(target) = fs::read_link(&path) else { continue };
        let is_blob = |name: &OsString| name.to_str().and_then(Digest::parse).is_some();
        names.extend(target.file_name().map(OsString::from).filter(is_blob));
    }
    Ok(names)
}

/// What a file takes, a link not followed.
fn size(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |found| if found.is_file() { found.len() } else { 0 })
}
