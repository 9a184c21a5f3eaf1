//! Keys and typed values. Lists stay in the file and are read when asked for, so a file of hostile lengths takes
//! no memory.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use super::cursor::Cursor;
use super::error::GgufError;
use crate::json::shown;
use crate::source::FileBytes;

/// The longest list read.
const LIST_MAX: u64 = 16 << 20;
/// The longest key, in bytes, as the format says.
const KEY_MAX_BYTES: usize = 65_535;

/// The type of a value, or of the elements of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the file format's own")]
pub enum ValueType {
    Uint8,
    Int8,
    Uint16,
    Int16,
    Uint32,
    Int32,
    Float32,
    Bool,
    String,
    Array,
    Uint64,
    Int64,
    Float64,
}

impl ValueType {
    /// In the order of their numbers.
    const ALL: [ValueType; 13] = [
        Self::Uint8,
        Self::Int8,
        Self::Uint16,
        Self::Int16,
        Self::Uint32,
        Self::Int32,
        Self::Float32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::Uint64,
        Self::Int64,
        Self::Float64,
    ];

    /// Its number in a file.
    pub(super) fn number(self) -> u32 {
        self as u32
    }

    fn size_bytes(self) -> u64 {
        match self {
            Self::Uint8 | Self::Int8 | Self::Bool => 1,
            Self::Uint16 | Self::Int16 => 2,
            Self::Uint32 | Self::Int32 | Self::Float32 => 4,
            Self::Uint64 | Self::Int64 | Self::Float64 => 8,
            // The length in front of them.
            Self::String | Self::Array => 8,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// A value as it lies in the file.
#[derive(Debug, Clone)]
struct Value {
    value_type: ValueType,
    /// The type of a list's elements, and how many.
    list: Option<(ValueType, u64)>,
    /// Its bytes; those of a string without the length, those of a list without its head.
    range: Range<usize>,
}

/// All keys and values of a file.
#[derive(Debug)]
pub struct Metadata {
    file: String,
    bytes: FileBytes,
    values: BTreeMap<String, Value>,
}

/// A value that is missing, or not what is wanted.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum MetadataError {
    #[error("{file}: key `{key}` is missing")]
    Missing { file: String, key: String },
    #[error("{file}: key `{key}` is of type {found}, expected {expected}")]
    WrongType { file: String, key: String, found: String, expected: &'static str },
    #[error("{file}: key `{key}` is {found}, expected {expected}")]
    OutOfRange { file: String, key: String, found: String, expected: String },
}

impl Metadata {
    /// Reads `count` entries.
    pub(super) fn read(
        cursor: &mut Cursor<'_>,
        file: &str,
        bytes: &FileBytes,
        count: u64,
    ) -> Result<Self, GgufError> {
        let mut values = BTreeMap::new();
        for index in 0..count {
            let key = cursor.string(&format!("key {index}"))?;
            if key.is_empty() {
                return Err(GgufError::EmptyKey { file: file.to_owned(), index });
            }
            if key.len() > KEY_MAX_BYTES {
                return Err(GgufError::StringLength {
                    file: file.to_owned(),
                    what: format!("key {index}"),
                    found_bytes: key.len() as u64,
                    limit_bytes: KEY_MAX_BYTES as u64,
                });
            }
            let value = read_value(cursor, file, bytes.bytes(), key)?;
            if values.insert(key.to_owned(), value).is_some() {
                return Err(GgufError::DuplicateKey { file: file.to_owned(), key: shown(key) });
            }
        }
        Ok(Self { file: file.to_owned(), bytes: bytes.clone(), values })
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Whether there is such a key.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A whole number that is not negative, of any integer type; nothing where the key is missing.
    ///
    /// # Errors
    /// [`MetadataError`] if it is another type, or negative.
    pub fn integer(&self, key: &str) -> Result<Option<u64>, MetadataError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let bytes = self.scalar_bytes(value);
        let signed = |found: i64| {
            let wrong = || self.out_of_range(key, found.to_string(), "a number of at least 0");
            u64::try_from(found).map_err(|_| wrong())
        };
        let number = match value.value_type {
            ValueType::Uint8 | ValueType::Uint16 | ValueType::Uint32 | ValueType::Uint64 => {
                u64::from_le_bytes(bytes)
            }
            ValueType::Int8 => signed(i64::from(bytes[0] as i8))?,
            ValueType::Int16 => signed(i64::from(i16::from_le_bytes([bytes[0], bytes[1]])))?,
            ValueType::Int32 => signed(i64::from(u64::from_le_bytes(bytes) as u32 as i32))?,
            ValueType::Int64 => signed(i64::from_le_bytes(bytes))?,
            _ => return Err(self.wrong_type(key, value, "a whole number")),
        };
        Ok(Some(number))
    }

    /// A number; nothing where the key is missing.
    ///
    /// # Errors
    /// [`MetadataError`] if it is not a float, or not finite.
    pub fn float(&self, key: &str) -> Result<Option<f64>, MetadataError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let bits = u64::from_le_bytes(self.scalar_bytes(value));
        let number = match value.value_type {
            ValueType::Float32 => f64::from(f32::from_bits(bits as u32)),
            ValueType::Float64 => f64::from_bits(bits),
            _ => return Err(self.wrong_type(key, value, "a float")),
        };
        if number.is_finite() {
            return Ok(Some(number));
        }
        Err(self.out_of_range(key, number.to_string(), "a finite number"))
    }

    /// A truth value; nothing where the key is missing.
    ///
    /// # Errors
    /// [`MetadataError`] if it is another type.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, MetadataError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        match value.value_type {
            ValueType::Bool => Ok(Some(self.scalar_bytes(value)[0] == 1)),
            _ => Err(self.wrong_type(key, value, "a truth value")),
        }
    }

