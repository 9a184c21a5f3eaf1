//! Writing GGUF files, tensor after tensor, none of them held here.
//!
//! It knows the container; what keys and tensors a model has is for whoever writes one.

use std::io::{self, Write};

use super::header::{ALIGNMENT, DIMENSIONS_MAX, MAGIC, NAME_MAX_BYTES};
use super::metadata::ValueType;
use super::tensor_type::TensorType;
use crate::checkpoint::{WriteTensor, write_counted};

/// The version that is written.
const VERSION: u32 = 3;

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the types")]
pub enum NewValue {
    Uint32(u32),
    Int32(i32),
    Float32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Int32s(Vec<i32>),
    Float32s(Vec<f32>),
}

/// A tensor that will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGgufTensor {
    /// Its name, of at most 63 bytes.
    pub name: String,
    /// The type of its elements.
    pub tensor_type: TensorType,
    /// Row-major, of one to four sizes; rows are whole blocks, in I2_S all elements together.
    pub shape: Vec<usize>,
}

impl NewGgufTensor {
    /// Bytes of its elements, the tail of I2_S included.
    pub fn size_bytes(&self) -> u64 {
        let elements = self.shape.iter().map(|size| *size as u64).product();
        self.tensor_type.size_bytes(elements).expect("NewGgufTensor: a tensor that fits on a disk")
    }

    /// Asserts what the reader wants of a tensor.
    fn check(&self) {
        let Self { name, tensor_type, shape } = self;
        assert!(
            (1..=NAME_MAX_BYTES).contains(&name.len()),
            "write: tensor `{name}` has a name of 1 to {NAME_MAX_BYTES} bytes"
        );
        assert!(
            (1..=DIMENSIONS_MAX as usize).contains(&shape.len()) && !shape.contains(&0),
            "write: tensor `{name}` has 1 to {DIMENSIONS_MAX} sizes, none of them 0"
        );
        let run = if tensor_type.is_blocked_by_row() { &shape[shape.len() - 1..] } else { shape };
        assert!(
            run.iter().product::<usize>().is_multiple_of(tensor_type.block()[0]),
            "write: tensor `{name}` of type {tensor_type} is in whole blocks"
        );
    }
}

/// Writes a file of these keys and tensors in this order; `write_tensor` writes the bytes of each, by its number.
///
/// # Errors
/// What the system or `write_tensor` fails with; also if that gave another number of bytes than type and shape say.
///
/// # Panics
/// If a tensor is none that a file can have: see [`NewGgufTensor`].
pub fn write(
    out: &mut dyn Write,
    metadata: &[(String, NewValue)],
    tensors: &[NewGgufTensor],
    write_tensor: &mut WriteTensor<'_>,
) -> io::Result<()> {
    tensors.iter().for_each(NewGgufTensor::check);
    let head = head(metadata, tensors);
    out.write_all(&head)?;
    write_padding(out, head.len() as u64)?;
    for (number, tensor) in tensors.iter().enumerate() {
        let size_bytes = tensor.size_bytes();
        write_counted(out, &tensor.name, size_bytes, &mut |out| write_tensor(number, out))?;
        write_padding(out, size_bytes)?;
    }
    Ok(())
}

/// Everything before the data, without the padding.
fn head(metadata: &[(String, NewValue)], tensors: &[NewGgufTensor]) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend(VERSION.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_text(&mut head, key);
        put_value(&mut head, value);
    }
    let mut offset = 0;
    for tensor in tensors {
        put_text(&mut head, &tensor.name);
        head.extend((tensor.shape.len() as u32).to_le_bytes());
        for size in tensor.shape.iter().rev() {
            head.extend((*size as u64).to_le_bytes());
        }
        head.extend(tensor.tensor_type.number().to_le_bytes());
        head.extend(u64::to_le_bytes(offset));
        offset = (offset + tensor.size_bytes()).next_multiple_of(ALIGNMENT);
    }
    head
}

fn put_value(head: &mut Vec<u8>, value: &NewValue) {
    match value {
        NewValue::Uint32(number) => {
            put_type(head, ValueType::Uint32);
            head.extend(number.to_le_bytes());
        }
        NewValue::Int32(number) => {
            put_type(head, ValueType::Int32);
            head.extend(number.to_le_bytes());
        }
        NewValue::Float32(number) => {
            put_type(head, ValueType::Float32);
            head.extend(number.to_le_bytes());
        }
        NewValue::Bool(is_true) => {
            put_type(head, ValueType::Bool);
            head.push(u8::from(*is_true));
        }
        NewValue::Text(text) => {
            put_type(head, ValueType::String);
            put_text(head, text);
        }
        NewValue::Texts(texts) => put_list(head, ValueType::String, texts, |head, text| put_text(head, text)),
        NewValue::Int32s(numbers) => {
            put_list(head, ValueType::Int32, numbers, |head, number| head.extend(number.to_le_bytes()));
        }
        NewValue::Float32s(numbers) => {
            put_list(head, ValueType::Float32, numbers, |head, number| head.extend(number.to_le_bytes()));
        }
    }
}

fn put_list<T>(head: &mut Vec<u8>, element: ValueType, values: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    put_type(head, ValueType::Array);
    put_type(head, element);
    head.extend((values.len() as u64).to_le_bytes());
    values.iter().for_each(|value| put(head, value));
}

fn put_type(head: &mut Vec<u8>, value_type: ValueType) {
    head.extend(value_type.number().to_le_bytes());
}

