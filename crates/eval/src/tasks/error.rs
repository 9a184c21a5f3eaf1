//! What can be wrong with a task, its description and its documents.

use std::io;
use std::path::PathBuf;

use tercet_chat::TemplateError;

/// Why a task, a description or a document was refused.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum TaskError {
    // Names and descriptions.
    #[error("found no task `{name}`, expected one of `tercet eval --list-tasks`")]
    UnknownTask { name: String, nearest: Option<String> },
    #[error("{file}: the description is wrong: {detail}")]
    Description { file: String, detail: String },
    #[error("{file}: `{field}` is {found}, expected {expected}")]
    DescriptionField { file: String, field: String, found: String, expected: String },
    #[error("{file}: `{field}` cannot be read: {detail}")]
    Template { file: String, field: String, detail: String },
    #[error("{path}: found a name that ends in `{found}`, expected `.jsonl` or `.toml`")]
    TaskFileKind { path: PathBuf, found: String },

    // Finding files.
    #[error(
        "{folder}: found no file of task `{task}`, split `{split}`, expected one of `{}`",
        .expected.join("`, `")
    )]
    NoFile { folder: PathBuf, task: String, split: String, expected: Vec<String>, dataset: String },
    #[error(
        "{folder}: found several files of task `{task}`, split `{split}`, expected one: {}",
        joined(.found)
    )]
    SeveralFiles { folder: PathBuf, task: String, split: String, found: Vec<PathBuf> },
    #[error("found no file of task `{task}`, split `{split}`, expected one for the few-shot examples")]
    NoFewshotFile { task: String, split: String },
    #[error("task `{task}`: the project has no documents of its own for it, expected a folder of data")]
    NoProjectDocuments { task: String },
    #[error("{path}: cannot be {action}: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },

    // Reading files.
    #[error("{path}: found a name that ends in `{found}`, expected {expected}")]
    FileKind { path: PathBuf, found: String, expected: &'static str },
    #[error("{path}: has more than {limit} {unit}, expected at most that many")]
    TooLarge { path: PathBuf, limit: u64, unit: &'static str },
    #[error("{path}: line {line} has more than {limit_bytes} bytes, expected at most that many")]
    LongLine { path: PathBuf, line: u64, limit_bytes: usize },
    #[error("{path}: line {line} is not UTF-8")]
    Utf8 { path: PathBuf, line: u64 },
    #[error("{path}: {place} is not JSON: {detail}")]
    Json { path: PathBuf, place: String, detail: String },
    #[error("{path}: the parquet file cannot be read: {detail}")]
    Parquet { path: PathBuf, detail: String },
    #[error("{path}: found no document, expected at least one")]
    NoDocument { path: PathBuf },

    // Documents.
    #[error("{place} has the fields `{}`, expected {expected}", .found.join("`, `"))]
    Shape { place: String, found: Vec<String>, expected: String },
    #[error("{place}: `{field}` is {found}, expected {expected}")]
    Field { place: String, field: String, found: String, expected: String },
    #[error("{place}: `{part}` of task `{task}` cannot be made of this document: {detail}")]
    Render { place: String, task: String, part: &'static str, detail: String },
    #[error(
        "task `{task}`: found {found} document{} for {wanted} few-shot example{}, expected at least {needed}",
        ending(*found),
        ending(*wanted)
    )]
    FewDocuments { task: String, found: usize, wanted: usize, needed: usize },
    #[error("task `{task}`: found {found} few-shot examples asked for, expected {expected}")]
    Fewshot { task: String, found: usize, expected: &'static str },
    #[error("task `{task}`, document {document}: {error}")]
    Conversation { task: String, document: usize, error: Box<TemplateError> },
}

/// The ending of a word that counts so many.
fn ending(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl TaskError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownTask { nearest, .. } => {
                nearest.as_ref().map(|nearest| format!("did you mean `{nearest}`?"))
            }
            Self::NoFile { dataset, .. } => Some(format!(
                "the set is `{dataset}` of the Hugging Face Hub; docs/evaluation.md says which forms are read"
            )),
            _ => None,
        }
    }
}

fn joined(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// A text from outside, short enough for a message and without control characters.
pub(super) fn shown(text: &str) -> String {
    shown_up_to(text, 80)
}

pub(super) fn shown_up_to(text: &str, characters: usize) -> String {
    let mut shown = String::new();
    for (place, character) in text.chars().enumerate() {
        if place == characters {
            shown.push('…');
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_debug());
        } else {
            shown.push(character);
        }
    }
    shown
}
