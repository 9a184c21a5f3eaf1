//! Evaluation: zero-shot tasks and perplexity, item for item as lm-evaluation-harness does it.
//!
//! ```text
//! task file + documents → examples → requests → scores → measures → results
//! ```
//!
//! It knows tasks, text and models; not where documents are downloaded from, and no arguments.

mod answer;
mod digest;
pub mod perplexity;
mod python_random;
mod request;
pub mod results;
pub mod score;
mod store;
pub mod tasks;

pub use answer::{AnswerError, Asked, Progress, Respondent};
pub use digest::function_digest;
pub use python_random::PythonRandom;
pub use request::{Request, Response};
pub use store::{Store, StoreError};
