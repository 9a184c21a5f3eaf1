//! GGUF files of any content, right or wrong.

/// A value as a file holds it: its type and bytes.
#[derive(Clone)]
pub(crate) struct Value(pub(crate) u32, pub(crate) Vec<u8>);

pub(crate) fn u8_value(value: u8) -> Value {
    Value(0, vec![value])
}

pub(crate) fn i8_value(value: i8) -> Value {
    Value(1, value.to_le_bytes().to_vec())
}

pub(crate) fn u32_value(value: u32) -> Value {
    Value(4, value.to_le_bytes().to_vec())
}

pub(crate) fn i32_value(value: i32) -> Value {
    Value(5, value.to_le_bytes().to_vec())
}

pub(crate) fn f32_value(value: f32) -> Value {
    Value(6, value.to_le_bytes().to_vec())
}

pub(crate) fn bool_value(value: u8) -> Value {
    Value(7, vec![value])
}

pub(crate) fn text_value(text: &str) -> Value {
    Value(8, text_bytes(text))
}

pub(crate) fn list_value(element: u32, count: u64, bytes: &[u8]) -> Value {
    Value(9, [&element.to_le_bytes()[..], &count.to_le_bytes(), bytes].concat())
}

pub(crate) fn text_bytes(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A tensor's entry.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    /// How many sizes it says it has.
    pub(crate) dimensions: u32,
    /// The fastest first.
    pub(crate) sizes: Vec<u64>,
    pub(crate) number: u32,
    pub(crate) offset: u64,
}

impl Tensor {
    pub(crate) fn new(name: &str, sizes: &[u64], number: u32, offset: u64) -> Self {
        Tensor {
            name: name.to_owned(),
            dimensions: sizes.len() as u32,
            sizes: sizes.to_vec(),
            number,
            offset,
        }
    }
}

/// A whole file.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    /// Counts that are not those of what follows.
    pub(crate) tensor_count: Option<u64>,
    pub(crate) key_count: Option<u64>,
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) alignment: usize,
    pub(crate) data: Vec<u8>,
}

impl File {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.key_count.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, Value(number, value)) in &self.metadata {
            bytes.extend(text_bytes(key));
            bytes.extend(number.to_le_bytes());
            bytes.extend(value);
        }
        for Tensor { name, dimensions, sizes, number, offset } in &self.tensors {
            bytes.extend(text_bytes(name));
            bytes.extend(dimensions.to_le_bytes());
            sizes.iter().for_each(|size| bytes.extend(size.to_le_bytes()));
            bytes.extend(number.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        bytes.extend(&self.data);
        bytes
    }
}
