//! Text from a model that is still in training.
//!
//! The parameters are packed as they will be at the end and run by inference, so a sample is what
//! the finished model would say today.

use std::ops::ControlFlow;
use std::sync::Arc;

use tercet::config::{Linears, TensorKind};
use tercet::generate::{GenerationParams, Listener, SamplingParams, Speculative, generate};
use tercet::model::{LoadError, MemoryNeed, Model, Session, SessionSize};
use tercet::planes;
use tercet::source::Source;
use tercet::tokenizer::TokenizerError;
use tercet_kernels::Layout;

use super::{Observer, Prepared};
use crate::export::{Export, Form};
use crate::model::{KV_TYPE, Network, ParameterLayout};

/// How the model lies in memory for a sample.
const LAYOUT: Layout = Layout::TwoBit;
/// As `generation_config.json` suggests.
const TEMPERATURE: f32 = 0.8;
const TOP_P: f32 = 0.95;
/// Tokens of the data that a sample begins with where no prompt is given.
const OPENING_TOKENS: usize = 8;

/// Prompt and continuation; the same for the same parameters and step. The observer hears of what is missing.
pub(super) fn sample(
    prepared: &Prepared,
    network: &mut Network,
    step: u64,
    observer: &mut dyn Observer,
) -> Result<String, LoadError> {
    let (config, layout, pool) =
        (network.config().clone(), network.layout().clone(), Arc::clone(network.pool()));
    let export = Export::new(Form::Packed, &config, &layout, network.parameters(), &Default::default());
    let model = Model::load(&Source::Memory(export.in_memory("the model in training")), pool, LAYOUT)?;
    let tokenizer = &prepared.tokenizer.tokenizer;
    let prompt = prompt(prepared).unwrap_or_else(|error| {
        observer.warning(&format!("watch.sample_prompt: {error}"));
        Vec::new()
    });
    let mut text = Text(tokenizer.decode(&prompt));
    if prompt.is_empty() {
        return Ok(text.0);
    }
    let mut session = Session::new(&model, session_size(prepared, &prompt));
    let mut cache = session.new_cache(KV_TYPE);
    let params = GenerationParams {
        max_tokens: prepared.config.watch.sample_tokens,
        sampling: SamplingParams {
            temperature: TEMPERATURE,
            top_p: TOP_P,
            seed: step,
            ..SamplingParams::greedy()
        },
        stop: Vec::new(),
        ignore_eos: false,
        all_logits: false,
        speculative: Speculative::Off,
    };
    // No reason to end a run.
    if let Err(error) = generate(&mut session, &mut cache, Some(tokenizer), &prompt, &params, &mut text) {
        observer.warning(&format!("the sample of step {step} is cut short: {error}"));
    }
    Ok(text.0)
}

/// The tokens that a sample begins with.
fn prompt(prepared: &Prepared) -> Result<Vec<u32>, TokenizerError> {
    let mut prompt = match &prepared.config.watch.sample_prompt {
        Some(text) => prepared.tokenizer.tokenizer.encode(text, true)?,
        None => prepared.dataset.opening(OPENING_TOKENS),
    };
    prompt.truncate(prepared.config.data.sequence_length);
    Ok(prompt)
}

fn session_size(prepared: &Prepared, prompt: &[u32]) -> SessionSize {
    SessionSize { context: prepared.config.data.sequence_length, max_rows: prompt.len(), max_logit_rows: 1 }
}

/// Bytes that a sample takes beside the network, at most.
pub(super) fn memory_bytes(prepared: &Prepared) -> u64 {
    let config = &prepared.model;
    // As a file in memory, and as it is loaded from there.
    let (mut packed, mut loaded) = (0, 0);
    for parameter in ParameterLayout::new(config).parameters() {
        let floats = parameter.range.len() * size_of::<f32>();
        let is_packed = parameter.kind == TensorKind::Linear && config.linears != Linears::Dense;
        let (in_file, in_model) = if is_packed {
            let [rows, cols] = [parameter.shape[0], parameter.shape[1]];
            (planes::byte_rows(rows) * cols, LAYOUT.matrix_bytes([rows, cols]))
        } else {
            (floats, floats)
        };
        packed += in_file as u64;
        loaded += in_model as u64;
    }
    let size = session_size(prepared, &prompt(prepared).unwrap_or_default());
    let session = MemoryNeed::of_random(config, LAYOUT, &size, KV_TYPE);
    let running = session.scratch_bytes.saturating_add(session.cache_bytes).saturating_add(loaded);
    // The file is written into a buffer and copied once, before the model is loaded.
    packed.saturating_add(running.max(packed))
}

struct Text(String);

impl Listener for Text {
    fn text(&mut self, text: &str) -> ControlFlow<()> {
        self.0.push_str(text);
        ControlFlow::Continue(())
    }
}
