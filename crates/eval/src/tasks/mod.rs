//! Tasks: what is asked of a model, how its answers are judged, and the documents asked about.
//!
//! A task is data: a small file in `tasks/` of this crate, or one's own. It knows neither tokens
//! nor models, and where documents are downloaded from is only a name to it.
//!
//! ```text
//! tasks/*.toml ── catalog ── Task ─┬─ documents ── examples ── requests ──▶ a model
//!                                  └─ measures ◀── responses ◀──────────────┘
//!                                        └─ metrics, of tasks and of groups
//! ```

mod catalog;
mod description;
mod documents;
mod error;
mod examples;
mod measures;
mod metrics;
mod task;
mod template;
mod text;

pub use catalog::{Group, Selection, find, names, task_file};
pub use description::{Kind, Sampler};
pub use documents::{Document, Documents, Json, Origin, Source, SplitFiles};
pub use error::TaskError;
pub use examples::{Example, ExampleSettings};
pub use measures::{Filtered, FilteredResponse, Measures, Value};
pub use metrics::{Metric, aggregate, aggregate_group};
pub use task::{Dataset, HARNESS_VERSION, Rules, Task};
