//! The header of one safetensors file, checked.
//!
//! The `safetensors` crate does the checking; this file adds what it leaves out (foreign formats,
//! a first byte that is not `{`, repeated names, files without tensors) and says precisely what
//! was wrong. It knows no model.
//!
//! ```text
//! u64 header length, little endian | header: one JSON object | data, without gaps
//! ```

use std::fmt;
use std::ops::Range;

use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, SafeTensorError, TensorInfo};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::dtype::Dtype;
use super::error::CheckpointError;
use crate::json::{duplicate_key, shown};

/// The longest header read, in bytes: the limit of the format's own reader.
const HEADER_MAX_BYTES: u64 = 100_000_000;

/// Bytes of the length in front of the header.
const LENGTH_BYTES: usize = 8;

/// The longest tensor name, in bytes.
const NAME_MAX_BYTES: usize = 512;

/// The key that holds free text instead of a tensor.
const METADATA_KEY: &str = "__metadata__";

/// One tensor as the header describes it.
#[derive(Debug)]
pub(super) struct HeaderTensor {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Where its bytes are in the file.
    pub(super) range: Range<usize>,
}

/// Reads and checks the header of a whole safetensors file.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Vec<HeaderTensor>, CheckpointError> {
    let header = header_bytes(file, bytes)?;
    let data_start = LENGTH_BYTES + header.len();
    let found_bytes = bytes.len() - data_start;
    let metadata = match SafeTensors::read_metadata(bytes) {
        Ok((_, metadata)) => metadata,
        Err(error) => return Err(explain(file, header, found_bytes, &error)),
    };
    let entries = parse(file, header)?;
    if entries.is_empty() {
        return Err(CheckpointError::Empty { file: file.to_owned() });
    }
    let checked = |name: String| header_tensor(file, name, &metadata, data_start);
    entries.into_iter().map(|entry| checked(entry.name)).collect()
}

/// The header's bytes, after everything that can be checked without parsing it.
fn header_bytes<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a [u8], CheckpointError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(CheckpointError::TooShort { file: file.to_owned(), found_bytes: bytes.len() });
    };
    if let Some(kind) = foreign_kind(bytes) {
        return Err(CheckpointError::Foreign { file: file.to_owned(), kind });
    }
    let header_length = u64::from_le_bytes(*length);
    if header_length > HEADER_MAX_BYTES {
        return Err(CheckpointError::HeaderTooLarge {
            file: file.to_owned(),
            found_bytes: header_length,
            limit_bytes: HEADER_MAX_BYTES,
        });
    }
    let header = usize::try_from(header_length).ok().and_then(|length| rest.get(..length));
    let header = header.ok_or_else(|| CheckpointError::HeaderBeyondEnd {
        file: file.to_owned(),
        found_bytes: header_length,
        left_bytes: rest.len(),
    })?;
    match header.first() {
        Some(b'{') => Ok(header),
        Some(&found) => Err(CheckpointError::HeaderStart { file: file.to_owned(), found }),
        None => Err(CheckpointError::Empty { file: file.to_owned() }),
    }
}

/// The format whose first bytes these are, if they are those of a file renamed to safetensors.
///
/// The same bytes can begin a right file (a header of 640 bytes begins like a pickle), but then
/// `{` follows the length.
fn foreign_kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [_, _, _, _, _, _, _, _, b'{', ..] => None,
        [b'P', b'K', 3, 4, ..] => Some("a ZIP archive, as PyTorch writes its pickles"),
        [0x80, 1..=5, ..] => Some("a Python pickle, which can run code"),
        [b'G', b'G', b'U', b'F', ..] => Some("a GGUF file"),
        [0x89, b'H', b'D', b'F', ..] => Some("an HDF5 file"),
        [0x1f, 0x8b, ..] => Some("a gzip archive"),
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', b' ', ..] => {
            Some("a Git LFS pointer in place of the file")
        }
        _ => None,
    }
}

/// Turns an error of the `safetensors` crate into one that names the tensor at fault.
fn explain(file: &str, header: &[u8], found_bytes: usize, error: &SafeTensorError) -> CheckpointError {
    if let SafeTensorError::InvalidHeader(error) = error {
        return CheckpointError::HeaderUtf8 { file: file.to_owned(), valid_bytes: error.valid_up_to() };
    }
    let mut entries = match parse(file, header) {
        Ok(entries) => entries,
        Err(error) => return error,
    };
    entries.sort_by_key(|entry| entry.info.data_offsets);
    if let Some(error) = first_bad_tensor(file, &entries) {
        return error;
    }
    if let SafeTensorError::MetadataIncompleteBuffer = error {
        return CheckpointError::DataLength {
            file: file.to_owned(),
            found_bytes,
            expected_bytes: entries.last().map_or(0, |entry| entry.info.data_offsets.1),
        };
    }
    CheckpointError::Refused { file: file.to_owned(), detail: error.to_string() }
}

