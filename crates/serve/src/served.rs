//! What is known of the served model besides its weights: its name, its text, its habits.

use std::sync::Arc;

use tercet::config::{Config, SuggestedSampling};
use tercet::tokenizer::{TextEnds, Tokenizer};

/// A served model.
pub struct Served {
    /// Its names in `/v1/models`, the first of which is its own.
    pub names: Vec<String>,
    /// Its configuration.
    pub config: Config,
    /// Text to tokens and back; without one, for random weights, a token's text is its number and a space, and a
    /// text's tokens are pseudo-random, one a word.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// The tokens that begin and end a text.
    pub text_ends: TextEnds,
    /// What its makers suggest for sampling.
    pub suggested: SuggestedSampling,
    /// Seconds since 1970 when it was loaded.
    pub created: u64,
}
