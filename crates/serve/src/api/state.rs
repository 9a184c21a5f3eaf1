//! What the routes know: the engine, the model, and what clients may ask for.

use std::sync::Arc;

use tercet_chat::Templates;
use tercet_kernels::KvType;

use super::{ApiError, LargeBodies};
use crate::bandwidth::Bandwidth;
use crate::engine::Engine;
use crate::grammar::Grammars;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::served::Served;

/// All that the routes know.
pub struct Api {
    /// Where texts are generated.
    pub engine: Engine,
    /// The model.
    pub served: Served,
    /// What one client may ask for.
    pub limits: Limits,
    /// How conversations become text, where the model says it.
    pub templates: Option<Templates>,
    /// How texts are held to a form, where the model has a tokenizer.
    pub grammars: Option<Grammars>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where large bodies are worked on.
    pub large_bodies: LargeBodies,
    /// What bounds the speed of one text.
    pub bandwidth: Bandwidth,
    /// Whether token ids are believed to be the model's own in requests for embeddings.
    pub allow_embedding_ids: bool,
}

impl Api {
    /// The name that answers bear, if the request's name is one of the model's or absent.
    pub(super) fn model(&self, asked: Option<&str>) -> Result<String, ApiError> {
        let own = self.served.names.first().map_or("", String::as_str);
        match asked {
            None | Some("") => Ok(own.to_owned()),
            Some(asked) if self.served.names.iter().any(|name| name == asked) => Ok(asked.to_owned()),
            Some(asked) => Err(ApiError::model_not_found(asked, own)),
        }
    }

    /// Tokens of prompt and answer.
    pub(super) fn context(&self) -> usize {
        self.engine.settings().room()
    }

    /// What two answers have in common that were computed alike: this program, and what the cache rounds to.
    pub(super) fn fingerprint(&self) -> String {
        let cache = match self.engine.settings().kv_type {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::Int8 => "int8",
        };
        format!("tercet-{}-{cache}", env!("CARGO_PKG_VERSION"))
    }
}
