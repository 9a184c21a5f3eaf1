//! A model answers requests: text to tokens, scores or texts, from the store where they are known.
//!
//! It knows no tasks and shows nothing; who asks hears how far it is.

use std::ops::ControlFlow;
use std::{slice, thread};

use tercet::generate::{
    FinishReason, GenerateError, GenerationParams, Listener as GenerationListener, SamplingParams,
    Speculative, generate,
};
use tercet::model::{ForwardError, Session};
use tercet::tokenizer::Tokenizer;
use tercet_kernels::KvType;

use crate::score::{EncodeError, Encoder, Listener, Score, ScoredTokens, score};
use crate::store::{Store, StoreError};
use crate::{Request, Response};

/// Why requests were not answered.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// A request cannot be given to this model.
    #[error("request {number}: {error}")]
    Encode {
        /// Its number among those asked.
        number: usize,
        /// What is wrong.
        error: EncodeError,
    },
    /// A pass failed.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A text was not generated.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// An answer could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A request as tokens.
pub enum Asked {
    /// A continuation.
    LogLikelihood {
        /// It, after its context.
        stretch: ScoredTokens,
        /// Whether the context lost its beginning, for which there was no room.
        is_cut: bool,
    },
    /// The windows of a text.
    Rolling(Vec<ScoredTokens>),
    /// A text to go on with.
    Generate {
        /// The text's tokens.
        prompt: Vec<u32>,
        /// Whether it lost its beginning, for which there was no room.
        is_cut: bool,
        /// Strings that end what is generated.
        until: Vec<String>,
        /// Tokens to generate at most.
        max_tokens: usize,
    },
}

impl Asked {
    /// Encodes requests, on several threads.
    ///
    /// # Errors
    /// [`AnswerError::Encode`] for the first that cannot be given to the model.
    pub fn encode(
        encoder: &Encoder<'_>,
        requests: &[Request],
        threads: usize,
    ) -> Result<Vec<Asked>, AnswerError> {
        let share = requests.len().div_ceil(threads.max(1)).max(1);
        let encode = |(number, request): (usize, &Request)| {
            Asked::new(encoder, request).map_err(|error| AnswerError::Encode { number, error })
        };
        thread::scope(|scope| {
            let shares = requests.chunks(share).enumerate().map(|(at, requests)| {
                let numbers = at * share..;
                scope.spawn(move || numbers.zip(requests).map(encode).collect::<Vec<_>>())
            });
            let shares: Vec<_> = shares.collect();
            let results =
                shares.into_iter().flat_map(|share| share.join().expect("encode: no thread panics"));
            results.collect()
        })
    }

    /// Tokens that a model must read at once so that no continuation of these requests is too long for it; 0 where it
    /// reads enough already.
    pub fn room<'r>(encoder: &Encoder<'_>, requests: impl IntoIterator<Item = &'r Request>) -> usize {
        let too_long = requests.into_iter().filter_map(|request| match Asked::new(encoder, request) {
            Err(EncodeError::TooLong { found, .. }) => Some(found),
            _ => None,
        });
        too_long.max().unwrap_or(0)
    }

    fn new(encoder: &Encoder<'_>, request: &Request) -> Result<Asked, EncodeError> {
        Ok(match request {
            Request::LogLikelihood { context, continuation } => {
                let (stretch, is_cut) = encoder.pair_and_whether_cut(context, continuation)?;
                Asked::LogLikelihood { stretch, is_cut }
            }
            Request::Rolling { text } => Asked::Rolling(encoder.rolling(text)?),
            Request::Generate { context, until, max_tokens } => {
                let mut prompt = encoder.text(context)?;
                let room = encoder.max_length().saturating_sub(*max_tokens).max(1);
                let too_many = prompt.len().saturating_sub(room);
                prompt.drain(..too_many);
                Asked::Generate {
                    prompt,
                    is_cut: too_many > 0,
                    until: until.clone(),
                    max_tokens: *max_tokens,
                }
            }
        })
    }

    /// Positions that answering takes.
    pub fn positions(&self) -> usize {
        match self {
            Asked::Generate { prompt, max_tokens, .. } => prompt.len() + max_tokens,
            _ => self.stretches().iter().map(|stretch| stretch.input.len()).max().unwrap_or(0),
        }
    }

    /// Whether it lost its beginning, for which the model has no room. A whole text loses nothing.
    pub fn is_cut(&self) -> bool {
        match self {
            Asked::LogLikelihood { is_cut, .. } | Asked::Generate { is_cut, .. } => *is_cut,
            Asked::Rolling(_) => false,
        }
    }

    /// What of it is scored.
    fn stretches(&self) -> &[ScoredTokens] {
        match self {
            Asked::LogLikelihood { stretch, .. } => slice::from_ref(stretch),
            Asked::Rolling(windows) => windows,
            Asked::Generate { .. } => &[],
        }
    }
}

/// What hears how far the answers are.
pub trait Progress {
    /// Tokens done, of how many; `Break` ends the work.
    fn progress(&mut self, tokens: usize, total_tokens: usize) -> ControlFlow<()>;
}

/// What answers: a model with room to compute in, and what it is known to answer.
pub struct Respondent<'a, 'model> {
    /// The model and its buffers.
    pub session: &'a mut Session<'model>,
    /// Numbers of the caches.
    pub kv_type: KvType,
    /// Sequences that are computed side by side, each with a cache.
    pub lanes: usize,
    /// What is known, and where answers are kept.
    pub store: &'a mut Store,
}

