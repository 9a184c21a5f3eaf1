//! Ternary language models (BitNet b1.58): load, run, measure.
//!
//! Every linear layer of such a model has weights in {-1, 0, +1} with one scale a matrix, and takes activations of 8
//! bits.
//! This crate reads the models that people publish, and runs them on a processor. It has no async, no HTTP and
//! no arguments, and prints nothing.
//!
//! ```text
//! Source ─► Checkpoint ─► Config ─► Model ─► Session ─► logits ─► Sampler ─► token ─► TextStream ─► text
//! a folder, tensors       what it            room for             which one  │
//! a GGUF    with their    is                 passes               ▲          │
//! file, or  types                            KvCache: the memory  └──────────┘
//! inside                                     of one text            generate: this loop
//! ```
//!
//! # A first text
//!
//! ```
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//!
//! use tercet::generate::{GenerationParams, Listener, SamplingParams, Speculative, generate};
//! use tercet::model::{Model, Session, SessionSize};
//! use tercet::tokenizer::Tokenizer;
//! use tercet_kernels::{Isa, KvType, Layout, Pool};
//!
//! let source = tercet::embedded::stories(); // or `Source::folder("path/to/model")?`
//! let pool = Arc::new(Pool::new(Isa::best(), 2)); // any set and number of threads give the same text
//! let model = Model::load(&source, pool, Layout::TwoBit)?;
//! let tokenizer = Tokenizer::read(&source, model.config())?;
//!
//! let prompt = tokenizer.encode("Once upon a time", true)?;
//! let mut session = Session::new(&model, SessionSize { context: 64, max_rows: 16, max_logit_rows: 1 });
//! let mut cache = session.new_cache(KvType::F32);
//! let params = GenerationParams {
//!     max_tokens: 24,
//!     sampling: SamplingParams::greedy(),
//!     stop: Vec::new(),
//!     ignore_eos: false,
//!     all_logits: false,
//!     speculative: Speculative::Off,
//! };
//!
//! struct Text(String);
//! impl Listener for Text {
//!     fn text(&mut self, text: &str) -> ControlFlow<()> {
//!         self.0.push_str(text);
//!         ControlFlow::Continue(())
//!     }
//! }
//! let mut text = Text(String::new());
//! generate(&mut session, &mut cache, Some(&tokenizer), &prompt, &params, &mut text)?;
//! assert!(text.0.starts_with(", there was a little girl"), "{}", text.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The folder `examples/library` of the project has this as a program, and others: a sampler of one's own, training,
//! a web application.
//!
//! # Where to go on
//!
//! | for | see |
//! |---|---|
//! | files: a folder, a GGUF file, memory | [`source::Source`], [`checkpoint::Checkpoint`], [`gguf`] |
//! | what a model is, and why it is refused | [`config::Config`], [`config::ConfigError`] |
//! | loading; weights in 2 or 1.6 bits, a head in fewer | [`model::Model`], [`model::WeightTypes`] |
//! | passes: several sequences, logits of any rows, scores | [`model::Session`] |
//! | how much memory it will take, and what work a token is | [`model::MemoryNeed`], [`model::Operations`] |
//! | text to tokens, and tokens to text as they come | [`tokenizer::Tokenizer`], [`generate::TextStream`] |
//! | the loop from a prompt to a text, and choosing tokens | [`generate::generate`], [`generate::Sampler`] |
//! | another form of a model, and whether two are the same | [`convert`], [`verify`] |
//! | shapes by name, random weights | [`presets`], [`model::Model::random`], [`random_folder`] |
//! | the small model inside | [`embedded`] |
//!
//! Conversations are `tercet-chat`'s, models of the Hugging Face Hub `tercet-hub`'s, training `tercet-train`'s,
//! evaluation
//! `tercet-eval`'s, and a server is `tercet-serve`.
//!
//! # What holds
//!
//! - **The same bits everywhere.** For one checkpoint, type of cache and type of head, the logits have the same bits on
//!   every instruction set, for any number of threads, any chunks of the prompt and any batch, for finite values.
//!   [`embedded::logits_digest`] must be [`embedded::STORIES_LOGITS_SHA256`] on every machine.
//! - **The model that was trained, or none.** What would be run as something else than it was trained as is refused,
//!   with an
//!   error that says what was found and what was expected.
//! - **Files are hostile.** Lengths are checked before memory is taken, and nothing is executed.
//! - **A decode step allocates nothing**: [`model::Session::forward`] works in buffers that were made with the session.

pub mod calendar;
pub mod checkpoint;
pub mod config;
pub mod convert;
pub mod digest;
pub mod embedded;
pub mod energy_counter;
mod first_error;
pub mod folder_files;
pub mod generate;
pub mod gguf;
pub mod json;
pub mod mapped_file;
pub mod model;
pub mod nearest;
pub mod planes;
pub mod presets;
pub mod random;
pub mod random_folder;
pub mod source;
pub mod tokenizer;
pub mod verify;

// The tests of the crate and those outside it share one file, which calls the crate by its name.
#[cfg(test)]
extern crate self as tercet;
#[cfg(test)]
#[path = "../tests/tiny_model/mod.rs"]
mod tiny_model;
