//! Writing one safetensors file, tensor after tensor, none of them held here.
//!
//! It knows the format and no tensor's meaning.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Dtype;

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

/// Writes a file of `tensors` in this order and brings it to disk; `write` writes the bytes of each,
/// by its number.
///
/// # Errors
/// What the system or `write` fails with; also if `write` gave another number of bytes than type and
/// shape say.
pub fn write_file(
    path: &Path,
    tensors: &[NewTensor],
    metadata: &BTreeMap<String, String>,
    mut write: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let header = header(tensors, metadata);
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for (number, tensor) in tensors.iter().enumerate() {
        let mut out = Counted { inner: &mut file, written: 0 };
        write(number, &mut out)?;
        if out.written != tensor.size_bytes() {
            let message = format!(
                "tensor `{}`: found {} bytes to write, expected {}",
                tensor.name,
                out.written,
                tensor.size_bytes()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    }
    file.into_inner()?.sync_all()
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
struct Counted<'a, W> {
    inner: &'a mut W,
    written: u64,
}

impl<W: Write> Write for Counted<'_, W> {
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
        write_file(&path, &tensors, &metadata, |number, out| match number {
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
        let error = write_file(&path, &tensors, &BTreeMap::new(), |_, out| out.write_all(&[1, 2]));
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "tensor `a`: found 2 bytes to write, expected 3");
    }
}
