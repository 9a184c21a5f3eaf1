//! Which argument is a MODEL, which a PROMPT, and where a model's files are.
//!
//! MODEL is a folder, a `.gguf` file or a name of the Hub, `org/name[@revision]`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use tercet::config::CONFIG_FILE;
use tercet::source::{Source, SourceError, has_gguf_extension, has_pickle_extension};
use tercet_hub::RepositoryId;
use tercet_train::checkpoint::Store;
use tercet_train::trainer::{CHECKPOINTS, MODEL_FOLDER, is_run, model_of_run};

use crate::failure::{Exit, Failure};
use crate::hub::{self, Cached, Hub};

/// Whether a lone positional argument is a MODEL and not a PROMPT.
///
/// It is if it exists, starts with `.`, `/` or `~`, ends in `.gguf`, or has a `/` and no white space, as a path and
/// a name of the Hub have; and if it looks like the file of a model that exists, misspelt.
pub(crate) fn is_model(argument: &OsStr) -> bool {
    if argument.is_empty() {
        return false;
    }
    let text = argument.to_string_lossy();
    text.starts_with(['.', '/', '~'])
        || has_gguf_extension(Path::new(argument))
        || is_one_word(&text) && text.contains('/')
        || expand_home(argument).exists()
        || is_misspelt(&text)
}

/// Whether a word with an extension is like the file of a model that exists.
fn is_misspelt(text: &str) -> bool {
    let path = Path::new(text);
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let is_like = |other: PathBuf| last(path).zip(last(&other)).is_some_and(|(a, b)| is_meant(&a, &b));
    looks_like_a_file(text) && nearest(path).is_some_and(is_like)
}

/// What a text that is no MODEL may have been meant to name: a file, a model, or nothing if it has several words.
pub(crate) fn may_name(argument: &OsStr) -> Option<&'static str> {
    let text = argument.to_string_lossy();
    is_one_word(&text).then(|| if looks_like_a_file(&text) { "file" } else { "model" })
}

fn is_one_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}

/// Whether a text may be the name of a file: a word with an extension.
fn looks_like_a_file(text: &str) -> bool {
    let extension = Path::new(text).extension().unwrap_or_default();
    is_one_word(text) && !extension.is_empty()
}

/// The files of the model that was named; one of the Hub is downloaded if it is not in the cache.
///
/// # Errors
/// Exit code 3: nothing is there, or nothing this version reads; 4: only the Hub could have it, and
/// cannot be asked.
pub(crate) fn open(model: &OsStr) -> Result<Source, Failure> {
    if model.is_empty() {
        let message = "found an empty path, expected a model folder or a `.gguf` file";
        return Err(Failure::message(Exit::Model, message));
    }
    let path = expand_home(model);
    if path.exists() {
        return source(&path);
    }
    if let Some(refused) = unfinished_run(&path) {
        return Err(refused);
    }
    let text = model.to_string_lossy();
    let nearest =
        nearest(&path).map(|nearest| format!("the nearest existing one is `{}`", nearest.display()));
    let not_found = || Failure::from(SourceError::NotFound { path: path.clone() });
    if !is_hub_id(&text) || text.starts_with(['.', '~']) {
        let hint = nearest.or_else(|| {
            id_in_address(&text).map(|id| format!("a model of the Hub is named by `org/name` alone: `{id}`"))
        });
        return Err(match hint {
            Some(hint) => not_found().with_hint(hint),
            None => not_found(),
        });
    }
    let id: RepositoryId = text.parse()?;
    if let Some(here) = nearest.or_else(|| folder_without_it(&path)) {
        // A path that is misspelt is nothing that the Hub should hear of.
        if let Cached::Whole(path) = Hub::open()?.cached(&id)? {
            return source(&path);
        }
        return Err(not_found()
            .with_hint(format!("{here}; if a model of the Hub is meant, `tercet pull {id}` first")));
    }
    source(&hub::locate(&id)?)
}

/// The files of the model at a path that exists.
///
/// # Errors
/// Exit code 3: it is nothing that this version reads.
pub(crate) fn source(path: &Path) -> Result<Source, Failure> {
    if path.is_file() && has_gguf_extension(path) {
        return Ok(Source::gguf(path)?);
    }
    check_folder(path)?;
    Ok(Source::folder(path)?)
}

