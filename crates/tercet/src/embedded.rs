//! The model inside the library: a small one that continues children's stories.
//!
//! Its card is `models/stories/README.md`.

use crate::source::{EmbeddedFolder, Source};

/// Logits digest of the built-in model, as [`crate::check::embedded_digest`] computes it. It is the
/// same on every machine; `tercet doctor` compares.
pub const STORIES_LOGITS_SHA256: &str = "";

/// The files of the built-in model.
pub fn stories() -> Source {
    macro_rules! file {
        ($name:literal) => {
            ($name, include_bytes!(concat!("../models/stories/", $name)).as_slice())
        };
    }
    Source::Embedded(EmbeddedFolder {
        name: "the model inside",
        files: const {
            &[
                file!("config.json"),
                file!("generation_config.json"),
                file!("model.safetensors"),
                file!("tokenizer.json"),
                file!("tokenizer_config.json"),
            ]
        },
    })
}
