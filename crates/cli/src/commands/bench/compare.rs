//! `--compare OLD NEW`: which rows of two runs differ by more than the noise.
//!
//! Two rows are of the same test where model, weights, head, cache, threads, instruction set, name
//! and number of sequences agree; rows of training have no head, cache or sequences. With medians `a`
//! and `b`, standard deviations `s` and `n` repetitions, they differ where both hold:
//!
//! ```text
//! |b - a| > 2 √(s_a² / n_a + s_b² / n_b)      twice the standard error of the difference
//! |b - a| > 0.02 a                            what a quiet machine shows from run to run
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::format::{Format, write_csv, write_json};
use super::row::Row;
use super::train::TrainSpeed;
use crate::failure::{Exit, Failure};
use crate::figures;
use crate::table::Table;

/// Standard errors of the difference that noise may reach.
const STANDARD_ERRORS: f64 = 2.0;
/// The share of the old speed that noise may reach, whatever the spread within a run.
const LEAST_CHANGE: f64 = 0.02;
/// A longer file is not one of ours.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// What tells one test from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Key {
    model: String,
    weights: String,
    head: Option<String>,
    kv: Option<String>,
    threads: usize,
    isa: String,
    test: String,
    parallel: Option<usize>,
}

/// A row of either kind, as far as it is compared.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    key: Key,
    tokens_per_s: f64,
    /// None of one sample, in files of now.
    stddev: Option<f64>,
    samples: usize,
    fraction: f64,
    is_noisy: bool,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        let setting = row.setting;
        Entry {
            key: Key {
                model: setting.model,
                weights: setting.weights,
                head: Some(setting.head),
                kv: Some(setting.kv),
                threads: setting.threads,
                isa: setting.isa,
                test: row.test,
                parallel: Some(row.parallel),
            },
            tokens_per_s: row.tokens_per_s,
            stddev: row.stddev,
            samples: row.samples.len(),
            fraction: row.fraction,
            is_noisy: row.noisy,
        }
    }
}

