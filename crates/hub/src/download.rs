//! One file from the server into the cache's blobs: locked, resumed, checked, and only then named.
//!
//! ```text
//! blobs/DIGEST.incomplete   grows; an interrupted download leaves it, the next goes on with it
//! blobs/DIGEST              only ever whole: renamed after its digest was found right
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use ureq::http::StatusCode;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE};

use crate::cache::Blobs;
use crate::client::{Client, Reply, Request, broken};
use crate::digest::Hasher;
use crate::error::HubError;
use crate::fetch::{Headers, Listener, News};
use crate::patience::{Patience, listen, wait_for};
use crate::repository::{RemoteFile, Repository};

const BUFFER_BYTES: usize = 256 << 10;
/// Between two looks at whether another process has finished.
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// What an earlier attempt has left of a file.
pub(crate) fn partial_bytes(blobs: &Blobs, file: &RemoteFile) -> u64 {
    let found = fs::metadata(blobs.partial(file)).map_or(0, |found| found.len());
    if found > file.bytes { 0 } else { found }
}

/// A file that is to come.
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client,
    pub(crate) repository: &'a Repository,
    pub(crate) blobs: &'a Blobs,
    pub(crate) name: &'a str,
    pub(crate) file: RemoteFile,
}

/// The file on disk, with the digest of what it holds.
struct Partial {
    file: File,
    hasher: Hasher,
    bytes: u64,
}

