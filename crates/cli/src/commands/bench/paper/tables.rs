//! The tables of what sizes cost: Markdown for people, rows for programs.

use std::io::{self, Write};

use tercet::model::PRODUCT_ENERGY_RATIO;

use super::super::format::{Format, write_csv, write_json};
use super::super::row::with_spread;
use super::SEQUENCE;
use super::cost::{Cost, Origin};
use crate::failure::Failure;
use crate::figures;
use crate::table::Table;

/// The columns of CSV, by their names in JSON.
const COLUMNS: [&str; 17] = [
    "size",
    "weights",
    "is_dense",
    "params",
    "weight_bytes",
    "cache_bytes",
    "resident_bytes",
    "token_ms",
    "token_ms_origin",
    "token_ms_stddev",
    "token_ms_limit",
    "batch",
    "batch_tokens_per_s",
    "energy_j",
    "linear_energy_j",
    "measured_j_per_token",
    "cheaper_than",
];

/// Writes all tables, or all rows.
pub(super) fn write(
    out: &mut impl Write,
    format: Format,
    costs: &[Cost],
    memory_bytes: u64,
) -> Result<(), Failure> {
    match format {
        Format::Json => write_json(out, costs)?,
        Format::Csv => write_csv(out, &COLUMNS, costs)?,
        Format::Md => write_markdown(out, costs, memory_bytes)?,
    }
    out.flush()?;
    Ok(())
}

fn write_markdown(out: &mut impl Write, costs: &[Cost], memory_bytes: u64) -> io::Result<()> {
    writeln!(out, "## Memory\n\nCache: keys and values of one sequence of {SEQUENCE} tokens.\n")?;
    memory(costs).write_markdown(out)?;
    writeln!(
        out,
        "\n## Time per output token\n\nComputed: at the ceilings of this machine, without room for it.\n"
    )?;
    time(costs).write_markdown(out)?;
    let room = figures::bytes(memory_bytes);
    writeln!(
        out,
        "\n## Largest batch in {room}\n\nSequences of {SEQUENCE} tokens; tokens a second computed.\n"
    )?;
    batch(costs).write_markdown(out)?;
    writeln!(
        out,
        "\n## Energy of {SEQUENCE} tokens\n\nArithmetic alone, in 7 nm: an addition of int8 takes 0.007 pJ, an \
         addition and a multiplication of FP16 0.16 + 0.34 pJ, {PRODUCT_ENERGY_RATIO:.1} times as much \
         (arXiv:2402.17764, arXiv:2310.11453). An estimate; measured is what the processor's counter says of a \
         decoded token.\n"
    )?;
    energy(costs).write_markdown(out)?;
    writeln!(out, "\n## Which costs less\n\nIn memory, in time at the ceilings, and in energy.\n")?;
    for cost in costs.iter().filter(|cost| !cost.is_dense) {
        match cost.cheaper_than {
            Some(dense) => writeln!(out, "- ternary {} costs less than dense {dense}", cost.size)?,
            None => writeln!(out, "- ternary {} costs more than each dense size here", cost.size)?,
        }
    }
    Ok(())
}

/// Each size, ternary and dense.
pub(super) fn pairs(costs: &[Cost]) -> impl Iterator<Item = (&Cost, &Cost)> + Clone {
    costs.as_chunks::<2>().0.iter().map(|[ternary, dense]| (ternary, dense))
}

fn memory(costs: &[Cost]) -> Table {
    let mut table = Table::new(&[
        "size",
        ">ternary",
        ">dense",
        ">times",
        ">cache",
        ">ternary resident",
        ">dense resident",
    ]);
    let resident = |cost: &Cost| cost.resident_bytes.map_or_else(|| "not loaded".to_owned(), figures::bytes);
    for (ternary, dense) in pairs(costs) {
        table.push(vec![
            ternary.size.to_owned(),
            figures::bytes(ternary.weight_bytes),
            figures::bytes(dense.weight_bytes),
            times(dense.weight_bytes as f64, ternary.weight_bytes as f64),
            figures::bytes(ternary.cache_bytes),
            resident(ternary),
            resident(dense),
        ]);
    }
    table
}

