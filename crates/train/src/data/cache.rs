//! Tokens in a mapped file, found again by what they were made from.
//!
//! A file is, little endian:
//!
//! | bytes | hold |
//! |---|---|
//! | 8 | `tercetTK` |
//! | 4 + 4 | [`FORMAT_VERSION`], 0 |
//! | 32 | the key: SHA-256 over tokenizer, options and the contents of the text files |
//! | 4 × tokens | ids; [`NOT_COUNTED`] is set where the loss of predicting the token does not count |
//! | 0 or 4 | zeros, up to a multiple of 8 |
//! | 8 × documents | the index of each document's first token, ascending from 0 |
//! | 8 + 8 + 8 | tokens, documents, bytes of text |
//! | 4 + 4 | CRC-32C of all before it, 0 |
//!
//! Files are written beside their final name and renamed, so that one under its name is whole, and
//! two processes that make the same one do not meet. It knows no text.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tercet::digest::hex;
use tercet::mapped_file::MappedFile;

use super::error::DataError;
use super::files::InputFile;
use super::read::{PIECE_MAX_BYTES, Wanted};
use super::work::{Stage, Work};
use crate::config::DataConfig;

/// Changes whenever the same text would give another file.
const FORMAT_VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"tercetTK";
const HEADER_BYTES: usize = 48;
const FOOTER_BYTES: usize = 32;

/// Set in a token whose prediction is not part of the loss.
pub(super) const NOT_COUNTED: u32 = 1 << 31;

/// Bytes between two moments at which a person can stop, and pages are given back.
const STRIDE_BYTES: usize = 1 << 24;

/// The tokens of some files, mapped.
#[derive(Debug)]
pub struct TokenFile {
    map: MappedFile,
    tokens: usize,
    documents: usize,
    text_bytes: u64,
}

impl TokenFile {
    /// Maps a file and checks it whole.
    pub(super) fn open(path: &Path, key: &[u8; 32]) -> Result<Self, DataError> {
        let map = MappedFile::open(path)?;
        let bytes = map.bytes();
        let damaged = |detail| DataError::Cache { path: path.to_path_buf(), detail };
        let footer_at = bytes.len().checked_sub(FOOTER_BYTES).filter(|at| *at >= HEADER_BYTES);
        let footer_at = footer_at.ok_or_else(|| damaged("it is too short"))?;
        if bytes[..8] != MAGIC || u32_at(bytes, 8) != FORMAT_VERSION {
            return Err(damaged("it is of another kind or version"));
        }
        if bytes[16..HEADER_BYTES] != *key {
            return Err(damaged("it was made from other data"));
        }
        let tokens = usize::try_from(u64_at(bytes, footer_at)).ok();
        let documents = usize::try_from(u64_at(bytes, footer_at + 8)).ok();
        let (Some(tokens), Some(documents)) = (tokens, documents) else {
            return Err(damaged("its counts are too large"));
        };
        let expected = starts_at(tokens).and_then(|at| at.checked_add(documents.checked_mul(8)?));
        if expected != Some(footer_at) {
            return Err(damaged("its length is not that of its contents"));
        }
        let mut checksum = 0;
        for at in (0..footer_at + 24).step_by(STRIDE_BYTES) {
            let end = (at + STRIDE_BYTES).min(footer_at + 24);
            checksum = crc32c::crc32c_append(checksum, &bytes[at..end]);
            map.give_back(at..end);
        }
        if checksum != u32_at(bytes, footer_at + 24) {
            return Err(damaged("its checksum is wrong"));
        }
        let text_bytes = u64_at(bytes, footer_at + 16);
        let file = Self { map, tokens, documents, text_bytes };
        let mut ends = (0..documents).map(|i| file.document(i));
        if (documents == 0) != (tokens == 0) || ends.any(|document| document.is_empty()) {
            return Err(damaged("its documents are out of order"));
        }
        if documents > 0 && file.document(0).start != 0 {
            return Err(damaged("its documents are out of order"));
        }
        Ok(file)
    }

    /// The number of tokens.
    pub fn tokens(&self) -> u64 {
        self.tokens as u64
    }

    /// What the tokens were made from, as a key of the cache.
    pub(super) fn key(&self) -> &[u8] {
        &self.map.bytes()[16..HEADER_BYTES]
    }

    /// The number of documents.
    pub fn documents(&self) -> usize {
        self.documents
    }

    /// The bytes of the text that the tokens stand for.
    pub fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// The tokens of a document.
    pub(super) fn document(&self, index: usize) -> Range<u64> {
        let at = starts_at(self.tokens).unwrap_or(0) + index * 8;
        let start = u64_at(self.map.bytes(), at);
        let is_last = index + 1 == self.documents;
        let end = if is_last { self.tokens as u64 } else { u64_at(self.map.bytes(), at + 8) };
        start..end
    }

