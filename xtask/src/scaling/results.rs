//! What the runs ended with, in a file: one run a line, so that a line is all that a run changes.
//!
//! ```text
//! {"origin":{"plan":"…","novels":"…","instruction_set":"…","commits":["…"]},
//! "runs":[
//! {"run":{"size":0,"arm":"ternary","rate":1,"seed":1},"bits_per_byte":2.29,"validations":[[250,5.18],…]},
//! …
//! ]}
//! ```

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::origin::Origin;
use super::plan::Outcome;

pub(super) struct Results {
    path: PathBuf,
    /// Nothing before the first leg.
    origin: Option<Origin>,
    outcomes: Vec<Outcome>,
}

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    origin: Origin,
    runs: Vec<Outcome>,
}

impl Results {
    /// Reads the file; without one nothing is known yet.
    ///
    /// # Errors
    /// If it cannot be read, or its runs are of another plan.
    pub(super) fn open(path: &Path, plan: &str) -> Result<Results> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Results { path: path.to_owned(), origin: None, outcomes: Vec::new() });
            }
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let contents = serde_json::from_str(&text).with_context(|| format!("{}", path.display()));
        let Contents { origin, runs } = contents?;
        check_same(path, "plan", &origin.plan, plan)?;
        Ok(Results { path: path.to_owned(), origin: Some(origin), outcomes: runs })
    }

    pub(super) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    pub(super) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Notes where the outcomes of a leg will come from, and writes it down.
    ///
    /// # Errors
    /// If what is known comes from elsewhere, so that the two cannot stand in one table.
    pub(super) fn begin_leg(&mut self, leg: Origin) -> Result<()> {
        if let Some(known) = &self.origin {
            check_same(&self.path, "plan", &known.plan, &leg.plan)?;
            check_same(&self.path, "novels", &known.novels, &leg.novels)?;
            check_same(&self.path, "instruction_set", &known.instruction_set, &leg.instruction_set)?;
        }
        self.origin.get_or_insert_with(|| leg.clone()).commits.extend(leg.commits);
        self.write()
    }

    /// Adds what a run ended with, and writes it down.
    pub(super) fn add(&mut self, outcome: Outcome) -> Result<()> {
        self.outcomes.push(outcome);
        self.write()
    }

    /// Writes the file, whole or not at all.
    fn write(&self) -> Result<()> {
        let origin = self.origin.as_ref().expect("a leg begins before a run of it ends");
        let lines: Result<Vec<String>, _> = self.outcomes.iter().map(serde_json::to_string).collect();
        let origin = serde_json::to_string(origin)?;
        let text = format!("{{\"origin\":{origin},\n\"runs\":[\n{}\n]}}\n", lines?.join(",\n"));
        let folder = self.path.parent().context("the file of results has no folder")?;
        let written = fs::create_dir_all(folder).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(text.as_bytes())?;
            Ok(file.persist(&self.path)?)
        });
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(())
    }
}

/// Refuses a file whose runs come from elsewhere.
fn check_same(path: &Path, field: &str, found: &str, expected: &str) -> Result<()> {
    let hint = match field {
        "plan" => "put the sizes and examples/scaling.toml back",
        "novels" => "give the folder with the same texts",
        _ => "go on on a machine that has it, or name it in TERCET_ISA",
    };
    ensure!(
        found == expected,
        "{}: `origin.{field}` is `{found}`, expected `{expected}`: its runs cannot stand beside those of today\n\
         hint: {hint}, or move the file away to begin anew",
        path.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::plan::{Arm, Run};
    use super::*;

    fn origin(commit: &str) -> Origin {
        Origin {
            plan: "p".to_owned(),
            novels: "n".to_owned(),
            instruction_set: "avx2".to_owned(),
            commits: BTreeSet::from([commit.to_owned()]),
        }
    }

    fn outcome(seed: u64, loss: Option<f64>) -> Outcome {
        let run = Run { size: 1, arm: Arm::Dense, rate: -1, seed };
        Outcome { run, bits_per_byte: loss, validations: vec![(250, Some(4.1)), (300, loss)] }
    }

    #[test]
    fn what_was_added_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/results.json");
        let mut results = Results::open(&path, "p").unwrap();
        assert!(results.outcomes().is_empty() && results.origin().is_none());
        let outcomes = [outcome(1, Some(0.1 + 0.2)), outcome(2, None)];
        results.begin_leg(origin("a")).unwrap();
        results.add(outcomes[0].clone()).unwrap();
        let mut results = Results::open(&path, "p").unwrap();
        results.begin_leg(origin("b")).unwrap();
        results.add(outcomes[1].clone()).unwrap();
        let results = Results::open(&path, "p").unwrap();
        assert_eq!(results.outcomes(), outcomes);
        let commits = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        assert_eq!(results.origin(), Some(&Origin { commits, ..origin("a") }));
        // A line before the runs and one after them.
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2 + outcomes.len() + 1, "{text}");
        assert!(text.contains(r#""bits_per_byte":null,"validations":[[250,4.1],[300,null]]"#), "{text}");
    }

    #[test]
    fn runs_from_elsewhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        let mut results = Results::open(&path, "p").unwrap();
        results.begin_leg(origin("a")).unwrap();
        let written = fs::read(&path).unwrap();

        let error = Results::open(&path, "q").err().unwrap().to_string();
        assert!(error.contains("results.json: `origin.plan` is `p`, expected `q`"), "{error}");
        assert!(error.contains("\nhint: put the sizes"), "{error}");
        let mut refused = |leg: Origin| results.begin_leg(leg).unwrap_err().to_string();
        let error = refused(Origin { plan: "q".to_owned(), ..origin("b") });
        assert!(error.contains("`origin.plan` is `p`, expected `q`"), "{error}");
        let error = refused(Origin { novels: "m".to_owned(), ..origin("b") });
        assert!(error.contains("`origin.novels` is `n`, expected `m`"), "{error}");
        let error = refused(Origin { instruction_set: "scalar".to_owned(), ..origin("b") });
        assert!(error.contains("`origin.instruction_set` is `avx2`, expected `scalar`"), "{error}");
        assert_eq!(results.origin(), Some(&origin("a")));
        assert_eq!(fs::read(&path).unwrap(), written);
    }

    #[test]
    fn a_list_without_its_origin_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        fs::write(&path, "[]").unwrap();
        let error = format!("{:#}", Results::open(&path, "p").err().unwrap());
        assert!(error.contains("results.json: "), "{error}");
    }
}
