//! The documents of a task: where they are, how they are read, and which shape they have.
//!
//! A document has the fields of the data set that it comes from, or it is *ready* and holds the
//! parts of a request. Which of the two is told by its fields. All of it comes from outside, so sizes
//! are bounded and every field is checked once, here.

mod columns;
mod files;
mod hub;
mod json;
mod project;
mod read;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tercet::digest::hex;

pub use json::Json;

use super::description::{FieldKind, Kind};
use super::error::{TaskError, shown};
use super::task::{Rules, Task};
use read::read;

/// Where documents are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The project's own small ones, which are in the program.
    Project,
    /// A folder: files are known by their names.
    Folder(PathBuf),
    /// These files, such as those of a download.
    Files(Vec<SplitFiles>),
}

/// The files of a split, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitFiles {
    /// The name of the split in the data set.
    pub split: String,
    /// Its files.
    pub paths: Vec<PathBuf>,
}

/// The documents of a task.
#[derive(Debug, Clone)]
pub struct Documents {
    /// Where they come from.
    pub origin: Origin,
    pub(super) evaluation: Vec<Document>,
    pub(super) fewshot: Fewshot,
}

/// Where documents come from, for a report to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// They were written for this project: they are not the data set, and their scores are not
    /// comparable with its.
    Project,
    /// These files.
    Files(Vec<PathBuf>),
}

/// What few-shot examples are drawn from.
#[derive(Debug, Clone)]
pub(super) enum Fewshot {
    /// None are asked for.
    None,
    /// The documents that are evaluated.
    Evaluation,
    Other(Vec<Document>),
}

/// A document.
#[derive(Debug, Clone)]
pub struct Document {
    pub(super) place: Place,
    pub(super) json: Json,
    pub(super) shape: Shape,
}

/// Which fields a document has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Those of the data set.
    Source,
    /// The parts of a request.
    Ready,
}

/// Where a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    file: Arc<str>,
    unit: &'static str,
    number: u64,
}

impl Place {
    pub(super) fn new(file: &Arc<str>, unit: &'static str, number: u64) -> Self {
        Self { file: Arc::clone(file), unit, number }
    }

    /// Of what is in no file.
    pub(super) fn none() -> Self {
        Self { file: "".into(), unit: "line", number: 0 }
    }

    /// The error of a field of the document here.
    pub(super) fn field(&self, field: &str, found: String, expected: &str) -> TaskError {
        let (field, expected) = (field.to_owned(), expected.to_owned());
        TaskError::Field { place: self.to_string(), field, found, expected }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} {}", self.file, self.unit, self.number)
    }
}

impl Documents {
    /// How many there are to evaluate.
    pub fn len(&self) -> usize {
        self.evaluation.len()
    }

    /// Whether there are none, which no reader lets happen.
    pub fn is_empty(&self) -> bool {
        self.evaluation.is_empty()
    }

    /// Whether the documents were written for this project, and so are not the data set.
    pub fn is_project(&self) -> bool {
        self.origin == Origin::Project
    }

    /// A digest of the documents to evaluate: SHA-256 of those of each, in order.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for document in &self.evaluation {
            digest.update(document.json.digest());
        }
        hex(&digest.finalize())
    }
}

impl Document {
    /// Its fields.
    pub fn json(&self) -> &Json {
        &self.json
    }
}

