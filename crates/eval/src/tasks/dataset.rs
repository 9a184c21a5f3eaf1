//! Where the documents of a task come from: a data set of the Hub, and which of its splits.

use super::description::{DatasetDescription, Description};

/// A data set of the Hugging Face Hub, and its splits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// `organisation/name`.
    pub path: String,
    /// Which of its configurations; the only one if nothing.
    pub config: Option<String>,
    /// The split that is evaluated.
    pub evaluation_split: String,
    /// The split that few-shot examples are drawn from.
    pub fewshot_split: String,
    /// What files are called: the task's name without a version of the harness.
    pub file_stem: String,
    /// The files of splits, in the data set, where they are not all of a split.
    pub split_files: Vec<(String, String)>,
    /// Whether the document that is evaluated is kept out of its few-shot examples.
    ///
    /// The harness does so where its few-shot split and its test split have the same name or, which
    /// is so for most tasks, neither has one.
    pub leaves_out: bool,
    /// The subject, of a set that has several in one file.
    pub subject: Option<String>,
    pub(super) common_stem: Option<String>,
    pub(super) pages: Option<String>,
}

impl Dataset {
    /// That of a checked description.
    pub(super) fn new(description: &Description, dataset: &DatasetDescription) -> Self {
        let evaluation = dataset.test_split.as_ref().or(dataset.validation_split.as_ref());
        let evaluation = evaluation.expect("a checked description has one of them");
        let fewshot = dataset
            .fewshot_split
            .as_ref()
            .or(dataset.training_split.as_ref())
            .or(dataset.validation_split.as_ref())
            .unwrap_or(evaluation);
        Self {
            path: dataset.path.clone(),
            config: dataset.config.clone(),
            evaluation_split: evaluation.clone(),
            fewshot_split: fewshot.clone(),
            file_stem: description.task.clone(),
            split_files: dataset.files.iter().map(|(split, file)| (split.clone(), file.clone())).collect(),
            leaves_out: dataset.fewshot_split == dataset.test_split,
            subject: None,
            common_stem: None,
            pages: dataset.pages.clone(),
        }
    }
}
