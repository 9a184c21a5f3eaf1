//! Files of documents: JSON lines, a JSON list, parquet, and raw pages of WikiText.
//!
//! It knows sizes and places, and no task. A list of JSON is read as a whole; of lines only one
//! document is held twice.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::columns::parquet_rows;
use super::json::Json;
use super::{Place, TaskError};
use crate::tasks::text;

/// The longest line, in bytes.
const LINE_MAX_BYTES: usize = 1 << 26;

/// The greatest file that is read as a whole.
const WHOLE_MAX_BYTES: u64 = 1 << 30;

/// Bytes of text that the documents of a file may have.
const TEXT_MAX_BYTES: u64 = 1 << 32;

/// Documents that a file may have.
pub(super) const DOCUMENTS_MAX: usize = 1 << 22;

/// What some editors put before a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What the name of a file may end in.
pub(super) const ENDINGS: [&str; 6] = [".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz", ".raw"];

/// The documents of a file, in order, with their places.
pub(super) fn read(path: &Path) -> Result<Vec<(Place, Json)>, TaskError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let is = |ending: &str| name.ends_with(ending);
    if is(".parquet") {
        return parquet_rows(path);
    }
    if is(".raw") {
        return pages(path);
    }
    if is(".gz") {
        return documents(path, BufReader::new(MultiGzDecoder::new(open(path)?)));
    }
    if is(".jsonl") || is(".json") {
        return documents(path, BufReader::new(open(path)?));
    }
    Err(TaskError::FileKind {
        path: path.to_path_buf(),
        found: name.rsplit_once('.').map_or(String::new(), |(_, ending)| super::shown(&format!(".{ending}"))),
        expected: "`.jsonl`, `.json`, `.jsonl.gz`, `.json.gz`, `.parquet` or `.raw`",
    })
}

/// The documents of lines that are in the program.
pub(super) fn lines_of(name: &str, text: &str) -> Result<Vec<(Place, Json)>, TaskError> {
    lines(Path::new(name), text.as_bytes())
}

pub(super) fn open(path: &Path) -> Result<File, TaskError> {
    let failed = |action| move |source| TaskError::Io { path: path.to_path_buf(), action, source };
    let file = File::open(path).map_err(failed("opened"))?;
    let metadata = file.metadata().map_err(failed("read"))?;
    if !metadata.is_file() {
        let source = std::io::Error::other("it is not a file");
        return Err(failed("opened")(source));
    }
    Ok(file)
}

/// The place of the file in messages.
pub(super) fn shown_file(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

/// A list if the first character says so, else lines.
fn documents(path: &Path, mut bytes: impl BufRead) -> Result<Vec<(Place, Json)>, TaskError> {
    let failed = |source| TaskError::Io { path: path.to_path_buf(), action: "read", source };
    // White space before a list may be no longer than what the reader holds.
    let first = bytes.fill_buf().map_err(failed)?.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(b'[') { list(path, bytes) } else { lines(path, bytes) }
}

fn lines(path: &Path, mut bytes: impl BufRead) -> Result<Vec<(Place, Json)>, TaskError> {
    let failed = |source| TaskError::Io { path: path.to_path_buf(), action: "read", source };
    let file = shown_file(path);
    let mut documents = Vec::new();
    let mut line = Vec::new();
    let mut number = 0;
    let mut total = 0_u64;
    loop {
        line.clear();
        let read = bytes.by_ref().take(LINE_MAX_BYTES as u64 + 1).read_until(b'\n', &mut line);
        let read = read.map_err(failed)?;
        if read == 0 {
            return Ok(documents);
        }
        number += 1;
        if read > LINE_MAX_BYTES {
            let (path, limit_bytes) = (path.to_path_buf(), LINE_MAX_BYTES);
            return Err(TaskError::LongLine { path, line: number, limit_bytes });
        }
        total += read as u64;
        limit(path, total, documents.len())?;
        let text = std::str::from_utf8(&line);
        let text = text.map_err(|_| TaskError::Utf8 { path: path.to_path_buf(), line: number })?;
        let text = if number == 1 { text.trim_start_matches(BYTE_ORDER_MARK) } else { text };
        if text.trim().is_empty() {
            continue;
        }
        let place = Place::new(&file, "line", number);
        let json: Json = serde_json::from_str(text).map_err(|error| TaskError::Json {
            path: path.to_path_buf(),
            place: format!("line {number}"),
            detail: super::shown(&error.to_string()),
        })?;
        if !matches!(json, Json::Object(_)) {
            return Err(place.field("document", json.kind().to_owned(), "an object"));
        }
        documents.push((place, json));
    }
}

fn list(path: &Path, bytes: impl BufRead) -> Result<Vec<(Place, Json)>, TaskError> {
    let text = whole(path, bytes)?;
    let list: Vec<Json> = serde_json::from_str(&text).map_err(|error| TaskError::Json {
        path: path.to_path_buf(),
        place: format!("line {}, column {}", error.line(), error.column()),
        detail: super::shown(&error.to_string()),
    })?;
    limit(path, 0, list.len())?;
    let file = shown_file(path);
    let documents = list.into_iter().zip(1..).map(|(json, number)| {
        let place = Place::new(&file, "item", number);
        match json {
            Json::Object(_) => Ok((place, json)),
            other => Err(place.field("document", other.kind().to_owned(), "an object")),
        }
    });
    documents.collect()
}

/// Pages of a raw file, as documents with the field `page`.
fn pages(path: &Path) -> Result<Vec<(Place, Json)>, TaskError> {
    let raw = whole(path, BufReader::new(open(path)?))?;
    let file = shown_file(path);
    let pages = text::pages(&raw).into_iter().zip(1..);
    let document = |page| Json::Object(vec![("page".to_owned(), Json::String(page))]);
    Ok(pages.map(|(page, number)| (Place::new(&file, "page", number), document(page))).collect())
}

fn whole(path: &Path, bytes: impl Read) -> Result<String, TaskError> {
    let mut text = Vec::new();
    let read = bytes.take(WHOLE_MAX_BYTES + 1).read_to_end(&mut text);
    read.map_err(|source| TaskError::Io { path: path.to_path_buf(), action: "read", source })?;
    if text.len() as u64 > WHOLE_MAX_BYTES {
        return Err(TaskError::TooLarge { path: path.to_path_buf(), limit: WHOLE_MAX_BYTES, unit: "bytes" });
    }
    String::from_utf8(text).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count() as u64;
        TaskError::Utf8 { path: path.to_path_buf(), line }
    })
}

/// Refuses a file with more text or documents than are read.
pub(super) fn limit(path: &Path, bytes: u64, documents: usize) -> Result<(), TaskError> {
    let path = || path.to_path_buf();
    if bytes > TEXT_MAX_BYTES {
        return Err(TaskError::TooLarge { path: path(), limit: TEXT_MAX_BYTES, unit: "bytes of text" });
    }
    if documents > DOCUMENTS_MAX {
        return Err(TaskError::TooLarge { path: path(), limit: DOCUMENTS_MAX as u64, unit: "documents" });
    }
    Ok(())
}
