//! The head of a file: every length is checked before it is used.

use std::collections::BTreeSet;

use super::GgufTensor;
use super::cursor::Cursor;
use super::error::GgufError;
use super::metadata::Metadata;
use super::tensor_type::TensorType;
use crate::json::shown;
use crate::source::FileBytes;

pub(super) const MAGIC: [u8; 4] = *b"GGUF";
/// Versions with counts of 64 bits.
const VERSIONS: [u32; 2] = [2, 3];

const TENSORS_MAX: u64 = 65_536;
const KEYS_MAX: u64 = 65_536;
/// Bytes that a key with its value takes at least: the length of the key, a type, a byte.
const KEY_LEAST_BYTES: u64 = 8 + 4 + 1;
/// Bytes that a tensor's entry takes at least: length of the name, dimensions, one of them, type, offset.
const TENSOR_LEAST_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

pub(super) const DIMENSIONS_MAX: u32 = 4;
/// As llama.cpp, whose names end with a zero.
pub(super) const NAME_MAX_BYTES: usize = 63;

/// How many files a model is in.
const SPLIT_KEY: &str = "split.count";

const ALIGNMENT_KEY: &str = "general.alignment";
/// Where tensors begin, unless a file says otherwise.
pub(super) const ALIGNMENT: u64 = 32;
const ALIGNMENT_MAX: u64 = 4096;

/// A tensor before its place is known to lie in the file.
struct Entry {
    name: String,
    tensor_type: TensorType,
    shape: Vec<usize>,
    /// Within the data.
    start: u64,
    end: u64,
}

/// Reads the head of a whole file.
pub(super) fn read(file: &str, bytes: &FileBytes) -> Result<(Metadata, Vec<GgufTensor>), GgufError> {
    if bytes.bytes().is_empty() {
        return Err(GgufError::Empty { file: file.to_owned() });
    }
    let mut cursor = Cursor::new(file, bytes.bytes(), 0);
    let magic: [u8; 4] = cursor.array("the first bytes")?;
    if magic != MAGIC {
        return Err(GgufError::Magic { file: file.to_owned(), found: magic });
    }
    let version = cursor.u32("the version")?;
    if !VERSIONS.contains(&version) {
        let is_swapped = VERSIONS.contains(&version.swap_bytes());
        let file = file.to_owned();
        return Err(if is_swapped {
            GgufError::BigEndian { file }
        } else {
            GgufError::Version { file, found: version }
        });
    }
    let tensors = cursor.u64("the number of tensors")?;
    let keys = cursor.u64("the number of keys")?;
    let tensors = cursor.count(tensors, TENSORS_MAX, TENSOR_LEAST_BYTES, "tensors")?;
    let keys = cursor.count(keys, KEYS_MAX, KEY_LEAST_BYTES, "keys")?;
    let metadata = Metadata::read(&mut cursor, file, bytes, keys)?;
    // The first of several files can be without tensors, so this goes first.
    if let Some(found) = metadata.integer(SPLIT_KEY)?.filter(|count| *count > 1) {
        return Err(GgufError::Split { file: file.to_owned(), found });
    }
    if tensors == 0 {
        return Err(GgufError::NoTensors { file: file.to_owned() });
    }
    let alignment = alignment(file, &metadata)?;
    let mut names = BTreeSet::new();
    let mut entries = Vec::new();
    for index in 0..tensors {
        let entry = read_entry(&mut cursor, file, index, alignment)?;
        if !names.insert(entry.name.clone()) {
            return Err(GgufError::DuplicateTensor { file: file.to_owned(), name: shown(&entry.name) });
        }
        entries.push(entry);
    }
    let data_start = (cursor.at() as u64).next_multiple_of(alignment);
    let data_bytes = (bytes.bytes().len() as u64).saturating_sub(data_start);
    check_places(file, &entries, data_bytes)?;
    let placed = |entry: Entry| GgufTensor {
        name: entry.name,
        tensor_type: entry.tensor_type,
        shape: entry.shape,
        range: (data_start + entry.start) as usize..(data_start + entry.end) as usize,
    };
    Ok((metadata, entries.into_iter().map(placed).collect()))
}

