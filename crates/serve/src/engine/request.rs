//! What the engine is asked, and what it answers, in tokens.
//!
//! It knows no HTTP and no JSON: the wire has types of its own.

use std::time::{Duration, Instant};

use tercet::generate::SamplingParams;

use crate::grammar::Grammar;

/// Work on one sequence.
pub struct Request {
    /// What comes first: at least one token of the model's vocabulary.
    pub prompt: Vec<u32>,
    /// What is wanted of it.
    pub wanted: Wanted,
}

impl Request {
    /// Tokens of prompt and continuation at most.
    pub fn total_tokens(&self) -> usize {
        match &self.wanted {
            Wanted::Continuation(continuation) => self.prompt.len().saturating_add(continuation.max_tokens),
            Wanted::Embedding(_) => self.prompt.len(),
        }
    }

    /// Log-probabilities of prompt and continuation at most.
    pub fn total_scores(&self) -> usize {
        let Wanted::Continuation(continuation) = &self.wanted else { return 0 };
        let of = |tokens: usize, top: Option<usize>| top.map_or(0, |top| tokens.saturating_mul(1 + top));
        of(self.prompt.len(), continuation.prompt_logprobs)
            .saturating_add(of(continuation.max_tokens, continuation.logprobs))
    }
}

/// What a request is for.
pub enum Wanted {
    /// A continuation.
    Continuation(Box<Continuation>),
    /// One vector for the whole prompt, of the model's hidden size.
    Embedding(Pooling),
}

/// How a continuation is made.
#[derive(Clone)]
pub struct Continuation {
    /// Tokens to generate at most; with 0 only the prompt is scored.
    pub max_tokens: usize,
    /// Tokens to generate before the text may end by itself.
    pub min_tokens: usize,
    /// How each is chosen.
    pub sampling: SamplingParams,
    /// What is added to the logits of some tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Texts that end the continuation; they are not part of it, unless [`Self::keeps_stop`].
    pub stop: Vec<String>,
    /// Whether the stop text is given out with the rest.
    pub keeps_stop: bool,
    /// Tokens that end it beside the model's own.
    pub stop_tokens: Vec<u32>,
    /// Whether to go on after an end-of-text token.
    pub ignore_eos: bool,
    /// How many of the likeliest tokens come with each generated one; none: no log-probabilities at all.
    pub logprobs: Option<usize>,
    /// The same for the tokens of the prompt. They are then computed anew, whatever is in the cache.
    pub prompt_logprobs: Option<usize>,
    /// What the text must look like. Texts share it; what each makes of it is its own from its admission on.
    pub grammar: Option<Grammar>,
}

impl Continuation {
    /// A text of at most `max_tokens` tokens, which ends where the model ends it; nothing besides is asked for.
    pub fn new(max_tokens: usize, sampling: SamplingParams) -> Self {
        Continuation {
            max_tokens,
            min_tokens: 0,
            sampling,
            logit_bias: Vec::new(),
            stop: Vec::new(),
            keeps_stop: false,
            stop_tokens: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            prompt_logprobs: None,
            grammar: None,
        }
    }
}

/// How the hidden rows of a prompt become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The last token's.
    Last,
}

/// A token, and how likely it and others were in its place, by the logits before any sampling parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredToken {
    /// The token.
    pub token: u32,
    /// Its log-probability, in nats.
    pub log_probability: f64,
    /// The likeliest tokens, likeliest first, of equals the lowest id first, as many as were asked for.
    pub top: Vec<(u32, f64)>,
}

/// What comes back of one request, in this order: the prompt's scores where asked for; tokens; the end.
#[derive(Debug)]
pub enum Event {
    /// The prompt's tokens but the first, which nothing comes before, where `prompt_logprobs` were asked for.
    PromptScores(Vec<ScoredToken>),
    /// A token was generated.
    Token(Token),
    /// The vector of the prompt, not normalised.
    Embedding(Vec<f32>),
    /// Nothing follows.
    Finished(Finished),
    /// It failed; nothing follows.
    Failed(Failed),
}

/// A generated token.
#[derive(Debug)]
pub struct Token {
    /// The token, an end-of-text token too.
    pub token: u32,
    /// Text that has become certain with it: whole characters, no part of a stop text; often less or more than
    /// the token's own.
    pub text: String,
    /// Its log-probability, where asked for.
    pub score: Option<ScoredToken>,
    /// When it was chosen.
    pub at: Instant,
}

/// How a request ended.
#[derive(Debug)]
pub struct Finished {
    /// Text that was held back and is certain now.
    pub text: String,
    /// Why.
    pub reason: Reason,
    /// What it took.
    pub usage: Usage,
}

/// Why a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// An end-of-text token, a stop text, or the end of what the grammar allows.
    Stop,
    /// One of `stop`, by its place among them.
    StopText(usize),
    /// `max_tokens` were generated, or the context is full, or nothing was to be generated.
    Length,
}

/// What a request took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of the prompt that were not computed, for their keys and values were in the cache.
    pub cached_tokens: usize,
    /// Tokens generated, an end-of-text token too.
    pub completion_tokens: usize,
    /// From its submission to its first pass.
    pub queued: Duration,
    /// From its first pass to the first token, or to the end where there is none.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
    /// What the processor used for its share of the passes, where there is a counter.
    pub joules: Option<f64>,
}

/// Why a request failed after it was taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failed {
    /// The model gave NaN or infinity.
    #[error("the model gave a logit that is not finite")]
    NotFinite,
    /// The grammar came to its limits.
    #[error("the grammar gave up: {0}")]
    Grammar(String),
    /// Something of ours panicked.
    #[error("internal error")]
    Panicked,
    /// The engine has stopped.
    #[error("the server ended before the answer did")]
    Stopped,
}
