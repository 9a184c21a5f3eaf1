//! How likely a model finds tokens, many requests at once.
//!
//! | module | holds |
//! |---|---|
//! | `tokens` | which tokens of a request are scored |
//! | `plan` | what requests share, and so their order |
//! | `lanes` | passes over several sequences at a time |
//!
//! The scores are the same bits however requests are ordered, grouped and batched, for so are logits.

mod lanes;
mod plan;
mod tokens;

pub use lanes::{Listener, Score, score};
pub use tokens::{EncodeError, Encoder, ScoredTokens};
