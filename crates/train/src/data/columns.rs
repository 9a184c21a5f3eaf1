//! One column of a parquet file, row by row.
//!
//! It knows columns and values, and no meaning of either.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Value};
use tercet::json::shown;

use super::error::DataError;
use super::read::Wanted;

/// How deep values may nest; messages are three deep.
const DEPTH_MAX: usize = 32;

/// The values of one column.
pub(super) struct ParquetRows {
    rows: RowIter<'static>,
    next_row: u64,
    rows_total: u64,
}

impl ParquetRows {
    pub(super) fn open(path: &Path, wanted: &Wanted) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| DataError::Io {
            path: path.to_path_buf(),
            action: "opened",
            source,
        })?;
        let reader = guarded(path, || SerializedFileReader::new(file))?;
        let metadata = reader.metadata().file_metadata();
        let schema = metadata.schema_descr().root_schema();
        let column = &wanted.field;
        let Some(field) = schema.get_fields().iter().find(|field| field.name() == column) else {
            let found = schema.get_fields().iter().map(|field| shown(field.name())).collect();
            return Err(DataError::NoColumn { path: path.to_path_buf(), column: shown(column), found });
        };
        let is_wanted = if wanted.is_chat { !field.is_primitive() } else { is_string(field) };
        if !is_wanted {
            return Err(DataError::ColumnKind {
                path: path.to_path_buf(),
                column: shown(column),
                found: kind(field),
                expected: wanted.expected(),
            });
        }
        let rows_total = u64::try_from(metadata.num_rows()).unwrap_or(0);
        let projection = Type::group_type_builder(schema.name()).with_fields(vec![Arc::clone(field)]).build();
        let rows = guarded(path, || RowIter::from_file_into(Box::new(reader)).project(Some(projection?)))?;
        Ok(Self { rows, next_row: 1, rows_total })
    }

    /// The next row's number and value.
    pub(super) fn next(&mut self, path: &Path) -> Result<Option<(u64, Value)>, DataError> {
        let row = guarded(path, || self.rows.next().transpose())?;
        let Some(row) = row else { return Ok(None) };
        let number = self.next_row;
        self.next_row += 1;
        let field = row.into_columns().into_iter().next().map(|(_, field)| field);
        let value = field.and_then(|field| json(&field, DEPTH_MAX));
        let detail = || format!("row {number} holds a value of an unknown kind");
        let value = value.ok_or_else(|| DataError::Parquet { path: path.to_path_buf(), detail: detail() })?;
        Ok(Some((number, value)))
    }

    /// The share of `bytes` that the rows read so far have of all rows.
    pub(super) fn share(&self, bytes: u64) -> u64 {
        let share = (self.next_row - 1) as f64 / self.rows_total.max(1) as f64;
        (bytes as f64 * share.min(1.0)) as u64
    }
}

/// Runs code of the `parquet` library, which panics on some damaged files.
///
/// What panicked is not used again.
fn guarded<T>(path: &Path, run: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, DataError> {
    let damaged = |detail| DataError::Parquet { path: path.to_path_buf(), detail };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| damaged(error.to_string())),
        Err(_) => Err(damaged("the library for parquet panicked".to_owned())),
    }
}

fn is_string(field: &Type) -> bool {
    let info = field.get_basic_info();
    let is_utf8 = info.converted_type() == ConvertedType::UTF8
        || matches!(info.logical_type_ref(), Some(LogicalType::String));
    field.is_primitive() && field.get_physical_type() == PhysicalType::BYTE_ARRAY && is_utf8
}

fn kind(field: &Type) -> String {
    if !field.is_primitive() {
        return "a nested value".to_owned();
    }
    match field.get_basic_info().converted_type() {
        ConvertedType::NONE => format!("{}", field.get_physical_type()),
        converted => format!("{converted}"),
    }
}

/// A value as JSON, where it has a kind that messages are made of.
fn json(field: &Field, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    Some(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float(value) => (*value).into(),
        Field::Double(value) => (*value).into(),
        Field::Str(text) => text.as_str().into(),
        Field::Group(row) => Value::Object(object(row, depth)?),
        Field::ListInternal(list) => {
            let values: Option<Vec<Value>> = list.elements().iter().map(|field| json(field, depth)).collect();
            Value::Array(values?)
        }
        _ => return None,
    })
}

fn object(row: &Row, depth: usize) -> Option<Map<String, Value>> {
    row.get_column_iter().map(|(name, field)| Some((name.clone(), json(field, depth)?))).collect()
}
