//! TensorBoard reads the event files of a run, also of one that was interrupted.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;
use tercet_train::log::{LOG_FILE, Row, TENSORBOARD_FOLDER, read_rows};

use super::tiny_run;
use crate::process;
use crate::report::Report;

/// Values by tag and step.
type Scalars = BTreeMap<String, BTreeMap<u64, f32>>;

pub(super) fn run(python: &str, report: &mut Report) -> Result<()> {
    for (name, stops) in [("a run", &[][..]), ("an interrupted run", &[7])] {
        let folder = tempfile::tempdir()?;
        for stop in stops {
            tiny_run::run(folder.path(), &[], Some(*stop))?;
        }
        let output = tiny_run::run(folder.path(), &[], None)?;
        let events = output.join(TENSORBOARD_FOLDER).display().to_string();
        let read =
            super::json_of(&mut process::command(python, &["tools/interop/tensorboard_read.py", &events]))?;
        let (found, want) = (scalars_of(&read)?, recorded(&read_rows(&output.join(LOG_FILE))?));
        for (tag, want) in &want {
            let is_same = found.get(tag) == Some(want);
            super::check(report, &format!("{name}, {tag}"), is_same, &format!("{} values", want.len()));
        }
    }
    Ok(())
}

fn scalars_of(read: &Value) -> Result<Scalars> {
    let mut scalars = Scalars::new();
    for (tag, values) in read.as_object().context("tensorboard_read.py printed no object")? {
        let values = values.as_array().context("a tag has no list of values")?;
        let value = |pair: &Value| Some((pair[0].as_u64()?, pair[1].as_f64()? as f32));
        scalars.insert(tag.clone(), values.iter().filter_map(value).collect());
    }
    Ok(scalars)
}

/// What the record of the run says, under TensorBoard's tags.
fn recorded(rows: &[Row]) -> Scalars {
    let mut scalars = Scalars::new();
    let mut add = |tag: &str, step: u64, value: f32| {
        scalars.entry(tag.to_owned()).or_default().insert(step, value);
    };
    for row in rows {
        match row {
            Row::Step(row) => {
                add("loss/train", row.step, row.loss);
                add("learning_rate", row.step, row.learning_rate);
                add("gradient_norm", row.step, row.gradient_norm);
                if let Some(shares) = row.ternary {
                    add("flips", row.step, shares.flips);
                    add("weights/zero", row.step, shares.zero);
                }
            }
            Row::Validation(row) => {
                add("loss/validation", row.step, row.loss as f32);
                add("perplexity", row.step, row.perplexity as f32);
            }
            Row::Sample(_) | Row::Event(_) => {}
        }
    }
    scalars
}
