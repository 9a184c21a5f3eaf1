//! Which argument is a MODEL, which a PROMPT, and where a model's files are.
//!
//! MODEL is a folder or a `.gguf` file; an id of the Hub (`org/name`) is recognised and refused.

use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use tercet::config::CONFIG_FILE;
use tercet::source::{Source, SourceError};

use crate::failure::{Exit, Failure};

/// Whether a lone positional argument is a MODEL and not a PROMPT.
///
/// It is if it exists, starts with `.`, `/` or `~`, ends in `.gguf`, or has no white space and the
/// form `org/name`.
pub(crate) fn is_model(argument: &OsStr) -> bool {
    if argument.is_empty() {
        return false;
    }
    let text = argument.to_string_lossy();
    text.starts_with(['.', '/', '~'])
        || is_gguf(Path::new(argument))
        || is_hub_id(&text)
        || expand_home(argument).exists()
}

/// The files of the model that was named.
///
/// # Errors
/// Exit code 3: nothing is there, or nothing this version reads.
pub(crate) fn open(model: &OsStr) -> Result<Source, Failure> {
    let path = expand_home(model);
    let text = model.to_string_lossy();
    let shown = path.display();
    if path.exists() {
        if path.is_file() && is_gguf(&path) {
            return Ok(Source::gguf(&path)?);
        }
        return Ok(Source::folder(path)?);
    }
    let nearest =
        nearest(&path).map(|nearest| format!("the nearest existing one is `{}`", nearest.display()));
    if is_hub_id(&text) && !text.starts_with(['.', '~']) {
        let message =
            format!("{shown}: found no such folder; this version reads folders and not yet the Hub");
        let id = text.split('@').next().unwrap_or_default();
        return Err(Failure::message(Exit::Model, message).with_hint(nearest.unwrap_or_else(|| {
            format!("download it first, with `hf download {id} --local-dir FOLDER`, and name the folder")
        })));
    }
    let failure = Failure::from(SourceError::NotFound { path });
    Err(match nearest {
        Some(nearest) => failure.with_hint(nearest),
        None => failure,
    })
}

/// Whether a file has the extension `.gguf`, in letters of any case.
fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// Whether a text has the form `org/name` or `org/name@revision`.
fn is_hub_id(text: &str) -> bool {
    let id = text.split('@').next().unwrap_or_default();
    let is_part = |part: &str| !part.is_empty() && !part.contains('/');
    !text.contains(char::is_whitespace)
        && id.split_once('/').is_some_and(|(org, name)| is_part(org) && is_part(name))
}

/// `~` and `~/…` as a shell reads them.
fn expand_home(argument: &OsStr) -> PathBuf {
    let path = Path::new(argument);
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_path_buf(),
    }
}

/// The model folder whose path is most like a path that does not exist.
fn nearest(path: &Path) -> Option<PathBuf> {
    let parts: Vec<&OsStr> = path.components().map(Component::as_os_str).collect();
    let mut found = PathBuf::new();
    for (at, part) in parts.iter().enumerate() {
        let here = found.join(part);
        if here.exists() {
            found = here;
            continue;
        }
        let is_last = at + 1 == parts.len();
        let folder = if found.as_os_str().is_empty() { Path::new(".") } else { &found };
        found = found.join(most_like(folder, part, is_last)?);
    }
    Some(found)
}

/// The name in a folder that is most like `name`: of a model's folder, or of one on the way to it.
fn most_like(folder: &Path, name: &OsStr, is_model: bool) -> Option<String> {
    let name = name.to_string_lossy();
    let entries = fs::read_dir(folder).ok()?.flatten().filter(|entry| {
        let path = entry.path();
        path.is_dir() && (!is_model || path.join(CONFIG_FILE).exists())
    });
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let distance = |other: &String| strsim::damerau_levenshtein(&name, other);
    let nearest = names.min_by(|a, b| distance(a).cmp(&distance(b)).then_with(|| a.cmp(b)))?;
    // A folder on the way must be meant; among models, any is worth naming.
    let is_meant = 2 * distance(&nearest) <= name.chars().count();
    (is_model || is_meant).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_told_apart() {
        for (argument, want) in [
            ("./nowhere", true),
            ("/nowhere", true),
            ("~/nowhere", true),
            ("...and so", true),
            ("nowhere.gguf", true),
            ("nowhere.GGUF", true),
            ("org/name", true),
            ("org/name@refs/pr/1", true),
            ("src", true),
            ("", false),
            ("Once upon a time", false),
            ("Once", false),
            ("either / or", false),
            ("red/blue balloons", false),
            ("a/b/c", false),
            ("/", true),
            ("half/", false),
        ] {
            assert_eq!(is_model(OsStr::new(argument)), want, "`{argument}`");
        }
    }

    #[test]
    fn the_home_folder_is_expanded() {
        let home = std::env::home_dir().unwrap();
        assert_eq!(expand_home(OsStr::new("~")), home);
        assert_eq!(expand_home(OsStr::new("~/models/a")), home.join("models/a"));
        assert_eq!(expand_home(OsStr::new("~other/a")), Path::new("~other/a"));
    }

    #[test]
    fn the_nearest_model_is_found_on_every_level() {
        let root = tempfile::tempdir().unwrap();
        for model in ["models/stories", "models/2b4t", "models/notes"] {
            fs::create_dir_all(root.path().join(model)).unwrap();
        }
        for model in ["models/stories", "models/2b4t"] {
            fs::write(root.path().join(model).join(CONFIG_FILE), "{}").unwrap();
        }
        let check = |missing: &str, want: Option<&str>| {
            let want = want.map(|want| root.path().join(want));
            assert_eq!(nearest(&root.path().join(missing)), want, "{missing}");
        };
        check("models/storis", Some("models/stories"));
        check("models/note", Some("models/2b4t"));
        check("modles/stories", Some("models/stories"));
        check("modles/2b", Some("models/2b4t"));
        check("elsewhere/stories", None);
    }
}