fn alignment(file: &str, metadata: &Metadata) -> Result<u64, GgufError> {
    let found = metadata.integer(ALIGNMENT_KEY)?.unwrap_or(ALIGNMENT);
    if found.is_power_of_two() && found <= ALIGNMENT_MAX {
        return Ok(found);
    }
    Err(GgufError::Alignment { file: file.to_owned(), found, limit: ALIGNMENT_MAX })
}

fn read_entry(cursor: &mut Cursor<'_>, file: &str, index: u64, alignment: u64) -> Result<Entry, GgufError> {
    let owned = || file.to_owned();
    let name = cursor.string(&format!("the name of tensor {index}"))?;
    if !(1..=NAME_MAX_BYTES).contains(&name.len()) {
        return Err(GgufError::NameLength {
            file: owned(),
            index,
            found_bytes: name.len(),
            limit_bytes: NAME_MAX_BYTES,
        });
    }
    let what = format!("tensor `{}`", shown(name));
    let dimensions = cursor.u32(&what)?;
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
        return Err(GgufError::Dimensions {
            file: owned(),
            name: shown(name),
            found: dimensions,
            limit: DIMENSIONS_MAX,
        });
    }
    let mut sizes = Vec::new();
    for _ in 0..dimensions {
        let found = cursor.u64(&what)?;
        if found == 0 || i64::try_from(found).is_err() {
            return Err(GgufError::Dimension { file: owned(), name: shown(name), found });
        }
        sizes.push(found);
    }
    let number = cursor.u32(&what)?;
    let start = cursor.u64(&what)?;
    let tensor_type = TensorType::of(number).map_err(|refused| GgufError::TensorType {
        file: owned(),
        name: shown(name),
        number,
        refused,
    })?;
    let elements = sizes.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
    let end = elements.and_then(|elements| tensor_type.size_bytes(elements)?.checked_add(start));
    let (Some(elements), Some(end)) = (elements, end.filter(|end| i64::try_from(*end).is_ok())) else {
        return Err(GgufError::SizeOverflow { file: owned(), name: shown(name), sizes });
    };
    let (found, scope) =
        if tensor_type.is_blocked_by_row() { (sizes[0], "a row") } else { (elements, "in all") };
    let block = tensor_type.block()[0];
    if !found.is_multiple_of(block as u64) {
        let (name, tensor_type) = (shown(name), tensor_type.to_string());
        return Err(GgufError::Blocks { file: owned(), name, tensor_type, found, scope, block });
    }
    if !start.is_multiple_of(alignment) {
        return Err(GgufError::Misaligned { file: owned(), name: shown(name), found: start, alignment });
    }
    let shape = sizes.iter().rev().map(|size| usize::try_from(*size)).collect::<Result<Vec<_>, _>>();
    let Ok(shape) = shape else {
        return Err(GgufError::SizeOverflow { file: owned(), name: shown(name), sizes });
    };
    Ok(Entry { name: name.to_owned(), tensor_type, shape, start, end })
}

/// Every tensor lies in the data, and none in another.
fn check_places(file: &str, entries: &[Entry], data_bytes: u64) -> Result<(), GgufError> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by_key(|entry| (entry.start, entry.end));
    if let Some(entry) = sorted.iter().find(|entry| entry.end > data_bytes) {
        return Err(GgufError::DataShort {
            file: file.to_owned(),
            name: shown(&entry.name),
            end: entry.end,
            data_bytes,
        });
    }
    match sorted.array_windows().find(|[first, second]| first.end > second.start) {
        Some([first, second]) => Err(GgufError::Overlap {
            file: file.to_owned(),
            first: shown(&first.name),
            second: shown(&second.name),
        }),
        None => Ok(()),
    }
}
