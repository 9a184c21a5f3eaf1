//! The three forms in which results are written, for rows of any kind.

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A Markdown table
    Md,
    /// An array of objects, one a row
    Json,
    /// A line a row, under a line of names
    Csv,
}

/// Writes an array with an object a line.
pub(super) fn write_json<T: Serialize>(out: &mut impl Write, rows: &[T]) -> Result<(), Failure> {
    let mut separator = "[\n";
    for row in rows {
        out.write_all(separator.as_bytes())?;
        serde_json::to_writer(&mut *out, row)?;
        separator = ",\n";
    }
    out.write_all(if rows.is_empty() { b"[]\n" } else { b"\n]\n" })?;
    Ok(())
}

/// Writes the fields named in `columns`; numbers of a list are set apart by `;`.
pub(super) fn write_csv<T: Serialize>(
    out: &mut impl Write,
    columns: &[&str],
    rows: &[T],
) -> Result<(), Failure> {
    writeln!(out, "{}", columns.join(","))?;
    for row in rows {
        let row = serde_json::to_value(row)?;
        let cells: Vec<_> = columns.iter().map(|column| cell(&row[column])).collect();
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains([',', '"', '\n']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(";"),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Checks that the columns are all fields of a row, each once.
    #[track_caller]
    pub(crate) fn check_columns<T: Serialize>(columns: &[&str], row: &T) {
        let row = serde_json::to_value(row).unwrap();
        let mut names: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let mut columns = columns.to_vec();
        names.sort_unstable();
        columns.sort_unstable();
        assert_eq!(columns, names);
    }

    #[derive(Serialize)]
    struct Sample {
        name: &'static str,
        values: Vec<f64>,
        nothing: Option<u64>,
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let rows = [Sample { name: "a, \"b\"", values: vec![1.5, 2.0], nothing: None }];
        let mut out = Vec::new();
        write_csv(&mut out, &["name", "values", "nothing"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "name,values,nothing\n\"a, \"\"b\"\"\",1.5;2.0,\n");
    }

    #[test]
    fn json_has_a_row_a_line() {
        let written = |rows: &[u8]| {
            let mut out = Vec::new();
            write_json(&mut out, rows).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(&[1, 2]), "[\n1,\n2\n]\n");
        assert_eq!(written(&[]), "[]\n");
    }
}
