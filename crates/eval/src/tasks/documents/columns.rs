//! Rows of a parquet file as documents.
//!
//! It knows columns and values, and no meaning of either.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::Number;

use super::json::Json;
use super::read::{limit, open, shown_file};
use super::{Place, TaskError};

/// How deep values may nest; those of data sets are three deep.
const DEPTH_MAX: usize = 32;

/// All rows, in order.
pub(super) fn parquet_rows(path: &Path) -> Result<Vec<(Place, Json)>, TaskError> {
    let file = open(path)?;
    let reader = guarded(path, || SerializedFileReader::new(file))?;
    let rows_total = usize::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0);
    limit(path, 0, rows_total)?;
    let shown = shown_file(path);
    let mut rows = guarded(path, || Ok(RowIter::from_file_into(Box::new(reader))))?;
    let mut documents = Vec::new();
    let mut bytes = 0;
    while let Some(row) = guarded(path, || rows.next().transpose())? {
        let number = documents.len() as u64 + 1;
        let json = object(&row, DEPTH_MAX).ok_or_else(|| TaskError::Parquet {
            path: path.to_path_buf(),
            detail: format!("row {number} holds a value of an unknown kind"),
        })?;
        bytes += text_bytes(&json);
        documents.push((Place::new(&shown, "row", number), json));
        limit(path, bytes, documents.len())?;
    }
    Ok(documents)
}

/// Runs code of the `parquet` library, which panics on some damaged files.
///
/// What panicked is not used again.
fn guarded<T>(path: &Path, run: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, TaskError> {
    let damaged = |detail| TaskError::Parquet { path: path.to_path_buf(), detail };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| damaged(super::shown(&error.to_string()))),
        Err(_) => Err(damaged("the library for parquet panicked".to_owned())),
    }
}

fn object(row: &Row, depth: usize) -> Option<Json> {
    let fields = row.get_column_iter().map(|(name, field)| Some((name.clone(), json(field, depth)?)));
    fields.collect::<Option<_>>().map(Json::Object)
}

/// A value as JSON, where it has a kind that JSON has.
fn json(field: &Field, depth: usize) -> Option<Json> {
    let depth = depth.checked_sub(1)?;
    let float = |value: f64| Number::from_f64(value).map_or(Json::Null, Json::Number);
    Some(match field {
        Field::Null => Json::Null,
        Field::Bool(value) => Json::Bool(*value),
        Field::Byte(value) => Json::Number((*value).into()),
        Field::Short(value) => Json::Number((*value).into()),
        Field::Int(value) => Json::Number((*value).into()),
        Field::Long(value) => Json::Number((*value).into()),
        Field::UByte(value) => Json::Number((*value).into()),
        Field::UShort(value) => Json::Number((*value).into()),
        Field::UInt(value) => Json::Number((*value).into()),
        Field::ULong(value) => Json::Number((*value).into()),
        Field::Float(value) => float(f64::from(*value)),
        Field::Double(value) => float(*value),
        Field::Str(text) => Json::String(text.clone()),
        // A date of crawled text is kept as its number of milliseconds.
        Field::TimestampMillis(value) | Field::TimestampMicros(value) => Json::Number((*value).into()),
        Field::Group(row) => object(row, depth)?,
        Field::ListInternal(list) => {
            let values = list.elements().iter().map(|field| json(field, depth));
            Json::Array(values.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn text_bytes(json: &Json) -> u64 {
    match json {
        Json::String(text) => text.len() as u64,
        Json::Array(values) => values.iter().map(text_bytes).sum(),
        Json::Object(fields) => fields.iter().map(|(_, value)| text_bytes(value)).sum(),
        _ => 8,
    }
}
