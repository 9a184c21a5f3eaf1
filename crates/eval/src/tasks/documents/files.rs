//! Which files of a folder hold a split of a task.
//!
//! It knows names, not what is in a file.
//!
//! ```text
//! DIR/arc_easy_test.jsonl              the task and the split
//! DIR/arc_easy.jsonl                   the task: the split that is evaluated
//! DIR/arc_easy/test.parquet            a folder a task
//! DIR/ai2_arc/ARC-Easy/test-00000-of-00001.parquet   as in the data set's repository
//! DIR/ai2_arc/ARC-Easy/test/0000.parquet             as in the Hub's conversion to parquet
//! DIR/wiki.test.raw                    pages of WikiText
//! DIR/hellaswag_val_activitynet.jsonl  the task, the split and more, if there is none of those
//! DIR/mmlu_test.parquet                the tasks of all subjects, if there is none of those either
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::TaskError;
use super::read::ENDINGS;
use crate::tasks::dataset::Dataset;
use crate::tasks::task::Task;

/// Names that a folder may hold.
const ENTRIES_MAX: usize = 100_000;

/// A name that is looked for.
struct Wanted {
    folder: PathBuf,
    name: String,
    kind: NameKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NameKind {
    /// The whole name of a file.
    Whole,
    /// A name without its ending, and without the number of a part.
    Stem,
    /// What such a name begins with.
    Start,
    /// A number of four digits: a part of what the folder is named for.
    Part,
}

/// The files of a split, several only if they are numbered parts of one.
pub(super) fn find(task: &Task, folder: &Path, split: &str) -> Result<Vec<PathBuf>, TaskError> {
    let dataset = task.dataset.as_ref().expect("a task of the project has a data set");
    entries(folder)?;
    let mut expected = Vec::new();
    for wanted in wanted(dataset, folder, split) {
        // Parts of a file have its name in common.
        let mut found: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for wanted in &wanted {
            if !wanted.folder.is_dir() {
                continue;
            }
            for name in entries(&wanted.folder)? {
                if let Some(whole) = matched(&name, wanted) {
                    found.entry(wanted.folder.join(whole)).or_default().push(wanted.folder.join(name));
                }
            }
        }
        if found.len() > 1 {
            return Err(TaskError::SeveralFiles {
                folder: folder.to_path_buf(),
                task: task.name.clone(),
                split: split.to_owned(),
                found: found.into_values().flatten().collect(),
            });
        }
        if let Some((_, mut parts)) = found.pop_first() {
            parts.sort();
            parts.dedup();
            return Ok(parts);
        }
        expected.extend(wanted.iter().map(|wanted| wanted.shown(folder)));
    }
    let configuration = dataset.config.as_ref().map(|config| format!(", configuration {config}"));
    Err(TaskError::NoFile {
        folder: folder.to_path_buf(),
        task: task.name.clone(),
        split: split.to_owned(),
        expected,
        dataset: format!("{}{}", dataset.path, configuration.unwrap_or_default()),
    })
}

/// The names that are looked for: those of a later list only if there is none of an earlier one.
fn wanted(dataset: &Dataset, folder: &Path, split: &str) -> [Vec<Wanted>; 3] {
    let name = |folder: PathBuf, name: String, kind| Wanted { folder, name, kind };
    let here = || folder.to_path_buf();
    let aliases = aliases(split);
    let repository = dataset.path.rsplit('/').next().unwrap_or(&dataset.path);
    let repository = || folder.join(repository);
    // A set without configurations has its files at the top or in `data`; the Hub's conversion puts
    // them under one of two names.
    let (as_stored, as_converted) = match &dataset.config {
        Some(config) => (vec![repository().join(config)], vec![repository().join(config)]),
        None => (
            vec![repository(), repository().join("data")],
            vec![repository().join("default"), repository().join("plain_text")],
        ),
    };

    let mut plain = Vec::new();
    for alias in aliases {
        plain.push(name(here(), format!("{}_{alias}", dataset.file_stem), NameKind::Stem));
        plain.push(name(folder.join(&dataset.file_stem), (*alias).to_owned(), NameKind::Stem));
        for folder in as_stored.iter().filter(|stored| **stored != folder.join(&dataset.file_stem)) {
            plain.push(name(folder.clone(), (*alias).to_owned(), NameKind::Stem));
        }
        for folder in &as_converted {
            plain.push(name(folder.join(alias), (*alias).to_owned(), NameKind::Part));
        }
        if let Some(pages) = &dataset.pages {
            let pages = pages.replace("{split}", alias);
            for folder in [here(), folder.join("wikitext-2"), folder.join("wikitext-2-raw")] {
                plain.push(name(folder, pages.clone(), NameKind::Whole));
            }
        }
    }
    if split == dataset.evaluation_split {
        plain.push(name(here(), dataset.file_stem.clone(), NameKind::Stem));
    }
    if let Some((_, file)) = dataset.split_files.iter().find(|(of, _)| of == split) {
        let path = Path::new(file);
        let last = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let inner = path.parent().unwrap_or(Path::new(""));
        for folder in [here(), folder.join(inner), repository().join(inner)] {
            plain.push(name(folder, last.clone(), NameKind::Whole));
        }
    }
    let with_more =
        aliases.iter().map(|alias| name(here(), format!("{}_{alias}_", dataset.file_stem), NameKind::Start));
    let common = dataset.common_stem.iter().flat_map(|stem| {
        aliases.iter().map(move |alias| name(here(), format!("{stem}_{alias}"), NameKind::Stem))
    });
    [plain, with_more.collect(), common.collect()]
}

/// What a split is called in the names of files.
fn aliases(split: &str) -> &'static [&'static str] {
    match split {
        "test" => &["test"],
        "validation" => &["validation", "val", "valid", "dev"],
        "train" => &["train", "training"],
        "dev" => &["dev"],
        _ => &[],
    }
}

