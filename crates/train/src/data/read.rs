//! From files to documents, in pieces small enough that memory stays bounded.
//!
//! A long document comes in pieces of at most [`PIECE_MAX_BYTES`], cut where a word ends. Tokens at
//! such a cut may differ from those of the text in one go; with the patterns of GPT-2 and LLaMA 3
//! they do not, because those never join a letter or digit to white space after it; tokenizers in
//! the manner of LLaMA 2 put a space before every piece. Cuts depend on the text alone. A document
//! without text is left out. It knows no tokens.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};
use tercet::json::shown;

use super::columns::ParquetRows;
use super::error::{DataError, kind};
use super::files::{Compression, InputFile};
use crate::config::{DataConfig, DataFormat};

/// The longest piece. Half of the run of white space at which LLaMA 3's pattern gives up.
pub(super) const PIECE_MAX_BYTES: usize = 1 << 19;

/// Bytes of a word at most: a run of letters and digits, of white space, or of anything else.
const WORD_MAX_BYTES: usize = 1 << 12;

/// The longest JSON line, in bytes.
const LINE_MAX_BYTES: usize = 1 << 28;

/// A whole document, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub(super) content: Content,
    /// Whether a document starts with it.
    pub(super) starts: bool,
    /// Whether a document ends with it.
    pub(super) ends: bool,
    /// The index of its file.
    pub(super) file: usize,
    /// Where in the file it is, in the words of messages.
    pub(super) place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Text(String),
    /// A conversation, which is never cut.
    Messages(Vec<Value>),
}

/// Where in a file something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Byte(u64),
    Line(u64),
    Row(u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Byte(byte) => write!(f, "text from byte {byte}"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// What is taken from the files.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The field or column.
    pub(super) field: String,
    /// Whether it holds messages, not text.
    pub(super) is_chat: bool,
    separator: Option<String>,
}

impl Wanted {
    pub(super) fn new(config: &DataConfig) -> Self {
        Self {
            field: match &config.chat {
                Some(chat) => chat.messages_field.clone(),
                None => config.text_field.clone(),
            },
            is_chat: config.chat.is_some(),
            separator: config.document_separator.clone(),
        }
    }

    /// What the field must hold.
    pub(super) fn expected(&self) -> &'static str {
        if self.is_chat { "a list of messages" } else { "a string" }
    }

    /// The content of a field.
    fn content(&self, value: Option<Value>, file: &InputFile, place: Place) -> Result<Content, DataError> {
        match value {
            Some(Value::String(text)) if !self.is_chat => Ok(Content::Text(text)),
            Some(Value::Array(messages)) if self.is_chat => Ok(Content::Messages(messages)),
            other => Err(DataError::Field {
                path: file.path.clone(),
                place: place.to_string(),
                field: shown(&self.field),
                found: kind(other.as_ref()).to_owned(),
                expected: self.expected(),
            }),
        }
    }
}

/// All documents of some files, in order.
pub(super) struct Reader<'a> {
    files: &'a [InputFile],
    wanted: &'a Wanted,
    /// The index of the next file to open.
    next_file: usize,
    open: Option<Open>,
    /// Pieces of a document that was cut.
    ready: VecDeque<Piece>,
    /// Bytes of the files before the open one.
    bytes_before: u64,
    bytes_in_file: Arc<AtomicU64>,
}

/// The file that is being read.
enum Open {
    Text(TextPieces),
    Lines(Bytes),
    Parquet(ParquetRows),
}

impl<'a> Reader<'a> {
    pub(super) fn new(files: &'a [InputFile], wanted: &'a Wanted) -> Self {
        Self {
            files,
            wanted,
            next_file: 0,
            open: None,
            ready: VecDeque::new(),
            bytes_before: 0,
            bytes_in_file: Arc::default(),
        }
    }

    /// Bytes of the files, as they lie on disk, that have been read.
    pub(super) fn bytes_done(&self) -> u64 {
        self.bytes_before + self.bytes_in_file.load(Ordering::Relaxed)
    }

