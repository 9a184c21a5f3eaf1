//! Where a model's files come from: a folder on disk, the binary itself, memory, or one GGUF file.
//!
//! It knows file names and bytes, and refuses files that can run code when read. It does not
//! know what is in any file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::gguf::Gguf;
use crate::gguf::model::{GgufModel, ModelError};
use crate::mapped_file::{MappedFile, MappedFileError};

/// The longest side file (a configuration, an index, a tokenizer) that is read, in bytes.
pub const SIDE_FILE_MAX_BYTES: u64 = 100_000_000;

/// Extensions of files that Python unpickles: reading them can run code.
const PICKLE_EXTENSIONS: [&str; 6] = ["bin", "pt", "pth", "ckpt", "pkl", "pickle"];

/// What went wrong when a file was looked for or read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The path given for a model does not exist.
    #[error("{path}: found nothing, expected a model folder or a `.gguf` file")]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The path given for a model is a file of another kind.
    #[error("{path}: found a file, expected a model folder or a `.gguf` file")]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// The path given for a model is a safetensors file.
    #[error("{path}: found a single safetensors file, expected the folder of a model")]
    SingleFile {
        /// The path.
        path: PathBuf,
    },
    /// A file in a format that can run code when it is read.
    #[error("{file}: found a pickled file, expected safetensors; pickles can run code")]
    Pickle {
        /// The file.
        file: String,
    },
    /// A file that a model folder must have is not there.
    #[error("{folder}: file `{file}` is missing")]
    Missing {
        /// The folder.
        folder: String,
        /// The file's name in it.
        file: String,
    },
    /// A side file is longer than any of its kind.
    #[error("{file}: found more than {limit_bytes} bytes, expected at most that many")]
    TooLarge {
        /// The file.
        file: String,
        /// The greatest length read.
        limit_bytes: u64,
    },
    /// The system failed to read.
    #[error("{file}: cannot be read: {source}")]
    Io {
        /// The file or folder.
        file: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The file could not be mapped.
    #[error(transparent)]
    Map(#[from] MappedFileError),
}

impl SourceError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::SingleFile { .. } => Some(
                "name the folder that holds the file; `config.json` and `tokenizer.json` belong beside it",
            ),
            Self::Pickle { .. } => {
                Some("save the model as safetensors, in Python with `safe_serialization=True`")
            }
            Self::NotFound { .. } | Self::NotAFolder { .. } => Some(
                "a model is a folder with `config.json`, `tokenizer.json` and `model.safetensors`, \
                 or one `.gguf` file",
            ),
            _ => None,
        }
    }
}

/// A place that holds the files of one model.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder on disk.
    Folder(PathBuf),
    /// Files compiled into the binary.
    Embedded(EmbeddedFolder),
    /// Files held in memory.
    Memory(MemoryFolder),
    /// One GGUF file, whose metadata stand for the files of a folder.
    Gguf(GgufModel),
}

/// Files compiled into the binary.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedFolder {
    /// How messages call it.
    pub name: &'static str,
    /// Each file's name and contents.
    pub files: &'static [(&'static str, &'static [u8])],
}

/// Files held in memory: received, generated, or damaged on purpose by a test.
#[derive(Debug, Clone, Default)]
pub struct MemoryFolder {
    /// How messages call it.
    pub name: String,
    /// Each file's contents by its name.
    pub files: BTreeMap<String, Arc<[u8]>>,
}

/// The bytes of an opened file, kept as its source has them.
#[derive(Debug, Clone)]
pub(crate) enum FileBytes {
    /// Mapped from disk.
    Mapped(Arc<MappedFile>),
    /// Compiled in.
    Static(&'static [u8]),
    /// Held in memory.
    Shared(Arc<[u8]>),
}

impl FileBytes {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file.bytes(),
            Self::Static(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// See [`MappedFile::give_back`]; bytes that are not mapped stay where they are.
    pub(crate) fn give_back(&self, range: Range<usize>) {
        if let Self::Mapped(file) = self {
            file.give_back(range);
        }
    }
}

impl Source {
    /// The model folder at `path`.
    ///
    /// # Errors
    /// [`SourceError`] if there is nothing, or a file instead of a folder.
    pub fn folder(path: impl Into<PathBuf>) -> Result<Self, SourceError> {
        let path = path.into();
        if path.is_dir() {
            return Ok(Self::Folder(path));
        }
        if !path.exists() {
            return Err(SourceError::NotFound { path });
        }
        if has_pickle_extension(&path) {
            return Err(SourceError::Pickle { file: path.display().to_string() });
        }
        if path.extension().is_some_and(|is| is == "safetensors") {
            return Err(SourceError::SingleFile { path });
        }
        Err(SourceError::NotAFolder { path })
    }

    /// The GGUF file at `path`.
    ///
    /// # Errors
    /// [`ModelError`] if it is damaged, or holds no model that is known.
    pub fn gguf(path: &Path) -> Result<Self, ModelError> {
        Ok(Self::Gguf(GgufModel::new(Arc::new(Gguf::open(path)?))?))
    }