/// The error of the first tensor, by offset, whose place or size is wrong.
fn first_bad_tensor(file: &str, entries: &[Entry]) -> Option<CheckpointError> {
    let mut expected = 0;
    for Entry { name, info } in entries {
        let (file, name) = (file.to_owned(), shown(name));
        let (start, end) = info.data_offsets;
        let shape = || info.shape.clone().into_boxed_slice();
        if end < start {
            return Some(CheckpointError::OffsetOrder { file, name, start, end });
        }
        if start != expected {
            return Some(CheckpointError::Offset { file, name, found: start, expected });
        }
        expected = end;
        let elements = info.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        let Some(bits) = elements.and_then(|n| n.checked_mul(info.dtype.bitsize())) else {
            return Some(CheckpointError::SizeOverflow { file, name, shape: shape() });
        };
        let dtype = info.dtype.to_string();
        if bits % 8 != 0 {
            return Some(CheckpointError::PartialByte { file, name, shape: shape(), dtype });
        }
        let (found_bytes, expected_bytes) = (end - start, bits / 8);
        if found_bytes != expected_bytes {
            let shape = shape();
            return Some(CheckpointError::Span { file, name, found_bytes, expected_bytes, dtype, shape });
        }
    }
    None
}

/// The checked description of one tensor.
fn header_tensor(
    file: &str,
    name: String,
    metadata: &Metadata,
    data_start: usize,
) -> Result<HeaderTensor, CheckpointError> {
    let info = metadata.info(&name).expect("names come from the same header");
    if name.len() > NAME_MAX_BYTES || name.contains(char::is_control) {
        return Err(CheckpointError::TensorName {
            file: file.to_owned(),
            found: shown(&name),
            limit_bytes: NAME_MAX_BYTES,
        });
    }
    let Some(dtype) = Dtype::from_safetensors(info.dtype) else {
        return Err(CheckpointError::UnknownDtype {
            file: file.to_owned(),
            name,
            dtype: info.dtype.to_string(),
        });
    };
    let (start, end) = info.data_offsets;
    Ok(HeaderTensor { name, dtype, shape: info.shape.clone(), range: data_start + start..data_start + end })
}

fn parse(file: &str, header: &[u8]) -> Result<Vec<Entry>, CheckpointError> {
    let entries = serde_json::from_slice::<Entries>(header);
    let entries = entries
        .map_err(|error| CheckpointError::HeaderJson { file: file.to_owned(), detail: error.to_string() })?;
    Ok(entries.0)
}

/// A tensor of the header, not yet checked.
struct Entry {
    name: String,
    info: TensorInfo,
}

/// All tensors of the header, sorted by name; a name that occurs twice is an error.
struct Entries(Vec<Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                map.next_value::<IgnoredAny>()?;
            } else {
                let info = map.next_value().map_err(|error| {
                    serde::de::Error::custom(format_args!("tensor `{}`: {error}", shown(&name)))
                })?;
                entries.push(Entry { name, info });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        match entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(duplicate_key(&pair[0].name)),
            None => Ok(Entries(entries)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with this header and that many bytes of data.
    fn file(header: &str, data_bytes: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data_bytes, 0);
        bytes
    }

    #[track_caller]
    fn check_refused(bytes: &[u8], want: &str) {
        let message = read("f", bytes).unwrap_err().to_string();
        assert!(message.starts_with("f: "), "{message}");
        assert!(message.contains(want), "found `{message}`, expected `{want}`");
    }

    #[test]
    fn tensors_come_sorted_with_their_place_in_the_file() {
        let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[],"data_offsets":[8,9]}}"#;
        let tensors = read("f", &file(header, 9)).unwrap();
        let start = 8 + header.len();
        assert_eq!(tensors.len(), 2);
        assert_eq!((tensors[0].name.as_str(), tensors[0].dtype), ("a", Dtype::U8));
        assert_eq!(tensors[0].range, start + 8..start + 9);
        assert_eq!((tensors[1].shape.as_slice(), tensors[1].dtype), (&[2][..], Dtype::F32));
    }

    #[test]
    fn a_header_as_long_as_a_pickles_magic_is_read() {
        let tensor = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
        let header = format!("{tensor:<640}");
        assert_eq!(read("f", &file(&header, 1)).unwrap().len(), 1);
    }

    #[test]
    fn every_kind_of_bad_tensor_is_named() {
        let one = |tensor: &str| file(&format!(r#"{{"t":{tensor}}}"#), 8);
        check_refused(&one(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#), "`t` ends at byte 0");
        check_refused(&one(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#), "`t` begins at byte 4");
        check_refused(
            &one(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#),
            "spans 8 bytes, expected 12",
        );
        check_refused(&one(r#"{"dtype":"F4","shape":[3],"data_offsets":[0,8]}"#), "whole bytes");
        check_refused(
            &one(r#"{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,8]}"#),
            "overflows",
        );
        check_refused(
            &one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#),
            "found 8 bytes of data, expected 4",
        );
        check_refused(
            &one(r#"{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}"#),
            "tensor `t`: unknown variant `Q4`",
        );
        check_refused(
            &one(r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#),
            "tensor `t`: invalid value",
        );
    }

    #[test]
    fn files_of_other_formats_are_named() {
        check_refused(b"PK\x03\x04\0\0\0\0\0\0", "ZIP");
        check_refused(b"\x80\x02}q\0.\0\0\0\0", "pickle");
        check_refused(b"GGUF\x03\0\0\0\0\0", "GGUF");
        check_refused(b"version https://git-lfs", "LFS");
    }
}
