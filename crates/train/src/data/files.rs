//! Which files a run reads, and what kind each is.
//!
//! It knows names and the first bytes of files. It does not know what is in them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tercet::nearest::nearest;

use super::error::DataError;
use crate::config::DataFormat;

/// A file of text, JSON lines or parquet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputFile {
    pub(super) path: PathBuf,
    pub(super) format: DataFormat,
    pub(super) compression: Compression,
    /// Its length on disk.
    pub(super) bytes: u64,
}

/// How a file is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const PARQUET_MAGIC: [u8; 4] = *b"PAR1";

/// The files that names and patterns stand for, sorted, each once.
pub(super) fn find(
    field: &'static str,
    patterns: &[String],
    format: Option<DataFormat>,
) -> Result<Vec<InputFile>, DataError> {
    let mut paths = Vec::new();
    for pattern in patterns {
        paths.extend(expand(field, pattern)?);
    }
    paths.sort_unstable();
    paths.dedup();
    paths.into_iter().map(|path| examine(path, format)).collect()
}

/// Why names and patterns stand for no files, one error for each that does not.
pub(super) fn missing(field: &'static str, patterns: &[String]) -> Vec<DataError> {
    patterns.iter().filter_map(|pattern| expand(field, pattern).err()).collect()
}

/// The files of one name or pattern. A name that exists is itself, whatever is in it.
fn expand(field: &'static str, pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let literal = PathBuf::from(pattern);
    if literal.is_dir() {
        return Err(DataError::Folder { field, path: literal });
    }
    if literal.exists() {
        return Ok(vec![literal]);
    }
    let entries = glob::glob(pattern).map_err(|error| DataError::Pattern {
        field,
        pattern: pattern.to_owned(),
        detail: error.to_string(),
    })?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| DataError::Io {
            path: error.path().to_path_buf(),
            action: "searched",
            source: error.into(),
        })?;
        if !path.is_dir() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        let nearest = nearest_name(&literal);
        let current = if literal.is_relative() { std::env::current_dir().ok() } else { None };
        return Err(DataError::NoFile { field, pattern: pattern.to_owned(), current, nearest });
    }
    Ok(paths)
}

/// The name beside `path` that is most like its own, if any is like it.
fn nearest_name(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    nearest(wanted, names)
}