/// Refuses a folder that holds no part of a model, with where there is one. Anything else passes.
///
/// # Errors
/// Exit code 3.
pub(crate) fn check_folder(path: &Path) -> Result<(), Failure> {
    if !path.is_dir() || path.join(CONFIG_FILE).exists() || has_weights(path) {
        return Ok(());
    }
    let refused = |what: &str| Failure::message(Exit::Model, format!("{}: {what}", path.display()));
    if let Some(model) = model_of_run(path) {
        let hint = format!("the model of this run is `{}`", model.display());
        return Err(refused("found the folder of a run, expected that of a model").with_hint(hint));
    }
    if Store::has_been_opened(&path.join(CHECKPOINTS)) {
        return Err(refused(
            "found the folder of a run that has saved nothing yet, expected that of a model",
        )
        .with_hint("the first checkpoint of a run is its first model"));
    }
    if path.ends_with(CHECKPOINTS) && Store::has_been_opened(path) {
        let found = refused("found the checkpoints of a run, expected the folder of a model");
        return Err(match Store::newest_in(path) {
            Some(newest) => found.with_hint(format!("the newest of them is `{}`", newest.display())),
            None => found.with_hint("the run has saved nothing yet"),
        });
    }
    let found = refused(&format!("found no `{CONFIG_FILE}`, expected the folder of a model"));
    Err(match a_model_in(path) {
        Some(model) => found.with_hint(format!("there is a model in it: `{}`", model.display())),
        None => match (SourceError::NotFound { path: path.to_owned() }).hint() {
            Some(hint) => found.with_hint(hint),
            None => found,
        },
    })
}

/// Refuses the model that a run leaves in its folder when it ends, where the run has not ended.
fn unfinished_run(model: &Path) -> Option<Failure> {
    let run = model
        .parent()
        .filter(|run| model.file_name().is_some_and(|name| name == MODEL_FOLDER) && is_run(run))?;
    let found =
        format!("{}: found nothing, expected the model that a run leaves at its end", model.display());
    let hint = match model_of_run(run) {
        Some(newest) => {
            format!("the run has not ended; its newest checkpoint is a model too: `{}`", newest.display())
        }
        None => "the run has saved nothing yet: its first checkpoint is its first model".to_owned(),
    };
    Some(Failure::message(Exit::Model, found).with_hint(hint))
}

/// Whether a folder holds weights, in whatever form.
fn has_weights(folder: &Path) -> bool {
    let is_weights = |name: OsString| {
        let name = Path::new(&name);
        name.extension().is_some_and(|is| is == "safetensors") || has_pickle_extension(name)
    };
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| is_weights(entry.file_name())))
}

/// The first model in a folder, by name.
fn a_model_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    entries.filter(|path| is_on_disk(path)).min()
}

/// Whether there is a model at a path: a folder with a configuration, or a `.gguf` file.
pub(crate) fn is_on_disk(path: &Path) -> bool {
    path.join(CONFIG_FILE).exists() || path.is_file() && has_gguf_extension(path)
}

/// Whether a text has the form `org/name` or `org/name@revision`.
fn is_hub_id(text: &str) -> bool {
    let id = text.split('@').next().unwrap_or_default();
    let is_part = |part: &str| !part.is_empty() && !part.contains('/');
    !text.contains(char::is_whitespace)
        && id.split_once('/').is_some_and(|(org, name)| is_part(org) && is_part(name))
}

/// The name of the Hub in the address of a page there, or in Ollama's name of it.
fn id_in_address(text: &str) -> Option<String> {
    let address = text.trim_start_matches("https://").trim_start_matches("http://");
    let path = address.strip_prefix("hf.co/").or_else(|| address.strip_prefix("huggingface.co/"))?;
    let (org, rest) = path.split_once('/')?;
    // What follows is a file, or Ollama's tag.
    let name = rest.split(['/', ':', '?', '#']).next().filter(|name| !name.is_empty())?;
    let id = format!("{org}/{name}");
    is_hub_id(&id).then_some(id)
}

/// `~` and `~/…` as a shell reads them.
pub(crate) fn expand_home(argument: &OsStr) -> PathBuf {
    tercet_hub::expand_home(Path::new(argument), std::env::home_dir().as_deref())
}

