//! From a configuration to everything that a run is made of, before any memory for it is taken.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tercet::config::{Config, Linears};
use tercet::model::Model;
use tercet::source::Source;
use tercet_kernels::{Layout, Pool};

use super::{Observer, TrainError};
use crate::config::{LinearKind, TrainConfig};
use crate::data::{Dataset, Progress, TextTokenizer, Work, load_tokenizer};
use crate::model::{MemoryNeed, NetworkSize};
use crate::schedule::Schedule;
use crate::start::Start;

/// A run that could begin.
pub struct Prepared {
    /// Its configuration.
    pub config: TrainConfig,
    /// The tokenizer, given or trained.
    pub tokenizer: TextTokenizer,
    /// The data.
    pub dataset: Dataset,
    /// What is trained.
    pub model: Config,
    /// Optimizer steps.
    pub steps: u64,
    /// The rates of every step.
    pub schedule: Schedule,
    /// The folder it starts from, if not from random numbers.
    pub(super) start: Option<Start>,
}

/// Reads data and model of a checked configuration.
///
/// # Errors
/// [`TrainError`] if anything that the configuration names is missing, damaged or does not fit.
pub fn prepare(
    config: TrainConfig,
    threads: usize,
    observer: &mut dyn Observer,
) -> Result<Prepared, TrainError> {
    config.check()?;
    let from = config.model.from.as_deref();
    let start = match from {
        Some(folder) => Some(Start::open(&Source::folder(folder)?, &config.model)?),
        None => None,
    };
    let cache = config.data.cache.clone().unwrap_or_else(|| config.run.output.join("cache"));
    let stop = AtomicBool::new(observer.wants_stop());
    let mut progress = |progress| {
        observer.data(progress);
        stop.fetch_or(observer.wants_stop(), Ordering::Relaxed);
    };
    let mut work = Work { threads, stop: &stop, progress: &mut progress };
    let tokenizer = load_tokenizer(&config.tokenizer, &config.data, from, &cache, &mut work)?;
    let dataset = Dataset::prepare(&config.data, &tokenizer, &cache, config.run.seed, &mut work)?;
    let model = match &start {
        Some(start) => started_model(start, &config, &tokenizer)?,
        None => {
            let eos = tokenizer.eos.clone();
            config.model.resolve(&config.data, tokenizer.vocab_size, tokenizer.bos, eos)?
        }
    };
    let steps = steps(&config, &dataset);
    config.check_steps(steps)?;
    let linears = if model.linears == Linears::Dense { LinearKind::Dense } else { LinearKind::Ternary };
    let schedule = Schedule::new(&config.schedule, steps, model.hidden_size, linears);
    observer.data(Progress::Warning(dataset.description().to_owned()));
    Ok(Prepared { config, tokenizer, dataset, model, steps, schedule, start })
}

/// The model of a folder, which must have room for the tokenizer and the sequences.
fn started_model(
    start: &Start,
    config: &TrainConfig,
    tokenizer: &TextTokenizer,
) -> Result<Config, TrainError> {
    let model = start.config.clone();
    if model.vocab_size < tokenizer.vocab_size {
        let (found, expected) = (model.vocab_size, tokenizer.vocab_size);
        return Err(TrainError::Vocabulary { folder: start.folder().to_owned(), found, expected });
    }
    let (found, expected) = (model.max_position_embeddings, config.data.sequence_length);
    if found < expected {
        return Err(TrainError::Positions { folder: start.folder().to_owned(), found, expected });
    }
    Ok(Config { bos_token_id: tokenizer.bos, eos_token_ids: tokenizer.eos.clone(), ..model })
}

/// Optimizer steps of a run.
fn steps(config: &TrainConfig, dataset: &Dataset) -> u64 {
    let tokens_per_step = config.tokens_per_step();
    let sequences_per_step = config.train.micro_batch as u64 * config.train.accumulation as u64;
    let of_epochs = |epochs: f64| {
        let sequences = epochs * dataset.sequences_per_epoch() as f64;
        (sequences / sequences_per_step as f64).ceil() as u64
    };
    let steps = config
        .train
        .steps
        .or_else(|| Some(config.train.tokens?.div_ceil(tokens_per_step)))
        .or_else(|| Some(of_epochs(config.train.epochs?)));
    steps.unwrap_or(0).max(1)
}

impl Prepared {
    /// The room a network needs.
    pub fn network_size(&self) -> NetworkSize {
        let context = self.config.data.sequence_length;
        NetworkSize {
            rows: self.config.train.micro_batch * context,
            context,
            recompute: self.config.train.recompute,
        }
    }

    /// The memory that training takes.
    pub fn memory_need(&self) -> MemoryNeed {
        MemoryNeed::new(&self.model, &self.network_size())
    }

    /// The folder that the run leaves its files in.
    pub fn output(&self) -> PathBuf {
        self.config.run.output.clone()
    }

    /// The name on the model card.
    pub fn name(&self) -> String {
        let folder = || Some(self.config.run.output.file_name()?.to_string_lossy().into_owned());
        self.config.run.name.clone().or_else(folder).unwrap_or_else(|| "model".to_owned())
    }

    /// The teacher, loaded, if there is one.
    ///
    /// # Errors
    /// [`TrainError`] if it cannot be loaded, or has another vocabulary.
    pub fn teacher(&self, pool: &Arc<Pool>) -> Result<Option<Model>, TrainError> {
        let Some(distillation) = &self.config.distillation else { return Ok(None) };
        let source = Source::folder(&distillation.teacher)?;
        let model = Model::load(&source, Arc::clone(pool), Layout::TwoBit)
            .map_err(|error| TrainError::Teacher(Box::new(error)))?;
        let (found, expected) = (model.config().vocab_size, self.model.vocab_size);
        if found != expected {
            return Err(TrainError::TeacherVocabulary { folder: source.name(), found, expected });
        }
        Ok(Some(model))
    }
}
