//! From one form of a model to another: between folders of Hugging Face and GGUF files.
//!
//! | module | holds |
//! |---|---|
//! | `target` | the forms |
//! | `plan` | which tensors a form has, and what each is made from |
//! | `part` | the bytes of one tensor |
//! | `rows` | rows made by all workers |
//! | `masters` | floats from which wanted codes and a wanted scale are made |
//! | `side_files`, `card` | the small files of a folder |
//! | `gguf_file`, `gguf_tokenizer` | the metadata of a GGUF file |
//! | `change` | what is not as it was |
//!
//! Tensors are read and written one after another, some rows at a time, so that memory is bounded by the largest
//! of them also where its floats must be seen whole. Whether the result is the same model is `verify`'s to say.

mod card;
mod change;
mod error;
mod gguf_file;
mod gguf_tokenizer;
mod masters;
mod part;
mod plan;
mod rows;
mod side_files;
mod target;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use tercet_kernels::Pool;

pub use change::Change;
pub use error::ConvertError;
pub use target::{TableType, Target};

pub(crate) use plan::pairs;

use crate::checkpoint::{self, Checkpoint, NewTensor};
use crate::config::{Config, Linears};
use crate::gguf::{self, NewGgufTensor, NewValue};
use crate::source::Source;
use part::{NoMasters, Origin, Part};
use plan::Plan;

/// What is wanted of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The form of the result.
    pub target: Target,
    /// The numbers of embedding and head in a GGUF file; without, those of the source, exactly.
    pub head: Option<TableType>,
    /// Whether a dense model may be rounded to ternary weights.
    pub force: bool,
}

/// A conversion that has been found possible.
pub struct Conversion<'a> {
    pool: &'a Pool,
    checkpoint: &'a Checkpoint,
    /// How the linears of the source are read.
    reading: Config,
    parts: Vec<Part>,
    changes: Vec<Change>,
    container: Container,
}

/// What the tensors are written into.
enum Container {
    Folder { files: BTreeMap<String, Vec<u8>> },
    Gguf { metadata: Vec<(String, NewValue)> },
}

impl<'a> Conversion<'a> {
    /// Finds out what a conversion writes, and refuses what the form cannot hold.
    ///
    /// `on_planned` hears of the bytes of the checkpoint's tensors up to the one that is looked at.
    ///
    /// # Errors
    /// [`ConvertError`] names what the form has no place for, or what is wrong with the source.
    pub fn new(
        pool: &'a Pool,
        source: &Source,
        checkpoint: &'a Checkpoint,
        config: &Config,
        options: &Options,
        on_planned: &mut dyn FnMut(u64),
    ) -> Result<Self, ConvertError> {
        let reading = plan::reading(config, options, checkpoint.name())?;
        let is_forced = config.linears == Linears::Dense && reading.linears != Linears::Dense;
        let origin = Origin { pool, checkpoint, config: &reading };
        let mut plan = Plan::new(&origin, options, is_forced, on_planned)?;
        let name = side_files::model_name(source);
        if plan.architecture.is_some() {
            let lost = side_files::suggestions_without_key(source)?;
            plan.changes.extend((!lost.is_empty()).then_some(Change::Suggestions(lost)));
        }
        let container = match (plan.architecture, options.target.gguf_type()) {
            (Some(architecture), Some(linears)) => Container::Gguf {
                metadata: gguf_file::metadata(source, &name, &plan.config, architecture, linears)?,
            },
            _ => {
                let (target, changes) = (options.target, plan.changes.as_slice());
                let is_ternary = plan.config.linears != Linears::Dense;
                let card = card::Card { name: &name, target, config, changes, is_ternary };
                Container::Folder { files: side_files::files(source, &plan, &card)? }
            }
        };
        let Plan { parts, changes, .. } = plan;
        Ok(Conversion { pool, checkpoint, reading, parts, changes, container })
    }

    /// What will not be as it was; nothing where the result is the same model to the last bit, with all that is
    /// suggested for generation.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Bytes of all tensors of the result; more once [`write`](Self::write) has found that some masters need f32.
    pub fn size_bytes(&self) -> u64 {
        match &self.container {
            Container::Folder { .. } => self.new_tensors().iter().map(NewTensor::size_bytes).sum(),
            Container::Gguf { .. } => self.new_gguf_tensors().iter().map(NewGgufTensor::size_bytes).sum(),
        }
    }