fn put_text(head: &mut Vec<u8>, text: &str) {
    head.extend((text.len() as u64).to_le_bytes());
    head.extend(text.as_bytes());
}

/// Zeros up to where the next tensor may begin, after so many bytes.
fn write_padding(out: &mut dyn Write, written: u64) -> io::Result<()> {
    const ZEROS: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];
    out.write_all(&ZEROS[..(written.next_multiple_of(ALIGNMENT) - written) as usize])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gguf::Gguf;

    fn values() -> impl Strategy<Value = NewValue> {
        prop_oneof![
            any::<u32>().prop_map(NewValue::Uint32),
            (-1e9f32..1e9).prop_map(NewValue::Float32),
            any::<bool>().prop_map(NewValue::Bool),
            any::<String>().prop_map(NewValue::Text),
            proptest::collection::vec(any::<String>(), 0..4).prop_map(NewValue::Texts),
            proptest::collection::vec(0i32.., 0..4).prop_map(NewValue::Int32s),
            proptest::collection::vec(any::<f32>(), 0..4).prop_map(NewValue::Float32s),
        ]
    }

    fn check_value(gguf: &Gguf, key: &str, want: &NewValue) {
        let metadata = gguf.metadata();
        match want {
            NewValue::Uint32(want) => assert_eq!(metadata.integer(key).unwrap(), Some(u64::from(*want))),
            NewValue::Int32(want) => assert_eq!(metadata.integer(key).unwrap(), u64::try_from(*want).ok()),
            NewValue::Float32(want) => assert_eq!(metadata.float(key).unwrap(), Some(f64::from(*want))),
            NewValue::Bool(want) => assert_eq!(metadata.boolean(key).unwrap(), Some(*want)),
            NewValue::Text(want) => assert_eq!(metadata.string(key).unwrap(), Some(want.as_str())),
            NewValue::Texts(want) => assert!(metadata.strings(key).unwrap().unwrap().eq(want)),
            NewValue::Int32s(want) => {
                let got = metadata.integers(key).unwrap().unwrap();
                assert!(got.iter().map(|number| number.cast_signed()).eq(want.iter().copied()));
            }
            NewValue::Float32s(want) => {
                let bits =
                    |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&metadata.floats(key).unwrap().unwrap()), bits(want));
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            values in proptest::collection::vec(values(), 0..6),
            types in proptest::collection::vec((0..TensorType::ALL.len(), 1usize..3, 1usize..4), 1..5),
        ) {
            let metadata: Vec<(String, NewValue)> =
                values.into_iter().enumerate().map(|(i, value)| (format!("key.{i}"), value)).collect();
            let tensors: Vec<NewGgufTensor> = types
                .into_iter()
                .enumerate()
                .map(|(i, (number, rows, blocks))| {
                    let tensor_type = TensorType::ALL[number].1;
                    let shape = vec![rows, blocks * tensor_type.block()[0]];
                    NewGgufTensor { name: format!("tensor.{i}"), tensor_type, shape }
                })
                .collect();
            let mut bytes = Vec::new();
            write(&mut bytes, &metadata, &tensors, &mut |i, out| {
                out.write_all(&vec![i as u8 + 1; tensors[i].size_bytes() as usize])
            })
            .unwrap();
            prop_assert!(bytes.len().is_multiple_of(ALIGNMENT as usize));
            let gguf = Gguf::in_memory("m.gguf", bytes.into()).unwrap();
            for (key, value) in &metadata {
                check_value(&gguf, key, value);
            }
            for (i, (got, want)) in gguf.tensors().iter().zip(&tensors).enumerate() {
                prop_assert_eq!((&got.name, got.tensor_type, &got.shape), (&want.name, want.tensor_type, &want.shape));
                prop_assert!(gguf.bytes_of(got).iter().all(|byte| *byte == i as u8 + 1));
            }
        }
    }

    #[test]
    fn a_tensor_of_too_few_bytes_is_an_error() {
        let tensor =
            NewGgufTensor { name: "t".to_owned(), tensor_type: TensorType::I2S, shape: vec![1, 128] };
        let error =
            write(&mut Vec::new(), &[], &[tensor], &mut |_, out| out.write_all(&[0; 32])).unwrap_err();
        assert_eq!(error.to_string(), "tensor `t`: found 32 bytes to write, expected 64");
    }

    #[test]
    fn tensors_that_no_file_can_have_are_not_written() {
        let right = NewGgufTensor { name: "t".to_owned(), tensor_type: TensorType::I2S, shape: vec![2, 64] };
        let write_one = |tensor: NewGgufTensor| {
            let size_bytes = tensor.size_bytes() as usize;
            write(&mut Vec::new(), &[], &[tensor], &mut |_, out| out.write_all(&vec![0; size_bytes]))
        };
        write_one(right.clone()).unwrap();
        for wrong in [
            NewGgufTensor { name: String::new(), ..right.clone() },
            NewGgufTensor { name: "n".repeat(64), ..right.clone() },
            NewGgufTensor { shape: vec![], ..right.clone() },
            NewGgufTensor { shape: vec![1, 1, 1, 1, 128], ..right.clone() },
            NewGgufTensor { shape: vec![0, 128], ..right.clone() },
            NewGgufTensor { shape: vec![3, 64], ..right.clone() },
            NewGgufTensor { tensor_type: TensorType::Tq1_0, shape: vec![2, 128], ..right },
        ] {
            let shown = format!("{wrong:?}");
            assert!(std::panic::catch_unwind(|| write_one(wrong)).is_err(), "{shown} was written");
        }
    }
}
