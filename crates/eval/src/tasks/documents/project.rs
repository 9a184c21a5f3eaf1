//! The project's own documents, in the program.
//!
//! They were written for this project, in the form of each data set: enough to see that all works,
//! and no measure of a model. It knows texts, and not what is in them.

use super::TaskError;
use crate::tasks::task::Task;

/// The names of files in `documents/` and their texts.
const FILES: [(&str, &str); 30] = [
    ("arc_challenge_test", include_str!("../../../documents/arc_challenge_test.jsonl")),
    ("arc_challenge_train", include_str!("../../../documents/arc_challenge_train.jsonl")),
    ("arc_easy_test", include_str!("../../../documents/arc_easy_test.jsonl")),
    ("arc_easy_train", include_str!("../../../documents/arc_easy_train.jsonl")),
    ("boolq_train", include_str!("../../../documents/boolq_train.jsonl")),
    ("boolq_validation", include_str!("../../../documents/boolq_validation.jsonl")),
    ("c4_validation", include_str!("../../../documents/c4_validation.jsonl")),
    ("commonsense_qa_train", include_str!("../../../documents/commonsense_qa_train.jsonl")),
    ("commonsense_qa_validation", include_str!("../../../documents/commonsense_qa_validation.jsonl")),
    ("copa_train", include_str!("../../../documents/copa_train.jsonl")),
    ("copa_validation", include_str!("../../../documents/copa_validation.jsonl")),
    ("gsm8k_test", include_str!("../../../documents/gsm8k_test.jsonl")),
    ("gsm8k_train", include_str!("../../../documents/gsm8k_train.jsonl")),
    ("hellaswag_train", include_str!("../../../documents/hellaswag_train.jsonl")),
    ("hellaswag_validation", include_str!("../../../documents/hellaswag_validation.jsonl")),
    ("lambada_openai_test", include_str!("../../../documents/lambada_openai_test.jsonl")),
    ("mmlu_dev", include_str!("../../../documents/mmlu_dev.jsonl")),
    ("mmlu_test", include_str!("../../../documents/mmlu_test.jsonl")),
    ("openbookqa_test", include_str!("../../../documents/openbookqa_test.jsonl")),
    ("openbookqa_train", include_str!("../../../documents/openbookqa_train.jsonl")),
    ("piqa_train", include_str!("../../../documents/piqa_train.jsonl")),
    ("piqa_validation", include_str!("../../../documents/piqa_validation.jsonl")),
    ("sciq_test", include_str!("../../../documents/sciq_test.jsonl")),
    ("sciq_train", include_str!("../../../documents/sciq_train.jsonl")),
    ("social_iqa_train", include_str!("../../../documents/social_iqa_train.jsonl")),
    ("social_iqa_validation", include_str!("../../../documents/social_iqa_validation.jsonl")),
    ("wikitext_test", include_str!("../../../documents/wikitext_test.jsonl")),
    ("winogrande_train", include_str!("../../../documents/winogrande_train.jsonl")),
    ("winogrande_validation", include_str!("../../../documents/winogrande_validation.jsonl")),
    ("wsc273_test", include_str!("../../../documents/wsc273_test.jsonl")),
];

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