impl Wanted {
    fn shown(&self, folder: &Path) -> String {
        let name = match self.kind {
            NameKind::Whole => self.name.clone(),
            NameKind::Stem => format!("{}.jsonl", self.name),
            NameKind::Start => format!("{}*.jsonl", self.name),
            NameKind::Part => "0000.parquet".to_owned(),
        };
        let path = self.folder.join(name);
        path.strip_prefix(folder).unwrap_or(&path).display().to_string()
    }
}

/// The name without the number of a part, if it is one that is wanted.
fn matched(name: &str, wanted: &Wanted) -> Option<String> {
    if wanted.kind == NameKind::Whole {
        return (name == wanted.name).then(|| name.to_owned());
    }
    let ending =
        ENDINGS.iter().filter(|ending| name.ends_with(**ending)).max_by_key(|ending| ending.len())?;
    let stem = name.strip_suffix(ending)?;
    if wanted.kind == NameKind::Part {
        let is_part = stem.len() == 4 && stem.bytes().all(|byte| byte.is_ascii_digit());
        return is_part.then(|| format!("{}{ending}", wanted.name));
    }
    let stem = without_part(stem);
    let is_wanted = match wanted.kind {
        NameKind::Start => stem.starts_with(&wanted.name),
        _ => stem == wanted.name,
    };
    is_wanted.then(|| format!("{stem}{ending}"))
}

/// `train` of `train-00000-of-00002`.
fn without_part(stem: &str) -> &str {
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = stem.rsplit_once("-of-").and_then(|(rest, total)| {
        let (name, part) = rest.rsplit_once('-')?;
        (is_number(part) && is_number(total)).then_some(name)
    });
    parts.unwrap_or(stem)
}

