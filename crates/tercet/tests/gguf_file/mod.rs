//! GGUF files of any content, right or wrong, to be written, and read again to be damaged further.
//!
//! Shared by tests and the fuzz targets.
#![allow(dead_code, unreachable_pub, reason = "each user includes the file and uses its own part")]

/// A value as a file holds it: its type and bytes.
#[derive(Clone)]
pub struct Value(pub u32, pub Vec<u8>);

pub fn u8_value(value: u8) -> Value {
    Value(0, vec![value])
}

pub fn i8_value(value: i8) -> Value {
    Value(1, value.to_le_bytes().to_vec())
}

pub fn u16_value(value: u16) -> Value {
    Value(2, value.to_le_bytes().to_vec())
}

pub fn u32_value(value: u32) -> Value {
    Value(4, value.to_le_bytes().to_vec())
}

pub fn i32_value(value: i32) -> Value {
    Value(5, value.to_le_bytes().to_vec())
}

pub fn f32_value(value: f32) -> Value {
    Value(6, value.to_le_bytes().to_vec())
}

pub fn bool_value(value: u8) -> Value {
    Value(7, vec![value])
}

pub fn text_value(text: &str) -> Value {
    Value(8, text_bytes(text))
}

pub fn list_value(element: u32, count: u64, bytes: &[u8]) -> Value {
    Value(9, [&element.to_le_bytes()[..], &count.to_le_bytes(), bytes].concat())
}

pub fn texts_value(texts: &[String]) -> Value {
    let bytes: Vec<u8> = texts.iter().flat_map(|text| text_bytes(text)).collect();
    list_value(8, texts.len() as u64, &bytes)
}

pub fn text_bytes(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A tensor's entry.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    /// How many sizes it says it has.
    pub dimensions: u32,
    /// The fastest first.
    pub sizes: Vec<u64>,
    pub number: u32,
    pub offset: u64,
}

impl Tensor {
    pub fn new(name: &str, sizes: &[u64], number: u32, offset: u64) -> Self {
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
pub struct File {
    pub magic: [u8; 4],
    pub version: u32,
    /// Counts that are not those of what follows.
    pub tensor_count: Option<u64>,
    pub key_count: Option<u64>,
    pub metadata: Vec<(String, Value)>,
    pub tensors: Vec<Tensor>,
    pub alignment: usize,
    pub data: Vec<u8>,
}

impl File {
    pub fn bytes(&self) -> Vec<u8> {
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

impl File {
    /// A file whose only tensor is an embedding of one column: enough to read a tokenizer of so many tokens.
    pub fn of_tokenizer(architecture: &str, rows: usize, tokenizer: Vec<(String, Value)>) -> File {
        let mut metadata = vec![("general.architecture".to_owned(), text_value(architecture))];
        for size in [
            "embedding_length",
            "feed_forward_length",
            "block_count",
            "attention.head_count",
            "context_length",
        ] {
            metadata.push((format!("{architecture}.{size}"), u32_value(1)));
        }
        metadata.push((format!("{architecture}.attention.layer_norm_rms_epsilon"), f32_value(1e-5)));
        metadata.extend(tokenizer);
        File {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            key_count: None,
            metadata,
            tensors: vec![Tensor::new("token_embd.weight", &[1, rows as u64], 0, 0)],
            alignment: 32,
            data: vec![0; 4 * rows],
        }
    }

    /// A file as it says it is; nothing where it cannot be walked through.
    pub fn parse(bytes: &[u8]) -> Option<File> {
        let mut left = Left(bytes);
        let magic = left.array()?;
        let version = left.u32()?;
        let (tensor_count, key_count) = (left.u64()?, left.u64()?);
        let mut metadata = Vec::new();
        for _ in 0..key_count {
            let key = left.text()?;
            let number = left.u32()?;
            let value = left.value(number)?;
            metadata.push((key, Value(number, value)));
        }
        let mut tensors = Vec::new();
        for _ in 0..tensor_count {
            let name = left.text()?;
            let dimensions = left.u32()?;
            let sizes = (0..dimensions).map(|_| left.u64()).collect::<Option<Vec<_>>>()?;
            let (number, offset) = (left.u32()?, left.u64()?);
            tensors.push(Tensor { name, dimensions, sizes, number, offset });
        }
        let alignment = 32;
        let head_bytes = bytes.len() - left.0.len();
        let data = bytes.get(head_bytes.next_multiple_of(alignment)..)?.to_vec();
        Some(File { magic, version, tensor_count: None, key_count: None, metadata, tensors, alignment, data })
    }
}

/// What is left of a file.
struct Left<'a>(&'a [u8]);

impl Left<'_> {
    fn take(&mut self, len: u64) -> Option<Vec<u8>> {
        let (taken, left) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = left;
        Some(taken.to_vec())
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N as u64)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let len = self.u64()?;
        String::from_utf8(self.take(len)?).ok()
    }

    /// The bytes of a value of this type.
    fn value(&mut self, number: u32) -> Option<Vec<u8>> {
        match number {
            0 | 1 | 7 => self.take(1),
            2 | 3 => self.take(2),
            4..=6 => self.take(4),
            8 => self.text().map(|text| text_bytes(&text)),
            9 => {
                let (element, count) = (self.u32()?, self.u64()?);
                let mut bytes = [&element.to_le_bytes()[..], &count.to_le_bytes()].concat();
                for _ in 0..count {
                    bytes.extend(self.value(element).filter(|_| element != 9)?);
                }
                Some(bytes)
            }
            10..=12 => self.take(8),
            _ => None,
        }
    }
}
