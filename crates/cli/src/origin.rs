//! What is run or measured: the files of a model, or a known shape with random weights.

use std::ffi::OsStr;
use std::sync::Arc;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use tercet::checkpoint::Checkpoint;
use tercet::config::{Config, Linears, SuggestedSampling};
use tercet::embedded;
use tercet::model::{MemoryNeed, Model, SessionSize, WeightTypes};
use tercet::presets::{PRESETS, Preset};
use tercet::random;
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{KvType, Pool};

use crate::failure::{Exit, Failure};
use crate::terminal::{note, while_loading};
use crate::weight_types::{Head, Weights};
use crate::{figures, model_argument};

/// Tokens of a preset's prompt, where none is given.
const PRESET_PROMPT_TOKENS: usize = 16;
/// A preset's weights are the same in every run.
const PRESET_SEED: u64 = 0;
/// Where a model was trained for more, its cache would be needlessly large.
const CONTEXT_DEFAULT: usize = 4096;
/// Weights that keep a thread busy between two barriers; with fewer, waiting takes longer.
const THREAD_WEIGHT_BYTES: u64 = 16 << 20;

/// What is run, not loaded yet.
pub(crate) struct Origin {
    pub(crate) config: Config,
    weights: Weights,
    head: Head,
    kind: Kind,
}

enum Kind {
    Files { source: Source, checkpoint: Checkpoint, is_embedded: bool },
    Random(&'static Preset),
}

impl Origin {
    /// The model that was named; without a name, the one inside.
    ///
    /// # Errors
    /// Exit code 3, if the model is missing or refused; 2 if it cannot have such weights.
    pub(crate) fn open(model: Option<&OsStr>, weights: Weights, head: Head) -> Result<Self, Failure> {
        if weights == Weights::DenseF16 {
            let message = "`--weights dense-f16` is for random weights, which `tercet run`, `serve` and `bench` make \
                           with `--preset`; found a model";
            let hint = "a model whose linears are dense runs as it is, whatever `--weights` says";
            return Err(Failure::message(Exit::Usage, message).with_hint(hint));
        }
        let source = model.map_or_else(|| Ok(embedded::stories()), model_argument::open)?;
        let checkpoint = Checkpoint::open(&source)?;
        let config = Config::read(&source, &checkpoint)?;
        let is_embedded = model.is_none();
        Ok(Origin { config, weights, head, kind: Kind::Files { source, checkpoint, is_embedded } })
    }

    /// Random weights in this shape.
    pub(crate) fn random(preset: &'static Preset, weights: Weights, head: Head) -> Self {
        let config = match weights {
            Weights::DenseF16 => preset.dense_config(),
            Weights::TwoBit | Weights::BaseThree => preset.config(),
        };
        Origin { config, weights, head, kind: Kind::Random(preset) }
    }

    pub(crate) fn name(&self) -> String {
        match &self.kind {
            Kind::Files { source, .. } => source.name(),
            Kind::Random(preset) => format!("preset {}", preset.name),
        }
    }

    /// How the linears lie in memory.
    pub(crate) fn weights(&self) -> &'static str {
        match (&self.kind, self.config.linears) {
            (Kind::Files { .. }, Linears::Dense) => "dense",
            _ => self.weights.name(),
        }
    }

