//! Results on stdout and in files.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use tercet::calendar::Date;
use tercet_eval::results::{Difference, Test, of_group, samples, sanitized, summary};
use tercet_eval::tasks::{Group, Metric};

use super::tasks::Answered;
use crate::failure::{Exit, Failure};
use crate::table::Table;
use crate::terminal::note;

#[derive(Args)]
pub(super) struct Output {
    /// Write the results into a folder of the model's name in this one, as lm-evaluation-harness does
    #[arg(short, long, value_name = "FOLDER", conflicts_with = "perplexity", help_heading = "Results")]
    pub(super) output_path: Option<PathBuf>,
    /// Write every document with its requests and answers there too
    #[arg(long, requires = "output_path", help_heading = "Results")]
    log_samples: bool,
}

impl Answered {
    /// The results in the harness's schema.
    pub(super) fn summary(&self, groups: &[Group]) -> Value {
        summary(&self.run, &self.results, groups)
    }

    /// A table for people: groups first, as the harness has it.
    pub(super) fn write(&self, groups: &[Group], out: &mut impl Write) -> io::Result<()> {
        let mut table =
            Table::new(&["task", "filter", ">n-shot", "metric", ">value", ">± stderr", ">documents"]);
        for group in groups {
            add_rows(&mut table, &group.name, "", &of_group(group, &self.results));
        }
        for result in &self.results {
            add_rows(&mut table, &result.task.name, &result.num_fewshot.to_string(), &result.metrics);
        }
        table.write(out)
    }

    /// Writes the files that are wanted.
    pub(super) fn save(&self, groups: &[Group], output: &Output) -> Result<(), Failure> {
        let Some(folder) = &output.output_path else { return Ok(()) };
        let folder = folder.join(sanitized(&self.run.model));
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| {
                Failure::message(Exit::Failed, format!("{path}: cannot be written: {error}"))
            }
        };
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let date = date(self.run.date);
        let path = folder.join(format!("results_{date}.json"));
        write_file(&path, |out| writeln!(out, "{:#}", self.summary(groups))).map_err(failed(&path))?;
        note(&format!("results: {}", path.display()));
        for result in self.results.iter().filter(|_| output.log_samples) {
            let path = folder.join(format!("samples_{}_{date}.jsonl", sanitized(&result.task.name)));
            let write =
                |out: &mut dyn Write| samples(result).try_for_each(|sample| writeln!(out, "{sample}"));
            write_file(&path, write).map_err(failed(&path))?;
        }
        Ok(())
    }
}

fn add_rows(table: &mut Table, name: &str, num_fewshot: &str, metrics: &[Metric]) {
    for metric in metrics {
        table.push(vec![
            name.to_owned(),
            metric.filter.clone(),
            num_fewshot.to_owned(),
            format!("{} {}", metric.name, if metric.higher_is_better { "↑" } else { "↓" }),
            format!("{:.4}", metric.value),
            metric.stderr.map_or_else(String::new, |stderr| format!("± {stderr:.4}")),
            metric.examples.to_string(),
        ]);
    }
}

/// A file that is there whole or not at all, and that others may read as any file one makes.
fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Without the bits of the process's umask: temporary files are private otherwise.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = BufWriter::new(builder.tempfile_in(folder)?);
    write(&mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.persist(path)?;
    Ok(())
}

/// A time in UTC as the harness puts it into names of files: `2024-02-29T23-59-59.5`.
fn date(seconds: f64) -> String {
    let (days, of_day) = ((seconds / 86_400.0).floor() as i64, seconds.rem_euclid(86_400.0));
    let Date { year, month, day, .. } = Date::of_day(days);
    let (hour, minute) = ((of_day / 3600.0) as u32, (of_day / 60.0) as u32 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{:09.6}", of_day % 60.0)
}

/// The differences of two models as Markdown.
pub(super) fn write_differences(
    models: [&str; 2],
    differences: &[Difference],
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "A: {}\nB: {}\n", models[0], models[1])?;
    let mut table =
        Table::new(&["task", "metric", ">A", ">B", ">B - A", ">± stderr", ">p", "test", ">documents"]);
    for one in differences {
        let metric = if one.filter == "none" {
            one.metric.clone()
        } else {
            format!("{} ({})", one.metric, one.filter)
        };
        let test = match one.test {
            Some(Test::McNemar { only_first, only_second }) => {
                format!("McNemar, {only_first} right in A alone, {only_second} in B")
            }
            Some(Test::PairedT) => "paired t, log-likelihoods".to_owned(),
            None => String::new(),
        };
        table.push(vec![
            one.name.clone(),
            format!("{metric} {}", if one.higher_is_better { "↑" } else { "↓" }),
            format!("{:.4}", one.first),
            format!("{:.4}", one.second),
            format!("{:+.4}", one.difference()),
            one.stderr.map_or_else(String::new, |stderr| format!("± {stderr:.4}")),
            one.p_value.map_or_else(String::new, p_value),
            test,
            one.examples.to_string(),
        ]);
    }
    table.write_markdown(out)
}

/// The differences of two models as JSON.
pub(super) fn differences_json(models: [&str; 2], differences: &[Difference]) -> Value {
    let rows = differences.iter().map(|one| {
        let (test, counts) = match one.test {
            Some(Test::McNemar { only_first, only_second }) => {
                ("mcnemar_exact".into(), json!({"a": only_first, "b": only_second}))
            }
            Some(Test::PairedT) => ("paired_t".into(), Value::Null),
            None => (Value::Null, Value::Null),
        };
        json!({
            "task": one.name, "metric": one.metric, "filter": one.filter, "documents": one.examples,
            "higher_is_better": one.higher_is_better, "a": one.first, "b": one.second,
            "difference": one.difference(), "stderr": one.stderr, "test": test, "p_value": one.p_value,
            "right_in_one_alone": counts,
        })
    });
    json!({"a": models[0], "b": models[1], "differences": rows.collect::<Vec<_>>()})
}

fn p_value(p: f64) -> String {
    if p < 1e-4 { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_file_is_as_private_as_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode();
        write_file(&folder.path().join("ours"), |out| writeln!(out, "1")).unwrap();
        std::fs::write(folder.path().join("other"), "1").unwrap();
        assert_eq!(mode("ours"), mode("other"));
    }

    #[test]
    fn a_date_is_that_of_the_calendar() {
        for (seconds, want) in [
            (0.0, "1970-01-01T00-00-00.000000"),
            (951_868_799.25, "2000-02-29T23-59-59.250000"),
            (951_868_800.0, "2000-03-01T00-00-00.000000"),
            (4_107_542_400.0, "2100-03-01T00-00-00.000000"),
            (1_764_331_200.5, "2025-11-28T12-00-00.500000"),
        ] {
            assert_eq!(date(seconds), want);
        }
    }
}