impl Task {
    /// Reads the documents of this task; those for few-shot examples only if `num_fewshot` is not 0.
    ///
    /// One's own task takes those that its file names, whatever the source.
    ///
    /// # Errors
    /// [`TaskError`] for a file that is missing, is one of several or cannot be read, and for a
    /// document that has not the fields of this task.
    pub fn documents(&self, source: &Source, num_fewshot: usize) -> Result<Documents, TaskError> {
        // In the old rules as in the new ones a text that is scored as a whole has no context.
        let needs_fewshot = num_fewshot > 0 && self.kind != Kind::Rolling;
        if let Some(own) = &self.own_files {
            let evaluation = self.read_files(std::slice::from_ref(&own.evaluation), "documents")?;
            let mut paths = vec![own.evaluation.clone()];
            let fewshot = match (&own.fewshot, needs_fewshot) {
                (_, false) => Fewshot::None,
                (None, true) => Fewshot::Evaluation,
                (Some(path), true) => {
                    paths.push(path.clone());
                    Fewshot::Other(self.read_files(std::slice::from_ref(path), "few-shot examples")?)
                }
            };
            return Ok(Documents { origin: Origin::Files(paths), evaluation, fewshot });
        }
        let dataset = self.dataset.as_ref().expect("a task has a data set or files of its own");
        let is_same = dataset.fewshot_split == dataset.evaluation_split;
        let (mut paths, evaluation) = self.split(source, &dataset.evaluation_split)?;
        let fewshot = match (needs_fewshot, is_same) {
            (false, _) => Fewshot::None,
            (true, true) => Fewshot::Evaluation,
            (true, false) => {
                let (fewshot_paths, fewshot) = self.split(source, &dataset.fewshot_split)?;
                paths.extend(fewshot_paths);
                Fewshot::Other(fewshot)
            }
        };
        let origin = if *source == Source::Project { Origin::Project } else { Origin::Files(paths) };
        Ok(Documents { origin, evaluation, fewshot })
    }

    /// The documents of a split, and the files they are in.
    fn split(&self, source: &Source, split: &str) -> Result<(Vec<PathBuf>, Vec<Document>), TaskError> {
        match source {
            Source::Project => {
                let (name, text) = project::text(self, split)?;
                Ok((Vec::new(), self.checked(read::lines_of(name, text)?)?))
            }
            Source::Folder(folder) => {
                let paths = files::find(self, folder, split)?;
                let documents = self.read_files(&paths, split)?;
                Ok((paths, documents))
            }
            Source::Files(files) => {
                let of_split = files.iter().find(|files| files.split == split && !files.paths.is_empty());
                let files = of_split.ok_or_else(|| TaskError::NoFewshotFile {
                    task: self.name.clone(),
                    split: split.to_owned(),
                })?;
                let documents = self.read_files(&files.paths, split)?;
                Ok((files.paths.clone(), documents))
            }
        }
    }

    /// Reads files one after the other as one list of documents.
    fn read_files(&self, paths: &[PathBuf], what: &str) -> Result<Vec<Document>, TaskError> {
        let subject = self.subject_of_common_file(paths);
        let mut documents = Vec::new();
        for path in paths {
            let rows = read(path)?;
            let is_wanted = |json: &Json| match subject {
                Some(subject) => json.get("subject").and_then(Json::as_str) == Some(subject),
                None => true,
            };
            let rows = rows.into_iter().filter(|(_, json)| is_wanted(json)).collect();
            documents.append(&mut self.checked(rows)?);
        }
        if documents.is_empty() {
            let path = paths.first().cloned().unwrap_or_else(|| PathBuf::from(what));
            return Err(TaskError::NoDocument { path });
        }
        Ok(documents)
    }

    /// The subject to look for in files that hold those of several.
    fn subject_of_common_file(&self, paths: &[PathBuf]) -> Option<&str> {
        let dataset = self.dataset.as_ref()?;
        let subject = dataset.subject.as_deref()?;
        let common = dataset.common_stem.as_deref()?;
        let is_common = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(common) && !name.starts_with(&dataset.file_stem)
        };
        paths.iter().any(is_common).then_some(subject)
    }

    /// Checks the fields of documents and adds those that the task computes.
    ///
    /// All have the shape of the first.
    fn checked(&self, rows: Vec<(Place, Json)>) -> Result<Vec<Document>, TaskError> {
        let Some((place, first)) = rows.first() else { return Ok(Vec::new()) };
        let shape = self.shape(place, first)?;
        let documents = rows.into_iter().map(|(place, json)| {
            match shape {
                Shape::Source => {
                    for (field, kind) in &self.fields {
                        check_field(&json, field, *kind, &place)?;
                    }
                    self.processed(Document { place, json, shape })
                }
                // What a ready document holds is checked where its parts are taken.
                Shape::Ready => {
                    let document = Document { place, json, shape };
                    self.parts(&document)?;
                    Ok(document)
                }
            }
        });
        documents.collect()
    }

    fn shape(&self, place: &Place, json: &Json) -> Result<Shape, TaskError> {
        if !matches!(json, Json::Object(_)) {
            return Err(place.field("document", json.kind().to_owned(), "an object"));
        }
        let has_all = |mut names: std::slice::Iter<'_, &str>| names.all(|name| json.get(name).is_some());
        let source: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        if !source.is_empty() && has_all(source.iter()) {
            return Ok(Shape::Source);
        }
        let ready = ready_fields(self.kind);
        if has_all(ready.iter()) {
            return Ok(Shape::Ready);
        }
        let mut expected = format!("`{}`", ready.join("`, `"));
        if !source.is_empty() {
            expected = format!("`{}`, or {expected}", source.join("`, `"));
        }
        let found = json.fields().iter().take(30).map(|(name, _)| shown(name)).collect();
        Err(TaskError::Shape { place: place.to_string(), found, expected })
    }

    /// The order in which the documents are evaluated, and the random numbers that come after it.
    pub(super) fn order(&self, documents: usize, seed: u64) -> (Vec<usize>, crate::PythonRandom) {
        let mut order: Vec<usize> = (0..documents).collect();
        match self.rules {
            Rules::Current => (order, crate::PythonRandom::new(seed)),
            Rules::Old => {
                let mut random = crate::PythonRandom::new(42);
                random.shuffle(&mut order);
                (order, random)
            }
        }
    }
}