    /// A text; nothing where the key is missing.
    ///
    /// # Errors
    /// [`MetadataError`] if it is another type.
    pub fn string(&self, key: &str) -> Result<Option<&str>, MetadataError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        match value.value_type {
            ValueType::String => Ok(Some(self.text(value.range.clone()))),
            _ => Err(self.wrong_type(key, value, "a text")),
        }
    }

    /// The texts of a list, in order; nothing where the key is missing.
    ///
    /// # Errors
    /// [`MetadataError`] if it is no list of texts.
    pub fn strings(
        &self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = &str> + Clone>, MetadataError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let Some((ValueType::String, count)) = value.list else {
            return Err(self.wrong_type(key, value, "a list of texts"));
        };
        let mut at = value.range.start;
        let text = move |_| {
            let length = self.bytes.bytes()[at..].first_chunk().expect("read_value has read the length");
            let start = at + 8;
            at = start + u64::from_le_bytes(*length) as usize;
            self.text(start..at)
        };
        Ok(Some((0..count as usize).map(text)))
    }

    /// The whole numbers of a list of `i32` or `u32`; nothing where the key is missing.
    ///
    /// # Errors
    /// [`MetadataError`] if it is no such list, or has negative numbers.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<u32>>, MetadataError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let Some((element @ (ValueType::Int32 | ValueType::Uint32), _)) = value.list else {
            return Err(self.wrong_type(key, value, "a list of int32 or uint32"));
        };
        let numbers: Vec<u32> = self.words(value).map(u32::from_le_bytes).collect();
        if let (ValueType::Int32, Some(bad)) = (element, numbers.iter().find(|n| n.cast_signed() < 0)) {
            return Err(self.out_of_range(key, bad.cast_signed().to_string(), "numbers of at least 0"));
        }
        Ok(Some(numbers))
    }

    /// The numbers of a list of `f32`; nothing where the key is missing.
    ///
    /// # Errors
    /// [`MetadataError`] if it is no such list.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, MetadataError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let Some((ValueType::Float32, _)) = value.list else {
            return Err(self.wrong_type(key, value, "a list of float32"));
        };
        Ok(Some(self.words(value).map(f32::from_le_bytes).collect()))
    }

    /// The error of a key that must be there.
    pub fn missing(&self, key: &str) -> MetadataError {
        MetadataError::Missing { file: self.file.clone(), key: key.to_owned() }
    }

    /// The error of a value that cannot be.
    pub fn out_of_range(
        &self,
        key: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> MetadataError {
        let (found, expected) = (found.into(), expected.into());
        MetadataError::OutOfRange { file: self.file.clone(), key: key.to_owned(), found, expected }
    }

    fn wrong_type(&self, key: &str, value: &Value, expected: &'static str) -> MetadataError {
        let found = match value.list {
            Some((element, _)) => format!("list of {element}"),
            None => value.value_type.to_string(),
        };
        MetadataError::WrongType { file: self.file.clone(), key: key.to_owned(), found, expected }
    }

    /// The bytes of a scalar, followed by zeros.
    fn scalar_bytes(&self, value: &Value) -> [u8; 8] {
        let mut bytes = [0; 8];
        let own = &self.bytes.bytes()[value.range.clone()];
        let len = own.len().min(bytes.len());
        bytes[..len].copy_from_slice(&own[..len]);
        bytes
    }

    fn words(&self, value: &Value) -> impl Iterator<Item = [u8; 4]> {
        self.bytes.bytes()[value.range.clone()].as_chunks().0.iter().copied()
    }

    fn text(&self, range: Range<usize>) -> &str {
        std::str::from_utf8(&self.bytes.bytes()[range]).expect("read_value has checked the text")
    }
}

/// Reads the type and value of a key, and checks every text in it.
fn read_value(cursor: &mut Cursor<'_>, file: &str, bytes: &[u8], key: &str) -> Result<Value, GgufError> {
    let what = format!("key `{}`", shown(key));
    let value_type = read_type(cursor, file, key, &what)?;
    match value_type {
        ValueType::String => {
            let start = cursor.at() + 8;
            cursor.string(&what)?;
            Ok(Value { value_type, list: None, range: start..cursor.at() })
        }
        ValueType::Array => {
            let element = read_type(cursor, file, key, &what)?;
            if element == ValueType::Array {
                return Err(GgufError::NestedArray { file: file.to_owned(), key: shown(key) });
            }
            let count = cursor.u64(&what)?;
            let count =
                cursor.count(count, LIST_MAX, element.size_bytes(), &format!("elements of {what}"))?;
            let start = cursor.at();
            if element == ValueType::String {
                for _ in 0..count {
                    cursor.string(&what)?;
                }
            } else {
                cursor.take(count * element.size_bytes(), &what)?;
            }
            Ok(Value { value_type, list: Some((element, count)), range: start..cursor.at() })
        }
        _ => {
            let range = cursor.take(value_type.size_bytes(), &what)?;
            match bytes[range.start] {
                found @ 2.. if value_type == ValueType::Bool => {
                    Err(GgufError::Bool { file: file.to_owned(), key: shown(key), found })
                }
                _ => Ok(Value { value_type, list: None, range }),
            }
        }
    }
}

fn read_type(cursor: &mut Cursor<'_>, file: &str, key: &str, what: &str) -> Result<ValueType, GgufError> {
    let found = cursor.u32(&format!("the type of {what}"))?;
    let value_type = usize::try_from(found).ok().and_then(|number| ValueType::ALL.get(number));
    let wrong = || GgufError::ValueType { file: file.to_owned(), key: shown(key), found };
    value_type.copied().ok_or_else(wrong)
}