    /// How messages call the place itself.
    pub fn name(&self) -> String {
        match self {
            Self::Folder(path) => path.display().to_string(),
            Self::Embedded(folder) => folder.name.to_owned(),
            Self::Memory(folder) => folder.name.clone(),
            Self::Gguf(model) => model.gguf().file().to_owned(),
        }
    }

    /// How messages call one of its files.
    pub fn file_name(&self, file: &str) -> String {
        match self {
            Self::Folder(path) => path.join(file).display().to_string(),
            Self::Embedded(EmbeddedFolder { name, .. }) => format!("{name}/{file}"),
            Self::Memory(MemoryFolder { name, .. }) => format!("{name}/{file}"),
            Self::Gguf(model) => format!("{} ({file})", model.gguf().file()),
        }
    }

    /// Whether there is a file of this name.
    pub fn has(&self, file: &str) -> bool {
        match self {
            Self::Folder(path) => path.join(file).exists(),
            Self::Embedded(folder) => folder.files.iter().any(|(name, _)| *name == file),
            Self::Memory(folder) => folder.files.contains_key(file),
            Self::Gguf(model) => model.files().contains_key(file),
        }
    }

    /// The names of all files, sorted; names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// [`SourceError::Io`] if the folder cannot be listed.
    pub fn files(&self) -> Result<Vec<String>, SourceError> {
        let mut names = match self {
            Self::Folder(path) => list(path)?,
            Self::Embedded(folder) => folder.files.iter().map(|f| f.0.to_owned()).collect(),
            Self::Memory(folder) => folder.files.keys().cloned().collect(),
            Self::Gguf(model) => model.files().keys().map(|name| (*name).to_owned()).collect(),
        };
        names.sort_unstable();
        Ok(names)
    }

    /// The names of the files in a folder within, sorted, each with the folder's before it; none without that folder.
    ///
    /// # Errors
    /// [`SourceError::Io`] if the folder cannot be listed.
    pub fn files_in(&self, folder: &str) -> Result<Vec<String>, SourceError> {
        let beginning = format!("{folder}/");
        let mut names: Vec<String> = match self {
            Self::Folder(path) if !path.join(folder).is_dir() => Vec::new(),
            Self::Folder(path) => {
                let names = list(&path.join(folder))?;
                names.iter().map(|name| format!("{beginning}{name}")).collect()
            }
            _ => self.files()?.into_iter().filter(|name| name.starts_with(&beginning)).collect(),
        };
        names.sort_unstable();
        Ok(names)
    }

    /// Reads a side file whole.
    ///
    /// # Errors
    /// [`SourceError`] if it is missing, unreadable or longer than [`SIDE_FILE_MAX_BYTES`].
    pub fn read(&self, file: &str) -> Result<Cow<'_, [u8]>, SourceError> {
        let bytes: Cow<'_, [u8]> = match self {
            Self::Folder(path) => self.read_from_disk(&path.join(file), file)?.into(),
            Self::Embedded(folder) => {
                let found = folder.files.iter().find(|(name, _)| *name == file);
                found.ok_or_else(|| self.missing(file))?.1.into()
            }
            Self::Memory(folder) => {
                let found = folder.files.get(file);
                found.ok_or_else(|| self.missing(file))?.as_ref().into()
            }
            Self::Gguf(model) => {
                let found = model.files().get(file);
                found.ok_or_else(|| self.missing(file))?.into()
            }
        };
        if bytes.len() as u64 > SIDE_FILE_MAX_BYTES {
            return Err(SourceError::TooLarge {
                file: self.file_name(file),
                limit_bytes: SIDE_FILE_MAX_BYTES,
            });
        }
        Ok(bytes)
    }

    /// Opens a large file without reading it.
    pub(crate) fn open(&self, file: &str) -> Result<FileBytes, SourceError> {
        if has_pickle_extension(Path::new(file)) {
            return Err(SourceError::Pickle { file: self.file_name(file) });
        }
        match self {
            Self::Folder(_) if !self.has(file) => Err(self.missing(file)),
            Self::Folder(path) => Ok(FileBytes::Mapped(Arc::new(MappedFile::open(&path.join(file))?))),
            Self::Embedded(folder) => {
                let found = folder.files.iter().find(|(name, _)| *name == file);
                Ok(FileBytes::Static(found.ok_or_else(|| self.missing(file))?.1))
            }
            Self::Memory(folder) => {
                let found = folder.files.get(file);
                let bytes = found.ok_or_else(|| self.missing(file))?;
                Ok(FileBytes::Shared(Arc::clone(bytes)))
            }
            Self::Gguf(_) => Err(self.missing(file)),
        }
    }

    fn missing(&self, file: &str) -> SourceError {
        SourceError::Missing { folder: self.name(), file: file.to_owned() }
    }