impl From<TrainSpeed> for Entry {
    fn from(speed: TrainSpeed) -> Self {
        Entry {
            key: Key {
                model: format!("preset {}", speed.preset),
                weights: speed.linears,
                head: None,
                kv: None,
                threads: speed.threads,
                isa: speed.isa,
                test: speed.test,
                parallel: None,
            },
            tokens_per_s: speed.tokens_per_s,
            stddev: speed.stddev,
            samples: speed.samples.len(),
            fraction: speed.fraction,
            is_noisy: false,
        }
    }
}

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
    fn of(old: &Entry, new: &Entry) -> Self {
        let variance = |entry: &Entry| {
            let stddev = entry.stddev.filter(|_| entry.samples > 1)?;
            Some(stddev * stddev / entry.samples as f64)
        };
        let (Some(old_variance), Some(new_variance)) = (variance(old), variance(new)) else {
            return Verdict::OneSample;
        };
        let noise = STANDARD_ERRORS * (old_variance + new_variance).sqrt();
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
    #[serde(flatten)]
    key: Key,
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
    /// Of one entry or two of the same test.
    fn new(old: Option<&Entry>, new: Option<&Entry>) -> Option<Self> {
        let key = new.or(old)?.key.clone();
        let verdict = match (old, new) {
            (Some(old), Some(new)) => Verdict::of(old, new),
            (Some(_), None) => Verdict::OnlyOld,
            (None, _) => Verdict::OnlyNew,
        };
        let speed = |entry: Option<&Entry>| entry.map(|entry| entry.tokens_per_s);
        let fraction = |entry: Option<&Entry>| entry.map(|entry| entry.fraction);
        let is_noisy = |entry: Option<&Entry>| entry.is_some_and(|entry| entry.is_noisy);
        Some(Difference {
            key,
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

fn read(file: &Path) -> Result<Vec<Entry>, Failure> {
    let shown = file.display();
    let failed = |detail: String| Failure::message(Exit::Model, format!("{shown}: {detail}"));
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(failed(format!(
            "found more than {FILE_MAX_BYTES} bytes, expected rows of `tercet bench`"
        )));
    }
    entries(&bytes).map_err(|error| {
        failed(format!("found {error}, expected rows of `tercet bench`"))
            .with_hint("`tercet bench … -o json > FILE` writes such a file")
    })
}

/// Rows of tests, and those of training, which alone have `linears`.
fn entries(json: &[u8]) -> Result<Vec<Entry>, serde_json::Error> {
    let entry = |row: Value| match row.get("linears") {
        Some(_) => serde_json::from_value::<TrainSpeed>(row).map(Entry::from),
        None => serde_json::from_value::<Row>(row).map(Entry::from),
    };
    serde_json::from_slice::<Vec<Value>>(json)?.into_iter().map(entry).collect()
}

/// The tests of the old file in its order, then those that only the new one has.
fn differences(old: &[Entry], new: &[Entry]) -> Vec<Difference> {
    let find = |entries: &[Entry], key: &Key| entries.iter().position(|entry| entry.key == *key);
    let both = old.iter().map(|old| Difference::new(Some(old), find(new, &old.key).map(|at| &new[at])));
    let only_new =
        new.iter().filter(|new| find(old, &new.key).is_none()).map(|new| Difference::new(None, Some(new)));
    both.chain(only_new).flatten().collect()
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
        let key = &difference.key;
        table.push(vec![
            key.model.clone(),
            key.weights.clone(),
            key.head.clone().unwrap_or_default(),
            key.kv.clone().unwrap_or_default(),
            key.isa.clone(),
            key.threads.to_string(),
            key.parallel.map(|parallel| parallel.to_string()).unwrap_or_default(),
            key.test.clone(),
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
    use super::super::train::tests::speed;
    use super::*;

    #[track_caller]
    fn check(old: &[f64], new: &[f64], want: Verdict) {
        let of_tests = [old, new].map(|samples| Entry::from(row(samples, [50e9; 2])));
        let of_training = [old, new].map(|samples| Entry::from(speed(samples)));
        for [old, new] in [of_tests, of_training] {
            assert_eq!(differences(&[old], &[new])[0].verdict, want);
        }
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
        let [old, new] = [[a.clone(), deep], [Row { parallel: 4, ..a }, b]].map(|rows| rows.map(Entry::from));
        let found = differences(&old, &new);
        let verdicts: Vec<_> = found.iter().map(|difference| difference.verdict).collect();
        assert_eq!(verdicts, [Verdict::Faster, Verdict::OnlyOld, Verdict::OnlyNew]);
        assert_eq!((found[0].ratio, found[0].noisy), (Some(1.25), true));
        assert_eq!((found[1].key.test.as_str(), found[1].new_tokens_per_s), ("tg128 @ d3968", None));
        assert_eq!(found[2].key.parallel, Some(4));
        check_columns(&COLUMNS, &found[0]);
    }

    #[test]
    fn training_is_matched_by_size_linears_and_threads() {
        let [a, b] = [40.0, 50.0].map(|samples| speed(&[samples, samples]));
        let others = [
            TrainSpeed { test: "train m".to_owned(), preset: "m".to_owned(), ..b.clone() },
            TrainSpeed { linears: "dense".to_owned(), ..b.clone() },
            TrainSpeed { threads: 1, ..b.clone() },
        ];
        let new: Vec<_> = others.into_iter().chain([b]).map(Entry::from).collect();
        let found = differences(&[a.into()], &new);
        let verdicts: Vec<_> = found.iter().map(|difference| difference.verdict).collect();
        assert_eq!(verdicts, [Verdict::Faster, Verdict::OnlyNew, Verdict::OnlyNew, Verdict::OnlyNew]);
        assert_eq!(found[0].ratio, Some(1.25));
        check_columns(&COLUMNS, &found[0]);
        let mut written = Vec::new();
        table(&found).write_markdown(&mut written).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert!(written.contains("| preset s | ternary |") && written.contains("+25.0 %"), "{written}");
    }

    #[test]
    fn a_file_from_before_that_gives_one_sample_a_spread_of_0_is_read() {
        let mut one = serde_json::to_value(row(&[100.0], [50e9; 2])).unwrap();
        one["stddev"] = 0.0.into();
        let old = entries(serde_json::json!([one]).to_string().as_bytes()).unwrap();
        let new = Entry::from(row(&[200.0, 200.0], [50e9; 2]));
        assert_eq!(differences(&old, &[new])[0].verdict, Verdict::OneSample);
    }

    #[test]
    fn a_file_may_have_rows_of_both_kinds() {
        let of_test = serde_json::to_string(&row(&[1.0], [50e9; 2])).unwrap();
        let of_training = serde_json::to_string(&speed(&[2.0])).unwrap();
        let found = entries(format!("[{of_test},{of_training}]").as_bytes()).unwrap();
        assert_eq!(found, [Entry::from(row(&[1.0], [50e9; 2])), Entry::from(speed(&[2.0]))]);
        let bad = of_training.replace("tokens_per_s", "speed");
        let error = entries(format!("[{bad}]").as_bytes()).unwrap_err().to_string();
        assert!(error.contains("missing field `tokens_per_s`"), "{error}");
    }
}
