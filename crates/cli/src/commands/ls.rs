//! `tercet ls`: the models in the cache.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use tercet::checkpoint::Checkpoint;
use tercet::config::Config;
use tercet_hub::{CachedModel, CachedRevision};

use crate::failure::Failure;
use crate::figures;
use crate::hub::{Cached, Hub, short_commit, state_of};
use crate::model_argument;
use crate::table::Table;
use crate::terminal::{note, print_json};

/// List the models of the Hub that are in the cache
#[derive(Args)]
pub(crate) struct Ls {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listing {
    cache: PathBuf,
    /// What all models together take on disk.
    bytes: u64,
    models: Vec<Row>,
    /// Branches and tags, `org/name@revision`, whose files say no commit.
    damaged_references: Vec<String>,
}

/// A revision of a model, or a model without one.
#[derive(Serialize)]
struct Row {
    id: String,
    /// Null if nothing but parts of files has come.
    commit: Option<String>,
    /// The branches and tags that were at this commit.
    references: Vec<String>,
    /// What it takes on disk; revisions can have files in common.
    bytes: u64,
    is_complete: bool,
    /// What is not there of what it takes to run the model.
    missing: Vec<String>,
    /// Why it cannot be run though nothing is missing.
    unreadable: Option<&'static str>,
    /// Null if no family is recognised.
    family: Option<&'static str>,
    /// What `tercet run` is given; null if it is not complete.
    path: Option<PathBuf>,
}

impl Ls {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let hub = Hub::open()?;
        let cached = hub.cache().models()?;
        let mut models = Vec::new();
        for model in &cached {
            models.extend(rows_of(model)?);
        }
        let bytes = cached.iter().map(|model| model.bytes).sum();
        let cache = hub.cache().root().to_path_buf();
        let damaged_references = cached.iter().flat_map(damaged_references).collect();
        let listing = Listing { cache, bytes, models, damaged_references };
        if self.json {
            print_json(&listing)?;
        } else {
            listing.table().write(&mut io::stdout().lock())?;
            note(&format!("{} in {}", figures::bytes(bytes), listing.cache.display()));
            for reference in &listing.damaged_references {
                note(&format!(
                    "{reference}: found no commit in its reference, which is damaged; \
                     `tercet pull {reference}` makes a new one"
                ));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn damaged_references(model: &CachedModel) -> impl Iterator<Item = String> {
    model.damaged_references.iter().map(|name| format!("{}@{name}", model.id))
}

fn rows_of(model: &CachedModel) -> Result<Vec<Row>, Failure> {
    if model.revisions.is_empty() {
        return Ok(vec![Row {
            id: model.id.to_string(),
            commit: None,
            references: Vec::new(),
            bytes: model.bytes,
            is_complete: false,
            missing: Vec::new(),
            unreadable: None,
            family: None,
            path: None,
        }]);
    }
    model.revisions.iter().map(|revision| row_of(model, revision)).collect()
}

fn row_of(model: &CachedModel, revision: &CachedRevision) -> Result<Row, Failure> {
    let (path, missing, unreadable) = match state_of(&revision.snapshot)? {
        Cached::Whole(path) => (Some(path), Vec::new(), None),
        Cached::Part(missing) => (None, missing, None),
        Cached::Unreadable(why) => (None, Vec::new(), Some(why)),
        Cached::Absent => (None, Vec::new(), None),
    };
    Ok(Row {
        id: model.id.to_string(),
        commit: Some(revision.snapshot.commit.clone()),
        references: revision.references.clone(),
        bytes: revision.bytes,
        is_complete: path.is_some(),
        missing,
        unreadable,
        family: path.as_deref().and_then(family_of),
        path,
    })
}

/// The family of a model, from its configuration and the heads of its files; `None` if it is none that
/// tercet runs.
fn family_of(path: &Path) -> Option<&'static str> {
    let source = model_argument::source(path).ok()?;
    let checkpoint = Checkpoint::open(&source).ok()?;
    Some(Config::read(&source, &checkpoint).ok()?.family.name())
}

impl Listing {
    fn table(&self) -> Table {
        let mut table = Table::new(&["model", "revision", ">size", "files", "family"]);
        for row in &self.models {
            table.push(vec![
                row.id.clone(),
                row.revision(),
                figures::bytes(row.bytes),
                row.files(),
                row.family.unwrap_or("-").to_owned(),
            ]);
        }
        table
    }
}

impl Row {
    /// `main (0123abcd)`.
    fn revision(&self) -> String {
        let Some(commit) = &self.commit else { return "-".to_owned() };
        let short = short_commit(commit);
        match self.references.is_empty() {
            true => short.to_owned(),
            false => format!("{} ({short})", self.references.join(", ")),
        }
    }

    fn files(&self) -> String {
        match (&self.missing[..], self.unreadable) {
            (_, Some(why)) => why.to_owned(),
            ([], None) if self.is_complete => "complete".to_owned(),
            ([], None) => "only parts".to_owned(),
            ([one], None) => format!("lacks {one}"),
            ([one, rest @ ..], None) => format!("lacks {one} and {} more", rest.len()),
        }
    }
}
