//! The model inside, for tests.

use std::sync::Arc;

use tercet::checkpoint::Checkpoint;
use tercet::config::{Config, SuggestedSampling};
use tercet::embedded::stories;
use tercet::tokenizer::{TextEnds, Tokenizer};

use crate::served::Served;

/// What is known of the model inside.
pub(super) fn stories_served() -> Served {
    let source = stories();
    let config = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
    let tokenizer = Tokenizer::read(&source, &config).unwrap();
    Served {
        names: vec!["stories".to_owned()],
        text_ends: TextEnds::read(&source, &tokenizer).unwrap(),
        suggested: SuggestedSampling::default(),
        tokenizer: Some(Arc::new(tokenizer)),
        config,
        created: 0,
    }
}
