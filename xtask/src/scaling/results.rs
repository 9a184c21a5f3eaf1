//! What the runs ended with, in a file: one run a line, so that a line is all that a run changes.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::plan::Outcome;

pub(super) struct Results {
    path: PathBuf,
    outcomes: Vec<Outcome>,
}

impl Results {
    /// Reads the file; without one nothing is known yet.
    pub(super) fn open(path: &Path) -> Result<Results> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => "[]".to_owned(),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let outcomes = serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
        Ok(Results { path: path.to_owned(), outcomes })
    }

    pub(super) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Adds what a run ended with, and writes the file, whole or not at all.
    pub(super) fn add(&mut self, outcome: Outcome) -> Result<()> {
        self.outcomes.push(outcome);
        let lines: Result<Vec<String>, _> = self.outcomes.iter().map(serde_json::to_string).collect();
        let text = format!("[\n{}\n]\n", lines?.join(",\n"));
        let folder = self.path.parent().context("the file of results has no folder")?;
        fs::create_dir_all(folder)?;
        let file = tempfile::NamedTempFile::new_in(folder)?;
        fs::write(file.path(), text)?;
        file.persist(&self.path)?;
        Ok(())
    }
}
