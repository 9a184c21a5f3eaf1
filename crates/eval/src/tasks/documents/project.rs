//! The project's own documents, in the program.
//!
//! They were written for this project, in the form of each data set: enough to see that all works,
//! and no measure of a model. It knows texts, and not what is in them.

use super::TaskError;
use crate::tasks::task::Task;

/// The names of files in `documents/` and their texts.
const FILES: &[(&str, &str)] = &[("arc_easy_test", include_str!("../../../documents/arc_easy_test.jsonl"))];

/// The documents of a split: their name, and a line each.
///
/// Those of MMLU are the same for every subject.
pub(super) fn text(task: &Task, split: &str) -> Result<(&'static str, &'static str), TaskError> {
    let missing = || TaskError::NoProjectDocuments { task: task.name.clone() };
    let dataset = task.dataset.as_ref().ok_or_else(missing)?;
    let stem = dataset.common_stem.as_ref().unwrap_or(&dataset.file_stem);
    let wanted = format!("{stem}_{split}");
    FILES.iter().find(|(name, _)| *name == wanted).copied().ok_or_else(missing)
}