    /// The next piece; nothing after the last.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, DataError> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            let Some(open) = &mut self.open else {
                let Some(file) = self.files.get(self.next_file) else { return Ok(None) };
                self.open = Some(open_file(file, self.wanted, &self.bytes_in_file)?);
                self.next_file += 1;
                continue;
            };
            let index = self.next_file - 1;
            let file = &self.files[index];
            let document = match open {
                Open::Text(pieces) => match pieces.next(file, self.wanted.separator.as_deref())? {
                    Some(mut piece) => {
                        piece.file = index;
                        return Ok(Some(piece));
                    }
                    None => None,
                },
                Open::Lines(bytes) => json_line(bytes, file, self.wanted)?,
                Open::Parquet(rows) => match rows.next(&file.path)? {
                    Some((row, value)) => {
                        self.bytes_in_file.store(rows.share(file.bytes), Ordering::Relaxed);
                        let place = Place::Row(row);
                        Some((self.wanted.content(Some(value), file, place)?, place))
                    }
                    None => None,
                },
            };
            match document {
                Some((content, place)) => self.push_document(content, place, index),
                None => {
                    self.open = None;
                    self.bytes_before += file.bytes;
                    self.bytes_in_file.store(0, Ordering::Relaxed);
                }
            }
        }
    }

    fn push_document(&mut self, content: Content, place: Place, file: usize) {
        let mut starts = true;
        let mut push = |content, ends| {
            self.ready.push_back(Piece { content, starts, ends, file, place });
            starts = false;
        };
        let Content::Text(text) = content else { return push(content, true) };
        let mut rest = text.as_str();
        while rest.len() > PIECE_MAX_BYTES {
            let (piece, after) = rest.split_at(cut(rest));
            push(Content::Text(piece.to_owned()), false);
            rest = after;
        }
        if rest.len() == text.len() {
            if !text.is_empty() {
                push(Content::Text(text), true);
            }
        } else {
            push(Content::Text(rest.to_owned()), true);
        }
    }
}

/// Where to cut a text that is too long: after a line, else a word, else any character.
fn cut(text: &str) -> usize {
    let end = text.floor_char_boundary(PIECE_MAX_BYTES);
    let mut at_word = None;
    // Lines are looked for in the second half only, so that pieces do not become tiny.
    for (i, c) in text[..end].char_indices().rev().take_while(|(i, _)| *i >= end / 2) {
        let after = i + c.len_utf8();
        let next = text[after..].chars().next();
        if c.is_alphanumeric() && next.is_some_and(char::is_whitespace) {
            if next == Some('\n') {
                return after;
            }
            at_word.get_or_insert(after);
        }
    }
    at_word.unwrap_or(end)
}

fn open_file(file: &InputFile, wanted: &Wanted, count: &Arc<AtomicU64>) -> Result<Open, DataError> {
    Ok(match file.format {
        DataFormat::Text if wanted.is_chat => {
            return Err(DataError::Field {
                path: file.path.clone(),
                place: "text file".to_owned(),
                field: shown(&wanted.field),
                found: "absent".to_owned(),
                expected: wanted.expected(),
            });
        }
        DataFormat::Text => Open::Text(TextPieces {
            bytes: Bytes::open(file, count)?,
            document: Vec::new(),
            document_at: 0,
            starts: true,
            at_line_start: true,
        }),
        DataFormat::Jsonl => Open::Lines(Bytes::open(file, count)?),
        DataFormat::Parquet => Open::Parquet(ParquetRows::open(&file.path, wanted)?),
    })
}

/// The bytes of a file, unpacked, without a byte order mark.
struct Bytes {
    reader: BufReader<Box<dyn Read + Send>>,
    /// Bytes of the unpacked file that were handed out, counting the byte order mark.
    at_byte: u64,
    /// Lines that were begun.
    lines: u64,
}

/// Counts what is read from disk.
struct Counted {
    file: File,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(buffer)?;
        self.count.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

impl Bytes {
    fn open(file: &InputFile, count: &Arc<AtomicU64>) -> Result<Self, DataError> {
        const BOM: &[u8] = b"\xef\xbb\xbf";
        let failed = |source| DataError::Io { path: file.path.clone(), action: "opened", source };
        let counted = Counted { file: File::open(&file.path).map_err(failed)?, count: Arc::clone(count) };
        let mut unpacked: Box<dyn Read + Send> = match file.compression {
            Compression::None => Box::new(counted),
            Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(counted)),
            Compression::Zstd => Box::new(zstd::Decoder::new(counted).map_err(failed)?),
        };
        let mut head = Vec::new();
        unpacked.by_ref().take(BOM.len() as u64).read_to_end(&mut head).map_err(|e| read_failed(file, e))?;
        let has_bom = head == BOM;
        let head = if has_bom { Vec::new() } else { head };
        let reader: Box<dyn Read + Send> = Box::new(io::Cursor::new(head).chain(unpacked));
        let at_byte = if has_bom { BOM.len() as u64 } else { 0 };
        Ok(Self { reader: BufReader::with_capacity(1 << 16, reader), at_byte, lines: 0 })
    }

    /// Appends the next line, its end included, but at most `limit` bytes of it.
    fn read_line(&mut self, file: &InputFile, limit: usize, line: &mut Vec<u8>) -> Result<usize, DataError> {
        let mut limited = self.reader.by_ref().take(limit as u64);
        let bytes = limited.read_until(b'\n', line).map_err(|error| read_failed(file, error))?;
        self.at_byte += bytes as u64;
        Ok(bytes)
    }
}

fn read_failed(file: &InputFile, source: io::Error) -> DataError {
    let path = file.path.clone();
    match file.compression {
        Compression::None => DataError::Io { path, action: "read", source },
        Compression::Gzip => DataError::Compressed { path, kind: "gzip", source },
        Compression::Zstd => DataError::Compressed { path, kind: "zstd", source },
    }
}

