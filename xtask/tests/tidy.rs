//! Rules of the house that a machine can see, as ordinary tests over the files of the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Names that say nothing of what a file holds.
const EMPTY_NAMES: [&str; 4] = ["utils", "common", "helpers", "misc"];
/// Words that leave work behind, split here so that this file may hold them.
const LEFTOVERS: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("todo", "!"),
    concat!("dbg", "!"),
];
/// Roots of paths that exist on one machine only, and hosts of package registries.
const PLACES: [&str; 8] = [
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("pythonhosted", ".org"),
    concat!("pypi", ".org"),
    concat!("index.crates", ".io"),
    concat!("registry.npmjs", ".org"),
    concat!("deb.debian", ".org"),
];
const MAX_COLUMNS: usize = 120;
const MAX_BYTES: u64 = 1_000_000;
/// Larger files, each with why it is here.
const LARGE_FILES: [(&str, &str); 1] =
    [("crates/tercet/models/stories/model.safetensors", "the model inside the binary")];

#[test]
fn names_say_what_a_file_holds() {
    let bad = |path: &Path| {
        path.components().any(|part| {
            let stem = Path::new(&part).file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
            EMPTY_NAMES.contains(&stem.as_str())
        })
    };
    assert_none("a name that says nothing", files().into_iter().filter(|path| bad(path)));
}

#[test]
fn no_work_is_left_behind() {
    let lines = lines_of(&["rs", "py", "sh", "toml", "md", "run"]);
    let is_bad = |line: &Line| LEFTOVERS.iter().any(|word| has_word(&line.text, word));
    assert_none("left behind", lines.into_iter().filter(is_bad));
}

#[test]
fn lines_fit() {
    let lines = lines_of(&["rs"]);
    // A string literal may be longer: cut, it cannot be searched for.
    let has_string = |text: &str| text.contains('"') && !text.trim_start().starts_with("//");
    let is_bad = |line: &Line| line.text.chars().count() > MAX_COLUMNS && !has_string(&line.text);
    assert_none("longer than 120 columns", lines.into_iter().filter(is_bad));
}

#[test]
fn files_are_small() {
    let is_bad = |path: &PathBuf| {
        let size_bytes = root().join(path).metadata().expect("a file of the repository").len();
        size_bytes > MAX_BYTES && !LARGE_FILES.iter().any(|(name, _)| Path::new(name) == path)
    };
    assert_none("larger than 1 MB", files().into_iter().filter(is_bad));
}

#[test]
fn modules_say_what_they_hold() {
    let is_bad = |path: &PathBuf| extension(path) == "rs" && !text(path).starts_with("//!");
    assert_none("does not begin with `//!`", files().into_iter().filter(is_bad));
}

#[test]
fn no_place_on_one_machine_is_named() {
    let lines = lines_of(&["rs", "py", "sh", "toml", "md", "run", "json", "txt", ""]);
    let is_bad = |line: &Line| PLACES.iter().any(|place| has_word(&line.text, place));
    assert_none("names a place on one machine", lines.into_iter().filter(is_bad));
}

#[test]
fn libraries_do_not_print() {
    let is_library = |line: &Line| {
        let path = line.path.to_string_lossy();
        path.starts_with("crates/") && path.contains("/src/") && !path.starts_with("crates/cli/")
    };
    let prints = |line: &Line| {
        let code = line.text.trim_start();
        !code.starts_with("//")
            && ["println!", "eprintln!", "print!", "eprint!"].iter().any(|word| has_word(code, word))
    };
    assert_none(
        "a library prints",
        lines_of(&["rs"]).into_iter().filter(|line| is_library(line) && prints(line)),
    );
}

#[test]
fn words_are_found_whole() {
    assert!(has_word("a print! b", "print!") && has_word("print!(x)", "print!"));
    assert!(!has_word("eprint!", "print!") && !has_word("ABCD", "ABC"));
    let place = PLACES[0];
    assert!(has_word(&format!("cd {place}x"), place) && !has_word(&format!("target{place}x"), place));
}

fn assert_none<T: std::fmt::Debug>(what: &str, found: impl Iterator<Item = T>) {
    let found: Vec<String> = found.map(|item| format!("{item:?}")).collect();
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

struct Line {
    path: PathBuf,
    number: usize,
    text: String,
}

/// As an editor opens it.
impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.number, self.text.trim())
    }
}

/// Every line of the files with these extensions, generated and recorded ones left out.
fn lines_of(extensions: &[&str]) -> Vec<Line> {
    let is_written = |path: &PathBuf| {
        extensions.contains(&extension(path)) && !path.to_string_lossy().contains("tests/data/")
    };
    let mut lines = Vec::new();
    for path in files().into_iter().filter(is_written) {
        for (index, text) in text(&path).lines().enumerate() {
            lines.push(Line { path: path.clone(), number: index + 1, text: text.to_owned() });
        }
    }
    lines
}

/// Whether `word` stands in `text` and is no part of a longer word or path.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "_.-*}".contains(c);
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        let ends_open = !word.ends_with(char::is_alphanumeric);
        !before.is_some_and(is_part) && (ends_open || !after.is_some_and(is_part))
    })
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(root().join(path)).expect("a file of the repository")).into_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// The files that are committed or could be.
fn files() -> Vec<PathBuf> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(list).current_dir(root()).output().expect("git is installed");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("names are UTF-8");
    // A file that was just deleted is still listed.
    names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|p| root().join(p).is_file())
        .collect()
}
