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
mod dataset;
mod description;
mod documents;
mod error;
mod examples;
mod form;
mod harness_config;
mod measures;
mod messages;
mod metrics;
mod parts;
mod task;
mod template;
mod text;

pub use catalog::{Group, Selection, find, names, task_file};
pub use dataset::Dataset;
pub use description::{Kind, Sampler};
pub use documents::{Document, Documents, Json, Origin, Source, SplitFiles};
pub use error::TaskError;
pub use examples::{Conversations, Example, ExampleSettings};
pub use measures::{Filtered, FilteredResponse, Measures, Value};
pub use messages::Chat;
pub use metrics::{Metric, aggregate, aggregate_group};
pub use task::{HARNESS_VERSION, Rules, Task};
