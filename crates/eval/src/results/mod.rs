//! Results as files and tables want them, in lm-evaluation-harness's schema.
//!
//! | module | holds |
//! |---|---|
//! | `compare` | two models on the same documents, and whether chance explains the difference |
//! | `samples` | what was asked and answered, a line a document |
//! | `summary` | all metrics with how they came about |
//!
//! It knows no model; a [`TaskResult`] is what one did.

mod compare;
mod samples;
mod summary;

pub use compare::{Difference, Test, compare};
pub use samples::samples;
pub use summary::{Run, of_group, sanitized, summary};

use std::sync::Arc;

use crate::Response;
use crate::tasks::{Documents, Example, Measures, Metric, Task, aggregate};

/// What a model did on a task.
pub struct TaskResult {
    /// The task.
    pub task: Arc<Task>,
    /// Few-shot examples in each context.
    pub num_fewshot: usize,
    /// Where its documents are from, and how many there are.
    pub documents: Documents,
    /// Those that were asked about.
    pub examples: Vec<Example>,
    /// The answers to the requests of each.
    pub responses: Vec<Vec<Response>>,
    /// What they are worth.
    pub measures: Vec<Measures>,
    /// And that together.
    pub metrics: Vec<Metric>,
}

impl TaskResult {
    /// Judges answers.
    ///
    /// # Panics
    /// Unless there is an example at least, and an answer of its kind to each request of each.
    pub fn new(
        task: Arc<Task>,
        num_fewshot: usize,
        documents: Documents,
        examples: Vec<Example>,
        responses: Vec<Vec<Response>>,
    ) -> Self {
        let pairs = examples.iter().zip(&responses);
        let measures: Vec<Measures> =
            pairs.map(|(example, responses)| task.measure(example, responses)).collect();
        let metrics = aggregate(&task, &measures);
        TaskResult { task, num_fewshot, documents, examples, responses, measures, metrics }
    }
}
