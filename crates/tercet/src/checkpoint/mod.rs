//! The tensors of a model, in one safetensors file or several, or in a GGUF file.
//!
//! | module | holds |
//! |---|---|
//! | `header`, `index` | the header of a safetensors file, and the index of several |
//! | `dtype` | the types of elements, those of GGUF's blocks among them |
//! | `write` | safetensors files, as a stream |
//! | `error` | what can be wrong with them |
//!
//! It knows names, types, shapes and bytes, all checked against the files. It does not know which
//! tensors a model has.

mod dtype;
mod error;
mod header;
mod index;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;

pub use dtype::Dtype;
pub use error::CheckpointError;
pub(crate) use write::write_counted;
pub use write::{NewTensor, WriteTensor, write, write_file, write_files};

use crate::gguf::model::{GgufModel, model_name};
use crate::gguf::{GgufTensor, TensorType, quantized};
use crate::json::shown;
use crate::source::{FileBytes, Source, has_pickle_extension};

/// The name of the file of a checkpoint in one file.
pub const SINGLE_FILE: &str = "model.safetensors";

/// The name of the index of a checkpoint in several files.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// All tensors of a model folder.
#[derive(Debug)]
pub struct Checkpoint {
    name: String,
    is_gguf: bool,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Place>,
}

/// One safetensors file.
#[derive(Debug)]
struct Shard {
    /// How messages call it.
    file: String,
    bytes: FileBytes,
}

/// Where a tensor is, and what.
#[derive(Debug)]
struct Place {
    /// What the file calls it, where that is another name.
    stored_name: Option<String>,
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Within the file.
    range: Range<usize>,
    row_order: RowOrder,
}

/// In which order a file has the rows of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// As they are.
    Same,
    /// Those of each head so that the two of a rotary pair stand side by side, as llama.cpp wants them: row
    /// `j head_dim / 2 + i` of a head is its row `2 i + j` in the file.
    Interleaved {
        /// Rows of a head.
        head_dim: usize,
    },
}

impl RowOrder {
    /// Where the file has a row.
    pub(crate) fn stored(self, row: usize) -> usize {
        match self {
            RowOrder::Same => row,
            RowOrder::Interleaved { head_dim } => {
                let (head, row, half) = (row / head_dim, row % head_dim, head_dim / 2);
                head * head_dim + row % half * 2 + row / half
            }
        }
    }

    /// The row that the file has at a place: the other direction of [`stored`](Self::stored).
    pub(crate) fn row(self, stored: usize) -> usize {
        match self {
            RowOrder::Same => stored,
            RowOrder::Interleaved { head_dim } => {
                let (head, stored) = (stored / head_dim, stored % head_dim);
                head * head_dim + stored % 2 * (head_dim / 2) + stored / 2
            }
        }
    }
}

/// One tensor of a [`Checkpoint`].
#[derive(Debug, Clone, Copy)]
pub struct TensorRef<'a> {
    /// What its file calls it, and so messages; the name that it is found by may be another.
    pub name: &'a str,
    /// The type of its elements, stored little endian.
    pub dtype: Dtype,
    /// Its shape, row-major; empty for a scalar.
    pub shape: &'a [usize],
    /// Its elements; as many bytes as type and shape say, at any alignment.
    pub bytes: &'a [u8],
    /// How messages call the file it is in.
    pub file: &'a str,
    /// How the file has its rows; [`read_f32`](Self::read_f32) gives them as they are.
    pub(crate) row_order: RowOrder,
    shard: &'a FileBytes,
    start: usize,
}

