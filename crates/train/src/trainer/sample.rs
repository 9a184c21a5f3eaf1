//! Text from a model that is still in training.
//!
//! The parameters are packed as they will be at the end and run by inference, so a sample is what
//! the finished model would say today.

use std::ops::ControlFlow;
use std::sync::Arc;

use tercet::generate::{GenerationParams, Listener, SamplingParams, Speculative, generate};
use tercet::model::{LoadError, Model, Session, SessionSize};
use tercet::source::Source;
use tercet_kernels::{KvType, Layout};

use super::Prepared;
use crate::export::{Export, Form};
use crate::model::Network;

/// As `generation_config.json` suggests.
const TEMPERATURE: f32 = 0.8;
const TOP_P: f32 = 0.95;
/// Tokens of the data that a sample begins with where no prompt is given.
const OPENING_TOKENS: usize = 8;

/// Prompt and continuation; the same for the same parameters and step.
pub(super) fn sample(prepared: &Prepared, network: &mut Network, step: u64) -> Result<String, LoadError> {
    let (config, layout, pool) =
        (network.config().clone(), network.layout().clone(), Arc::clone(network.pool()));
    let export = Export::new(Form::Packed, &config, &layout, network.parameters(), &Default::default());
    let model =
        Model::load(&Source::Memory(export.in_memory("the model in training")), pool, Layout::TwoBit)?;
    let tokenizer = &prepared.tokenizer.tokenizer;
    let watch = &prepared.config.watch;
    let prompt = match &watch.sample_prompt {
        Some(text) => tokenizer.encode(text, true).unwrap_or_default(),
        None => prepared.dataset.opening(OPENING_TOKENS),
    };
    let context = prepared.config.data.sequence_length;
    let prompt = &prompt[..prompt.len().min(context)];
    let mut text = Text(tokenizer.decode(prompt));
    if prompt.is_empty() {
        return Ok(text.0);
    }
    let size = SessionSize { context, max_rows: prompt.len(), max_logit_rows: 1 };
    let mut session = Session::new(&model, size);
    let mut cache = session.new_cache(KvType::F32);
    let params = GenerationParams {
        max_tokens: watch.sample_tokens,
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
    // A model that has just begun may write nothing that is text; that is no reason to end a run.
    let _ = generate(&mut session, &mut cache, Some(tokenizer), prompt, &params, &mut text);
    Ok(text.0)
}

struct Text(String);

impl Listener for Text {
    fn text(&mut self, text: &str) -> ControlFlow<()> {
        self.0.push_str(text);
        ControlFlow::Continue(())
    }
}
