//! Rows of tests in each form.

use std::io::Write;

use super::format::{Format, write_csv, write_json};
use super::row::{Bound, Row, Setting, with_spread};
use crate::failure::Failure;
use crate::figures;
use crate::table::Table;
use crate::terminal::printable;

/// The columns of CSV, by their names in JSON.
const COLUMNS: [&str; 28] = [
    "preset",
    "model",
    "weights",
    "head",
    "kv",
    "threads",
    "isa",
    "test",
    "parallel",
    "tokens_per_s",
    "stddev",
    "samples",
    "bytes_per_token",
    "ops_per_token",
    "float_ops_per_token",
    "bound",
    "ceiling",
    "fraction",
    "noisy",
    "rss_bytes",
    "load_s",
    "gemm_share",
    "attention_share",
    "rest_share",
    "size_bytes",
    "params",
    "cpu",
    "version",
];

/// Writes rows.
pub(super) fn write(out: &mut impl Write, format: Format, rows: &[Row]) -> Result<(), Failure> {
    match format {
        Format::Json => write_json(out, rows)?,
        Format::Csv => write_csv(out, &COLUMNS, rows)?,
        Format::Md => {
            if let Some(Row { setting, .. }) = rows.first() {
                writeln!(out, "{}\n", heading(setting))?;
            }
            table(rows).write_markdown(out)?;
        }
    }
    out.flush()?;
    Ok(())
}

/// What all rows have in common.
fn heading(setting: &Setting) -> String {
    let Setting { model, weights, head, kv, threads, isa, size_bytes, params, load_s, .. } = setting;
    let (size, params) = (figures::bytes(*size_bytes), figures::count(*params));
    let threads = figures::threads(*threads);
    let model = printable(model);
    format!(
        "**{model}**, {params} parameters, {size} in memory · weights {weights}, head {head}, cache {kv} · \
         {threads}, {isa} · loaded in {load_s:.2} s"
    )
}

/// What differs from test to test.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        ">parallel",
        ">test",
        ">t/s",
        ">per token",
        ">of ceiling",
        "ceiling",
        "GEMM/attention/rest",
        ">resident",
    ]);
    for row in rows {
        table.push(vec![
            row.parallel.to_string(),
            row.test.clone(),
            with_spread(row.tokens_per_s, row.stddev, 2),
            per_token(row),
            figures::percent(row.fraction) + if row.noisy { ", noisy" } else { "" },
            ceiling(row),
            shares(row).unwrap_or_default(),
            row.rss_bytes.map(figures::bytes).unwrap_or_default(),
        ]);
    }
    table
}

/// What bounds a token, and how much of it there is.
fn per_token(row: &Row) -> String {
    match row.bound {
        Bound::Bandwidth => figures::bytes(row.bytes_per_token as u64),
        Bound::Int8 | Bound::F32 => figures::operations(row.ops_per_token),
    }
}

fn ceiling(row: &Row) -> String {
    match row.bound {
        Bound::Bandwidth => figures::bytes_per_second(row.ceiling),
        bound => format!("{} {}", figures::operations_per_second(row.ceiling), bound.name()),
    }
}

fn shares(row: &Row) -> Option<String> {
    let shares = [row.gemm_share?, row.attention_share?, row.rest_share?];
    Some(shares.map(figures::percent).join(" / "))
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::check_columns;
    use super::super::row::tests::row;
    use super::*;

    fn written(format: Format) -> String {
        let mut out = Vec::new();
        write(&mut out, format, &[row(&[48.0, 47.0], [50e9; 2]), row(&[1.0], [50e9, 1e9])]).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_has_every_field_of_a_row() {
        check_columns(&COLUMNS, &row(&[1.0], [50e9; 2]));
        let csv = written(Format::Csv);
        assert_eq!(csv.lines().count(), 3);
        assert!(csv.contains(",tg128,1,47.5,") && csv.contains(",48.0;47.0,"), "{csv}");
    }

    #[test]
    fn json_reads_back_as_it_was() {
        let rows: Vec<Row> = serde_json::from_str(&written(Format::Json)).unwrap();
        assert_eq!(rows, [row(&[48.0, 47.0], [50e9; 2]), row(&[1.0], [50e9, 1e9])]);
    }

    #[test]
    fn people_get_a_table() {
        let table = written(Format::Md);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 6, "{table}");
        assert!(lines[0].contains("weights 1.6bit, head bf16, cache f16 · 2 threads, avx2"), "{}", lines[0]);
        for part in ["tg128", "47.50 ± 0.71", "1.00 GB |", "95 % |", "50.0 GB/s", "60 % / 30 % / 10 %"] {
            assert!(lines[4].contains(part), "`{part}` is not in {}", lines[4]);
        }
        assert!(lines[5].contains("2.0 %, noisy"), "{}", lines[5]);
    }
}