    /// A token and whether its prediction counts.
    pub(super) fn token(&self, index: u64) -> (u32, bool) {
        let stored = u32_at(self.map.bytes(), HEADER_BYTES + index as usize * 4);
        (stored & !NOT_COUNTED, stored & NOT_COUNTED == 0)
    }
}

/// Where the starts of documents are.
fn starts_at(tokens: usize) -> Option<usize> {
    tokens.checked_mul(4)?.checked_add(HEADER_BYTES)?.checked_next_multiple_of(8)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let (chunk, _) = bytes[at..].split_first_chunk().expect("u32_at: lengths were checked at opening");
    u32::from_le_bytes(*chunk)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let (chunk, _) = bytes[at..].split_first_chunk().expect("u64_at: lengths were checked at opening");
    u64::from_le_bytes(*chunk)
}

/// Writes a token file.
pub(super) struct TokenWriter {
    file: Sibling,
    checksum: u32,
    tokens: u64,
    starts: Vec<u64>,
    text_bytes: u64,
}

impl TokenWriter {
    /// Begins a file that is to be at `path`.
    pub(super) fn new(path: &Path, key: &[u8; 32]) -> Result<Self, DataError> {
        let file = Sibling::new(path)?;
        let mut writer = Self { file, checksum: 0, tokens: 0, starts: Vec::new(), text_bytes: 0 };
        writer.write(&MAGIC)?;
        writer.write(&FORMAT_VERSION.to_le_bytes())?;
        writer.write(&[0; 4])?;
        writer.write(key)?;
        Ok(writer)
    }

    /// Begins the next document, which must get tokens.
    pub(super) fn begin_document(&mut self) {
        self.starts.push(self.tokens);
    }

    /// Adds tokens to the document, which stand for so many bytes of text.
    pub(super) fn push(&mut self, tokens: &[u32], text_bytes: usize) -> Result<(), DataError> {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        self.tokens += tokens.len() as u64;
        self.text_bytes += text_bytes as u64;
        self.write(&bytes)
    }

    /// Completes the file and puts it in its place.
    pub(super) fn finish(mut self) -> Result<(), DataError> {
        if self.tokens % 2 == 1 {
            self.write(&[0; 4])?;
        }
        let starts = std::mem::take(&mut self.starts);
        for starts in starts.chunks(STRIDE_BYTES / 8) {
            let bytes: Vec<u8> = starts.iter().flat_map(|start| start.to_le_bytes()).collect();
            self.write(&bytes)?;
        }
        for count in [self.tokens, starts.len() as u64, self.text_bytes] {
            self.write(&count.to_le_bytes())?;
        }
        let checksum = self.checksum;
        self.write(&checksum.to_le_bytes())?;
        self.write(&[0; 4])?;
        self.file.put_in_place()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        self.file.write(bytes)
    }
}

/// Writes a small file whole, as safely as a large one.
pub(super) fn write_whole(path: &Path, parts: &[&[u8]]) -> Result<(), DataError> {
    let mut file = Sibling::new(path)?;
    parts.iter().try_for_each(|part| file.write(part))?;
    file.put_in_place()
}

/// A file under a name of its own, beside the place that it will take; removed if it never does.
struct Sibling {
    out: BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    is_in_place: bool,
}

impl Sibling {
    fn new(path: &Path) -> Result<Self, DataError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let process = std::process::id();
        let mut number = 0u64;
        loop {
            let temporary = path.with_file_name(format!(".{name}.{process}.{number}.tmp"));
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) => {
                    let out = BufWriter::with_capacity(1 << 20, file);
                    return Ok(Self { out, temporary, path: path.to_path_buf(), is_in_place: false });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(source) => {
                    return Err(DataError::Io { path: temporary, action: "created", source });
                }
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        let written = self.out.write_all(bytes);
        written.map_err(|source| DataError::Io { path: self.path.clone(), action: "written", source })
    }

    fn put_in_place(mut self) -> Result<(), DataError> {
        let failed = |source| DataError::Io { path: self.path.clone(), action: "written", source };
        self.out.flush().map_err(failed)?;
        self.out.get_ref().sync_all().map_err(failed)?;
        std::fs::rename(&self.temporary, &self.path).map_err(failed)?;
        self.is_in_place = true;
        // The name is on disk once the folder is. Systems that cannot open folders need no such call.
        if let Some(folder) = self.path.parent().and_then(|folder| File::open(folder).ok()) {
            folder.sync_all().map_err(|source| DataError::Io {
                path: self.path.clone(),
                action: "written",
                source,
            })?;
        }
        Ok(())
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        if !self.is_in_place {
            // What cannot be removed stays under a name that nothing reads.
            drop(std::fs::remove_file(&self.temporary));
        }
    }
}

