//! An OpenAI-compatible server of ternary language models.
//!
//! ```text
//! connections ─► guards ─► OpenAI's routes ─► requests in tokens ─► the engine: one thread that owns the model
//!      ▲                                                                 │   every pass takes the next token of all
//!      └──────────── JSON, or a stream of chunks ◄── events ◄────────────┘   texts in work, and parts of new prompts
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `api` | OpenAI's routes |
//! | `bandwidth` | what the machine's memory gives, measured once somebody asks |
//! | `engine` | one thread that makes all passes through the model: the queue, continuous batching, the paged cache |
//! | `grammar` | what a text must look like |
//! | `http` | what stands around the API: connections, guards, health, the end |
//! | `limits` | what one client may ask for |
//! | `metrics` | what is counted and measured |
//! | `page` | the web page |
//! | `served` | what is known of the model besides its weights |
//! | `tools` | tools that a model may call |
//!
//! # The engine alone
//!
//! It batches requests of any threads without HTTP. [`http::app`] puts the routes around it as one router of axum, to
//! which routes of one's own can be added, and [`http::serve`] serves that until a signal; the program
//! `examples/library/embed_in_axum.rs` of the project shows it whole.
//!
//! ```
//! use std::sync::Arc;
//!
//! use tercet::generate::SamplingParams;
//! use tercet::model::Model;
//! use tercet::tokenizer::Tokenizer;
//! use tercet_kernels::{Isa, KvType, Layout, Pool};
//! use tercet_serve::engine::{Continuation, Engine, EngineSettings, Event, Request, Wanted};
//!
//! let source = tercet::embedded::stories();
//! let model = Model::load(&source, Arc::new(Pool::new(Isa::best(), 2)), Layout::TwoBit)?;
//! let tokenizer = Arc::new(Tokenizer::read(&source, model.config())?);
//! let settings = EngineSettings {
//!     context: 256,              // positions of a request, prompt and answer
//!     kv_type: KvType::F16,
//!     cache_positions: 4 * 256,  // of all requests together
//!     max_sequences: 4,          // in work at once
//!     max_rows: 32,              // tokens of a pass
//!     queue: 16,                 // requests that may wait; one more is refused
//!     shares_prefixes: true,
//! };
//! let engine = Engine::start(model, Some(Arc::clone(&tokenizer)), settings)?;
//!
//! let ask = |text: &str| -> Result<Request, Box<dyn std::error::Error>> {
//!     let continuation = Continuation::new(20, SamplingParams::greedy());
//!     let wanted = Wanted::Continuation(Box::new(continuation));
//!     Ok(Request { prompt: tokenizer.encode(text, true)?, wanted })
//! };
//! let answers = engine.submit(vec![ask("Once upon a time")?, ask("Tom and his dog")?])?;
//! for mut answer in answers {
//!     let mut text = String::new();
//!     while let Some(event) = answer.blocking_next() {
//!         match event {
//!             Event::Token(token) => text += &token.text,
//!             Event::Finished(finished) => text += &finished.text,
//!             Event::Failed(error) => return Err(error.into()),
//!             _ => {}
//!         }
//!     }
//!     assert!(!text.is_empty());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds
//!
//! An answer depends on its request alone: it has the same tokens and log-probabilities, to the last bit, in whatever
//! company, and with or without a shared prefix. What has begun never lacks memory; what cannot be taken is refused at
//! once. A client that leaves ends its work within one pass. The limits of clients and their requests are fields of
//! [`limits::Limits`], each with its unit, and those of the work [`engine::EngineSettings`]; a bound that nobody needs
//! to set is a constant where it holds.

pub mod api;
pub mod bandwidth;
pub mod engine;
pub mod grammar;
pub mod http;
pub mod limits;
pub mod metrics;
pub mod page;
pub mod served;
pub mod tools;
