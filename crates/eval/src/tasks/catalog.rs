//! All tasks and groups by name, and one's own task from a file.
//!
//! It knows which files there are, not what is in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tercet::nearest::nearest;

use super::description::Description;
use super::documents::{first_document, ready_kind};
use super::error::{TaskError, shown};
use super::task::{OwnFiles, Rules, Task};

/// The descriptions of `tasks/`.
const FILES: [(&str, &str); 17] = [
    ("arc_challenge", include_str!("../../tasks/arc_challenge.toml")),
    ("arc_easy", include_str!("../../tasks/arc_easy.toml")),
    ("boolq", include_str!("../../tasks/boolq.toml")),
    ("c4", include_str!("../../tasks/c4.toml")),
    ("commonsense_qa", include_str!("../../tasks/commonsense_qa.toml")),
    ("copa", include_str!("../../tasks/copa.toml")),
    ("gsm8k", include_str!("../../tasks/gsm8k.toml")),
    ("hellaswag", include_str!("../../tasks/hellaswag.toml")),
    ("lambada_openai", include_str!("../../tasks/lambada_openai.toml")),
    ("mmlu", include_str!("../../tasks/mmlu.toml")),
    ("openbookqa", include_str!("../../tasks/openbookqa.toml")),
    ("piqa", include_str!("../../tasks/piqa.toml")),
    ("sciq", include_str!("../../tasks/sciq.toml")),
    ("social_iqa", include_str!("../../tasks/social_iqa.toml")),
    ("wikitext", include_str!("../../tasks/wikitext.toml")),
    ("winogrande", include_str!("../../tasks/winogrande.toml")),
    ("wsc273", include_str!("../../tasks/wsc273.toml")),
];

const GROUPS: &str = include_str!("../../tasks/groups.toml");

/// The longest description of one's own, in bytes.
const DESCRIPTION_MAX_BYTES: u64 = 1 << 20;

/// What a task of version 0.3.0 of the harness ends in.
const OLD: &str = "@0.3.0";

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The tasks, each once, in the order asked for.
    pub tasks: Vec<Arc<Task>>,
    /// The groups, each before those in it.
    pub groups: Vec<Group>,
}

/// Tasks that are reported as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What it is called.
    pub name: String,
    /// What its table shows it as.
    pub alias: String,
    /// Its version, as the harness counts them.
    pub version: String,
    /// What is in it, groups or tasks.
    pub members: Vec<String>,
    /// All tasks in it and in its groups.
    pub tasks: Vec<String>,
    /// The metrics that it has.
    pub metrics: Vec<String>,
    /// Whether each document counts as much as any other, or each task.
    pub weight_by_size: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupsFile {
    group: Vec<GroupDescription>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupDescription {
    name: String,
    /// For who reads the file.
    #[expect(dead_code, reason = "a comment of the file")]
    about: Option<String>,
    alias: Option<String>,
    #[serde(default)]
    version: String,
    tasks: Vec<String>,
    metrics: Vec<String>,
    weight_by_size: bool,
}

/// One task of the catalogue, not yet made ready.
struct Entry {
    description: usize,
    rules: Rules,
    subject: Option<String>,
}

/// All there is.
struct Catalog {
    descriptions: Vec<(String, Description)>,
    /// By name, in the order of the files.
    entries: Vec<(String, Entry)>,
    groups: Vec<GroupDescription>,
}

/// Finds tasks and groups by their names.
///
/// A name that ends in `@0.3.0` is the task as version 0.3.0 of the harness has it.
///
/// # Errors
/// [`TaskError::UnknownTask`] with the nearest known name.
pub fn find(names: &[&str]) -> Result<Selection, TaskError> {
    let catalog = Catalog::new();
    let mut selection = Selection::default();
    for name in names {
        catalog.add(name, &mut selection)?;
    }
    Ok(selection)
}

/// The names of all groups and tasks.
pub fn names() -> Vec<String> {
    let catalog = Catalog::new();
    let groups = catalog.groups.iter().map(|group| group.name.clone());
    groups.chain(catalog.entries.iter().map(|(name, _)| name.clone())).collect()
}

/// One's own task.
///
/// Either a file of ready documents, whose fields tell the kind of task, or a description as in
/// `tasks/`, with `[documents]` in place of `[dataset]`: files beside it.
///
/// # Errors
/// [`TaskError`] for a file that cannot be read or is wrong.
pub fn task_file(path: &Path) -> Result<Task, TaskError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.ends_with(".toml") {
        return described(path);
    }
    let ending = [".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet"];
    let Some(stem) = ending.iter().find_map(|ending| name.strip_suffix(ending)) else {
        let found = name.rsplit_once('.').map_or(String::new(), |(_, ending)| format!(".{ending}"));
        return Err(TaskError::TaskFileKind { path: path.to_path_buf(), found: shown(&found) });
    };
    let (place, first) = first_document(path)?;
    let kind = ready_kind(&place, &first)?;
    Ok(Task::ready(stem, kind, path.to_path_buf()))
}

