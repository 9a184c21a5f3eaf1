//! Training of ternary language models: BitNet b1.58 (arXiv:2402.17764), explicit and exact.
//!
//! ```text
//! config ─► data ─► batch ─► model::forward ─► model::backward ─► optimizer ─► log, checkpoint
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `config` | a run as one struct, read from TOML and checked whole |
//! | `data` | from files to batches of tokens |
//! | `schedule` | learning rate, weight decay and λ of every step |
//! | `checkpoint` | what is saved, and how nothing is lost |
//! | `log` | the record of a run: JSON lines, CSV, TensorBoard, SVG |
//!
//! It prints nothing and knows no terminal: whoever trains hears of it by an observer.

pub mod checkpoint;
pub mod config;
pub mod data;
pub mod export;
pub mod log;
pub mod model;
pub mod optimizer;
pub mod schedule;
pub mod start;
