//! Writing safetensors files, tensor after tensor, none of them held here.
//!
//! It knows the format and no tensor's meaning.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Dtype, INDEX_FILE, SINGLE_FILE};

/// A tensor that will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTensor {
    /// Its name.
    pub name: String,
    /// The type of its elements: one of whole bytes.
    pub dtype: Dtype,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
}

impl NewTensor {
    /// Bytes of its elements.
    ///
    /// # Panics
    /// If an element is not of one, two, four or eight bytes.
    pub fn size_bytes(&self) -> u64 {
        let element = self.dtype.size_bytes().expect("NewTensor: elements are whole bytes");
        self.shape.iter().map(|size| *size as u64).product::<u64>() * element
    }
}

/// Writes the tensor with a number to a writer.
pub type WriteTensor<'a> = dyn FnMut(usize, &mut dyn Write) -> io::Result<()> + 'a;

/// Writes the tensor files of a model folder: one, or several and an index where there are more
/// than 5 GB. `write` writes the bytes of each tensor, by its number, in this order.
///
/// # Errors
/// As [`write_file`], with the path that failed.
pub fn write_files(
    folder: &Path,
    tensors: &[NewTensor],
    metadata: &BTreeMap<String, String>,
    write: &mut WriteTensor<'_>,
) -> Result<(), (PathBuf, io::Error)> {
    let shards = shards(tensors);
    let mut weight_map = Map::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = shard_name(number, shards.len());
        let path = folder.join(&name);
        let result =
            write_file(&path, &tensors[shard.clone()], metadata, &mut |i, out| write(shard.start + i, out));
        result.map_err(|error| (path, error))?;
        weight_map.extend(tensors[shard.clone()].iter().map(|tensor| (tensor.name.clone(), json!(name))));
    }
    if shards.len() > 1 {
        let total: u64 = tensors.iter().map(NewTensor::size_bytes).sum();
        let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
        let path = folder.join(INDEX_FILE);
        let result = File::create(&path).and_then(|mut file| {
            file.write_all(index.to_string().as_bytes())?;
            file.sync_all()
        });
        result.map_err(|error| (path, error))?;
    }
    Ok(())
}

/// Bytes of tensors in one file; more go to the next.
const SHARD_BYTES: u64 = 5_000_000_000;

fn shards(tensors: &[NewTensor]) -> Vec<Range<usize>> {
    let mut shards = Vec::new();
    let (mut first, mut shard_bytes) = (0, 0);
    for (number, tensor) in tensors.iter().enumerate() {
        if shard_bytes > 0 && shard_bytes + tensor.size_bytes() > SHARD_BYTES {
            shards.push(first..number);
            (first, shard_bytes) = (number, 0);
        }
        shard_bytes += tensor.size_bytes();
    }
    shards.push(first..tensors.len());
    shards
}

fn shard_name(number: usize, shards: usize) -> String {
    if shards == 1 {
        return SINGLE_FILE.to_owned();
    }
    format!("model-{:05}-of-{shards:05}.safetensors", number + 1)
}

/// Writes one file of `tensors` in this order and brings it to disk.
///
/// # Errors
/// As [`write()`].
pub fn write_file(
    path: &Path,
    tensors: &[NewTensor],
    metadata: &BTreeMap<String, String>,
    write_tensor: &mut WriteTensor<'_>,
) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    write(&mut file, tensors, metadata, write_tensor)?;
    file.into_inner()?.sync_all()
}

/// Writes the bytes of a safetensors file of `tensors` in this order; `write_tensor` writes the
/// bytes of each, by its number.
///
/// # Errors
/// What the system or `write_tensor` fails with; also if that gave another number of bytes than type
/// and shape say.
pub fn write(
    out: &mut dyn Write,
    tensors: &[NewTensor],
    metadata: &BTreeMap<String, String>,
    write_tensor: &mut WriteTensor<'_>,
) -> io::Result<()> {
    let header = header(tensors, metadata);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for (number, tensor) in tensors.iter().enumerate() {
        write_counted(out, &tensor.name, tensor.size_bytes(), &mut |out| write_tensor(number, out))?;
    }
    Ok(())
}

/// Writes the bytes of a tensor, which must be as many as expected.
pub(crate) fn write_counted(
    out: &mut dyn Write,
    name: &str,
    expected_bytes: u64,
    write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut counted = Counted { inner: out, written: 0 };
    write(&mut counted)?;
    if counted.written == expected_bytes {
        return Ok(());
    }
    let found = counted.written;
    let message = format!("tensor `{name}`: found {found} bytes to write, expected {expected_bytes}");
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// The header, padded so that the tensors begin at a multiple of 8, as the format recommends.
fn header(tensors: &[NewTensor], metadata: &BTreeMap<String, String>) -> String {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut end = 0;
    for tensor in tensors {
        let begin = end;
        end += tensor.size_bytes();
        let entry = json!({
            "dtype": tensor.dtype.to_string(),
            "shape": tensor.shape,
            "data_offsets": [begin, end],
        });
        header.insert(tensor.name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    header
}

/// Counts what is written.
struct Counted<'a> {
    inner: &'a mut dyn Write,
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::source::Source;

    fn tensor(name: &str, dtype: Dtype, shape: &[usize]) -> NewTensor {
        NewTensor { name: name.to_owned(), dtype, shape: shape.to_vec() }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let tensors = [tensor("b", Dtype::U8, &[3]), tensor("a", Dtype::F32, &[1, 2])];
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        write_file(&path, &tensors, &metadata, &mut |number, out| match number {
            0 => out.write_all(&[7, 8, 9]),
            _ => out.write_all(&[1.5f32.to_le_bytes(), 2.0f32.to_le_bytes()].concat()),
        })
        .unwrap();
        let checkpoint = Checkpoint::open(&Source::folder(folder.path()).unwrap()).unwrap();
        assert_eq!(checkpoint.get("b").unwrap().bytes, [7, 8, 9]);
        let mut values = [0.0; 2];
        checkpoint.get("a").unwrap().read_f32(0, &mut values);
        assert_eq!(values, [1.5, 2.0]);
    }

    #[test]
    fn a_wrong_number_of_bytes_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let tensors = [tensor("a", Dtype::U8, &[3])];
        let path = folder.path().join("a.safetensors");
        let error = write_file(&path, &tensors, &BTreeMap::new(), &mut |_, out| out.write_all(&[1, 2]));
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "tensor `a`: found 2 bytes to write, expected 3");
    }

    #[test]
    fn tensors_past_the_limit_go_to_the_next_file() {
        let sizes = [3_000_000_000, 1_000_000_000, 2_000_000_000];
        let tensors = sizes.map(|size| tensor("", Dtype::U8, &[size]));
        assert_eq!(shards(&tensors), [0..2, 2..3]);
        assert_eq!(shard_name(1, 2), "model-00002-of-00002.safetensors");
        assert_eq!(shards(&[]), std::slice::from_ref(&(0..0)));
    }
}