/// In words, that the folder in which a model was looked for is there.
fn folder_without_it(path: &Path) -> Option<String> {
    let (folder, name) = (path.parent().filter(|folder| folder.is_dir())?, path.file_name()?);
    Some(format!("`{}` is a folder here that has no `{}`", folder.display(), name.display()))
}

/// The model whose path is most like a path that does not exist.
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

/// The name in a folder that is most like `name`: of a model, or of a folder on the way to it.
fn most_like(folder: &Path, name: &OsStr, is_model: bool) -> Option<String> {
    let name = name.to_string_lossy();
    let entries = fs::read_dir(folder).ok()?.flatten().filter(|entry| {
        let path = entry.path();
        if is_model { is_on_disk(&path) } else { path.is_dir() }
    });
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    // The beginning of a model's name may be all that was typed of it.
    let is_begun = |other: &String| is_model && other.starts_with(&*name);
    let distance = |other: &String| (!is_begun(other), strsim::damerau_levenshtein(&name, other));
    let nearest = names.min_by(|a, b| distance(a).cmp(&distance(b)).then_with(|| a.cmp(b)))?;
    (is_begun(&nearest) || is_meant(&name, &nearest)).then_some(nearest)
}

/// Whether a name is so like another that it may be that one, misspelt.
///
/// Letters are counted, where `tercet::nearest` compares names of one kind: on this depends what is a MODEL at all and
/// whether the Hub hears of it, and to that measure `note.gguf` is like `tales.gguf`.
pub(crate) fn is_meant(name: &str, other: &str) -> bool {
    2 * strsim::damerau_levenshtein(name, other) <= name.chars().count()
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
            ("runs/mine/model", true),
            ("/", true),
            ("half/", true),
        ] {
            assert_eq!(is_model(OsStr::new(argument)), want, "`{argument}`");
        }
    }

    #[test]
    fn a_word_may_name_a_file_or_a_model() {
        for (argument, want) in [
            ("mine.ggf", Some("file")),
            ("model.safetensor", Some("file")),
            ("Once", Some("model")),
            ("Once.", Some("model")),
            ("The end. Once", None),
            ("once upon.a time", None),
            ("", None),
        ] {
            assert_eq!(may_name(OsStr::new(argument)), want, "`{argument}`");
        }
    }

    #[test]
    fn the_path_of_a_model_may_be_misspelt() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("models")).unwrap();
        fs::write(root.path().join("models/mine.gguf"), "").unwrap();
        for (name, want) in [
            ("models/mine.ggf", true),
            ("model/mine.guff", true),
            ("models/mine gguf", false),
            ("models/other.txt", false),
            ("elsewhere/mine.ggf", false),
        ] {
            let path = root.path().join(name);
            assert_eq!(is_misspelt(path.to_str().unwrap()), want, "{name}");
        }
        assert!(!is_misspelt("Once"), "a word alone");
        assert!(!is_misspelt("Once."), "the end of a sentence");
    }

    #[test]
    fn the_address_of_a_model_has_its_name() {
        for (text, want) in [
            ("hf.co/org/name", Some("org/name")),
            ("hf.co/org/name:Q4_K_M", Some("org/name")),
            ("https://huggingface.co/org/name/blob/main/a.gguf", Some("org/name")),
            ("huggingface.co/org", None),
            ("hf.co/org/", None),
            ("runs/org/name", None),
        ] {
            assert_eq!(id_in_address(text).as_deref(), want, "{text}");
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
    fn a_model_that_is_not_alike_is_not_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("tiny.gguf"), "").unwrap();
        for (missing, is_named) in [("nope", false), ("nosuch", false), ("tiny", true), ("tinny.guff", true)]
        {
            assert_eq!(nearest(&root.path().join(missing)).is_some(), is_named, "{missing}");
        }
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
        fs::write(root.path().join("models/tales.gguf"), "").unwrap();
        check("models/storis", Some("models/stories"));
        check("models/tale.gguf", Some("models/tales.gguf"));
        check("models/note", None);
        check("models/tal", Some("models/tales.gguf"));
        check("modles/stories", Some("models/stories"));
        check("modles/2b", Some("models/2b4t"));
        check("elsewhere/stories", None);
    }
}
