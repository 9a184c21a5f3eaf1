//! `--compare OLD NEW`: which rows of two runs differ by more than the noise.
//!
//! Two rows are of the same test where model, weights, head, cache, threads, instruction set, name
//! and number of sequences agree. With medians `a` and `b`, standard deviations `s` and `n`
//! repetitions, they differ where both hold:
//!
//! ```text
//! |b - a| > 2 √(s_a² / n_a + s_b² / n_b)      twice the standard error of the difference
//! |b - a| > 0.02 a                            what a quiet machine shows from run to run
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use serde::Serialize;

use super::format::{Format, write_csv, write_json};
use super::row::Row;
use crate::failure::{Exit, Failure};
use crate::figures;
use crate::table::Table;

/// Standard errors of the difference that noise may reach.
const STANDARD_ERRORS: f64 = 2.0;
/// The share of the old speed that noise may reach, whatever the spread within a run.
const LEAST_CHANGE: f64 = 0.02;
/// A longer file is not one of ours.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Faster,
    Slower,
    /// The difference does not exceed the noise.
    Same,
    /// There is one repetition in a file, so its spread is not known.
    OneSample,
    OnlyOld,
    OnlyNew,
}

impl Verdict {
    fn of(old: &Row, new: &Row) -> Self {
        if old.samples.len() < 2 || new.samples.len() < 2 {
            return Verdict::OneSample;
        }
        let variance = |row: &Row| row.stddev * row.stddev / row.samples.len() as f64;
        let noise = STANDARD_ERRORS * (variance(old) + variance(new)).sqrt();
        let change = new.tokens_per_s - old.tokens_per_s;
        match change.abs() > noise.max(LEAST_CHANGE * old.tokens_per_s) {
            false => Verdict::Same,
            true if change > 0.0 => Verdict::Faster,
            true => Verdict::Slower,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::Same => "within the noise",
            Verdict::OneSample => "one sample: spread not known",
            Verdict::OnlyOld => "only in the old file",
            Verdict::OnlyNew => "only in the new file",
        }
    }
}

/// One test in both files.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Difference {
    model: String,
    weights: String,
    head: String,
    kv: String,
    threads: usize,
    isa: String,
    test: String,
    parallel: usize,
    old_tokens_per_s: Option<f64>,
    new_tokens_per_s: Option<f64>,
    /// New over old.
    ratio: Option<f64>,
    old_fraction: Option<f64>,
    new_fraction: Option<f64>,
    verdict: Verdict,
    /// Whether one of the rows is.
    noisy: bool,
}

const COLUMNS: [&str; 15] = [
    "model",
    "weights",
    "head",
    "kv",
    "threads",
    "isa",
    "test",
    "parallel",
    "old_tokens_per_s",
    "new_tokens_per_s",
    "ratio",
    "old_fraction",
    "new_fraction",
    "verdict",
    "noisy",
];

impl Difference {
    /// Of one row or two of the same test.
    fn new(old: Option<&Row>, new: Option<&Row>) -> Option<Self> {
        let row = new.or(old)?;
        let verdict = match (old, new) {
            (Some(old), Some(new)) => Verdict::of(old, new),
            (Some(_), None) => Verdict::OnlyOld,
            (None, _) => Verdict::OnlyNew,
        };
        let speed = |row: Option<&Row>| row.map(|row| row.tokens_per_s);
        let fraction = |row: Option<&Row>| row.map(|row| row.fraction);
        let is_noisy = |row: Option<&Row>| row.is_some_and(|row| row.noisy);
        let setting = &row.setting;
        Some(Difference {
            model: setting.model.clone(),
            weights: setting.weights.clone(),
            head: setting.head.clone(),
            kv: setting.kv.clone(),
            threads: setting.threads,
            isa: setting.isa.clone(),
            test: row.test.clone(),
            parallel: row.parallel,
            old_tokens_per_s: speed(old),
            new_tokens_per_s: speed(new),
            ratio: speed(new).zip(speed(old)).map(|(new, old)| new / old),
            old_fraction: fraction(old),
            new_fraction: fraction(new),
            verdict,
            noisy: is_noisy(old) || is_noisy(new),
        })
    }
}

/// Compares the rows of two files that `-o json` wrote.
///
/// # Errors
/// Exit code 1, if one cannot be read.
pub(super) fn compare(out: &mut impl Write, format: Format, old: &Path, new: &Path) -> Result<(), Failure> {
    let differences = differences(&read(old)?, &read(new)?);
    match format {
        Format::Json => write_json(out, &differences)?,
        Format::Csv => write_csv(out, &COLUMNS, &differences)?,
        Format::Md => table(&differences).write_markdown(out)?,
    }
    out.flush()?;
    Ok(())
}

