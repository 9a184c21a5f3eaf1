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
//! | `start` | the parameters a run starts with |
//! | `model` | the network: forward as inference does it, and backward |
//! | `optimizer` | AdamW and Muon |
//! | `schedule` | learning rate, weight decay and λ of every step |
//! | `checkpoint` | how what is saved is never lost |
//! | `log` | the record of a run: JSON lines, CSV, TensorBoard, SVG |
//! | `measure` | what a step costs |
//! | `export` | a model folder, as masters or packed |
//! | `trainer` | the loop |
//!
//! It prints nothing and knows no terminal: whoever trains hears of it by an observer.

pub mod checkpoint;
pub mod config;
pub mod data;
pub mod export;
pub mod log;
pub mod measure;
pub mod model;
pub mod optimizer;
pub mod schedule;
pub mod start;
pub mod trainer;
