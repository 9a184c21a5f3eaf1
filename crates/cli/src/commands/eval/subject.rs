//! The model that is evaluated: opened, then loaded with room for what is asked.

use std::ffi::OsStr;
use std::sync::Arc;

use tercet::config::{CONFIG_FILE, GENERATION_CONFIG_FILE};
use tercet::model::{MemoryNeed, Model, Session, SessionSize};
use tercet::source::SourceError;
use tercet::tokenizer::{TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, TextEnds, Tokenizer};
use tercet_eval::score::Encoder;
use tercet_eval::{Store, function_digest};
use tercet_kernels::{Isa, Pool};

use super::How;
use crate::failure::Failure;
use crate::origin::{self, Origin};
use crate::terminal::while_loading;
use crate::{fit, machine};

/// Sequences that are computed side by side: enough that the branches of questions fill a pass.
const LANES: usize = 16;

/// What tells one function of tokens and its texts from another, beside the weights.
const FUNCTION_FILES: [&str; 4] =
    [CONFIG_FILE, GENERATION_CONFIG_FILE, TOKENIZER_FILE, TOKENIZER_CONFIG_FILE];

/// A model with its tokenizer; no weights yet.
pub(super) struct Subject {
    pub(super) origin: Origin,
    pub(super) tokenizer: Tokenizer,
    ends: TextEnds,
    max_length: usize,
}

impl Subject {
    pub(super) fn open(model: Option<&OsStr>, how: &How) -> Result<Self, Failure> {
        let origin = Origin::open(model, how.weights, how.head)?;
        let (source, _) = origin.files().expect("Subject: a model that was opened has files");
        let tokenizer = Tokenizer::read(source, &origin.config)?;
        origin.introduce();
        let ends = TextEnds::read(source, &tokenizer)?;
        let trained = origin.config.max_position_embeddings;
        let max_length = how.ctx_size.map_or(trained, |tokens| tokens as usize);
        Ok(Subject { origin, tokenizer, ends, max_length })
    }

    pub(super) fn encoder(&self) -> Encoder<'_> {
        Encoder::new(&self.tokenizer, self.ends, &self.origin.config, self.max_length)
    }

    /// A digest of what the model computes, where answers are kept under it.
    pub(super) fn digest(&self, how: &How) -> Result<Option<String>, Failure> {
        if how.no_cache {
            return Ok(None);
        }
        let (source, checkpoint) = self.origin.files().expect("Subject: a model that was opened has files");
        let files = FUNCTION_FILES.into_iter().filter(|file| source.has(file));
        let files: Vec<_> =
            files.map(|file| Ok((file, source.read(file)?))).collect::<Result<_, SourceError>>()?;
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_ref())).collect();
        let bytes = self.origin.memory_need(&SessionSize::NONE, how.kv.kv_type()).weight_bytes;
        let settings = [how.kv.name(), how.head.name()];
        Ok(Some(while_loading("its digest", bytes, || function_digest(checkpoint, &files, &settings))))
    }

    /// The answers of a model with this digest that are kept.
    pub(super) fn store(how: &How, digest: Option<&str>) -> Result<Store, Failure> {
        let default = || machine::cache_folder().map(|folder| folder.join("eval"));
        match (digest, how.use_cache.clone().or_else(default)) {
            (Some(digest), Some(folder)) => Ok(Store::open(&folder, digest)?),
            _ => Ok(Store::in_memory()),
        }
    }

    /// Loads the weights.
    pub(super) fn load(&self, how: &How, positions: usize) -> Result<Loaded, Failure> {
        let isa = Isa::from_environment()?;
        let rows = how.batch_size as usize;
        let size = SessionSize { context: positions.max(1), max_rows: rows, max_logit_rows: rows };
        let one = self.origin.memory_need(&size, how.kv.kv_type());
        let with_lanes = |lanes: usize| MemoryNeed { cache_bytes: one.cache_bytes * lanes as u64, ..one };
        let lanes =
            std::iter::successors(Some(LANES), |lanes| Some(lanes / 2)).take_while(|lanes| *lanes > 1);
        let lanes = lanes.into_iter().find(|lanes| fit::fits(&with_lanes(*lanes))).unwrap_or(1);
        let smaller = SessionSize { max_rows: 16, max_logit_rows: 16, ..size };
        let smaller = self.origin.memory_need(&smaller, how.kv.kv_type());
        fit::check(&one, &self.origin.name(), &[("--batch-size 16".to_owned(), smaller)])?;
        self.origin.tell_of_positions(positions);
        let threads = origin::all_threads(how.threads);
        let model = self.origin.load(&Arc::new(Pool::new(isa, threads)), one.weight_bytes)?;
        Ok(Loaded { model, size, lanes })
    }
}

/// A loaded model, and the room that it is run in.
pub(super) struct Loaded {
    pub(super) model: Model,
    size: SessionSize,
    pub(super) lanes: usize,
}

impl Loaded {
    pub(super) fn session(&self) -> Session<'_> {
        Session::new(&self.model, self.size)
    }
}