/// The pieces of the documents of a text file.
struct TextPieces {
    bytes: Bytes,
    /// What has been read of the current document and not been handed out.
    document: Vec<u8>,
    /// Where in the file that is.
    document_at: u64,
    /// Whether nothing of the document has been handed out.
    starts: bool,
    at_line_start: bool,
}

impl TextPieces {
    fn next(&mut self, file: &InputFile, separator: Option<&str>) -> Result<Option<Piece>, DataError> {
        loop {
            if self.document.len() > PIECE_MAX_BYTES {
                // The last character may not be whole yet.
                let valid = match std::str::from_utf8(&self.document) {
                    Ok(text) => text,
                    Err(error) if error.error_len().is_none() => self.valid(file, error.valid_up_to())?,
                    Err(error) => return Err(self.not_utf8(file, error.valid_up_to())),
                };
                let at = cut(valid);
                return Ok(Some(self.take(file, at, false)?));
            }
            let before = self.document.len();
            if before == 0 {
                self.document_at = self.bytes.at_byte;
            }
            let read = self.bytes.read_line(file, PIECE_MAX_BYTES + 1, &mut self.document)?;
            if read == 0 {
                // The end of the file ends its last document.
                let is_rest = !self.document.is_empty();
                return if is_rest { Ok(Some(self.take(file, before, true)?)) } else { Ok(None) };
            }
            let line = &self.document[before..];
            let is_whole = line.ends_with(b"\n");
            let content = line.strip_suffix(b"\n").unwrap_or(line);
            let content = content.strip_suffix(b"\r").unwrap_or(content);
            let parts = self.at_line_start && separator.is_some_and(|s| s.as_bytes() == content);
            self.at_line_start = is_whole;
            if parts {
                self.document.truncate(before);
                if before > 0 {
                    return Ok(Some(self.take(file, before, true)?));
                }
                // A piece is only cut off a longer document, so nothing is left unended here.
                self.starts = true;
            }
        }
    }

    fn valid(&self, file: &InputFile, bytes: usize) -> Result<&str, DataError> {
        std::str::from_utf8(&self.document[..bytes]).map_err(|error| self.not_utf8(file, error.valid_up_to()))
    }

    fn not_utf8(&self, file: &InputFile, valid: usize) -> DataError {
        DataError::Utf8 { path: file.path.clone(), at_byte: self.document_at + valid as u64 }
    }

    /// Hands out the first bytes of the document.
    fn take(&mut self, file: &InputFile, bytes: usize, ends: bool) -> Result<Piece, DataError> {
        let content = Content::Text(self.valid(file, bytes)?.to_owned());
        let place = Place::Byte(self.document_at);
        self.document.drain(..bytes);
        self.document_at += bytes as u64;
        let starts = std::mem::replace(&mut self.starts, ends);
        Ok(Piece { content, starts, ends, file: 0, place })
    }
}

/// The next document of a file of JSON lines, of which empty ones are skipped.
fn json_line(
    bytes: &mut Bytes,
    file: &InputFile,
    wanted: &Wanted,
) -> Result<Option<(Content, Place)>, DataError> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let starts_at = bytes.at_byte;
        bytes.lines += 1;
        let (path, number) = (&file.path, bytes.lines);
        if bytes.read_line(file, LINE_MAX_BYTES + 1, &mut line)? == 0 {
            return Ok(None);
        }
        if line.len() > LINE_MAX_BYTES {
            let limit_bytes = LINE_MAX_BYTES;
            return Err(DataError::LongLine { path: path.clone(), line: number, limit_bytes });
        }
        let text = std::str::from_utf8(&line).map_err(|error| DataError::Utf8 {
            path: path.clone(),
            at_byte: starts_at + error.valid_up_to() as u64,
        })?;
        if text.trim().is_empty() {
            continue;
        }
        let mut object: Map<String, Value> = serde_json::from_str(text).map_err(|error| DataError::Json {
            path: path.clone(),
            line: number,
            detail: error.to_string(),
        })?;
        let place = Place::Line(number);
        return Ok(Some((wanted.content(object.remove(&wanted.field), file, place)?, place)));
    }
}

/// A text in parts, cut only where a word would be longer than [`WORD_MAX_BYTES`].
///
/// A byte-level BPE takes time in the square of a word's length, and text without breaks (base64,
/// zeros, sequences of bases) is one word.
pub(super) fn without_long_words(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut part, mut word, mut kind) = (0, 0, None);
    for (at, char) in text.char_indices() {
        let found = Some((char.is_alphanumeric(), char.is_whitespace()));
        if found != kind {
            (word, kind) = (at, found);
        } else if at - word >= WORD_MAX_BYTES {
            parts.push(&text[part..at]);
            (part, word) = (at, at);
        }
    }
    parts.push(&text[part..]);
    parts
}
