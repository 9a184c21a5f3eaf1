//! Flat f32 buffers as safetensors files.
//!
//! Written as a stream and read from a map, so that a model never lies in memory twice. It does
//! not know which tensors a model has.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use tercet::checkpoint::{NewTensor, write_file};
use tercet::mapped_file::MappedFile;

use super::error::TensorsError;
use crate::export::write_floats;

/// A tensor to write, row-major.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TensorOut<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its shape.
    pub(crate) shape: &'a [usize],
    /// Its values, as many as the shape says.
    pub(crate) values: &'a [f32],
}

/// A tensor to read, row-major.
#[derive(Debug)]
pub(crate) struct TensorInto<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The shape it must have.
    pub(crate) shape: &'a [usize],
    /// Where its values go, as many as the shape says.
    pub(crate) values: &'a mut [f32],
}

/// Writes tensors and metadata to a safetensors file, in the given order, and waits until they are
/// on disk.
///
/// # Errors
/// Those of the system.
///
/// # Panics
/// If a tensor has another number of values than its shape says.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: &[TensorOut<'_>],
    metadata: &BTreeMap<String, String>,
) -> io::Result<()> {
    let new_tensor = |tensor: &TensorOut<'_>| {
        assert_eq!(
            tensor.values.len(),
            tensor.shape.iter().product::<usize>(),
            "write_tensors: `{}` has as many values as its shape says",
            tensor.name
        );
        NewTensor {
            name: tensor.name.to_owned(),
            dtype: tercet::checkpoint::Dtype::F32,
            shape: tensor.shape.to_vec(),
        }
    };
    let new: Vec<NewTensor> = tensors.iter().map(new_tensor).collect();
    write_file(path, &new, metadata, &mut |number, out| write_floats(out, tensors[number].values))
}

/// Reads exactly these tensors from a safetensors file, and returns its metadata.
///
/// # Errors
/// [`TensorsError`] names the first tensor that is missing, of another shape or type, or too much;
/// then no value was copied.
///
/// # Panics
/// If a buffer has another length than its shape says.
pub(crate) fn read_tensors(
    path: &Path,
    tensors: &mut [TensorInto<'_>],
) -> Result<BTreeMap<String, String>, TensorsError> {
    let file = MappedFile::open(path)?;
    let format = |error| TensorsError::Format { path: path.to_owned(), detail: format!("{error}") };
    let (_, header) = SafeTensors::read_metadata(file.bytes()).map_err(format)?;
    let found = SafeTensors::deserialize(file.bytes()).map_err(format)?;
    for tensor in tensors.iter() {
        assert_eq!(
            tensor.values.len(),
            tensor.shape.iter().product::<usize>(),
            "read_tensors: `{}` has as many places as its shape says",
            tensor.name
        );
        let (path, name) = (path.to_owned(), tensor.name.to_owned());
        let expected = tensor.shape.to_vec();
        let Ok(view) = found.tensor(tensor.name) else {
            return Err(TensorsError::Missing { path, name, shape: expected });
        };
        if view.dtype() != Dtype::F32 {
            return Err(TensorsError::Dtype { path, name, found: format!("{:?}", view.dtype()) });
        }
        if view.shape() != tensor.shape {
            return Err(TensorsError::Shape { path, name, found: view.shape().to_vec(), expected });
        }
    }
    let mut names = found.names();
    names.sort_unstable();
    if let Some(name) = names.into_iter().find(|name| tensors.iter().all(|tensor| tensor.name != *name)) {
        return Err(TensorsError::Extra { path: path.to_owned(), name: name.to_owned() });
    }
    for tensor in tensors {
        let view = found.tensor(tensor.name).expect("looked up above");
        for (value, bytes) in tensor.values.iter_mut().zip(view.data().as_chunks().0) {
            *value = f32::from_le_bytes(*bytes);
        }
    }
    Ok(header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than are turned into bytes together.
    const CHUNK: usize = 4096;

    fn write(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("t.safetensors");
        let values: Vec<f32> = (0..CHUNK + 3).map(|i| i as f32 - 7.5).collect();
        let tensors = [
            TensorOut { name: "z", shape: &[CHUNK + 3], values: &values },
            TensorOut { name: "a", shape: &[2, 2], values: &[f32::MIN_POSITIVE, -0.0, f32::MAX, 1.0] },
            TensorOut { name: "none", shape: &[0, 3], values: &[] },
        ];
        let metadata = BTreeMap::from([("step".to_owned(), "7".to_owned())]);
        write_tensors(&path, &tensors, &metadata).unwrap();
        path
    }

    /// Reads `a` and `z` after something was changed in what is expected, and checks the message.
    #[track_caller]
    fn check(names: [&str; 3], shape: &[usize], want: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path());
        let mut z = vec![0.0; CHUNK + 3];
        let mut a = vec![0.0; shape.iter().product()];
        let mut tensors = [
            TensorInto { name: names[0], shape: &[CHUNK + 3], values: &mut z },
            TensorInto { name: names[1], shape, values: &mut a },
            TensorInto { name: names[2], shape: &[0, 3], values: &mut [] },
        ];
        let message = read_tensors(&path, &mut tensors).unwrap_err().to_string();
        assert!(message.contains(want), "found `{message}`, expected `{want}`");
        assert!(z.iter().all(|value| *value == 0.0), "nothing is copied");
    }

    #[test]
    fn what_is_written_reads_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path());
        let (mut z, mut a) = (vec![0.0; CHUNK + 3], [0.0; 4]);
        let mut tensors = [
            TensorInto { name: "a", shape: &[2, 2], values: &mut a },
            TensorInto { name: "none", shape: &[0, 3], values: &mut [] },
            TensorInto { name: "z", shape: &[CHUNK + 3], values: &mut z },
        ];
        let metadata = read_tensors(&path, &mut tensors).unwrap();
        assert_eq!(metadata["step"], "7");
        assert_eq!(a.map(f32::to_bits), [f32::MIN_POSITIVE, -0.0, f32::MAX, 1.0].map(f32::to_bits));
        assert_eq!((z[0], z[CHUNK + 2]), (-7.5, (CHUNK + 2) as f32 - 7.5));
    }

    #[test]
    fn other_tensors_than_expected_are_named() {
        check(["z", "b", "none"], &[2, 2], "tensor `b` is missing, expected shape [2, 2]");
        check(["z", "a", "none"], &[4], "tensor `a` has shape [2, 2], expected [4]");
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path());
        let message = read_tensors(&path, &mut []).unwrap_err().to_string();
        assert!(message.contains("found tensor `a`, expected none"), "{message}");
    }

    #[test]
    fn another_type_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let view = safetensors::tensor::TensorView::new(Dtype::I32, vec![1], &[0; 4]).unwrap();
        std::fs::write(&path, safetensors::serialize([("a", view)], None).unwrap()).unwrap();
        let mut a = [0.0];
        let mut tensors = [TensorInto { name: "a", shape: &[1], values: &mut a }];
        let message = read_tensors(&path, &mut tensors).unwrap_err().to_string();
        assert!(message.contains("has type I32, expected F32"), "{message}");
    }

    #[test]
    fn a_truncated_file_is_an_error_at_every_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        write_tensors(&path, &[TensorOut { name: "a", shape: &[2], values: &[1.0, 2.0] }], &BTreeMap::new())
            .unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let mut a = [0.0; 2];
            let mut tensors = [TensorInto { name: "a", shape: &[2], values: &mut a }];
            assert!(read_tensors(&path, &mut tensors).is_err(), "{length}");
        }
    }
}