/// The name of what is made from some files: SHA-256, in hexadecimal, over their contents in order
/// and over the options that matter. Names do not matter.
pub(super) fn key(
    files: &[InputFile],
    data: &DataConfig,
    options: &Value,
    hashes: &mut ContentHashes,
    work: &mut Work,
) -> Result<String, DataError> {
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let mut done = 0;
    let mut contents = Vec::new();
    for file in files {
        let hash = hashes.hash(&file.path, work, done, total)?;
        contents.push(json!([file.format, hash]));
        done += file.bytes;
    }
    hashes.save()?;
    let wanted = Wanted::new(data);
    let what = json!([
        FORMAT_VERSION,
        PIECE_MAX_BYTES,
        wanted.is_chat,
        wanted.field,
        data.document_separator,
        options,
        contents,
    ]);
    Ok(hex(&Sha256::digest(what.to_string())))
}

/// The bytes of a key that [`key`] made.
pub(super) fn key_bytes(key: &str) -> [u8; 32] {
    std::array::from_fn(|i| {
        let digits = key.get(2 * i..2 * i + 2).expect("key_bytes: a key has 64 digits");
        u8::from_str_radix(digits, 16).expect("key_bytes: a key is hexadecimal")
    })
}

/// The SHA-256 of files, remembered for as long as neither length nor time of a file changes.
pub(super) struct ContentHashes {
    path: PathBuf,
    known: BTreeMap<String, Known>,
    is_changed: bool,
    /// Length and time of the files that were asked about.
    seen: BTreeMap<PathBuf, (u64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    bytes: u64,
    modified_ns: u64,
    sha256: String,
}

impl ContentHashes {
    const FILE: &str = "contents.json";

    /// A file that changed less than this before it was hashed may change again unnoticed, where
    /// the system's times are coarse.
    const SETTLED: Duration = Duration::from_secs(3);

    /// Opens what a cache folder remembers, and makes the folder if there is none.
    pub(super) fn open(folder: &Path) -> Result<Self, DataError> {
        std::fs::create_dir_all(folder).map_err(|source| DataError::Io {
            path: folder.to_path_buf(),
            action: "created",
            source,
        })?;
        let path = folder.join(Self::FILE);
        // What is not there or cannot be read is hashed again.
        let known = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(Self { path, known: known.unwrap_or_default(), is_changed: false, seen: BTreeMap::new() })
    }

    fn hash(&mut self, path: &Path, work: &mut Work, done: u64, total: u64) -> Result<String, DataError> {
        let failed = |source| DataError::Io { path: path.to_path_buf(), action: "read", source };
        let name = path.canonicalize().map_err(failed)?.display().to_string();
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let (modified, modified_ns) = modified(&metadata).map_err(failed)?;
        self.seen.insert(path.to_path_buf(), (metadata.len(), modified_ns));
        let is_same = |known: &&Known| known.bytes == metadata.len() && known.modified_ns == modified_ns;
        if let Some(known) = self.known.get(&name).filter(is_same) {
            return Ok(known.sha256.clone());
        }
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut read = 0;
        loop {
            work.check_stop()?;
            let bytes = file.read(&mut buffer).map_err(failed)?;
            if bytes == 0 {
                break;
            }
            hasher.update(&buffer[..bytes]);
            read += bytes as u64;
            work.bytes(Stage::Hash, done + read, total);
        }
        let sha256 = hex(&hasher.finalize());
        let age = SystemTime::now().duration_since(modified).unwrap_or_default();
        if age > Self::SETTLED {
            let known = Known { bytes: metadata.len(), modified_ns, sha256: sha256.clone() };
            self.known.insert(name, known);
            self.is_changed = true;
        }
        Ok(sha256)
    }

    /// Checks that files are still those whose content was asked for.
    pub(super) fn check_unchanged(&self, files: &[InputFile]) -> Result<(), DataError> {
        for InputFile { path, .. } in files {
            let failed = |source| DataError::Io { path: path.clone(), action: "examined", source };
            let metadata = path.metadata().map_err(failed)?;
            let now = (metadata.len(), modified(&metadata).map_err(failed)?.1);
            if self.seen.get(path).is_some_and(|seen| *seen != now) {
                return Err(DataError::Changed { path: path.clone() });
            }
        }
        Ok(())
    }

    fn save(&mut self) -> Result<(), DataError> {
        if std::mem::take(&mut self.is_changed) {
            write_whole(&self.path, &[json!(self.known).to_string().as_bytes()])?;
        }
        Ok(())
    }
}

/// When a file was changed, also as nanoseconds since 1970.
fn modified(metadata: &Metadata) -> io::Result<(SystemTime, u64)> {
    let modified = metadata.modified()?;
    let since_epoch = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((modified, u64::try_from(since_epoch.as_nanos()).unwrap_or(0)))
}
