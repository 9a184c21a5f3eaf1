//! `cargo xtask scaling`: does ternary catch up with full precision as models grow?
//!
//! Trains models of five sizes, ternary and dense, and writes what came into `docs/scaling.md`. What a run
//! ended with is kept in `docs/scaling/results.json`, so the command goes on where it was.
//!
//! ```text
//! plan      which runs are wanted, by what is known
//! leg       runs them for some time, and keeps what they end with
//! results   the file
//! fit       a line through the gaps, and its interval
//! figure    the drawings
//! page      the tables
//! ```

mod figure;
mod fit;
mod leg;
mod page;
mod plan;
mod results;

use std::path::PathBuf;

use anyhow::Result;

use crate::process;
use results::Results;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder of english-novels: files `Author_Title_Year.txt.gz`.
    #[arg(long, required_unless_present = "report")]
    novels: Option<PathBuf>,
    /// Ends after so many minutes; the same command goes on.
    #[arg(long, default_value_t = 85.0)]
    minutes: f64,
    /// Runs at once, each on one thread.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Writes the page from what is known, and trains nothing.
    #[arg(long)]
    report: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let docs = process::root().join("docs");
    let mut results = Results::open(&docs.join("scaling/results.json"))?;
    if let Some(novels) = arguments.novels.as_ref().filter(|_| !arguments.report) {
        leg::run(&mut results, novels, arguments.minutes, arguments.jobs)?;
    }
    page::write(&docs, results.outcomes())
}