impl Download<'_> {
    pub(crate) fn run(&self, listener: &mut Listener<'_>) -> Result<(), HubError> {
        let _lock = self.lock(listener)?;
        if self.blobs.has(&self.file) {
            let (name, bytes) = (self.name, self.file.bytes);
            listen(listener, News::File { name, bytes, done_bytes: bytes })?;
            return listen(listener, News::Done { name });
        }
        let done_bytes = partial_bytes(self.blobs, &self.file);
        listen(listener, News::File { name: self.name, bytes: self.file.bytes, done_bytes })?;
        let mut partial = self.open(listener)?;
        self.fill(&mut partial, listener)?;
        let mut found = std::mem::replace(&mut partial.hasher, self.hasher()).finish();
        if found != self.file.digest && done_bytes > 0 {
            // The earlier attempt may have been of something else.
            self.restart(&mut partial, listener)?;
            self.fill(&mut partial, listener)?;
            found = std::mem::replace(&mut partial.hasher, self.hasher()).finish();
        }
        let path = self.blobs.partial(&self.file);
        if found != self.file.digest {
            fs::remove_file(&path).map_err(self.failed("be removed"))?;
            return Err(HubError::Damaged {
                id: self.repository.id().to_string(),
                file: self.name.to_owned(),
                found: found.to_string(),
                expected: self.file.digest.to_string(),
            });
        }
        partial.file.sync_all().map_err(self.failed("be written"))?;
        fs::rename(&path, self.blobs.path(&self.file)).map_err(self.failed("be renamed"))?;
        listen(listener, News::Done { name: self.name })
    }

    /// Holds the lock of the blob, which huggingface_hub takes as well, until it is dropped.
    fn lock(&self, listener: &mut Listener<'_>) -> Result<File, HubError> {
        let path = self.blobs.lock(&self.file);
        let failed = |source| HubError::Io { path: path.clone(), attempt: "be locked", source };
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        let mut is_told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                // Where there are no locks, digests alone keep the cache right.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(lock);
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if !is_told => {
                    is_told = true;
                    listen(listener, News::Locked { name: self.name })?;
                }
                Err(TryLockError::WouldBlock) => wait_for(LOCK_WAIT, listener)?,
            }
        }
    }

    fn hasher(&self) -> Hasher {
        Hasher::new(self.file.digest, self.file.bytes)
    }

    fn failed(&self, attempt: &'static str) -> impl Fn(io::Error) -> HubError {
        let path = self.blobs.partial(&self.file);
        move |source| HubError::Io { path: path.clone(), attempt, source }
    }

    /// What an earlier attempt has left, read again for its digest.
    fn open(&self, listener: &mut Listener<'_>) -> Result<Partial, HubError> {
        let failed = self.failed("be read");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let file = options.open(self.blobs.partial(&self.file)).map_err(&failed)?;
        if file.metadata().map_err(&failed)?.len() > self.file.bytes {
            file.set_len(0).map_err(&failed)?;
        }
        let mut partial = Partial { hasher: self.hasher(), bytes: 0, file };
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match partial.file.read(&mut buffer).map_err(&failed)? {
                0 => return Ok(partial),
                count => {
                    partial.hasher.update(&buffer[..count]);
                    partial.bytes += count as u64;
                }
            }
            listen(listener, News::Waiting)?;
        }
    }

    /// Throws away what there is.
    fn restart(&self, partial: &mut Partial, listener: &mut Listener<'_>) -> Result<(), HubError> {
        listen(listener, News::Lost(partial.bytes))?;
        partial.file.set_len(0).map_err(self.failed("be written"))?;
        partial.file.seek(SeekFrom::Start(0)).map_err(self.failed("be written"))?;
        (partial.hasher, partial.bytes) = (self.hasher(), 0);
        Ok(())
    }

    /// Asks for what is missing until nothing is.
    fn fill(&self, partial: &mut Partial, listener: &mut Listener<'_>) -> Result<(), HubError> {
        let path = Client::file_path(self.repository, self.name);
        let mut patience = Patience::new(self.client.retry_wait, true);
        while partial.bytes < self.file.bytes {
            let request = Request {
                id: self.repository.id(),
                file: Some(self.name),
                path: &path,
                start: partial.bytes,
                is_head: false,
            };
            let before = partial.bytes;
            let answer = self.client.send(&request);
            let result = answer.and_then(|reply| self.receive(reply, partial, listener));
            if partial.bytes > before {
                patience.renew();
            }
            if let Err(error) = result {
                patience.after(error, listener)?;
            }
        }
        Ok(())
    }

    /// Adds the body of an answer.
    fn receive(
        &self,
        mut reply: Reply,
        partial: &mut Partial,
        listener: &mut Listener<'_>,
    ) -> Result<(), HubError> {
        self.check_headers(&reply)?;
        if reply.response.status() != StatusCode::PARTIAL_CONTENT && partial.bytes > 0 {
            // The server knows no ranges, and sends the file from its first byte.
            self.restart(partial, listener)?;
        }
        self.check_range(&reply, partial.bytes)?;
        let mut body = reply.response.body_mut().as_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(broken(&reply.host, &error)),
            };
            if partial.bytes + count as u64 > self.file.bytes {
                return Err(self.changed("more bytes".to_owned(), self.file.bytes.to_string()));
            }
            partial.file.write_all(&buffer[..count]).map_err(self.failed("be written"))?;
            partial.hasher.update(&buffer[..count]);
            partial.bytes += count as u64;
            listen(listener, News::Bytes(count as u64))?;
        }
        if partial.bytes < self.file.bytes {
            let reason = format!("the file ended after {} of {} bytes", partial.bytes, self.file.bytes);
            return Err(HubError::Broken { host: reply.host, reason });
        }
        Ok(())
    }

    /// Refuses a file that is not the one that was listed, before any of it is written.
    fn check_headers(&self, reply: &Reply) -> Result<(), HubError> {
        let hub = Headers::of(&reply.hub);
        hub.check_commit(self.repository, self.name)?;
        match hub.digest {
            Some(found) if found != self.file.digest => {
                Err(self.changed(format!("digest {found}"), self.file.digest.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a part of a file that does not go on where it should, or not to the end.
    fn check_range(&self, reply: &Reply, start: u64) -> Result<(), HubError> {
        let headers = reply.response.headers();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(range) = text(CONTENT_RANGE) {
            let want = format!("bytes {start}-{}/{}", self.file.bytes - 1, self.file.bytes);
            if range != want {
                return Err(self.changed(format!("range `{range}`"), want));
            }
        }
        let want = self.file.bytes - start;
        match text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()) {
            Some(found) if found != want => Err(self.changed(format!("{found} bytes"), want.to_string())),
            _ => Ok(()),
        }
    }

    fn changed(&self, found: String, expected: String) -> HubError {
        let (id, file) = (self.repository.id().to_string(), self.name.to_owned());
        HubError::Changed { id, file, found, expected }
    }
}
