//! Evaluation: zero-shot tasks and perplexity, item for item as lm-evaluation-harness does it.
//!
//! ```text
//! task file + documents → examples → requests → scores → measures → results
//! ```
//!
//! It knows tasks, text and models; not where documents are downloaded from, and no arguments.
//!
//! # How likely is a text?
//!
//! All tasks come down to it: which tokens of a text are scored, and how likely the model finds them.
//!
//! ```
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//!
//! use tercet::model::{Model, Session, SessionSize};
//! use tercet::tokenizer::{TextEnds, Tokenizer};
//! use tercet_eval::score::{Encoder, Listener, Score, score};
//! use tercet_kernels::{Isa, KvType, Layout, Pool};
//!
//! let source = tercet::embedded::stories();
//! let model = Model::load(&source, Arc::new(Pool::new(Isa::best(), 2)), Layout::TwoBit)?;
//! let tokenizer = Tokenizer::read(&source, model.config())?;
//! let ends = TextEnds::read(&source, &tokenizer)?;
//! let encoder = Encoder::new(&tokenizer, ends, model.config(), 64);
//! let context = "Lily went to the park to";
//! let asked = [encoder.pair(context, " play")?, encoder.pair(context, " multiply")?];
//!
//! struct Scores([f64; 2]);
//! impl Listener for Scores {
//!     fn scored(&mut self, index: usize, score: Score) {
//!         self.0[index] = score.log_likelihood; // in nats
//!     }
//!     fn progress(&mut self, _rows: usize, _total_rows: usize) -> ControlFlow<()> {
//!         ControlFlow::Continue(())
//!     }
//! }
//! let size = SessionSize { context: 64, max_rows: 64, max_logit_rows: 64 };
//! let mut scores = Scores([0.0; 2]);
//! // What both have in common, the context, is computed once.
//! let _ = score(&mut Session::new(&model, size), KvType::F32, 1, &asked, &mut scores)?;
//! assert!(scores.0[0] > scores.0[1], "children play more than they multiply: {:?}", scores.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to go on
//!
//! | for | see |
//! |---|---|
//! | the tasks that there are, and one of one's own | [`tasks::find`], [`tasks::Task`] |
//! | documents from files | [`tasks::Documents`] |
//! | a model that answers, and what it answered before | [`Respondent`], [`Store`] |
//! | scores of tokens, many requests at once | [`score::score`] |
//! | perplexity of a text of any length, by four rules | [`perplexity`] |
//! | the harness's files, and two models compared | [`results`] |
//!
//! # What holds
//!
//! Requests, scores and results are those of lm-evaluation-harness, item for item, and a score has the same bits
//! however
//! requests are ordered, grouped and batched. Log-probabilities are in nats.

mod answer;
mod digest;
pub mod perplexity;
mod python_random;
mod python_space;
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
