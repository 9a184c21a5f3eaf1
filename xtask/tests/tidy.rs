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
/// The lint that a file with unsafe code lifts, split here so that this file may hold it.
const UNSAFE_LINT: &str = concat!("unsafe", "_code");
/// The files that may hold unsafe code: no other names its lint.
const UNSAFE_FILES: [&str; 19] = [
    "crates/kernels/src/aarch64/neon_dotprod.rs",
    "crates/kernels/src/aligned.rs",
    "crates/kernels/src/buffer.rs",
    "crates/kernels/src/dispatch.rs",
    "crates/kernels/src/gemm.rs",
    "crates/kernels/src/pool.rs",
    "crates/kernels/src/prefetch.rs",
    "crates/kernels/src/slab.rs",
    "crates/kernels/src/x86_64/avx2.rs",
    "crates/kernels/src/x86_64/avx512_dense.rs",
    "crates/kernels/src/x86_64/avx512_quantized.rs",
    "crates/kernels/src/x86_64/avx512bf16.rs",
    "crates/kernels/src/x86_64/avx512vnni.rs",
    "crates/kernels/src/x86_64/probe.rs",
    "crates/kernels/src/x86_64/vectors.rs",
    "crates/tercet/src/mapped_file.rs",
    "crates/tercet/tests/gguf_memory.rs",
    "crates/tercet/tests/no_allocation.rs",
    "crates/train/tests/memory.rs",
];
const MAX_COLUMNS: usize = 120;
/// Lines of a file, its tests left out, at most; at more, its first sentence needs an "and".
const MAX_LINES: usize = 500;
/// Longer files, each with why.
const LONG_FILES: [(&str, &str); 0] = [];
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
fn only_known_files_may_be_unsafe() {
    let lifts = |line: &str| line.contains(UNSAFE_LINT) && !line.trim_start().starts_with("//");
    let found: Vec<String> = files()
        .into_iter()
        .filter(|path| extension(path) == "rs" && text(path).lines().any(lifts))
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    assert_none("may hold unsafe code", found.iter().filter(|path| !UNSAFE_FILES.contains(&path.as_str())));
    assert_none(
        "holds no unsafe code any more",
        UNSAFE_FILES.iter().filter(|path| !found.iter().any(|found| found == *path)),
    );
}

#[test]
fn files_are_short() {
    let is_code = |path: &PathBuf| {
        let name = path.to_string_lossy();
        extension(path) == "rs"
            && !["/tests/", "/benches/"].iter().any(|folder| name.contains(folder))
            && !name.ends_with("/tests.rs")
    };
    let is_bad = |path: &PathBuf| {
        let is_listed = LONG_FILES.iter().any(|(name, _)| Path::new(name) == path);
        is_code(path) && !is_listed && code_lines(&text(path)) > MAX_LINES
    };
    assert_none("longer than 500 lines", files().into_iter().filter(is_bad));
}

