//! `tercet man`: manual pages.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::Resettable;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, roman};

use crate::Cli;
use crate::failure::{Exit, Failure};
use crate::terminal::note;

/// What stands after a help text, by how its first line begins, and the heading that a manual page has for it.
const HEADINGS: [(&str, &str); 3] =
    [("Exit codes", "EXIT STATUS"), ("Environment", "ENVIRONMENT"), ("Examples", "EXAMPLES")];

/// Print the manual page, or write one for every command
#[derive(Args)]
pub(crate) struct Man {
    /// A folder for `tercet.1`, `tercet-run.1` and the others; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        match self.out {
            Some(folder) => {
                let written = fs::create_dir_all(&folder).and_then(|()| write_pages(&command, &folder));
                let written = written.with_context(|| format!("{}: cannot be written", folder.display()));
                let pages = written.map_err(|error| Failure::new(Exit::Failed, error))?;
                note(&format!("{pages} manual pages are in {}", folder.display()));
            }
            None => io::stdout().lock().write_all(&page(&command)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the pages of a command and of those below it; says how many.
fn write_pages(command: &Command, folder: &Path) -> io::Result<usize> {
    let mut pages = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages += write_pages(below, folder)?;
    }
    let name = Page::new(command.clone()).get_filename();
    fs::write(folder.join(name), page(command)?)?;
    Ok(pages)
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let after_help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let mut page = Vec::new();
    Page::new(command.clone().after_long_help(Resettable::Reset)).render(&mut page)?;
    page.extend_from_slice(sections(&after_help).as_bytes());
    Ok(page)
}

/// What stands after a help text as sections: lists line by line as they are, prose as `NOTES`.
fn sections(after_help: &str) -> String {
    let mut roff = Roff::new();
    for paragraph in after_help.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        let heading = HEADINGS.iter().find(|(start, _)| paragraph.starts_with(start));
        roff.control("SH", [heading.map_or("NOTES", |(_, heading)| heading)]);
        if heading.is_some() {
            roff.control("nf", []);
        }
        for line in paragraph.lines().skip(usize::from(heading.is_some())) {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        if heading.is_some() {
            roff.control("fi", []);
        }
    }
    // The page's own beginning has defined the apostrophe.
    let text = roff.render();
    text.find(".SH").map(|start| text[start..].to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_lines_and_prose_is_notes() {
        let found = sections(
            "Exit codes:\n  0  done\n  1  failed\n\nTwo lines\nof prose.\n\nExamples:\n  tercet man",
        );
        let lines: Vec<_> = found.lines().collect();
        let want = [
            ".SH \"EXIT STATUS\"",
            ".nf",
            "0  done",
            "1  failed",
            ".fi",
            ".SH NOTES",
            "Two lines",
            "of prose.",
            ".SH EXAMPLES",
            ".nf",
            "tercet man",
            ".fi",
        ];
        assert_eq!(lines, want);
        assert_eq!(sections(""), "");
    }
}
