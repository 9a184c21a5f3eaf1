//! `cargo xtask soak`: what takes as long as one gives it.

mod fuzz;
mod kill;

use anyhow::Result;

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
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.kind {
        Kind::Fuzz(arguments) => fuzz::run(arguments),
        Kind::Kill(arguments) => kill::run(arguments),
    }
}