fn described(path: &Path) -> Result<Task, TaskError> {
    let failed = |source| TaskError::Io { path: path.to_path_buf(), action: "read", source };
    let bytes = fs::metadata(path).map_err(failed)?.len();
    if bytes > DESCRIPTION_MAX_BYTES {
        let path = path.to_path_buf();
        return Err(TaskError::TooLarge { path, limit: DESCRIPTION_MAX_BYTES, unit: "bytes" });
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let file = path.display().to_string();
    let description = Description::parse(&file, &text)?;
    let wrong = |field: &str, found: &str, expected: &str| TaskError::DescriptionField {
        file: file.clone(),
        field: field.to_owned(),
        found: found.to_owned(),
        expected: expected.to_owned(),
    };
    let Some(documents) = &description.documents else {
        return Err(wrong("dataset", "given", "`documents` with a file beside this one"));
    };
    if description.subjects.is_some() || description.old.is_some() {
        return Err(wrong("subjects", "given", "none, and no `old`, in a task of one's own"));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let beside = |file: &String| -> PathBuf { folder.join(file) };
    let own = OwnFiles {
        evaluation: beside(&documents.file),
        fewshot: documents.fewshot_file.as_ref().map(beside),
    };
    Task::new(&file, &description, Rules::Current, None, Some(own))
}

impl Catalog {
    fn new() -> Self {
        let file = |name: &str| format!("tasks/{name}.toml");
        let descriptions: Vec<(String, Description)> = FILES
            .iter()
            .map(|(name, text)| {
                let description = Description::parse(&file(name), text);
                (file(name), description.expect("a file of the project, which its tests read"))
            })
            .collect();
        let groups: GroupsFile = toml::from_str(GROUPS).expect("a file of the project, which its tests read");
        let mut groups = groups.group;
        let mut entries = Vec::new();
        for (place, (_, description)) in descriptions.iter().enumerate() {
            let entry = |rules, subject| Entry { description: place, rules, subject };
            let Some(subjects) = &description.subjects else {
                entries.push((description.task.clone(), entry(Rules::Current, None)));
                if description.old.is_some() {
                    entries.push((format!("{}{OLD}", description.task), entry(Rules::Old, None)));
                }
                continue;
            };
            for (group, subjects) in subjects {
                let names = subjects.iter().map(|subject| format!("{}_{subject}", description.task));
                groups.push(GroupDescription {
                    name: format!("{}_{group}", description.task),
                    about: None,
                    alias: Some(group.replace('_', " ")),
                    version: "2".to_owned(),
                    tasks: names.clone().collect(),
                    metrics: description.metrics.iter().map(|metric| metric.name().to_owned()).collect(),
                    weight_by_size: true,
                });
                let tasks = names.zip(subjects);
                entries.extend(
                    tasks.map(|(name, subject)| (name, entry(Rules::Current, Some(subject.clone())))),
                );
            }
        }
        Self { descriptions, entries, groups }
    }

    fn add(&self, name: &str, selection: &mut Selection) -> Result<(), TaskError> {
        if let Some(group) = self.groups.iter().find(|group| group.name == name) {
            if selection.groups.iter().any(|known| known.name == name) {
                return Ok(());
            }
            selection.groups.push(Group {
                name: name.to_owned(),
                alias: group.alias.clone().unwrap_or_else(|| name.to_owned()),
                version: group.version.clone(),
                members: group.tasks.clone(),
                tasks: self.tasks_of(group),
                metrics: group.metrics.clone(),
                weight_by_size: group.weight_by_size,
            });
            return group.tasks.iter().try_for_each(|member| self.add(member, selection));
        }
        if selection.tasks.iter().any(|known| known.name == name) {
            return Ok(());
        }
        let Some((_, entry)) = self.entries.iter().find(|(known, _)| known == name) else {
            return Err(TaskError::UnknownTask { name: shown(name), nearest: self.nearest(name) });
        };
        let (file, description) = &self.descriptions[entry.description];
        let task = Task::new(file, description, entry.rules, entry.subject.as_deref(), None)?;
        selection.tasks.push(Arc::new(task));
        Ok(())
    }

    fn tasks_of(&self, group: &GroupDescription) -> Vec<String> {
        let mut tasks = Vec::new();
        for member in &group.tasks {
            match self.groups.iter().find(|group| group.name == *member) {
                Some(inner) => tasks.extend(self.tasks_of(inner)),
                None => tasks.push(member.clone()),
            }
        }
        tasks
    }

    fn nearest(&self, name: &str) -> Option<String> {
        let known: BTreeSet<&String> = self
            .groups
            .iter()
            .map(|group| &group.name)
            .chain(self.entries.iter().map(|(name, _)| name))
            .collect();
        nearest(name, known).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_and_group_can_be_found() {
        for name in names() {
            let selection = find(&[&name]).expect("is ready");
            assert!(!selection.tasks.is_empty(), "{name}");
        }
        assert!(names().len() > 57 + 16 + 7);
    }

    #[test]
    fn a_group_brings_its_groups_and_each_task_once() {
        let selection = find(&["mmlu_virology", "mmlu", "arc_easy", "mmlu_other"]).expect("known");
        assert_eq!(selection.tasks.len(), 58);
        assert_eq!(selection.groups.len(), 5);
        assert_eq!(selection.groups[0].tasks.len(), 57);
        assert_eq!(find(&["paper"]).expect("known").tasks.len(), 7);
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        let check = |name: &str, hint: Option<&str>| {
            let error = find(&[name]).expect_err("is unknown");
            let want = format!("found no task `{}`, expected one of `tercet eval --list-tasks`", shown(name));
            assert_eq!((error.to_string(), error.hint().as_deref()), (want, hint));
        };
        check("arc_eazy", Some("did you mean `arc_easy`?"));
        check("boolq@0.3.1", Some("did you mean `boolq@0.3.0`?"));
        check("wiktxt", Some("did you mean `wikitext`?"));
        check("xyz\n", None);
    }

    #[test]
    fn old_versions_differ_where_the_texts_do() {
        let selection = find(&["boolq", "boolq@0.3.0"]).expect("known");
        let versions: Vec<&str> = selection.tasks.iter().map(|task| task.version.as_str()).collect();
        assert_eq!(versions, ["2.0", "1"]);
    }
}