impl Respondent<'_, '_> {
    /// How many tokens of these stretches have scores that are known.
    pub fn known_tokens(&self, stretches: &[ScoredTokens]) -> u64 {
        let known = stretches.iter().filter(|stretch| self.store.score(stretch).is_some());
        known.map(|stretch| stretch.targets.len() as u64).sum()
    }

    /// Scores stretches, each in its place; none if the listener ended the work, which the store then
    /// knows as far as it went.
    ///
    /// # Errors
    /// [`AnswerError`] if a pass fails, or the store cannot be written.
    pub fn scores(
        &mut self,
        stretches: &[&ScoredTokens],
        listener: &mut dyn Progress,
    ) -> Result<Option<Vec<Score>>, AnswerError> {
        let unknown = stretches.iter().filter(|stretch| self.store.score(stretch).is_none());
        let unknown: Vec<ScoredTokens> = unknown.map(|stretch| (*stretch).clone()).collect();
        let mut keeper = Keeper { items: &unknown, store: self.store, listener, failed: None };
        let scored = score(self.session, self.kv_type, self.lanes, &unknown, &mut keeper);
        let failed = keeper.failed;
        failed.map_or(Ok(()), Err)?;
        if scored?.is_break() {
            return Ok(None);
        }
        Ok(stretches.iter().map(|stretch| self.store.score(stretch)).collect())
    }

    /// Answers requests, each in its place; none if the listener ended the work.
    ///
    /// # Errors
    /// [`AnswerError`] if a pass fails, or the store cannot be written.
    pub fn answers(
        &mut self,
        tokenizer: &Tokenizer,
        asked: &[Asked],
        listener: &mut dyn Progress,
    ) -> Result<Option<Vec<Response>>, AnswerError> {
        let stretches: Vec<&ScoredTokens> = asked.iter().flat_map(Asked::stretches).collect();
        if self.scores(&stretches, listener)?.is_none() {
            return Ok(None);
        }
        self.generate(tokenizer, asked, listener)?;
        Ok(asked.iter().map(|asked| response(asked, self.store)).collect())
    }

    /// Generates what is not known, one text after another.
    fn generate(
        &mut self,
        tokenizer: &Tokenizer,
        asked: &[Asked],
        listener: &mut dyn Progress,
    ) -> Result<(), AnswerError> {
        let is_unknown = |one: &&Asked| match one {
            Asked::Generate { prompt, until, max_tokens, .. } => {
                self.store.text(prompt, until, *max_tokens).is_none()
            }
            _ => false,
        };
        let unknown: Vec<&Asked> = asked.iter().filter(is_unknown).collect();
        let total = unknown.iter().map(|one| one.positions()).sum();
        let mut done = 0;
        for one in unknown {
            let Asked::Generate { prompt, until, max_tokens, .. } = one else { continue };
            let params = GenerationParams {
                max_tokens: *max_tokens,
                sampling: SamplingParams::greedy(),
                stop: until.clone(),
                ignore_eos: false,
                all_logits: false,
                speculative: Speculative::Off,
            };
            let mut text = Text { text: String::new(), done, total, listener };
            let mut cache = self.session.new_cache(self.kv_type);
            let generated = generate(self.session, &mut cache, Some(tokenizer), prompt, &params, &mut text)?;
            if generated.finish_reason == FinishReason::Cancelled {
                return Ok(());
            }
            self.store.keep_text(prompt, until, *max_tokens, &text.text)?;
            done += one.positions();
            if listener.progress(done, total).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The answer to a request, if all of it is in the store.
fn response(asked: &Asked, store: &Store) -> Option<Response> {
    Some(match asked {
        Asked::LogLikelihood { stretch, .. } => {
            let Score { log_likelihood, is_greedy, .. } = store.score(stretch)?;
            Response::LogLikelihood { log_likelihood, is_greedy }
        }
        Asked::Rolling(windows) => {
            let scores = windows.iter().map(|window| store.score(window).map(|score| score.log_likelihood));
            Response::Rolling { log_likelihood: scores.sum::<Option<f64>>()? }
        }
        Asked::Generate { prompt, until, max_tokens, .. } => {
            Response::Generated { text: store.text(prompt, until, *max_tokens)?.to_owned() }
        }
    })
}

/// Keeps scores as they come.
struct Keeper<'a> {
    items: &'a [ScoredTokens],
    store: &'a mut Store,
    listener: &'a mut dyn Progress,
    failed: Option<StoreError>,
}

impl Listener for Keeper<'_> {
    fn scored(&mut self, index: usize, score: Score) {
        if let Err(error) = self.store.keep_score(&self.items[index], score) {
            self.failed.get_or_insert(error);
        }
    }

    fn progress(&mut self, rows: usize, total_rows: usize) -> ControlFlow<()> {
        if self.failed.is_some() {
            return ControlFlow::Break(());
        }
        self.listener.progress(rows, total_rows)
    }
}

/// Gathers a text, and asks whether to go on.
struct Text<'a> {
    text: String,
    done: usize,
    total: usize,
    listener: &'a mut dyn Progress,
}

impl GenerationListener for Text<'_> {
    fn text(&mut self, text: &str) -> ControlFlow<()> {
        self.text += text;
        self.listener.progress(self.done, self.total)
    }
}