    /// The numbers of the vocabulary projection.
    pub(crate) fn head(&self) -> &'static str {
        self.head.name()
    }

    fn weight_types(&self) -> WeightTypes {
        WeightTypes { layout: self.weights.layout(), head: self.head.head_type() }
    }

    /// Whether tokens are text; those of random weights are not.
    pub(crate) fn has_text(&self) -> bool {
        matches!(self.kind, Kind::Files { .. })
    }

    /// The files, unless weights are random.
    pub(crate) fn files(&self) -> Option<(&Source, &Checkpoint)> {
        match &self.kind {
            Kind::Files { source, checkpoint, .. } => Some((source, checkpoint)),
            Kind::Random(_) => None,
        }
    }

    /// The tokenizer, where tokens are text.
    pub(crate) fn tokenizer(&self) -> Result<Option<Tokenizer>, Failure> {
        match &self.kind {
            Kind::Files { source, .. } => Ok(Some(Tokenizer::read(source, &self.config)?)),
            Kind::Random(_) => Ok(None),
        }
    }

    /// What the model's makers suggest.
    pub(crate) fn suggested_sampling(&self) -> Result<SuggestedSampling, Failure> {
        match &self.kind {
            Kind::Files { source, .. } => Ok(SuggestedSampling::read(source)?),
            Kind::Random(_) => Ok(SuggestedSampling::default()),
        }
    }

    /// The prompt as tokens; for random weights pseudo-random ones, as many as the prompt has words.
    pub(crate) fn prompt_tokens(
        &self,
        tokenizer: Option<&Tokenizer>,
        prompt: &str,
    ) -> Result<Vec<u32>, Failure> {
        let Some(tokenizer) = tokenizer else {
            let words = prompt.split_whitespace().count();
            let count = if words == 0 { PRESET_PROMPT_TOKENS } else { words };
            return Ok(random::tokens(count, self.config.vocab_size));
        };
        let tokens = tokenizer.encode(prompt, true);
        let mut tokens = tokens.map_err(|error| Failure::new(Exit::Failed, error))?;
        if tokens.is_empty() {
            tokens.extend(self.config.bos_token_id);
        }
        Ok(tokens)
    }

    /// The flags that say how weights lie in memory.
    pub(crate) fn weight_flags(&self) -> (Weights, Head) {
        (self.weights, self.head)
    }

    /// Memory that loading and running will take.
    pub(crate) fn memory_need(&self, size: &SessionSize, kv_type: KvType) -> MemoryNeed {
        self.memory_need_of(self.weights, self.head, size, kv_type)
    }

    /// Memory that it would take with weights of another type.
    pub(crate) fn memory_need_of(
        &self,
        weights: Weights,
        head: Head,
        size: &SessionSize,
        kv_type: KvType,
    ) -> MemoryNeed {
        let weights = WeightTypes { layout: weights.layout(), head: head.head_type() };
        match &self.kind {
            Kind::Files { checkpoint, .. } => {
                MemoryNeed::of_checkpoint(&self.config, checkpoint, weights, size, kv_type)
            }
            Kind::Random(_) => MemoryNeed::of_random(&self.config, weights, size, kv_type),
        }
    }

    /// Says on stderr what somebody should know who reads the text.
    pub(crate) fn introduce(&self) {
        match &self.kind {
            Kind::Random(preset) => {
                note(&format!("preset {}, random weights: the text is noise", preset.name));
            }
            Kind::Files { is_embedded: true, .. } => {
                let parameters = figures::count(self.config.parameters());
                note(&format!(
                    "the small model inside, {parameters} parameters: it continues children's stories"
                ));
            }
            Kind::Files { .. } => {}
        }
        if self.config.linears == Linears::Dense {
            note("dense model: runs in full precision");
        }
    }

    /// Says on stderr where texts of so many positions are longer than those that the model was trained on.
    pub(crate) fn tell_of_positions(&self, positions: usize) {
        let trained = self.config.max_position_embeddings;
        if positions > trained {
            note(&format!("a text may go beyond the {trained} positions that the model was trained for"));
        }
    }

    /// Loads the weights, which take `weight_bytes`.
    ///
    /// # Errors
    /// Exit code 3, if the model is refused.
    pub(crate) fn load(&self, pool: &Arc<Pool>, weight_bytes: u64) -> Result<Model, Failure> {
        let (config, workers, weights) = (self.config.clone(), Arc::clone(pool), self.weight_types());
        while_loading(&self.name(), weight_bytes, || match &self.kind {
            Kind::Files { checkpoint, .. } => {
                Ok(Model::from_checkpoint(checkpoint, config, workers, weights)?)
            }
            Kind::Random(_) => {
                tercet_kernels::self_test(pool.isa())?;
                Ok(Model::random(config, workers, weights, PRESET_SEED))
            }
        })
    }
}

/// Positions that there is room for; 0 for all that the model was trained for.
pub(crate) fn context(config: &Config, given: Option<u32>) -> usize {
    let trained = config.max_position_embeddings;
    match given {
        None => trained.min(CONTEXT_DEFAULT),
        Some(0) => trained,
        Some(context) => context as usize,
    }
}

/// Threads that a model of so many bytes keeps busy.
pub(crate) fn threads(given: Option<u16>, weight_bytes: u64) -> usize {
    let useful = usize::try_from(weight_bytes.div_ceil(THREAD_WEIGHT_BYTES)).unwrap_or(usize::MAX);
    tell_of_threads(given);
    given.map_or_else(|| Pool::default_threads().min(useful), usize::from)
}

/// Threads for work that keeps any number busy.
pub(crate) fn all_threads(given: Option<u16>) -> usize {
    tell_of_threads(given);
    given.map_or_else(Pool::default_threads, usize::from)
}

/// Says on stderr that more threads than cores are slower: they wait for each other at every layer.
fn tell_of_threads(given: Option<u16>) {
    let cores = Pool::default_threads();
    if let Some(threads) = given.map(usize::from).filter(|threads| *threads > cores) {
        let cores = figures::number_of(cores, "core");
        note(&format!("{threads} threads on {cores}: more threads than cores make it slower"));
    }
}

/// The presets by their names, which `--help` lists.
pub(crate) fn presets() -> impl TypedValueParser<Value = &'static Preset> {
    let values = PRESETS.iter().map(|preset| {
        let ternary = figures::count(preset.config().ternary_parameters());
        PossibleValue::new(preset.name).help(format!("{ternary} ternary weights, {}", preset.source))
    });
    PossibleValuesParser::new(values)
        .map(|name| Preset::by_name(&name).expect("presets: a name is one of the possible ones"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_models_are_not_shared_out_among_many_threads() {
        assert_eq!(threads(None, THREAD_WEIGHT_BYTES), 1);
        assert_eq!(threads(None, u64::MAX), Pool::default_threads());
        assert_eq!(threads(Some(3), 1), 3);
    }
}
