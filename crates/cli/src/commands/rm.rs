//! `tercet rm`: take models out of the cache.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use tercet_hub::{CachedModel, ModelId};

use crate::failure::{Exit, Failure};
use crate::figures;
use crate::hub::Hub;
use crate::terminal::printable;

/// Remove models of the Hub from the cache
///
/// With a revision, only what no other revision uses is removed. Other software of the Hub has the same
/// cache: what is removed is gone for it too.
#[derive(Args)]
pub(crate) struct Rm {
    /// The models; with `@REV` only this branch, tag or commit, of which the first 7 digits will do
    #[arg(value_name = "ORG/NAME[@REV]", required = true)]
    models: Vec<ModelId>,
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
fn unknown(id: &ModelId, models: &[CachedModel], hub: &Hub) -> Failure {
    let root = hub.cache().root().display();
    if let Some(model) = models.iter().find(|model| model.id.name() == id.name()) {
        let mut revisions = model.revisions.iter().map(|revision| &revision.snapshot.commit[..8]);
        let shown = revisions.by_ref().collect::<Vec<_>>().join(", ");
        let is_damaged = model.damaged_references.iter().any(|name| name == id.revision());
        let found = if is_damaged { "a damaged reference" } else { "no revision" };
        let message = format!("{root}: found {found} `{}` of {}", id.revision(), id.name());
        return Failure::message(Exit::Model, message).with_hint(format!("it has {shown}; see `tercet ls`"));
    }
    let failure = Failure::message(Exit::Model, format!("{root}: found no model `{}`", id.name()));
    let distance = |name: &str| strsim::damerau_levenshtein(name, id.name());
    let nearest = models.iter().map(|model| model.id.name()).min_by_key(|name| distance(name));
    match nearest {
        Some(nearest) => failure.with_hint(format!("the nearest one is `{nearest}`; see `tercet ls`")),
        None => failure.with_hint("it is empty"),
    }
}
