//! From a configuration to everything that a run is made of, before any memory for it is taken.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tercet::checkpoint::Checkpoint;
use tercet::config::{Config, Linears};
use tercet::model::{LoadError, Model};
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, Pool};

use super::output::NewFolders;
use super::{CACHE, Observer, TrainError, inputs, output, resume, sample};
use crate::config::{LinearKind, TrainConfig};
use crate::data::{Dataset, TextTokenizer, Work, load_tokenizer};
use crate::model::{KV_TYPE, MemoryNeed, ModelTeacher, NetworkSize, TEACHER_LAYOUT};
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
    teacher: Option<TeacherFiles>,
}

/// A teacher that was looked at and not loaded.
struct TeacherFiles {
    folder: String,
    checkpoint: Checkpoint,
    config: Config,
    /// Where its folder has one.
    tokenizer: Option<Tokenizer>,
}

impl TeacherFiles {
    fn open(folder: &Path) -> Result<Self, TrainError> {
        let source = inputs::model_folder(inputs::TEACHER, folder)?;
        let refused = |error: LoadError| TrainError::Teacher(Box::new(error));
        let checkpoint = Checkpoint::open(&source).map_err(|error| refused(error.into()))?;
        let config = Config::read(&source, &checkpoint).map_err(|error| refused(error.into()))?;
        let tokenizer = Tokenizer::read(&source, &config).ok();
        Ok(TeacherFiles { folder: source.name(), checkpoint, config, tokenizer })
    }
}

/// A teacher speaks of the same tokens.
fn check_same_tokens(folder: &str, teacher: &Tokenizer, own: &Tokenizer) -> Result<(), TrainError> {
    for token in 0..own.vocab_size() as u32 {
        let (found, expected) = (teacher.id_to_token(token), own.id_to_token(token));
        if found != expected {
            return Err(TrainError::TeacherTokenizer {
                folder: folder.to_owned(),
                token,
                found: found.unwrap_or_default(),
                expected: expected.unwrap_or_default(),
            });
        }
    }
    Ok(())
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
    let cache = config.data.cache.clone().unwrap_or_else(|| config.run.output.join(CACHE));
    output::check_is_of_a_run(&config.run.output, &cache)?;
    resume::check_folder(&config)?;
    inputs::check(&config)?;
    let folders = NewFolders::make(&config.run.output, config.data.cache.as_deref())?;
    prepare_in(config, &cache, threads, observer).inspect_err(|error| folders.clean_up(error))
}

/// Reads data and model where folders for what is made of them are there.
fn prepare_in(
    config: TrainConfig,
    cache: &Path,
    threads: usize,
    observer: &mut dyn Observer,
) -> Result<Prepared, TrainError> {
    let from = config.model.from.as_deref();
    let start = match from {
        Some(folder) => Some(Start::open(&inputs::model_folder(inputs::FROM, folder)?, &config.model)?),
        None => None,
    };
    let teacher = config.distillation.as_ref().map(|distillation| &*distillation.teacher);
    let teacher = teacher.map(TeacherFiles::open).transpose()?;
    let stop = AtomicBool::new(observer.wants_stop());
    let mut progress = |progress| {
        observer.data(progress);
        stop.fetch_or(observer.wants_stop(), Ordering::Relaxed);
    };
    let mut work = Work { threads, stop: &stop, progress: &mut progress };
    resume::check_text(&config, cache, &mut work)?;
    let tokenizer = load_tokenizer(&config.tokenizer, &config.data, from, cache, &mut work)?;
    resume::check_tokenizer(&config, &tokenizer)?;
    let dataset = Dataset::prepare(&config.data, &tokenizer, cache, config.run.seed, &mut work)?;
    let model = match &start {
        Some(start) => started_model(start, &config, &tokenizer)?,
        None => {
            let eos = tokenizer.eos.clone();
            config.model.resolve(&config.data, tokenizer.vocab_size, tokenizer.bos, eos)?
        }
    };
    if let Some(TeacherFiles { folder, config: teacher, .. }) = &teacher {
        let (found, expected) = (teacher.vocab_size, model.vocab_size);
        if found != expected {
            return Err(TrainError::TeacherVocabulary { folder: folder.clone(), found, expected });
        }
    }
    if let Some(TeacherFiles { folder, tokenizer: Some(theirs), .. }) = &teacher {
        check_same_tokens(folder, theirs, &tokenizer.tokenizer)?;
    }
    let steps = steps(&config, &dataset);
    config.check_steps(steps)?;
    let linears = if model.linears == Linears::Dense { LinearKind::Dense } else { LinearKind::Ternary };
    let schedule = Schedule::new(&config.schedule, steps, model.hidden_size, linears);
    Ok(Prepared { config, tokenizer, dataset, model, steps, schedule, start, teacher })
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
    /// The room a network needs with an instruction set.
    pub(crate) fn network_size(&self, isa: Isa) -> NetworkSize {
        let context = self.config.data.sequence_length;
        NetworkSize {
            rows: self.config.train.micro_batch * context,
            context,
            recompute: self.config.train.recompute,
            precision: self.config.train.gradients.precision(isa),
        }
    }

    /// How often the run goes over its text.
    pub fn passes(&self) -> f64 {
        let sequences = self.config.train.micro_batch as f64 * self.config.train.accumulation as f64;
        self.steps as f64 * sequences / self.dataset.sequences_per_epoch() as f64
    }

    /// The memory that training takes with an instruction set, all of it at once.
    pub fn memory_need(&self, isa: Isa) -> MemoryNeed {
        let size = self.network_size(isa);
        let mut need = MemoryNeed::new(&self.model, &size);
        if self.config.watch.sample_every > 0 {
            need.sample_bytes = sample::memory_bytes(self);
        }
        if let Some(TeacherFiles { checkpoint, config, .. }) = &self.teacher {
            let session = ModelTeacher::session_size(config, size.rows, size.context);
            let teacher = tercet::model::MemoryNeed::of_checkpoint(
                config,
                checkpoint,
                TEACHER_LAYOUT,
                &session,
                KV_TYPE,
            );
            // A micro-batch has a cache for each of its sequences.
            let sequences = self.config.train.micro_batch as u64;
            let caches = teacher.cache_bytes.saturating_mul(sequences);
            let window = (session.max_logit_rows * config.vocab_size * size_of::<f32>()) as u64;
            need.teacher_bytes =
                (teacher.weight_bytes + teacher.scratch_bytes + window).saturating_add(caches);
        }
        need
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
    /// [`TrainError`] if it cannot be loaded.
    pub fn teacher(&self, pool: &Arc<Pool>) -> Result<Option<Model>, TrainError> {
        let Some(TeacherFiles { checkpoint, config, .. }) = &self.teacher else { return Ok(None) };
        let model = Model::from_checkpoint(checkpoint, config.clone(), Arc::clone(pool), TEACHER_LAYOUT);
        Ok(Some(model.map_err(|error| TrainError::Teacher(Box::new(error)))?))
    }
}
