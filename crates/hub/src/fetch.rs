//! Files of a repository brought into a cache: what is missing, whether it fits, one after the other.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use ureq::http::header::{CONTENT_LENGTH, ETAG};
use ureq::http::{HeaderMap, HeaderName};

use crate::cache::Cache;
use crate::client::{Client, Request};
use crate::digest::Digest;
use crate::download::{Download, partial_bytes};
use crate::error::HubError;
use crate::free_space::free_bytes;
use crate::patience::{Patience, listen};
use crate::repository::{Listed, RemoteFile, Repository, check_size};

/// Digest and size of a file that is stored elsewhere, and the commit it is of.
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const REPOSITORY_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");

/// Hears what happens, and says by [`ControlFlow::Break`] that it should end.
pub type Listener<'a> = dyn FnMut(News<'_>) -> ControlFlow<()> + 'a;

/// What happens while files are fetched.
#[derive(Debug)]
pub enum News<'a> {
    /// So much is about to come.
    Plan {
        /// Files that are not whole in the cache.
        files: usize,
        /// The size of these files.
        bytes: u64,
        /// What an earlier attempt has left of them.
        done_bytes: u64,
    },
    /// A file begins.
    File {
        /// Its name.
        name: &'a str,
        /// Its size.
        bytes: u64,
        /// What an earlier attempt has left of it.
        done_bytes: u64,
    },
    /// So many bytes have come.
    Bytes(u64),
    /// So many bytes of the file were of no use, and come again.
    Lost(u64),
    /// A file is whole and has its name.
    Done {
        /// Its name.
        name: &'a str,
    },
    /// Another attempt is made after a while.
    Retry {
        /// What went wrong.
        error: &'a HubError,
        /// How long is waited.
        wait: Duration,
    },
    /// Another process downloads the file; this one waits for it.
    Locked {
        /// Its name.
        name: &'a str,
    },
    /// Nothing happens; a chance to stop.
    Waiting,
}

impl Client {
    /// Brings files of a repository into the cache, and gives the folder of the snapshot.
    ///
    /// What is whole in the cache is not asked for again, what came in part is gone on with. Every file
    /// has its name only when all its bytes are there and have its digest. The cache's reference to the
    /// commit is not set: see [`Cache::set_reference`].
    ///
    /// # Errors
    /// [`HubError`]; what has come so far is kept for the next attempt.
    pub fn fetch(
        &self,
        cache: &Cache,
        repository: &Repository,
        names: &[&str],
        listener: &mut Listener<'_>,
    ) -> Result<PathBuf, HubError> {
        let mut files = Vec::new();
        for &name in names {
            let file = self.describe(repository, name, listener)?;
            check_size(repository.id(), name, &file)?;
            files.push((name, file));
        }
        cache.prepare(repository)?;
        let blobs = cache.blobs(repository.id());
        let mut missing: Vec<_> = files.iter().filter(|(_, file)| !blobs.has(file)).collect();
        // The same contents under two names come once.
        missing.sort_by_key(|(_, file)| file.digest);
        missing.dedup_by_key(|(_, file)| file.digest);
        missing.sort_by_key(|(name, file)| (file.bytes, *name));

        let bytes = missing.iter().map(|(_, file)| file.bytes).sum::<u64>();
        let done_bytes = missing.iter().map(|(_, file)| partial_bytes(&blobs, file)).sum::<u64>();
        listen(listener, News::Plan { files: missing.len(), bytes, done_bytes })?;
        let (needed, free) = (bytes - done_bytes, free_bytes(blobs.folder()));
        if let Some(free) = free.filter(|free| *free < needed) {
            return Err(HubError::NoSpace { folder: blobs.folder().to_path_buf(), needed, free });
        }
        for (name, file) in missing {
            Download { client: self, repository, blobs: &blobs, name, file: *file }.run(listener)?;
        }
        for (name, file) in &files {
            cache.link(repository, name, file)?;
        }
        Ok(cache.snapshot_folder(repository.id(), repository.commit()))
    }

    /// Size and digest of a file, as it was listed or as the server says now.
    fn describe(
        &self,
        repository: &Repository,
        name: &str,
        listener: &mut Listener<'_>,
    ) -> Result<RemoteFile, HubError> {
        let id = repository.id();
        match repository.files.get(name) {
            Some(Listed::Described(file)) => return Ok(*file),
            Some(Listed::Named) => {}
            None if repository.unfit_names().any(|unfit| unfit == name) => {
                return Err(HubError::FileName { id: id.to_string(), found: name.to_owned() });
            }
            None => return Err(HubError::NoFile { id: id.to_string(), file: name.to_owned() }),
        }
        let path = Self::file_path(repository, name);
        let request = Request { id, file: Some(name), path: &path, start: 0, is_head: true };
        let mut patience = Patience::new(self.retry_wait, true);
        loop {
            match self.send(&request) {
                Ok(reply) => return described(repository, name, &reply.hub),
                Err(error) => patience.after(error, listener)?,
            }
        }
    }
}

/// What the headers of the Hub say of a file.
fn described(repository: &Repository, name: &str, hub: &HeaderMap) -> Result<RemoteFile, HubError> {
    let bad = |found: String, expected| HubError::Answer { id: repository.id().to_string(), found, expected };
    let found = Headers::of(hub);
    found.check_commit(repository, name)?;
    let digest = found.digest.ok_or_else(|| bad(format!("no digest of `{name}`"), "an ETag with one"))?;
    let bytes = found.bytes.ok_or_else(|| bad(format!("no size of `{name}`"), "one"))?;
    Ok(RemoteFile { bytes, digest, pointer: None })
}

/// What the headers of the Hub's own answer say of a file.
pub(crate) struct Headers<'a> {
    commit: Option<&'a str>,
    pub(crate) digest: Option<Digest>,
    /// The size of the file, or of the part of it that is sent.
    pub(crate) bytes: Option<u64>,
}

impl<'a> Headers<'a> {
    pub(crate) fn of(hub: &'a HeaderMap) -> Self {
        let text = |name: HeaderName| hub.get(name).and_then(|value| value.to_str().ok());
        let etag = text(LINKED_ETAG).or_else(|| text(ETAG));
        let bytes = text(LINKED_SIZE).or_else(|| text(CONTENT_LENGTH));
        Headers {
            commit: text(REPOSITORY_COMMIT),
            digest: etag.and_then(Digest::parse_etag),
            bytes: bytes.and_then(|bytes| bytes.trim().parse().ok()),
        }
    }

    /// Refuses a file of another commit than the one that was listed.
    pub(crate) fn check_commit(&self, repository: &Repository, name: &str) -> Result<(), HubError> {
        match self.commit {
            Some(found) if found != repository.commit() => Err(HubError::Changed {
                id: repository.id().to_string(),
                file: name.to_owned(),
                found: format!("commit {found:?}"),
                expected: repository.commit().to_owned(),
            }),
            _ => Ok(()),
        }
    }
}
