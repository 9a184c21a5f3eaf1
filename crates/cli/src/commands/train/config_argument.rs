//! Whether CONFIG can be the configuration of a run, and what was meant if it is none.
//!
//! It knows names alone: what is in the file is for `tercet_train` to read.

use std::fs;
use std::path::{Path, PathBuf};

use tercet::nearest::{likeness, most_alike};
use tercet_train::trainer::{RUN_CONFIG_FILE, is_run};

use crate::failure::{Exit, Failure};

const EXPECTED: &str = "expected a TOML file";

/// Refuses what is no file.
pub(super) fn check(config: &Path) -> Result<(), Failure> {
    let shown = config.display();
    let refusal = |exit, found: &str| Failure::message(exit, format!("{shown}: found {found}, {EXPECTED}"));
    let refused = |found: &str| refusal(Exit::Model, found);
    if config.is_dir() && is_run(config) {
        let own = config.join(RUN_CONFIG_FILE);
        let own = own.display();
        return Err(refused("the folder of a run")
            .with_hint(format!("its configuration is `{own}`: `tercet train {own}` goes on with it")));
    }
    if config.is_dir() {
        let there = configurations_in(config);
        let failure = refused("a folder");
        return Err(match there.as_slice() {
            [] => failure,
            there => failure.with_hint(format!("the configurations there are {}", listed(there))),
        });
    }
    if !config.exists() {
        if shown.to_string().contains('=') {
            let hint = format!("the configuration comes first: `tercet train CONFIG {shown}`");
            return Err(refusal(Exit::Usage, "nothing").with_hint(hint));
        }
        let failure = refused("nothing");
        return Err(match nearest(config) {
            Some(nearest) => failure.with_hint(format!("the nearest is `{}`", nearest.display())),
            None => failure,
        });
    }
    Ok(())
}

/// The TOML file most like one that is not there, in its folder or in one that lies in it.
fn nearest(config: &Path) -> Option<PathBuf> {
    let wanted = config.file_stem()?.to_str()?;
    let folder = config.parent().unwrap_or(Path::new(""));
    let is_hidden =
        |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let inner = entries_of(folder).into_iter().filter(|path| path.is_dir() && !is_hidden(path));
    // Of equals a neighbour goes before one further in.
    let paths = std::iter::once(folder.to_owned()).chain(inner).flat_map(|folder| configurations_in(&folder));
    most_alike(paths.map(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        (likeness(wanted, &name), path)
    }))
}

/// The TOML files in a folder, by name.
fn configurations_in(folder: &Path) -> Vec<PathBuf> {
    let is_toml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    entries_of(folder).into_iter().filter(is_toml).collect()
}

/// What is in a folder, by name, under paths that begin with the folder as it was named; nothing if it cannot be read.
fn entries_of(folder: &Path) -> Vec<PathBuf> {
    let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| folder.join(entry.file_name())).collect();
    paths.sort_unstable();
    paths
}

/// Some paths in words.
fn listed(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = paths.iter().take(SHOWN).map(|path| format!("`{}`", path.display())).collect();
    let more = if paths.len() > SHOWN { " and others" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_configuration_is_beside_or_below() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for inner in ["examples", ".hidden", "others"] {
            fs::create_dir(path(inner)).unwrap();
        }
        for file in
            ["examples/tiny.toml", "examples/chat.toml", ".hidden/mine.toml", "others/tiny.toml", "tiny.md"]
        {
            fs::write(path(file), "").unwrap();
        }
        let check =
            |name: &str, want: Option<&str>| assert_eq!(nearest(&path(name)), want.map(path), "{name}");
        check("tiny.toml", Some("examples/tiny.toml"));
        check("tiny", Some("examples/tiny.toml"));
        check("examples/chta.toml", Some("examples/chat.toml"));
        check("mine.toml", None);
        check("nowhere/tiny.toml", None);
        fs::write(path("tiny.toml"), "").unwrap();
        check("tinny.toml", Some("tiny.toml"));
    }
}