#[test]
fn tests_within_a_file_do_not_count() {
    assert_eq!(code_lines("//! a\n\nfn a() {}\n"), 3);
    assert_eq!(code_lines("//! a\n\n#[cfg(test)]\nmod tests {\n    fn a() {}\n}\n"), 2);
    assert_eq!(code_lines("#[cfg(test)]\nmod tests;\n\nfn a() {}\n"), 4);
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
fn the_map_names_what_there_is() {
    let files: Vec<String> = files().iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let map = text(Path::new("ARCHITECTURE.md"));
    assert_none("ARCHITECTURE.md names, and is not there", missing_places(&map, &files).into_iter());
    assert_none("ARCHITECTURE.md has a table without", missing_parts(&map, &files).into_iter());
}

#[test]
fn places_of_the_map_are_looked_up() {
    let files = ["a/src/b.rs", "a/src/c/mod.rs", "a/src/lib.rs", "d/run"].map(str::to_owned);
    let map = "```text\na   c/x\nno  b.rs\n    none\n```\n`d/run`, `a/src/c`, `c/e.rs`, `/route`, `x.rs`\n\n\
               In `a/src`:\n\n| `b.rs`, `mod.rs` | `c/` |\n\n`a/src/*.rs`, `c/*.rs`, `two words/`\n";
    assert_eq!(missing_places(map, &files), ["no", "c/e.rs", "x.rs", "mod.rs"]);
    assert_eq!(missing_parts(map, &files), ["a/src/c"]);
}

#[test]
fn words_are_found_whole() {
    assert!(has_word("a print! b", "print!") && has_word("print!(x)", "print!"));
    assert!(!has_word("eprint!", "print!") && !has_word("ABCD", "ABC"));
    let place = PLACES[0];
    assert!(has_word(&format!("cd {place}x"), place) && !has_word(&format!("target{place}x"), place));
}

/// What a map names and no file is or lies in: the first words of its text blocks, the parts of the folder that a table
/// is of, and elsewhere the end of any path.
fn missing_places<'a>(map: &'a str, files: &[String]) -> Vec<&'a str> {
    let lies_in = |file: &str, place: &str| {
        file.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_whole = |place: &str| files.iter().any(|file| lies_in(file, place));
    let ends_path = |place: &str| {
        let starts =
            |file: &str| file.match_indices('/').map(|(at, _)| at + 1).chain([0]).collect::<Vec<_>>();
        files.iter().any(|file| starts(file).into_iter().any(|start| lies_in(&file[start..], place)))
    };
    let mut missing = Vec::new();
    let (mut is_block, mut is_map) = (false, true);
    for (table, line) in lines_with_table(map) {
        if line.starts_with("```") {
            // Only the first block is of places.
            is_map &= !is_block;
            is_block = !is_block;
        } else if is_block && is_map {
            let first = line.split(' ').next().unwrap_or_default();
            missing.extend(Some(first).filter(|place| !place.is_empty() && !is_whole(place)));
        } else if !is_block {
            let first_cell = line.strip_prefix('|').and_then(|row| row.split('|').next());
            let is_there = |place: &str| match (table, first_cell) {
                (Some(table), Some(cell)) if cell.contains(&format!("`{place}")) => {
                    is_whole(&format!("{table}/{place}"))
                }
                _ => ends_path(place),
            };
            missing.extend(places(line).filter(|place| !is_there(place)));
        }
    }
    missing
}

/// Files and folders beside the root of a crate that its table does not name.
fn missing_parts(map: &str, files: &[String]) -> Vec<String> {
    const UNNAMED: [&str; 3] = ["lib.rs", "main.rs", "error.rs"];
    let mut missing = std::collections::BTreeSet::new();
    for (table, _) in lines_with_table(map) {
        let Some(table) = table else { continue };
        let rows = lines_with_table(map).filter(|(of, line)| *of == Some(table) && line.starts_with('|'));
        let named: Vec<&str> = rows
            .filter_map(|(_, row)| row.split('|').nth(1))
            .flat_map(places)
            .filter_map(|place| place.split('/').next())
            .collect();
        let parts =
            files.iter().filter_map(|file| file.strip_prefix(table)?.strip_prefix('/')?.split('/').next());
        let is_unnamed = |part: &&str| !named.contains(part) && !UNNAMED.contains(part);
        missing.extend(parts.filter(is_unnamed).map(|part| format!("{table}/{part}")));
    }
    missing.into_iter().collect()
}

/// The lines of a map, each with the folder that the table it stands in is of: that of ``In `folder`:`` before it.
fn lines_with_table(map: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let mut table = None;
    map.lines().map(move |line| {
        let named = line.strip_prefix("In `").and_then(|rest| rest.strip_suffix("`:"));
        let goes_on = line.is_empty() || line.starts_with('|');
        table = named.or(table.filter(|_| goes_on));
        (table, line)
    })
}

/// The paths among what is marked as code in a line, without what follows a `*`.
fn places(line: &str) -> impl Iterator<Item = &str> {
    const EXTENSIONS: [&str; 5] = ["rs", "py", "sh", "toml", "md"];
    let is_path = |code: &&str| {
        let has_extension = Path::new(code).extension().is_some_and(|is| EXTENSIONS.iter().any(|e| is == *e));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./*".contains(c);
        (has_extension || code.contains('/')) && !code.starts_with('/') && code.chars().all(is_plain)
    };
    let code = line.split('`').skip(1).step_by(2).filter(is_path);
    code.map(|code| code.split('*').next().unwrap_or_default().trim_end_matches('/'))
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

/// Lines before a file's own tests.
fn code_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let opens_tests =
        |two: &[&str]| two[0] == "#[cfg(test)]" && two[1].contains("mod ") && two[1].ends_with('{');
    lines.windows(2).position(opens_tests).unwrap_or(lines.len())
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