/// Tells what a file is by its name and first bytes, of which the bytes win.
fn examine(path: PathBuf, format: Option<DataFormat>) -> Result<InputFile, DataError> {
    let failed = |action| {
        let path = path.clone();
        move |source| DataError::Io { path, action, source }
    };
    // Asked before opening, because opening a pipe would wait for its other end.
    let metadata = path.metadata().map_err(failed("examined"))?;
    if !metadata.is_file() {
        return Err(DataError::NotAFile { path });
    }
    let mut head = Vec::new();
    let file = File::open(&path).map_err(failed("opened"))?;
    file.take(4).read_to_end(&mut head).map_err(failed("read"))?;

    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let by_name = match name.rsplit_once('.') {
        Some((stem, "gz")) => Some((stem, Compression::Gzip)),
        Some((stem, "zst" | "zstd")) => Some((stem, Compression::Zstd)),
        _ => None,
    };
    let compression = if head.starts_with(&GZIP_MAGIC) {
        Compression::Gzip
    } else if head.starts_with(&ZSTD_MAGIC) {
        Compression::Zstd
    } else {
        Compression::None
    };
    if compression == Compression::None && by_name.is_some() {
        let expected = if name.ends_with("gz") { "gzip" } else { "zstd" };
        return Err(DataError::Magic { path, expected });
    }
    let stem = by_name.map_or(name.as_str(), |(stem, _)| stem);
    let format = format.unwrap_or_else(|| match stem.rsplit_once('.') {
        _ if head.starts_with(&PARQUET_MAGIC) => DataFormat::Parquet,
        Some((_, "parquet")) => DataFormat::Parquet,
        Some((_, "jsonl" | "ndjson" | "json")) => DataFormat::Jsonl,
        _ => DataFormat::Text,
    });
    if format == DataFormat::Parquet && compression != Compression::None {
        return Err(DataError::CompressedParquet { path });
    }
    if format == DataFormat::Parquet && !head.starts_with(&PARQUET_MAGIC) {
        return Err(DataError::Magic { path, expected: "parquet" });
    }
    Ok(InputFile { path, format, compression, bytes: metadata.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn found(folder: &tempfile::TempDir, patterns: &[&str]) -> Result<Vec<InputFile>, DataError> {
        let patterns: Vec<String> =
            patterns.iter().map(|pattern| folder.path().join(pattern).display().to_string()).collect();
        find("data.train", &patterns, None)
    }

    #[test]
    fn patterns_give_each_file_once_in_order() {
        let folder = folder(&[("b.txt", b"b"), ("a.txt", b"a"), ("c.md", b"c"), ("d[1].txt", b"d")]);
        std::fs::create_dir(folder.path().join("e.txt")).unwrap();
        let files = found(&folder, &["*.txt", "c.md", "a.txt", "d[1].txt"]).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.txt", "b.txt", "c.md", "d[1].txt"]);
    }

    #[test]
    fn a_pattern_without_files_names_the_nearest() {
        let folder = folder(&[("stories.txt", b"b"), ("part1.jsonl", b"b"), ("part2.jsonl", b"b")]);
        for (name, nearest) in [("storys.txt", "stories.txt"), ("part3.jsonl", "part1.jsonl")] {
            let message = found(&folder, &[name]).unwrap_err().to_string();
            assert!(message.contains(&format!("the nearest name there is `{nearest}`")), "{message}");
        }
        let message = found(&folder, &["*.parquet"]).unwrap_err().to_string();
        assert!(message.ends_with("matches no file, expected at least one"), "{message}");
        let error = find("data.train", &["no such folder/*.txt".to_owned()], None).unwrap_err();
        let (current, message) = (std::env::current_dir().unwrap(), error.to_string());
        let place =
            format!("matches no file in the current folder, {}, expected at least one", current.display());
        assert!(message.ends_with(&place), "{message}");
        assert!(error.hint().is_some_and(|hint| hint.contains("not to that of the configuration")));
        let message = found(&folder, &["***"]).unwrap_err().to_string();
        assert!(message.contains("cannot be read"), "{message}");
        let message = found(&folder, &["."]).unwrap_err().to_string();
        assert!(message.contains("is a folder"), "{message}");
    }

    #[test]
    fn first_bytes_win_over_names() {
        let check = |name: &str, bytes: &[u8], format, compression| {
            let folder = folder(&[(name, bytes)]);
            let file = found(&folder, &[name]).unwrap().remove(0);
            assert_eq!((file.format, file.compression), (format, compression), "{name}");
        };
        check("a.txt", b"text", DataFormat::Text, Compression::None);
        check("a", b"", DataFormat::Text, Compression::None);
        check("a.jsonl", b"{}", DataFormat::Jsonl, Compression::None);
        check("a.NDJSON.gz", &GZIP_MAGIC, DataFormat::Jsonl, Compression::Gzip);
        check("a.json.zst", &ZSTD_MAGIC, DataFormat::Jsonl, Compression::Zstd);
        check("a.txt", &ZSTD_MAGIC, DataFormat::Text, Compression::Zstd);
        check("a.bin", b"PAR1", DataFormat::Parquet, Compression::None);
        for (name, bytes, want) in [
            ("a.gz", &b"text"[..], "not gzip"),
            ("a.parquet", b"text", "not parquet"),
            ("a.parquet.gz", &GZIP_MAGIC, "compressed parquet"),
        ] {
            let message = found(&folder(&[(name, bytes)]), &[name]).unwrap_err().to_string();
            assert!(message.contains(want), "{message}");
        }
    }
}