fn time(costs: &[Cost]) -> Table {
    let mut table = Table::new(&[
        "size",
        ">ternary",
        ">dense",
        ">times",
        ">ternary at the ceilings",
        ">dense at the ceilings",
    ]);
    let token = |cost: &Cost| match cost.token_ms_origin {
        Origin::Measured => with_spread(cost.token_ms, cost.token_ms_stddev, 2) + " ms",
        Origin::Computed => format!("{:.2} ms, computed", cost.token_ms),
    };
    for (ternary, dense) in pairs(costs) {
        table.push(vec![
            ternary.size.to_owned(),
            token(ternary),
            token(dense),
            times(dense.token_ms, ternary.token_ms),
            format!("{:.2} ms", ternary.token_ms_limit),
            format!("{:.2} ms", dense.token_ms_limit),
        ]);
    }
    table
}

fn batch(costs: &[Cost]) -> Table {
    let mut table = Table::new(&[
        "size",
        ">ternary batch",
        ">dense batch",
        ">times",
        ">ternary tokens/s",
        ">dense tokens/s",
        ">times",
    ]);
    for (ternary, dense) in pairs(costs) {
        let rate = |cost: &Cost| match cost.batch {
            0 => "does not fit".to_owned(),
            _ => format!("{:.1}", cost.batch_tokens_per_s),
        };
        table.push(vec![
            ternary.size.to_owned(),
            ternary.batch.to_string(),
            dense.batch.to_string(),
            times(ternary.batch as f64, dense.batch as f64),
            rate(ternary),
            rate(dense),
            times(ternary.batch_tokens_per_s, dense.batch_tokens_per_s),
        ]);
    }
    table
}

fn energy(costs: &[Cost]) -> Table {
    let mut table = Table::new(&[
        "size",
        ">ternary",
        ">dense",
        ">times",
        ">linears alone, times",
        ">ternary measured",
        ">dense measured",
    ]);
    let joules = |joules: f64| format!("{:.1} mJ", 1e3 * joules);
    let measured = |cost: &Cost| {
        let none = || "not measurable here".to_owned();
        cost.measured_j_per_token.map_or_else(none, |joules| format!("{joules:.3} J"))
    };
    for (ternary, dense) in pairs(costs) {
        table.push(vec![
            ternary.size.to_owned(),
            joules(ternary.energy_j),
            joules(dense.energy_j),
            times(dense.energy_j, ternary.energy_j),
            times(dense.linear_energy_j, ternary.linear_energy_j),
            measured(ternary),
            measured(dense),
        ]);
    }
    table
}

/// `7.16`; nothing where there is nothing to divide by.
fn times(more: f64, less: f64) -> String {
    if less > 0.0 && more > 0.0 { format!("{:.2}", more / less) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::super::super::format::tests::check_columns;
    use super::super::cost::tests::costs;
    use super::*;

    fn written(format: Format) -> String {
        let mut out = Vec::new();
        write(&mut out, format, &costs(&["3b", "70b"]), 80_000_000_000).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_tables_have_every_size_and_the_papers_ratio() {
        let found = written(Format::Md);
        for part in [
            "## Memory",
            "| 3b ",
            "not loaded",
            "ms, computed",
            "## Largest batch in 80.0 GB",
            "does not fit",
            "71.4 times as much",
            "not measurable here",
            "- ternary 70b costs less than dense 70b",
        ] {
            assert!(found.contains(part), "`{part}` is not in\n{found}");
        }
        assert_eq!(found.matches("\n| 70b").count(), 4, "{found}");
    }

    #[test]
    fn programs_get_a_row_a_size_and_kind_of_weights() {
        check_columns(&COLUMNS, &costs(&["3b"])[0]);
        let csv = written(Format::Csv);
        assert_eq!(csv.lines().count(), 5, "{csv}");
        assert!(csv.contains("\n70b,dense-f16,true,"), "{csv}");
        let json: serde_json::Value = serde_json::from_str(&written(Format::Json)).unwrap();
        assert_eq!(json[0]["token_ms_origin"], "computed");
    }
}
