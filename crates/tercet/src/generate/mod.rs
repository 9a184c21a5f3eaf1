//! Generation: a prompt in chunks, then one token after another, as text that streams.
//!
//! It knows models, tokens and text; not where the text goes.

mod sampler;
mod stop;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tercet_kernels::{KvCache, Sequence};

pub use sampler::{Sampler, SamplingError, SamplingParams};

use crate::model::{ForwardError, LogitRows, Session};
use crate::tokenizer::{TokenStream, Tokenizer};
use stop::StopScanner;

/// What ends a generation.
#[derive(Debug, Clone)]
pub struct GenerationParams {
    /// Tokens to generate at most.
    pub max_tokens: usize,
    /// How each is chosen.
    pub sampling: SamplingParams,
    /// Strings that end the text; they are not part of it.
    pub stop: Vec<String>,
    /// Whether to go on after an end-of-text token.
    pub ignore_eos: bool,
    /// Whether logits of every position are computed, not only those a token is chosen from.
    pub all_logits: bool,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-text token or a stop string.
    Stop,
    /// `max_tokens` were generated.
    Length,
    /// The context is full.
    Context,
    /// Whoever takes the text asked for it.
    Cancelled,
}

/// What a generation did.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The new tokens, the end-of-text token included.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Time for the prompt.
    pub prompt_time: Duration,
    /// Passes of one token after it, one less than the tokens unless the text was cut off.
    pub decode_steps: usize,
    /// Time for those.
    pub decode_time: Duration,
    /// Bytes of weights and cache that those passes read.
    pub decode_bytes: u64,
}

/// Why a generation failed.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A prompt without tokens, for a model without a first token.
    #[error("the prompt has no tokens, expected at least one")]
    EmptyPrompt,
    /// The prompt leaves no room to generate.
    #[error("the prompt has {found} tokens, expected at most {expected} in this context")]
    PromptTooLong {
        /// Its tokens.
        found: usize,
        /// The context.
        expected: usize,
    },
    /// A sampling parameter is out of range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// A pass failed.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

/// What hears of a generation while it runs.
pub trait Listener {
    /// Text that is certain, never a part of a character; `Break` ends the generation.
    fn text(&mut self, text: &str) -> ControlFlow<()>;

    /// The logits of one pass, `[rows, vocabulary]`, each position once and in order.
    fn logits(&mut self, _logits: &[f32]) {}
}

/// Continues `prompt` from what `cache` holds.
///
/// # Errors
/// [`GenerateError`] if the prompt does not fit, a parameter is out of range or a pass fails.
pub fn generate(
    session: &mut Session<'_>,
    cache: &mut KvCache,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    params: &GenerationParams,
    listener: &mut dyn Listener,
) -> Result<Generated, GenerateError> {
    let config = session.model().config();
    let (vocab_size, context) = (config.vocab_size, session.size().context.min(cache.capacity()));
    let eos_token_ids = config.eos_token_ids.clone();
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    if cache.len() + prompt.len() > context {
        return Err(GenerateError::PromptTooLong { found: cache.len() + prompt.len(), expected: context });
    }
    let mut sampler = Sampler::new(params.sampling, vocab_size)?;
    sampler.accept_prompt(prompt);

    let started = Instant::now();
    let logit_rows = if params.all_logits { LogitRows::All } else { LogitRows::Last };
    let mut last_logits = vec![0.0; vocab_size];
    for chunk in prompt.chunks(session.size().max_rows) {
        let logits = session.forward(&mut [Sequence { tokens: chunk, cache }], logit_rows)?;
        listener.logits(logits);
        last_logits.copy_from_slice(&logits[logits.len() - vocab_size..]);
    }
    let prompt_time = started.elapsed();

    let started = Instant::now();
    let mut generated = Generated {
        tokens: Vec::new(),
        finish_reason: FinishReason::Length,
        prompt_tokens: prompt.len(),
        prompt_time,
        decode_steps: 0,
        decode_time: Duration::ZERO,
        decode_bytes: 0,
    };
    let mut stream = tokenizer.stream_after(prompt);
    let mut scanner = StopScanner::new(&params.stop);
    while generated.tokens.len() < params.max_tokens {
        let token = sampler.sample(&last_logits);
        generated.tokens.push(token);
        if !params.ignore_eos && eos_token_ids.contains(&token) {
            generated.finish_reason = FinishReason::Stop;
            break;
        }
        if let Some(reason) = tell(&mut stream, &mut scanner, token, listener) {
            generated.finish_reason = reason;
            break;
        }
        if generated.tokens.len() == params.max_tokens {
            break;
        }
        if cache.len() == context {
            generated.finish_reason = FinishReason::Context;
            break;
        }
        let logits = session.forward(&mut [Sequence { tokens: &[token], cache }], LogitRows::Last)?;
        listener.logits(logits);
        last_logits.copy_from_slice(logits);
        generated.decode_steps += 1;
        generated.decode_bytes +=
            (session.model().weight_bytes_per_token() + cache.read_bytes(cache.len())) as u64;
    }
    generated.decode_time = started.elapsed();
    if generated.finish_reason != FinishReason::Cancelled && !scanner.has_stopped() {
        let mut text = scanner.push(&stream.finish());
        if !scanner.has_stopped() {
            text += &scanner.finish();
        }
        // Nothing follows, so it does not matter whether the listener wants more.
        let _ = listener.text(&text);
    }
    Ok(generated)
}

/// Passes on what a token makes certain; a reason if the text ends there.
fn tell(
    stream: &mut TokenStream<'_>,
    scanner: &mut StopScanner<'_>,
    token: u32,
    listener: &mut dyn Listener,
) -> Option<FinishReason> {
    let text = scanner.push(&stream.push(token)?);
    if !text.is_empty() && listener.text(&text).is_break() {
        return Some(FinishReason::Cancelled);
    }
    scanner.has_stopped().then_some(FinishReason::Stop)
}
