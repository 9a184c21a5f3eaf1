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
//!
//! # A run
//!
//! A run is one [`TrainConfig`](config::TrainConfig). It is checked whole, [`prepare`](trainer::prepare)d (text becomes
//! tokens), and [`train`](trainer::train)ed. The same call goes on where an earlier one stopped.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use tercet_kernels::{Isa, Pool};
//! use tercet_train::config::TrainConfig;
//! use tercet_train::trainer::{Observer, StepNews, prepare, train};
//!
//! struct Losses(Vec<f32>);
//! impl Observer for Losses {
//!     fn step(&mut self, news: &StepNews<'_>) {
//!         self.0.push(news.record.loss); // nats a token
//!     }
//!     fn wants_stop(&self) -> bool {
//!         false // true saves and ends the run
//!     }
//! }
//!
//! let config = TrainConfig::parse(
//!     "my.toml",
//!     r#"
//!     run.output = "runs/mine"
//!     data = { train = ["my-text.txt"], sequence_length = 128 }
//!     model = { hidden_size = 128, intermediate_size = 384, num_hidden_layers = 5, num_attention_heads = 4 }
//!     tokenizer.vocab_size = 1024
//!     train = { steps = 2000, micro_batch = 16 }
//!     "#,
//! )?;
//! let threads = Pool::default_threads();
//! let mut losses = Losses(Vec::new());
//! let prepared = prepare(config, threads, &mut losses)?;
//! let outcome = train(&prepared, &Arc::new(Pool::new(Isa::best(), threads)), &mut losses, None)?;
//! assert!(outcome.is_finished && outcome.folder.join("model.safetensors").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds
//!
//! - **The trained network is the one that runs**: with a cache of f32, inference gives the logits of the trainer, bit
//!   for
//!   bit, from the masters and from the packed model.
//! - **A run is a function of its configuration and data**: on one machine the same weights to the last bit, for any
//!   number
//!   of threads, and however often it was interrupted. Another kind of CPU sums gradients in another order.
//! - Losses are in nats a token, rates in tokens a second, memory in bytes.

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