    fn read_from_disk(&self, path: &Path, file: &str) -> Result<Vec<u8>, SourceError> {
        let failed = |source| SourceError::Io { file: self.file_name(file), source };
        if !path.exists() {
            return Err(self.missing(file));
        }
        // Asked before opening, because opening a pipe would wait for its other end.
        if !path.metadata().map_err(failed)?.is_file() {
            return Err(MappedFileError::NotAFile { path: path.to_path_buf() }.into());
        }
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|opened| opened.take(SIDE_FILE_MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
        Ok(bytes)
    }
}

/// The names of what is in a folder on disk, but for those that are not UTF-8.
fn list(folder: &Path) -> Result<Vec<String>, SourceError> {
    let failed = |source| SourceError::Io { file: folder.display().to_string(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

/// Whether a name ends as files do that Python unpickles.
pub fn has_pickle_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|is| is.to_str());
    extension.is_some_and(|is| PICKLE_EXTENSIONS.iter().any(|p| p.eq_ignore_ascii_case(is)))
}

/// Whether a name ends as a GGUF file's does, in letters of any case.
pub fn has_gguf_extension(path: &Path) -> bool {
    path.extension().is_some_and(|is| is.eq_ignore_ascii_case("gguf"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMBEDDED: EmbeddedFolder =
        EmbeddedFolder { name: "built-in", files: &[("b.json", b"{}"), ("a.json", b"[]")] };

    #[test]
    fn every_source_lists_reads_and_misses_alike() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = MemoryFolder { name: "memory".to_owned(), ..MemoryFolder::default() };
        for (name, bytes) in EMBEDDED.files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
            memory.files.insert((*name).to_owned(), (*bytes).into());
        }
        for source in
            [Source::folder(folder.path()).unwrap(), Source::Embedded(EMBEDDED), Source::Memory(memory)]
        {
            assert_eq!(source.files().unwrap(), ["a.json", "b.json"]);
            assert!(source.files_in("a").unwrap().is_empty());
            assert!(source.has("a.json"));
            assert!(!source.has("c.json"));
            assert_eq!(&*source.read("a.json").unwrap(), b"[]");
            assert_eq!(source.open("b.json").unwrap().bytes(), b"{}");
            let want = format!("{}: file `c.json` is missing", source.name());
            assert_eq!(source.read("c.json").unwrap_err().to_string(), want);
            assert_eq!(source.open("c.json").unwrap_err().to_string(), want);
            assert!(matches!(source.open("x.PT"), Err(SourceError::Pickle { .. })));
        }
    }

    #[test]
    fn the_files_of_a_folder_within_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = MemoryFolder::default();
        std::fs::create_dir(folder.path().join("more")).unwrap();
        for name in ["more/b", "more/a", "most"] {
            std::fs::write(folder.path().join(name), []).unwrap();
            memory.files.insert(name.to_owned(), [].into());
        }
        for source in [Source::folder(folder.path()).unwrap(), Source::Memory(memory)] {
            assert_eq!(source.files_in("more").unwrap(), ["more/a", "more/b"]);
            assert!(source.files_in("most").unwrap().is_empty());
        }
    }

    #[test]
    fn a_file_is_not_a_model_folder() {
        let folder = tempfile::tempdir().unwrap();
        for (name, want) in [
            ("model.safetensors", "single safetensors file"),
            ("pytorch_model.bin", "pickled file"),
            ("notes.txt", "expected a model folder or a `.gguf` file"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, []).unwrap();
            let error = Source::folder(path).unwrap_err();
            assert!(error.to_string().contains(want), "{error}");
            assert!(error.hint().is_some());
        }
        let error = Source::folder(folder.path().join("absent")).unwrap_err();
        assert!(error.to_string().contains("found nothing"), "{error}");
    }

    #[test]
    fn extensions_are_known_in_letters_of_any_case() {
        for (name, is_gguf, is_pickle) in [
            ("model.gguf", true, false),
            ("a/b.c.GGUF", true, false),
            (".gguf", false, false),
            ("gguf", false, false),
            ("model.gguf.part", false, false),
            ("model.ckpt", false, true),
            ("model.Pkl", false, true),
            ("model.safetensors", false, false),
        ] {
            let path = Path::new(name);
            assert_eq!(
                (has_gguf_extension(path), has_pickle_extension(path)),
                (is_gguf, is_pickle),
                "{name}"
            );
        }
    }

    #[test]
    fn a_side_file_over_the_limit_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("config.json")).unwrap();
        file.set_len(SIDE_FILE_MAX_BYTES + 1).unwrap();
        let source = Source::folder(folder.path()).unwrap();
        let error = source.read("config.json").unwrap_err();
        assert!(matches!(error, SourceError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_folder_in_place_of_a_side_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("config.json")).unwrap();
        let source = Source::folder(folder.path()).unwrap();
        let error = source.read("config.json").unwrap_err();
        assert!(error.to_string().contains("regular file"), "{error}");
    }
}
