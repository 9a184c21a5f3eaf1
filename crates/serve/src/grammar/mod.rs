//! What a text must look like, as masks over the vocabulary.
//!
//! | module | holds |
//! |---|---|
//! | `cache` | grammars that were compiled before |
//! | `calls` | the grammars of tool calls |
//! | `compile` | grammars made from what a client sent, in bounded time and memory |
//! | `constraint` | a grammar, and where a text is in it |
//! | `error` | why a grammar is refused |
//! | `schema` | what a JSON schema may contain |
//! | `vocabulary` | the tokens, as the grammars see them |
//!
//! The work is done by the `llguidance` library. It knows no requests: which grammar one asks for is the API's.

mod cache;
mod calls;
mod compile;
mod constraint;
mod error;
mod schema;
mod vocabulary;

pub use compile::{Draft, Grammars, Turn};
pub use constraint::{Constraint, Grammar};
pub use error::GrammarError;
pub use schema::Unsupported;