    /// Writes the result, which appears under its name when it is complete.
    ///
    /// `on_written` hears of the bytes of tensors written, and may stop the work. Masters are written in bf16; where a
    /// linear has none with its codes and its scale, which is rare, it is found out which others have none either, and
    /// all is written anew.
    ///
    /// # Errors
    /// [`ConvertError`] if something is there already, a number of the source cannot be held, or the system fails.
    /// Nothing is left then.
    pub fn write(
        &mut self,
        destination: &Path,
        on_written: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), ConvertError> {
        let exists = || Err(ConvertError::Exists { path: destination.to_owned() });
        let is_there = || destination.symlink_metadata().is_ok();
        if is_there() {
            return exists();
        }
        let failed = |source| ConvertError::Io { path: destination.to_owned(), source };
        // Made where the result will be, with a name that nobody has: what is renamed must be on one disk.
        let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty());
        let scratch = tempfile::Builder::new()
            .prefix(".tercet-")
            .suffix(".partial")
            .tempdir_in(parent.unwrap_or(Path::new(".")))
            // Its own words name a folder that nobody asked for.
            .map_err(|error| failed(error.kind().into()))?;
        let partial = scratch.path().join(destination.file_name().unwrap_or_default());
        let mut written = self.write_all(&partial, on_written);
        if written.as_ref().is_err_and(NoMasters::is) {
            self.widen_masters(on_written)?;
            fs::remove_dir_all(&partial).map_err(failed)?;
            written = self.write_all(&partial, on_written);
        }
        written.map_err(|error| error.at(&partial, destination))?;
        if is_there() {
            return exists();
        }
        fs::rename(&partial, destination).map_err(failed)
    }

    fn write_all(
        &self,
        partial: &Path,
        on_written: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), ConvertError> {
        match &self.container {
            Container::Folder { files } => self.write_folder(partial, files, on_written),
            Container::Gguf { metadata } => self.write_gguf(partial, metadata, on_written),
        }
    }

    /// Takes f32 for all masters that bf16 has not.
    fn widen_masters(
        &mut self,
        on_written: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), ConvertError> {
        let origin = Origin { pool: self.pool, checkpoint: self.checkpoint, config: &self.reading };
        for part in &mut self.parts {
            if on_written(0).is_break() {
                return Err(ConvertError::Stopped);
            }
            if origin.needs_f32(part)? {
                part.widen();
            }
        }
        Ok(())
    }

    fn write_folder(
        &self,
        folder: &Path,
        files: &BTreeMap<String, Vec<u8>>,
        on_written: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), ConvertError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ConvertError::Io { path, source }
        };
        fs::create_dir(folder).map_err(failed(folder))?;
        for (name, bytes) in files {
            let path = folder.join(name);
            // A template may lie in a folder of its own.
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(failed(parent))?;
            }
            fs::write(&path, bytes).map_err(failed(&path))?;
        }
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let mut written = 0;
        checkpoint::write_files(folder, &self.new_tensors(), &metadata, &mut |number, out| {
            self.write_part(number, &mut Metered { inner: out, written: &mut written, on_written })
        })
        .map_err(|(path, error)| ConvertError::from_io(path, error))
    }

    fn write_gguf(
        &self,
        path: &Path,
        metadata: &[(String, NewValue)],
        on_written: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), ConvertError> {
        let mut written = 0;
        let result = File::create(path).and_then(|file| {
            let mut file = BufWriter::new(file);
            gguf::write(&mut file, metadata, &self.new_gguf_tensors(), &mut |number, out| {
                self.write_part(number, &mut Metered { inner: out, written: &mut written, on_written })
            })?;
            file.into_inner()?.sync_all()
        });
        result.map_err(|error| ConvertError::from_io(path.to_owned(), error))
    }

    fn write_part(&self, number: usize, out: &mut dyn Write) -> io::Result<()> {
        let origin = Origin { pool: self.pool, checkpoint: self.checkpoint, config: &self.reading };
        origin.write(&self.parts[number], out)
    }

    fn new_tensors(&self) -> Vec<NewTensor> {
        let tensor = |part: &Part| NewTensor {
            name: part.name.clone(),
            dtype: part.content.dtype(),
            shape: part.shape.clone(),
        };
        self.parts.iter().map(tensor).collect()
    }

    fn new_gguf_tensors(&self) -> Vec<NewGgufTensor> {
        let tensor = |part: &Part| NewGgufTensor {
            name: part.name.clone(),
            tensor_type: part.content.tensor_type(),
            shape: part.shape.clone(),
        };
        self.parts.iter().map(tensor).collect()
    }
}

/// Tells of what is written.
struct Metered<'a> {
    inner: &'a mut dyn Write,
    written: &'a mut u64,
    on_written: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl Write for Metered<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        *self.written += count as u64;
        match (self.on_written)(*self.written) {
            ControlFlow::Continue(()) => Ok(count),
            ControlFlow::Break(()) => Err(ConvertError::Stopped.into_io()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
