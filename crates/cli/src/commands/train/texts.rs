//! Texts that were typed in a way that `tercet train` does not take: by a pattern that the shell has expanded, or
//! several of them joined by commas.
//!
//! It knows names alone: what is in the files is for `tercet_train` to read.

use std::path::Path;

use crate::failure::{Exit, Failure};

/// Refuses files in place of `KEY=VALUE`, and lists of files in place of a file.
pub(super) fn check(overrides: &[String], data: &[String]) -> Result<(), Failure> {
    let is_file = |text: &str| Path::new(text).is_file();
    if let Some(file) = overrides.iter().find(|text| !text.contains('=') && is_file(text)) {
        let found = format!("found the file `{file}`, expected `KEY=VALUE`");
        return Err(Failure::message(Exit::Usage, found).with_hint(format!(
            "texts are given by `--data`, each by one of its own: `--data '{file}'`; a pattern stands in quotes, or the \
             shell puts files in its place: `--data '*.txt'`"
        )));
    }
    let is_list = |text: &&String| !is_file(text) && text.contains(',') && text.split(',').any(is_file);
    if let Some(list) = data.iter().find(is_list) {
        let found = format!("--data: found `{list}`, expected one file or pattern");
        let apart: Vec<String> = list.split(',').map(|file| format!("--data '{file}'")).collect();
        return Err(Failure::message(Exit::Usage, found)
            .with_hint(format!("each text is given by a `--data` of its own: `{}`", apart.join(" "))));
    }
    Ok(())
}
