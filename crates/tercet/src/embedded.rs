//! The model inside the library: a small one that continues children's stories.
//!
//! Its card is `models/stories/README.md`. Being everywhere the same, it also says whether a
//! machine computes what every other one does: [`logits_digest`].

use std::ops::ControlFlow;
use std::sync::Arc;

use tercet_kernels::{KvType, Layout, Pool};

use crate::digest::LogitsDigest;
use crate::generate::{GenerateError, GenerationParams, Listener, SamplingParams, Speculative, generate};
use crate::model::{LoadError, Model, Session, SessionSize};
use crate::source::{EmbeddedFolder, Source};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// What [`logits_digest`] gives on every machine.
pub const STORIES_LOGITS_SHA256: &str = "127784724448a2ed794577fcf7f0b0464c43d19bc7470155f5fbe7504f5e55b0";

/// The text that [`logits_digest`] continues.
pub const DIGEST_PROMPT: &str = "Once upon a time";

/// How many tokens [`logits_digest`] generates.
pub const DIGEST_TOKENS: usize = 64;

/// The files of the model inside.
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

/// Why there is no digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// The model was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its tokenizer was not read, or failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A pass failed.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

/// The digest of the model's logits, as the threads and instruction set of `pool` compute them.
///
/// Those of every position of [`DIGEST_PROMPT`] with its special tokens, in one pass, and of every
/// greedy step but the last of [`DIGEST_TOKENS`], end of text ignored, from a cache of f32. The
/// command line's
/// `run --temp 0 -n 64 --ignore-eos --kv f32 --logits-sha256 "Once upon a time"` prints the same.
///
/// # Errors
/// [`DigestError`] if the model cannot be loaded or run here.
pub fn logits_digest(pool: &Arc<Pool>) -> Result<String, DigestError> {
    let source = stories();
    let model = Model::load(&source, Arc::clone(pool), Layout::TwoBit)?;
    let tokenizer = Tokenizer::read(&source, model.config())?;
    let prompt = tokenizer.encode(DIGEST_PROMPT, true)?;
    let rows = prompt.len();
    let size = SessionSize { context: rows + DIGEST_TOKENS, max_rows: rows, max_logit_rows: rows };
    let mut session = Session::new(&model, size);
    let mut cache = session.new_cache(KvType::F32);
    let params = GenerationParams {
        max_tokens: DIGEST_TOKENS,
        sampling: SamplingParams::greedy(),
        stop: Vec::new(),
        ignore_eos: true,
        all_logits: true,
        speculative: Speculative::Off,
    };
    let mut listener = DigestListener(LogitsDigest::default());
    generate(&mut session, &mut cache, None, &prompt, &params, &mut listener)?;
    Ok(listener.0.finish())
}

struct DigestListener(LogitsDigest);

impl Listener for DigestListener {
    fn text(&mut self, _text: &str) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn logits(&mut self, logits: &[f32]) -> ControlFlow<()> {
        self.0.update(logits);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use tercet_kernels::Isa;

    use super::*;

    #[test]
    fn every_instruction_set_gives_the_published_digest() {
        for isa in Isa::available() {
            for threads in [1, 2] {
                let digest = logits_digest(&Arc::new(Pool::new(isa, threads))).unwrap();
                assert_eq!(digest, STORIES_LOGITS_SHA256, "{isa:?}, {threads} threads");
            }
        }
    }
}
