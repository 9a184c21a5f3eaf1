//! The model inside the library: a small one that continues children's stories.
//!
//! Its card is `models/stories/README.md`.

use std::sync::Arc;

use tercet_kernels::{KvType, Layout, Pool, Sequence};

use crate::digest::LogitsDigest;
use crate::model::{ForwardError, LoadError, LogitRows, Model, Session, SessionSize};
use crate::source::{EmbeddedFolder, Source};

/// What [`logits_digest`] gives on every machine.
pub const LOGITS_SHA256: &str = "8c6c259c6c869ef470627dc3e1239b06849d992fad576929b19a5d744c921592";

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

/// Why the built-in model gave no digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// It was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It was not run.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

/// Tokens that the digest is made from: several blocks of the cache.
const DIGEST_TOKENS: usize = 200;

/// The digest of the built-in model's logits at every position of 200 tokens: token `i` is
/// `i (i + 3) mod vocabulary`, the cache is f32.
///
/// # Errors
/// [`DigestError`] if the model cannot be loaded or run on this CPU.
pub fn logits_digest(pool: Arc<Pool>) -> Result<String, DigestError> {
    let model = Model::load(&stories(), pool, Layout::TwoBit)?;
    let size = SessionSize { context: DIGEST_TOKENS, max_rows: DIGEST_TOKENS, max_logit_rows: DIGEST_TOKENS };
    let mut session = Session::new(&model, size);
    let vocab_size = model.config().vocab_size as u32;
    let tokens: Vec<u32> = (0..DIGEST_TOKENS as u32).map(|i| i * (i + 3) % vocab_size).collect();
    let mut cache = session.new_cache(KvType::F32);
    let sequence = Sequence { tokens: &tokens, cache: &mut cache };
    let mut digest = LogitsDigest::default();
    digest.update(session.forward(&mut [sequence], LogitRows::All)?);
    Ok(digest.finish())
}
