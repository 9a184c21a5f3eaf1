//! Generation: a prompt in chunks, then one token after another, as text that streams.
//!
//! | module | holds |
//! |---|---|
//! | `sampler` | the choice of a token from logits |
//! | `lookup` | drafts from what was said before |
//! | `text` | tokens as text, as it becomes certain |
//! | `stop` | texts that end a generation |
//!
//! It knows models, tokens and text; not where the text goes.

mod lookup;
mod sampler;
mod stop;
mod text;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tercet_kernels::{KvCache, Sequence};

pub use lookup::MAX_DRAFT;
pub use sampler::{Sampler, SamplingError, SamplingParams};
pub use text::{Piece, TextStream};

use crate::model::{ForwardError, LogitRows, Session, prompt_passes};
use crate::tokenizer::Tokenizer;
use lookup::Lookup;

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
    /// How several tokens are got from one pass; the text is the same.
    pub speculative: Speculative,
}

/// Where drafts of the next tokens come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speculative {
    /// There are none.
    #[default]
    Off,
    /// From what followed the same tokens before, up to [`MAX_DRAFT`] at a time, as many as the
    /// session has rows and logit rows for beside the last token.
    Lookup,
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
    /// Tokens of the prompt that were computed.
    pub prompt_tokens: usize,
    /// Time for the prompt.
    pub prompt_time: Duration,
    /// Passes after the prompt. Without drafts one less than the tokens, unless the text was cut off.
    pub decode_steps: usize,
    /// Time for the passes after the prompt.
    pub decode_time: Duration,
    /// Bytes of weights and cache that the passes after the prompt read.
    pub decode_bytes: u64,
    /// Tokens of drafts that the passes looked at.
    pub drafted: usize,
    /// Drafted tokens that were right.
    pub accepted: usize,
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

    /// A token that was chosen; its text may come later.
    fn token(&mut self, _token: u32) {}

    /// The logits of one pass, `[rows, vocabulary]`, each position once and in order, none where only
    /// the prompt went on; `Break` ends the generation.
    fn logits(&mut self, _logits: &[f32]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Continues `prompt`, whose first tokens `cache` may hold: those are not computed again, and the text is
/// the same. Without a tokenizer there are tokens and no text.
///
/// # Errors
/// [`GenerateError`] if the prompt does not fit, a parameter is out of range or a pass fails.
///
/// # Panics
/// If the cache holds the whole prompt, so that no pass is left to choose a token from.
pub fn generate(
    session: &mut Session<'_>,
    cache: &mut KvCache,
    tokenizer: Option<&Tokenizer>,
    prompt: &[u32],
    params: &GenerationParams,
    listener: &mut dyn Listener,
) -> Result<Generated, GenerateError> {
    let model = session.model();
    let (vocab_size, context) = (model.config().vocab_size, session.size().context.min(cache.capacity()));
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    if prompt.len() > context {
        return Err(GenerateError::PromptTooLong { found: prompt.len(), expected: context });
    }
    assert!(cache.len() < prompt.len(), "generate: a token of the prompt is left to compute");
    let new_tokens = &prompt[cache.len()..];
    let mut sampler = Sampler::new(params.sampling, vocab_size)?;
    sampler.accept_prompt(prompt);
    let mut text = tokenizer.map(|tokenizer| TextStream::new(Some(tokenizer), prompt, params.stop.clone()));
    let mut last_logits = vec![0.0; vocab_size];

    let started = Instant::now();
    let hears_prompt = run_prompt(session, cache, new_tokens, params.all_logits, &mut last_logits, listener)?;
    let mut generated = Generated {
        tokens: Vec::new(),
        finish_reason: FinishReason::Length,
        prompt_tokens: new_tokens.len(),
        prompt_time: started.elapsed(),
        decode_steps: 0,
        drafted: 0,
        accepted: 0,
        decode_time: Duration::ZERO,
        decode_bytes: 0,
    };
    if hears_prompt.is_break() {
        generated.finish_reason = FinishReason::Cancelled;
        return Ok(generated);
    }

    let started = Instant::now();
    let mut decoder = Decoder::new(params.speculative, prompt, session);
    while generated.tokens.len() < params.max_tokens {
        let token = sampler.sample(&last_logits);
        generated.tokens.push(token);
        listener.token(token);
        if !params.ignore_eos && model.config().eos_token_ids.contains(&token) {
            generated.finish_reason = FinishReason::Stop;
            break;
        }
        if let Some(text) = &mut text
            && let Some(reason) = tell(text.push(token), listener)
        {
            generated.finish_reason = reason;
            break;
        }
        let left = params.max_tokens - generated.tokens.len();
        if left == 0 {
            break;
        }
        if decoder.positions(cache) == context {
            generated.finish_reason = FinishReason::Context;
            break;
        }
        decoder.next(session, cache, token, left - 1, &mut last_logits, &mut generated)?;
        if listener.logits(&last_logits).is_break() {
            generated.finish_reason = FinishReason::Cancelled;
            break;
        }
    }
    decoder.finish(cache);
    generated.decode_time = started.elapsed();
    if let Some(text) = text.filter(|_| generated.finish_reason != FinishReason::Cancelled) {
        // Nothing follows, so it does not matter whether the listener wants more.
        let _ = tell(text.finish(), listener);
    }
    Ok(generated)
}

/// Passes on what has become certain; a reason if the text ends there.
fn tell(piece: Piece, listener: &mut dyn Listener) -> Option<FinishReason> {
    if !piece.text.is_empty() && listener.text(&piece.text).is_break() {
        return Some(FinishReason::Cancelled);
    }
    piece.stop.map(|_| FinishReason::Stop)
}

/// Runs the prompt in chunks that fit the session; `last_logits` are those of its last token.
fn run_prompt(
    session: &mut Session<'_>,
    cache: &mut KvCache,
    prompt: &[u32],
    all_logits: bool,
    last_logits: &mut [f32],
    listener: &mut dyn Listener,
) -> Result<ControlFlow<()>, ForwardError> {
    for (tokens, needed) in prompt_passes(prompt, session.size().max_rows) {
        let logit_rows = if all_logits { LogitRows::All } else { needed };
        let logits = session.forward(&mut [Sequence { tokens, cache }], logit_rows)?;
        if let Some(first) = logits.len().checked_sub(last_logits.len()) {
            last_logits.copy_from_slice(&logits[first..]);
        }
        if listener.logits(logits).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The passes after the prompt: of one token, or of one and a draft of those that may follow.
struct Decoder {
    lookup: Option<Lookup>,
    max_draft: usize,
    draft: Vec<u32>,
    /// Logits after each token of the draft, `[draft, vocabulary]`.
    ahead: Vec<f32>,
    /// Tokens of the draft that were right so far.
    accepted: usize,
}

impl Decoder {
    fn new(speculative: Speculative, prompt: &[u32], session: &Session<'_>) -> Self {
        let size = session.size();
        let rows = size.max_rows.min(size.max_logit_rows);
        Decoder {
            lookup: (speculative == Speculative::Lookup).then(|| Lookup::new(prompt)),
            max_draft: MAX_DRAFT.min(rows.saturating_sub(1)),
            draft: Vec::new(),
            ahead: Vec::new(),
            accepted: 0,
        }
    }

    /// Positions of the cache that hold what is certain.
    fn positions(&self, cache: &KvCache) -> usize {
        cache.len() - (self.draft.len() - self.accepted)
    }

    /// The logits after `token`: from the last pass where it had drafted the token, else from a new
    /// one. `wanted` is how many tokens may still follow the next.
    fn next(
        &mut self,
        session: &mut Session<'_>,
        cache: &mut KvCache,
        token: u32,
        wanted: usize,
        logits: &mut [f32],
        generated: &mut Generated,
    ) -> Result<(), ForwardError> {
        if let Some(lookup) = &mut self.lookup {
            lookup.push(token);
        }
        if self.draft.get(self.accepted) == Some(&token) {
            logits.copy_from_slice(&self.ahead[self.accepted * logits.len()..][..logits.len()]);
            self.accepted += 1;
            generated.accepted += 1;
            return Ok(());
        }
        self.finish(cache);
        let context = session.size().context.min(cache.capacity());
        let max = self.max_draft.min(wanted).min(context - cache.len() - 1);
        if let Some(lookup) = &self.lookup {
            self.draft.extend_from_slice(lookup.draft(max));
        }
        let mut tokens = [token; 1 + MAX_DRAFT];
        let tokens = &mut tokens[..1 + self.draft.len()];
        tokens[1..].copy_from_slice(&self.draft);
        match session.forward(&mut [Sequence { tokens, cache }], LogitRows::All) {
            Ok(all) => {
                let (first, ahead) = all.split_at(logits.len());
                logits.copy_from_slice(first);
                self.ahead.clear();
                self.ahead.extend_from_slice(ahead);
            }
            // Logits after a wrong draft are nobody's, so they may not end the text.
            Err(ForwardError::NotFinite { row: 1.. }) => {
                self.draft.clear();
                let sequence = Sequence { tokens: &tokens[..1], cache };
                logits.copy_from_slice(session.forward(&mut [sequence], LogitRows::Last)?);
            }
            Err(error) => return Err(error),
        }
        generated.decode_steps += 1;
        generated.drafted += self.draft.len();
        let read = session.model().weight_bytes_per_token() + cache.read_bytes(cache.len());
        generated.decode_bytes += read as u64;
        Ok(())
    }

    /// Judges the draft and forgets what was wrong of it.
    fn finish(&mut self, cache: &mut KvCache) {
        cache.truncate(self.positions(cache));
        if let Some(lookup) = self.lookup.as_mut().filter(|_| !self.draft.is_empty()) {
            lookup.judge(self.draft.len(), self.accepted);
        }
        self.draft.clear();
        self.accepted = 0;
    }
}