impl TensorRef<'_> {
    /// Tells the system that a range of [`bytes`](Self::bytes) is not needed for now.
    ///
    /// A loader calls this behind itself, so that a model never lies in memory twice.
    ///
    /// # Panics
    /// If the range does not lie within the tensor.
    pub fn give_back(&self, range: Range<usize>) {
        assert!(
            range.start <= range.end && range.end <= self.bytes.len(),
            "give_back: the range lies within the tensor"
        );
        self.shard.give_back(self.start + range.start..self.start + range.end);
    }

    /// Reads the elements from `first` on as f32, exactly; as many as there is room for.
    ///
    /// # Panics
    /// If the elements are neither floats of a weight's kind nor blocks.
    pub fn read_f32(&self, first: usize, values: &mut [f32]) {
        if self.row_order == RowOrder::Same {
            return read_f32(self.dtype, self.bytes, first, values);
        }
        let cols = self.shape[1];
        let (mut at, mut left) = (first, values);
        while !left.is_empty() {
            let (row, column) = (at / cols, at % cols);
            let (part, rest) = left.split_at_mut(left.len().min(cols - column));
            read_f32(self.dtype, self.bytes, self.row_order.stored(row) * cols + column, part);
            at += part.len();
            left = rest;
        }
    }

    /// The rows of a matrix, to be read also when the checkpoint is gone.
    ///
    /// # Panics
    /// If it is no matrix.
    pub(crate) fn rows_on_disk(&self) -> RowsOnDisk {
        let shape = self.shape.try_into().expect("TensorRef::rows_on_disk: a matrix");
        let range = self.start..self.start + self.bytes.len();
        RowsOnDisk { file: self.shard.clone(), range, dtype: self.dtype, shape }
    }
}

/// The rows of a float matrix in a file that stays open.
#[derive(Debug)]
pub(crate) struct RowsOnDisk {
    file: FileBytes,
    range: Range<usize>,
    dtype: Dtype,
    shape: [usize; 2],
}

impl RowsOnDisk {
    /// Rows and columns.
    pub(crate) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Bytes of one row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.range.len() / self.shape[0].max(1)
    }

    /// Reads a row as f32, exactly.
    pub(crate) fn read(&self, row: usize, values: &mut [f32]) {
        assert!(row < self.shape[0], "RowsOnDisk::read: the row exists");
        read_f32(self.dtype, &self.file.bytes()[self.range.clone()], row * self.shape[1], values);
    }
}

/// Reads float elements from `first` on as f32, exactly; as many as there is room for.
pub(crate) fn read_f32(dtype: Dtype, bytes: &[u8], first: usize, values: &mut [f32]) {
    fn each<const BYTES: usize>(bytes: &[u8], values: &mut [f32], to_f32: impl Fn([u8; BYTES]) -> f32) {
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = to_f32(*bytes);
        }
    }
    let from = |element_bytes: usize| &bytes[first * element_bytes..];
    match dtype {
        Dtype::F32 => each(from(4), values, f32::from_le_bytes),
        Dtype::F16 => each(from(2), values, |bytes| half::f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => each(from(2), values, |bytes| half::bf16::from_le_bytes(bytes).to_f32()),
        Dtype::Block(TensorType::Q8_0) => of_blocks(bytes, first, values, quantized::q8_0_block),
        Dtype::Block(TensorType::Q4_0) => of_blocks(bytes, first, values, quantized::q4_0_block),
        Dtype::Block(TensorType::Q6K) => of_blocks(bytes, first, values, quantized::q6_k_block),
        other => panic!("read_f32: found {other}, expected F32, F16, BF16, Q8_0, Q6_K or Q4_0"),
    }
}

/// Elements of blocks from `first` on; as many as there is room for.
fn of_blocks<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    first: usize,
    values: &mut [f32],
    values_of: impl Fn(&[u8; BYTES]) -> [f32; VALUES],
) {
    let mut skipped = first % VALUES;
    let mut left = values;
    for block in &bytes.as_chunks().0[first / VALUES..] {
        if left.is_empty() {
            return;
        }
        let block = &values_of(block)[skipped..];
        let (part, rest) = left.split_at_mut(left.len().min(block.len()));
        part.copy_from_slice(&block[..part.len()]);
        (left, skipped) = (rest, 0);
    }
}

/// The files of a checkpoint in several files, as its index names them.
///
/// # Errors
/// [`CheckpointError`] if there is no index, or none that can be read.
pub fn indexed_files(source: &Source) -> Result<Vec<String>, CheckpointError> {
    let shard_of = index::parse(&source.file_name(INDEX_FILE), &source.read(INDEX_FILE)?)?;
    Ok(index::shards(&shard_of).into_iter().map(str::to_owned).collect())
}

impl Checkpoint {
    /// Opens the tensor files of a model folder and checks their headers.
    ///
    /// No tensor's bytes are read.
    ///
    /// # Errors
    /// [`CheckpointError`] if a file is missing, damaged, of another format, or at odds with the
    /// index.
    pub fn open(source: &Source) -> Result<Self, CheckpointError> {
        if let Source::Gguf(model) = source {
            return Ok(Self::of_gguf(model));
        }
        match (source.has(SINGLE_FILE), source.has(INDEX_FILE)) {
            (true, false) => Self::open_single(source),
            (false, true) => Self::open_sharded(source),
            (true, true) => Err(CheckpointError::TwoCheckpoints { folder: source.name() }),
            (false, false) => Err(no_tensors(source)?),
        }
    }

