//! `tercet man`: manual pages.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use crate::Cli;
use crate::failure::{Exit, Failure};

/// Print the manual page, or write one for every command
#[derive(Args)]
pub(crate) struct Man {
    /// A folder for `tercet.1`, `tercet-run.1` and the others; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let command = Cli::command();
        match self.out {
            Some(folder) => {
                let write = || {
                    std::fs::create_dir_all(&folder)?;
                    clap_mangen::generate_to(command, &folder)
                };
                let written = write().with_context(|| format!("{}: cannot be written", folder.display()));
                written.map_err(|error| Failure::new(Exit::Failed, error))?;
            }
            None => {
                let mut page = Vec::new();
                Page::new(command).render(&mut page)?;
                io::stdout().lock().write_all(&page)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
