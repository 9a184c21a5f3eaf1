//! `cargo xtask soak`: what takes as long as one gives it.

mod fuzz;
mod kill;
mod load;
mod replicas;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::process;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(clap::Subcommand)]
enum Kind {
    /// Fuzzes every reader of files, or one.
    Fuzz(fuzz::Arguments),
    /// Kills a training run again and again, and wants it to end in the same bytes.
    Kill(kill::Arguments),
    /// Asks a server more than it has room for, cuts its clients, and wants every answer right.
    Load(load::Arguments),
    /// Kills one of two servers behind haproxy, ends the other, and wants every new request answered.
    Replicas(replicas::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.kind {
        Kind::Fuzz(arguments) => fuzz::run(arguments),
        Kind::Kill(arguments) => kill::run(arguments),
        Kind::Load(arguments) => load::run(arguments),
        Kind::Replicas(arguments) => replicas::run(arguments),
    }
}

/// The binary `tercet`, built if none is given.
fn binary(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(std::path::absolute(given)?);
    }
    process::run(&mut process::command("cargo", &["build", "--release"]))?;
    Ok(process::root().join("target/release/tercet"))
}