/// The names in a folder that are text, in order.
fn entries(folder: &Path) -> Result<Vec<String>, TaskError> {
    let failed = |source| TaskError::Io { path: folder.to_path_buf(), action: "read as a folder", source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
        if names.len() > ENTRIES_MAX {
            return Err(failed(io::Error::other(format!("it has more than {ENTRIES_MAX} entries"))));
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(task: &str, split: &str, names: &[&str]) -> Result<Vec<String>, TaskError> {
        let folder = tempfile::tempdir().expect("a folder");
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("has one")).expect("creates");
            fs::write(path, "").expect("writes");
        }
        let selection = crate::tasks::find(&[task]).expect("known");
        let files = find(&selection.tasks[0], folder.path(), split)?;
        let inside = |path: &PathBuf| path.strip_prefix(folder.path()).expect("inside").display().to_string();
        Ok(files.iter().map(inside).collect())
    }

    #[test]
    fn each_name_of_the_page_is_found() {
        let check = |task: &str, split: &str, names: &[&str]| {
            let other = ["arc_challenge_test.jsonl", "piqa_vals.jsonl", "notes.txt", "mmlu_virology.md"];
            let all = [names, &other[..]].concat();
            assert_eq!(found(task, split, &all).expect("found"), names, "{names:?}");
        };
        check("arc_easy", "test", &["arc_easy_test.jsonl"]);
        check("arc_easy", "test", &["arc_easy.json"]);
        check("arc_easy@0.3.0", "test", &["arc_easy/test.parquet"]);
        check(
            "arc_easy",
            "train",
            &[
                "ai2_arc/ARC-Easy/train-00000-of-00002.parquet",
                "ai2_arc/ARC-Easy/train-00001-of-00002.parquet",
            ],
        );
        check(
            "arc_easy",
            "test",
            &["ai2_arc/ARC-Easy/test/0000.parquet", "ai2_arc/ARC-Easy/test/0001.parquet"],
        );
        check("piqa", "validation", &["piqa/default/validation/0000.parquet"]);
        check("hellaswag", "validation", &["hellaswag/data/validation-00000-of-00001.parquet"]);
        check("piqa", "validation", &["piqa_val.jsonl.gz"]);
        check("piqa", "validation", &["piqa/dev.jsonl"]);
        check("wikitext", "test", &["wiki.test.raw"]);
        check("wikitext", "test", &["wikitext-2/wiki.test.raw"]);
        check("hellaswag", "validation", &["hellaswag_val_activitynet.jsonl"]);
        check("c4", "validation", &["c4/en/c4-validation.00000-of-00008.json.gz"]);
        check("c4", "validation", &["c4-validation.00000-of-00008.json.gz"]);
        check("mmlu_virology", "test", &["mmlu/virology/test-00000-of-00001.parquet"]);
        check("mmlu_virology", "test", &["mmlu_test.parquet"]);
    }

    #[test]
    fn an_exact_name_comes_before_one_with_more() {
        let names = ["piqa_val.jsonl", "piqa_val_small.jsonl"];
        assert_eq!(found("piqa", "validation", &names).expect("found"), names[..1]);
    }

    #[test]
    fn several_files_are_listed() {
        let error = found("piqa", "validation", &["piqa_val.jsonl", "piqa_validation.parquet"]);
        let message = error.expect_err("is ambiguous").to_string();
        assert!(message.contains("piqa_val.jsonl, "), "{message}");
        assert!(message.contains("piqa_validation.parquet"), "{message}");
        assert!(
            found("hellaswag", "validation", &["hellaswag_val_a.jsonl", "hellaswag_val_b.jsonl"]).is_err()
        );
    }

    #[test]
    fn a_missing_file_is_named_with_its_data_set() {
        let error = found("arc_easy", "test", &["arc_easy_train.jsonl"]).expect_err("is missing");
        let message = format!("{error}\n{}", error.hint().unwrap_or_default());
        for wanted in [
            "`arc_easy_test.jsonl`",
            "`ai2_arc/ARC-Easy/test.jsonl`",
            "`allenai/ai2_arc, configuration ARC-Easy`",
        ] {
            assert!(message.contains(wanted), "`{message}` has no {wanted}");
        }
    }
}