    /// How messages call the folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a GGUF file.
    pub(crate) fn is_gguf(&self) -> bool {
        self.is_gguf
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Bytes of all tensors.
    pub fn size_bytes(&self) -> u64 {
        self.tensors.values().map(|place| place.range.len() as u64).sum()
    }

    /// Tells the system that no tensor is needed for now; all stay readable.
    pub fn give_back(&self) {
        for shard in &self.shards {
            shard.bytes.give_back(0..shard.bytes.bytes().len());
        }
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<TensorRef<'_>> {
        let (name, place) = self.tensors.get_key_value(name)?;
        let shard = &self.shards[place.shard];
        Some(TensorRef {
            name: place.stored_name.as_deref().unwrap_or(name),
            dtype: place.dtype,
            shape: &place.shape,
            bytes: &shard.bytes.bytes()[place.range.clone()],
            file: &shard.file,
            row_order: place.row_order,
            shard: &shard.bytes,
            start: place.range.start,
        })
    }

    /// The tensors of a GGUF file, under the names of safetensors.
    fn of_gguf(model: &GgufModel) -> Self {
        let gguf = model.gguf();
        let file = gguf.file().to_owned();
        let place = |tensor: &GgufTensor| {
            let name = model_name(model.architecture(), &tensor.name);
            let place = Place {
                stored_name: Some(tensor.name.clone()),
                shard: 0,
                dtype: Dtype::from_gguf(tensor.tensor_type),
                shape: tensor.shape.clone(),
                range: tensor.range.clone(),
                row_order: model.row_order(&name),
            };
            (name, place)
        };
        let tensors = gguf.tensors().iter().map(place).collect();
        let shard = Shard { file: file.clone(), bytes: gguf.file_bytes().clone() };
        Self { name: file, is_gguf: true, shards: vec![shard], tensors }
    }

    fn open_single(source: &Source) -> Result<Self, CheckpointError> {
        let mut checkpoint = Self::empty(source);
        checkpoint.add_shard(source, SINGLE_FILE, |_| Ok(()))?;
        Ok(checkpoint)
    }

    fn open_sharded(source: &Source) -> Result<Self, CheckpointError> {
        let index_file = source.file_name(INDEX_FILE);
        let shard_of = index::parse(&index_file, &source.read(INDEX_FILE)?)?;
        let shards = index::shards(&shard_of);
        if let Some(shard) = extra_shard(source, &shards)? {
            return Err(CheckpointError::ExtraShard { file: index_file, shard });
        }

        let mut checkpoint = Self::empty(source);
        for shard in shards {
            checkpoint.add_shard(source, shard, |name| match shard_of.get(name) {
                Some(expected) if expected == shard => Ok(()),
                Some(expected) => Err(CheckpointError::OtherShard {
                    file: index_file.clone(),
                    name: name.to_owned(),
                    shard: shard.to_owned(),
                    expected: expected.clone(),
                }),
                None => Err(CheckpointError::NotInIndex {
                    file: index_file.clone(),
                    name: name.to_owned(),
                    shard: shard.to_owned(),
                }),
            })?;
        }
        match shard_of.iter().find(|(name, _)| !checkpoint.tensors.contains_key(*name)) {
            Some((name, shard)) => {
                Err(CheckpointError::NotInShard { file: index_file, name: shown(name), shard: shard.clone() })
            }
            None => Ok(checkpoint),
        }
    }

    fn empty(source: &Source) -> Self {
        Self { name: source.name(), is_gguf: false, shards: Vec::new(), tensors: BTreeMap::new() }
    }

    /// Opens one file and takes up its tensors, each of which `may_hold` must allow.
    fn add_shard(
        &mut self,
        source: &Source,
        file: &str,
        may_hold: impl Fn(&str) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let bytes = source.open(file)?;
        let file = source.file_name(file);
        for tensor in header::read(&file, bytes.bytes())? {
            may_hold(&tensor.name)?;
            let place = Place {
                stored_name: None,
                shard: self.shards.len(),
                dtype: tensor.dtype,
                shape: tensor.shape,
                range: tensor.range,
                row_order: RowOrder::Same,
            };
            let earlier = self.tensors.insert(tensor.name, place);
            assert!(earlier.is_none(), "add_shard: a tensor is in one file only");
        }
        self.shards.push(Shard { file, bytes });
        Ok(())
    }
}

/// A file of the folder that looks like one of the checkpoint's and is none of `shards`.
fn extra_shard(source: &Source, shards: &[&str]) -> Result<Option<String>, CheckpointError> {
    let is_extra = |file: &String| looks_like_shard(file) && !shards.contains(&file.as_str());
    Ok(source.files()?.into_iter().find(is_extra))
}

/// Whether a file is named `model-…-of-….safetensors`.
fn looks_like_shard(file: &str) -> bool {
    file.starts_with("model-") && file.contains("-of-") && file.ends_with(".safetensors")
}

/// The error for a folder without a checkpoint, naming pickled weights if there are any.
fn no_tensors(source: &Source) -> Result<CheckpointError, CheckpointError> {
    let files = source.files()?;
    let pickle = files.iter().find(|file| has_pickle_extension(file.as_ref()));
    Ok(match pickle {
        Some(file) => crate::source::SourceError::Pickle { file: source.file_name(file) }.into(),
        None => CheckpointError::NoTensors { folder: source.name() },
    })
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;
    use crate::source::MemoryFolder;

    fn tensors(names: &[&str]) -> Vec<u8> {
        let view = || TensorView::new(safetensors::Dtype::U8, vec![2], &[7, 9]).unwrap();
        safetensors::serialize(names.iter().map(|name| (*name, view())), None).unwrap()
    }

    fn folder(files: &[(&str, &[u8])]) -> Source {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), (*bytes).into()));
        Source::Memory(MemoryFolder { name: "m".to_owned(), files: files.collect() })
    }

    #[track_caller]
    fn check_refused(files: &[(&str, &[u8])], want: &str) {
        let message = Checkpoint::open(&folder(files)).unwrap_err().to_string();
        assert!(message.contains(want), "found `{message}`, expected `{want}`");
    }

    #[test]
    fn one_file_and_two_give_the_same_tensors() {
        let index = br#"{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
        for source in [
            folder(&[(SINGLE_FILE, &tensors(&["a", "b"]))]),
            folder(&[
                (INDEX_FILE, index),
                ("1.safetensors", &tensors(&["a"])),
                ("2.safetensors", &tensors(&["b"])),
            ]),
        ] {
            let checkpoint = Checkpoint::open(&source).unwrap();
            assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
            let tensor = checkpoint.get("b").unwrap();
            assert_eq!((tensor.dtype, tensor.shape, tensor.bytes), (Dtype::U8, &[2][..], &[7, 9][..]));
            tensor.give_back(0..2);
            assert!(checkpoint.get("c").is_none());
        }
    }

    #[test]
    fn a_folder_without_tensors_says_what_it_has() {
        check_refused(&[], "found no `model.safetensors`");
        check_refused(&[("pytorch_model.bin", b"PK")], "m/pytorch_model.bin: found a pickled file");
    }

    #[test]
    fn two_checkpoints_in_one_folder_are_refused() {
        check_refused(&[(SINGLE_FILE, b""), (INDEX_FILE, b"")], "found both");
    }

    #[test]
    fn index_and_files_must_agree() {
        let index = br#"{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
        let (a, b) = (tensors(&["a"]), tensors(&["b"]));
        check_refused(&[(INDEX_FILE, index), ("1.safetensors", &a)], "`2.safetensors` is missing");
        let check = |first: &[u8], second: &[u8], want| {
            check_refused(&[(INDEX_FILE, index), ("1.safetensors", first), ("2.safetensors", second)], want);
        };
        check(&a, &tensors(&["b", "c"]), "tensor `c`, which is not in `weight_map`");
        check(&tensors(&["a", "b"]), &b, "`b`, which `weight_map` gives as in `2.safetensors`");
        let index = br#"{"weight_map":{"a":"1.safetensors","x":"1.safetensors"}}"#;
        check_refused(&[(INDEX_FILE, index), ("1.safetensors", &a)], "`x` is said to be in");
        let index = br#"{"weight_map":{"a":"1.safetensors"}}"#;
        check_refused(
            &[(INDEX_FILE, index), ("1.safetensors", &a), ("model-1-of-2.safetensors", &b)],
            "`model-1-of-2.safetensors` lies in the folder",
        );
    }
}