/// The fields of a ready document.
pub(super) fn ready_fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::MultipleChoice => &["ctx", "choices", "gold"],
        Kind::MultipleContext => &["ctxs", "continuation", "gold"],
        Kind::Continuation => &["context", "continuation"],
        Kind::Rolling => &["text"],
        Kind::Generate => &["context", "target"],
    }
}

/// The kind of task that a ready document is of, by its fields.
///
/// # Errors
/// [`TaskError::Shape`] if it has those of none.
pub(super) fn ready_kind(place: &Place, json: &Json) -> Result<Kind, TaskError> {
    let kinds =
        [Kind::MultipleChoice, Kind::MultipleContext, Kind::Continuation, Kind::Generate, Kind::Rolling];
    let kind = kinds.into_iter().find(|kind| ready_fields(*kind).iter().all(|name| json.get(name).is_some()));
    kind.ok_or_else(|| TaskError::Shape {
        place: place.to_string(),
        found: json.fields().iter().take(30).map(|(name, _)| shown(name)).collect(),
        expected: kinds.map(|kind| format!("`{}`", ready_fields(kind).join("`, `"))).join(", or "),
    })
}

/// The first document of a file, for its fields.
pub(super) fn first_document(path: &std::path::Path) -> Result<(Place, Json), TaskError> {
    let first = read(path)?.into_iter().next();
    first.ok_or_else(|| TaskError::NoDocument { path: path.to_path_buf() })
}

fn check_field(json: &Json, field: &str, kind: FieldKind, place: &Place) -> Result<(), TaskError> {
    let wrong = |found: String| Err(place.field(field, found, &kind.to_string()));
    let Some(value) = json.get(field) else { return wrong("missing".to_owned()) };
    let is_strings = |value: &Json| match value {
        Json::Array(values) => values.iter().all(|value| value.as_str().is_some()),
        _ => false,
    };
    let is_right = match (kind, value) {
        (FieldKind::String, Json::String(_)) => true,
        (FieldKind::Integer | FieldKind::Digits, Json::Number(number)) => number.is_i64() || number.is_u64(),
        (FieldKind::Digits, Json::String(text)) => {
            if text.parse::<i64>().is_err() {
                return wrong(format!("`{}`", shown(text)));
            }
            true
        }
        (FieldKind::Strings, Json::Array(values)) => {
            if let Some(other) = values.iter().find(|value| value.as_str().is_none()) {
                return wrong(format!("a list with {}", other.kind()));
            }
            true
        }
        (FieldKind::Labelled, Json::Object(_)) => {
            let (Some(label), Some(text)) = (value.get("label"), value.get("text")) else {
                return wrong("an object without `label` and `text`".to_owned());
            };
            let lengths = [label, text].map(|list| match list {
                Json::Array(values) => values.len(),
                _ => 0,
            });
            if !is_strings(label) || !is_strings(text) || lengths[0] != lengths[1] {
                return wrong("an object of something else".to_owned());
            }
            true
        }
        _ => false,
    };
    if is_right { Ok(()) } else { wrong(value.kind().to_owned()) }
}