fn read(file: &Path) -> Result<Vec<Row>, Failure> {
    let shown = file.display();
    let failed = |detail: String| Failure::message(Exit::Failed, format!("{shown}: {detail}"));
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(failed(format!(
            "found more than {FILE_MAX_BYTES} bytes, expected rows of `tercet bench`"
        )));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        failed(format!("found {error}, expected rows of `tercet bench`"))
            .with_hint("`tercet bench … -o json > FILE` writes such a file")
    })
}

/// The tests of the old file in its order, then those that only the new one has.
fn differences(old: &[Row], new: &[Row]) -> Vec<Difference> {
    let find = |rows: &'_ [Row], row: &Row| rows.iter().position(|other| is_same_test(row, other));
    let both = old.iter().map(|row| Difference::new(Some(row), find(new, row).map(|at| &new[at])));
    let only_new =
        new.iter().filter(|row| find(old, row).is_none()).map(|row| Difference::new(None, Some(row)));
    both.chain(only_new).flatten().collect()
}

fn is_same_test(a: &Row, b: &Row) -> bool {
    let key = |row: &Row| {
        let setting = row.setting.clone();
        let texts = [setting.model, setting.weights, setting.head, setting.kv, setting.isa, row.test.clone()];
        (texts, setting.threads, row.parallel)
    };
    key(a) == key(b)
}

fn table(differences: &[Difference]) -> Table {
    let mut table = Table::new(&[
        "model",
        "weights",
        "head",
        "kv",
        "isa",
        ">threads",
        ">parallel",
        ">test",
        ">old t/s",
        ">new t/s",
        ">change",
        ">old of ceiling",
        ">new of ceiling",
        "verdict",
    ]);
    let speed = |speed: Option<f64>| speed.map(|speed| format!("{speed:.2}")).unwrap_or_default();
    let percent = |fraction: Option<f64>| fraction.map(figures::percent).unwrap_or_default();
    for difference in differences {
        table.push(vec![
            difference.model.clone(),
            difference.weights.clone(),
            difference.head.clone(),
            difference.kv.clone(),
            difference.isa.clone(),
            difference.threads.to_string(),
            difference.parallel.to_string(),
            difference.test.clone(),
            speed(difference.old_tokens_per_s),
            speed(difference.new_tokens_per_s),
            difference.ratio.map(|ratio| format!("{:+.1} %", 100.0 * (ratio - 1.0))).unwrap_or_default(),
            percent(difference.old_fraction),
            percent(difference.new_fraction),
            difference.verdict.text().to_owned() + if difference.noisy { ", noisy" } else { "" },
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::check_columns;
    use super::super::row::tests::row;
    use super::*;

    #[track_caller]
    fn check(old: &[f64], new: &[f64], want: Verdict) {
        let [old, new] = [old, new].map(|samples| row(samples, [50e9; 2]));
        assert_eq!(differences(&[old], &[new])[0].verdict, want);
    }

    #[test]
    fn a_difference_must_exceed_the_noise() {
        check(&[100.0, 101.0, 99.0], &[110.0, 111.0, 109.0], Verdict::Faster);
        check(&[110.0, 111.0, 109.0], &[100.0, 101.0, 99.0], Verdict::Slower);
        check(&[100.0, 120.0, 80.0], &[110.0, 130.0, 90.0], Verdict::Same);
        check(&[100.0, 100.0, 100.0], &[101.0, 101.0, 101.0], Verdict::Same);
        check(&[100.0], &[200.0, 200.0], Verdict::OneSample);
    }

    #[test]
    fn tests_are_matched_and_others_named() {
        let [a, b] = [40.0, 50.0].map(|speed| row(&[speed, speed], [50e9, 1e9]));
        let deep = Row { test: "tg128 @ d3968".to_owned(), ..a.clone() };
        let found = differences(&[a.clone(), deep.clone()], &[Row { parallel: 4, ..a }, b]);
        let verdicts: Vec<_> = found.iter().map(|difference| difference.verdict).collect();
        assert_eq!(verdicts, [Verdict::Faster, Verdict::OnlyOld, Verdict::OnlyNew]);
        assert_eq!((found[0].ratio, found[0].noisy), (Some(1.25), true));
        assert_eq!((found[1].test.as_str(), found[1].new_tokens_per_s), ("tg128 @ d3968", None));
        assert_eq!(found[2].parallel, 4);
        check_columns(&COLUMNS, &found[0]);
    }
}
