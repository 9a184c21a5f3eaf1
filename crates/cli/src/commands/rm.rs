//! `tercet rm`: take models out of the cache.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use tercet_hub::{CachedModel, RepositoryId};

use crate::failure::{Exit, Failure};
use crate::figures;
use crate::hub::{Hub, short_commit};
use crate::model_argument::is_meant;
use crate::terminal::printable;

/// Remove models of the Hub from the cache
///
/// With a revision, only what no other revision uses is removed. Other software of the Hub has the same
/// cache: what is removed is gone for it too.
#[derive(Args)]
pub(crate) struct Rm {
    /// The models; with `@REV` only this branch, tag or commit, of which the first 7 digits will do
    #[arg(value_name = "ORG/NAME[@REV]", required = true)]
    models: Vec<RepositoryId>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Rm {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let hub = Hub::open()?;
        let mut removals = Vec::new();
        for id in &self.models {
            match hub.cache().removal(id, &removals)? {
                // Named twice.
                Some(removal) if removal.is_empty() => {}
                Some(removal) => removals.push(removal),
                None => return Err(unknown(id, &hub.cache().models()?, &hub)),
            }
        }
        if !self.yes {
            let bytes = removals.iter().map(|removal| removal.bytes).sum();
            let names: Vec<String> = removals.iter().map(|removal| removal.id.to_string()).collect();
            if !is_confirmed(&names.join(", "), bytes)? {
                return Ok(ExitCode::from(Exit::Failed as u8));
            }
        }
        for removal in removals {
            removal.run()?;
            let freed = figures::bytes(removal.bytes);
            writeln!(io::stdout().lock(), "{}: removed, {freed} freed", removal.id)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks whoever sits at the terminal.
fn is_confirmed(names: &str, bytes: u64) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let message = "found no terminal to ask at, expected `--yes` for a removal without a question";
        return Err(Failure::message(Exit::Usage, message));
    }
    let question = format!("remove {names} and free {}? [y/N] ", figures::bytes(bytes));
    // Where stderr is closed nobody answers.
    let _ = write!(anstream::stderr(), "{}", printable(&question));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Nothing of this name, and what it could have been.
fn unknown(id: &RepositoryId, models: &[CachedModel], hub: &Hub) -> Failure {
    let root = hub.cache().root().display();
    if let Some(model) = models.iter().find(|model| model.id.name() == id.name()) {
        let shown: Vec<&str> =
            model.revisions.iter().map(|revision| short_commit(&revision.snapshot.commit)).collect();
        let is_damaged = model.damaged_references.iter().any(|name| name == id.revision());
        let found = if is_damaged { "a damaged reference" } else { "no revision" };
        let message = format!("{root}: found {found} `{}` of {}", id.revision(), id.name());
        return Failure::message(Exit::Model, message).with_hint(match shown.is_empty() {
            true => format!("only parts of files have come: `tercet rm {}` removes them", id.name()),
            false => format!("it has {}; see `tercet ls`", shown.join(", ")),
        });
    }
    let failure = Failure::message(Exit::Model, format!("{root}: found no model `{}`", id.name()));
    match nearest(id.name(), models) {
        Some(nearest) => failure.with_hint(format!("the nearest one is `{nearest}`; see `tercet ls`")),
        None if models.is_empty() => failure.with_hint(format!("the cache of the Hub, `{root}`, is empty")),
        None => failure.with_hint("`tercet ls` lists those that it has"),
    }
}

/// The name of the model that was probably meant: the most like it, if it is like it at all.
fn nearest<'a>(name: &str, models: &'a [CachedModel]) -> Option<&'a str> {
    // Whoever leaves out `org/` means the rest.
    let compared = |other: &'a str| match other.split_once('/') {
        Some((_, rest)) if !name.contains('/') => rest,
        _ => other,
    };
    let names = models.iter().map(|model| model.id.name());
    let nearest = names.min_by_key(|other| strsim::damerau_levenshtein(name, compared(other)))?;
    is_meant(name, compared(nearest)).then_some(nearest)
}
