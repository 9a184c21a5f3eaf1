//! One sequence in work: its tokens, its cache, and what each new row of logits makes of it.
//!
//! ```text
//! tokens   prompt ……………………………… generated ……
//!          |--- in the cache ---|  pending |        the last pending row gives the next token
//! ```
//!
//! It knows no other sequence, so that several go on side by side on the workers.

use std::ops::Range;
use std::time::Instant;

use tercet::generate::{Piece, Sampler, TextStream};
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KV_BLOCK, KvCache, Sequence};
use tokio::sync::mpsc::UnboundedSender;

use super::prefixes::{Block, Place, Prefixes};
use super::request::{
    Continuation, Event, Failed, Finished, Pooling, Reason, Request, ScoredToken, Token, Usage, Wanted,
};
use super::scores::Scorer;
use crate::grammar::{Constraint, Grammar, GrammarError};

/// A request that waits, or is about to be worked on.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) events: UnboundedSender<Event>,
    pub(super) submitted: Instant,
}

impl Job {
    /// Positions of its cache: those of all tokens but the last, which nothing comes after.
    pub(super) fn positions(&self) -> usize {
        let Job { request, .. } = self;
        match &request.wanted {
            Wanted::Continuation(continuation) if continuation.max_tokens > 0 => {
                request.prompt.len() + continuation.max_tokens - 1
            }
            _ => request.prompt.len(),
        }
    }

    /// Whether nobody waits for its answer any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.events.is_closed()
    }

    /// The blocks of its prompt that need not be computed where they are known: the last token always is.
    pub(super) fn shareable_blocks(&self) -> impl Iterator<Item = &Block> {
        let tokens = &self.request.prompt;
        let count = if self.must_compute_all() { 0 } else { tokens.len().saturating_sub(1) / KV_BLOCK };
        tokens.as_chunks().0[..count].iter()
    }

    /// Whether its prompt is computed anew, whatever is known of it.
    pub(super) fn must_compute_all(&self) -> bool {
        match &self.request.wanted {
            Wanted::Continuation(continuation) => continuation.prompt_logprobs.is_some(),
            Wanted::Embedding(pooling) => *pooling == Pooling::Mean,
        }
    }
}

/// What a pass gives to a sequence: logits and hidden rows of some of its tokens, in order.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// `[rows, vocabulary]`
    pub(super) logits: &'a [f32],
    /// `[rows, hidden]`
    pub(super) hidden: &'a [f32],
}

/// A sequence that has its place in the cache.
pub(super) struct Running<'a> {
    pub(super) cache: KvCache,
    /// Where the last full page of the cache lies among those that are shared; it is held there.
    place: Place,
    tokens: Vec<u32>,
    prompt_len: usize,
    /// Tokens of the prompt that were found.
    cached_tokens: usize,
    /// Tokens that were counted.
    counted: usize,
    job: Job,
    work: Work<'a>,
    times: Times,
    joules: Option<f64>,
    is_done: bool,
}

/// When what happened.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    first_pass: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

enum Work<'a> {
    Continuation(Box<Writing<'a>>),
    /// The sum of the hidden rows so far; of the last only, where that is wanted.
    Embedding(Pooling, Vec<f64>),
}

/// A continuation while it is made.
struct Writing<'a> {
    wanted: Continuation,
    /// Where the text is in the grammar that holds it.
    constraint: Option<Constraint>,
    sampler: Sampler,
    text: TextStream<'a>,
    prompt_scores: Vec<ScoredToken>,
    eos_tokens: &'a [u32],
}

impl<'a> Running<'a> {
    /// Begins with `cache`, which holds the first positions of the prompt or none; they end at `place`, which is held.
    pub(super) fn begin(
        job: Job,
        cache: KvCache,
        place: Place,
        tokenizer: Option<&'a Tokenizer>,
        [vocab_size, hidden_size]: [usize; 2],
        eos_tokens: &'a [u32],
    ) -> Self {
        let tokens = job.request.prompt.clone();
        let work = match &job.request.wanted {
            Wanted::Continuation(wanted) => {
                let sampler = Sampler::new(wanted.sampling, vocab_size);
                let mut sampler =
                    sampler.expect("Running::begin: parameters were checked when it was submitted");
                sampler.accept_prompt(&tokens);
                Work::Continuation(Box::new(Writing {
                    sampler,
                    text: TextStream::new(tokenizer, &tokens, wanted.stop.clone()),
                    prompt_scores: Vec::new(),
                    constraint: wanted.grammar.as_ref().map(Grammar::begin),
                    wanted: (**wanted).clone(),
                    eos_tokens,
                }))
            }
            Wanted::Embedding(pooling) => Work::Embedding(*pooling, vec![0.0; hidden_size]),
        };
        Running {
            cached_tokens: cache.len(),
            prompt_len: tokens.len(),
            counted: tokens.len(),
            cache,
            place,
            tokens,
            job,
            work,
            times: Times::default(),
            joules: None,
            is_done: false,
        }
    }

    /// Where the last full page of its cache lies among those that are shared.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Tokens that are not in the cache yet; at least one while it is not done.
    pub(super) fn pending(&self) -> &[u32] {
        &self.tokens[self.cache.len()..]
    }

    /// Its part of a pass: the next `count` pending tokens.
    pub(super) fn sequence(&mut self, count: usize) -> Sequence<'_> {
        let first = self.cache.len();
        Sequence { tokens: &self.tokens[first..first + count], cache: &mut self.cache }
    }

    /// Whether no token has been generated yet.
    pub(super) fn is_reading(&self) -> bool {
        self.tokens.len() == self.prompt_len
    }

    /// Whether nothing is to be done any more, also where nobody waits for the answer.
    pub(super) fn is_done(&self) -> bool {
        self.is_done || self.job.is_cancelled()
    }

    /// The next block, if it is whole and more follows it, so that it may be taken from another sequence.
    pub(super) fn next_shareable_block(&self) -> Option<&Block> {
        let first = self.cache.len();
        let is_at_block = first.is_multiple_of(KV_BLOCK) && first + KV_BLOCK < self.prompt_len;
        if !is_at_block || self.job.must_compute_all() {
            return None;
        }
        self.tokens[first..].first_chunk()
    }

    /// The block that its next pending token belongs to, if all of its tokens are known.
    pub(super) fn block_being_read(&self) -> Option<&Block> {
        self.tokens[self.cache.len() / KV_BLOCK * KV_BLOCK..].first_chunk()
    }

    /// Shares the pages that have become full; of equal ones the first is kept.
    pub(super) fn share_pages(&mut self, prefixes: &mut Prefixes) {
        let first = self.cache.shared_pages().len();
        self.cache.share_full_pages();
        for block in first..self.cache.shared_pages().len() {
            let tokens: &Block = self.tokens[block * KV_BLOCK..]
                .first_chunk()
                .expect("share_pages: a full page has its tokens");
            let (place, page) = prefixes.insert(self.place, tokens, &self.cache.shared_pages()[block]);
            self.cache.replace_shared_page(block, page);
            self.move_to(place, prefixes);
        }
    }

    fn move_to(&mut self, place: Place, prefixes: &mut Prefixes) {
        // In this order, so that the way that both have in common stays held.
        prefixes.hold(place);
        prefixes.release(self.place);
        self.place = place;
    }

    /// Tokens that were generated since this was asked last.
    pub(super) fn take_new_tokens(&mut self) -> usize {
        let new = self.tokens.len() - self.counted;
        self.counted = self.tokens.len();
        new
    }

    /// Takes the next 64 positions from another sequence, if they are known.
    pub(super) fn adopt_next(&mut self, prefixes: &mut Prefixes) -> bool {
        let place = self.place;
        let found = self.next_shareable_block().and_then(|block| prefixes.find(place, block));
        let Some((place, page)) = found else { return false };
        self.cache.adopt(page);
        self.move_to(place, prefixes);
        self.cached_tokens += KV_BLOCK;
        true
    }

    /// Rows among the next `count` pending tokens whose logits it wants, and those whose hidden rows.
    pub(super) fn wanted_rows(&self, count: usize) -> [Range<usize>; 2] {
        let is_last = count == self.pending().len();
        let last = count - 1..count;
        match &self.work {
            Work::Continuation(writing) => {
                let ends = if is_last && writing.wanted.max_tokens == 0 { count - 1 } else { count };
                let scores_prompt = writing.wanted.prompt_logprobs.is_some() && self.is_reading();
                match (scores_prompt, is_last) {
                    (true, _) => [0..ends, 0..0],
                    (false, true) if ends == count => [last, 0..0],
                    _ => [0..0, 0..0],
                }
            }
            Work::Embedding(Pooling::Mean, _) => [0..0, 0..count],
            Work::Embedding(Pooling::Last, _) if is_last => [0..0, last],
            Work::Embedding(Pooling::Last, _) => [0..0, 0..0],
        }
    }

    /// Takes note that a pass is about to begin.
    pub(super) fn start_pass(&mut self, now: Instant) {
        self.times.first_pass.get_or_insert(now);
    }

    /// Adds its share of what a pass used.
    pub(super) fn add_joules(&mut self, joules: f64) {
        *self.joules.get_or_insert(0.0) += joules;
    }

    /// After a pass that computed `count` pending tokens: scores, the next token, the end.
    pub(super) fn go_on(&mut self, isa: Isa, count: usize, rows: Rows<'_>, scratch: &mut Vec<f32>) {
        let first = self.cache.len() - count;
        let is_last = self.pending().is_empty();
        match &mut self.work {
            Work::Embedding(_, sum) => {
                for row in rows.hidden.chunks_exact(sum.len()) {
                    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
                }
                if is_last {
                    self.finish_embedding();
                }
            }
            Work::Continuation(writing) => {
                let vocabulary = writing.sampler.vocab_size();
                let mut logits = rows.logits.chunks_exact(vocabulary);
                if first < self.prompt_len
                    && let Some(top) = writing.wanted.prompt_logprobs
                {
                    // The row of a token says how likely the next one is.
                    for target in &self.tokens[first + 1..(first + 1 + count).min(self.prompt_len)] {
                        let row = logits.next().expect("go_on: a row for each scored token");
                        writing.prompt_scores.push(Scorer::new(isa, row, scratch).score(*target, top));
                    }
                    if self.cache.len() == self.prompt_len {
                        let scores = std::mem::take(&mut writing.prompt_scores);
                        let _ = self.job.events.send(Event::PromptScores(scores));
                    }
                }
                if !is_last {
                    return;
                }
                match logits.next_back() {
                    None => self.finish(String::new(), Reason::Length),
                    Some(row) => self.choose(isa, row, scratch),
                }
            }
        }
    }

    /// Ends it with a failure.
    pub(super) fn fail(&mut self, failed: Failed) {
        let _ = self.job.events.send(Event::Failed(failed));
        self.is_done = true;
    }

    /// Chooses the next token from its logits, tells it, and ends the text where that is due.
    fn choose(&mut self, isa: Isa, logits: &[f32], scratch: &mut Vec<f32>) {
        let Work::Continuation(writing) = &mut self.work else { return };
        let generated = self.tokens.len() - self.prompt_len;
        let token = match writing.choose(generated, logits, scratch) {
            Ok(token) => token,
            Err(failed) => return self.fail(failed),
        };
        let score = writing.wanted.logprobs.map(|top| Scorer::new(isa, logits, scratch).score(token, top));
        let at = Instant::now();
        self.times.first_token.get_or_insert(at);
        self.times.last_token = Some(at);
        self.tokens.push(token);

        let is_end = writing.ends_text(token);
        let mut text = String::new();
        let mut reason = is_end.then_some(Reason::Stop);
        if !is_end {
            let piece = writing.text.push(token);
            text = piece.text;
            if let Some(stop) = piece.stop {
                if writing.wanted.keeps_stop {
                    text.push_str(&writing.wanted.stop[stop]);
                }
                reason = Some(Reason::StopText(stop));
            }
        }
        if reason.is_none() && writing.constraint.as_ref().is_some_and(Constraint::is_complete) {
            reason = Some(Reason::Stop);
        }
        if reason.is_none() && generated + 1 == writing.wanted.max_tokens {
            reason = Some(Reason::Length);
        }
        let _ = self.job.events.send(Event::Token(Token { token, text, score, at }));
        let Some(reason) = reason else { return };
        let (rest, reason) = match reason {
            Reason::StopText(_) => (String::new(), reason),
            _ => writing.held_back(reason),
        };
        self.finish(rest, reason);
    }

    fn finish(&mut self, text: String, reason: Reason) {
        let usage = self.usage();
        let _ = self.job.events.send(Event::Finished(Finished { text, reason, usage }));
        self.is_done = true;
    }

    fn finish_embedding(&mut self) {
        let Work::Embedding(pooling, sum) = &self.work else { return };
        let count = match pooling {
            Pooling::Mean => self.prompt_len as f64,
            Pooling::Last => 1.0,
        };
        let mean = sum.iter().map(|sum| (sum / count) as f32).collect();
        let _ = self.job.events.send(Event::Embedding(mean));
        self.finish(String::new(), Reason::Length);
    }

    fn usage(&self) -> Usage {
        let Times { first_pass, first_token: first, last_token: last } = self.times;
        let started = first_pass.unwrap_or(self.job.submitted);
        Usage {
            prompt_tokens: self.prompt_len,
            cached_tokens: self.cached_tokens,
            completion_tokens: self.tokens.len() - self.prompt_len,
            queued: started.saturating_duration_since(self.job.submitted),
            prefill: first.unwrap_or_else(Instant::now).saturating_duration_since(started),
            decode: first.zip(last).map(|(first, last)| last - first).unwrap_or_default(),
            joules: self.joules,
        }
    }
}

impl Writing<'_> {
    /// The next token, `generated` having come before.
    fn choose(&mut self, generated: usize, logits: &[f32], scratch: &mut Vec<f32>) -> Result<u32, Failed> {
        let may_not_end = generated < self.wanted.min_tokens;
        if !may_not_end && self.wanted.logit_bias.is_empty() && self.constraint.is_none() {
            return Ok(self.sampler.sample(logits));
        }
        scratch.clear();
        scratch.extend_from_slice(logits);
        for (token, bias) in &self.wanted.logit_bias {
            scratch[*token as usize] += bias;
        }
        let grammar = |error: GrammarError| Failed::Grammar(error.to_string());
        if let Some(constraint) = &mut self.constraint {
            constraint.mask(scratch).map_err(grammar)?;
        }
        if may_not_end {
            self.forbid_end(scratch);
        }
        let token = self.sampler.sample(scratch);
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token).map_err(grammar)?;
        }
        Ok(token)
    }

    /// Forbids the tokens that end the text, unless nothing else may come.
    fn forbid_end(&self, logits: &mut [f32]) {
        let tokens = self.eos_tokens.iter().chain(&self.wanted.stop_tokens);
        let ends = tokens.filter_map(|token| Some((*token as usize, *logits.get(*token as usize)?)));
        let ends: Vec<(usize, f32)> = ends.collect();
        for (token, _) in &ends {
            logits[*token] = f32::NEG_INFINITY;
        }
        if logits.iter().all(|logit| *logit == f32::NEG_INFINITY) {
            for (token, logit) in ends {
                logits[token] = logit;
            }
        }
    }

    /// What was held back of a text that has ended, and why it ended: a stop text may be in it.
    fn held_back(&mut self, reason: Reason) -> (String, Reason) {
        let text = std::mem::replace(&mut self.text, TextStream::new(None, &[], Vec::new()));
        let Piece { mut text, stop } = text.finish();
        let Some(stop) = stop else { return (text, reason) };
        if self.wanted.keeps_stop {
            text.push_str(&self.wanted.stop[stop]);
        }
        (text, Reason::StopText(stop))
    }

    fn ends_text(&self, token: u32) -> bool {
        let is_eos = !self.wanted.ignore_eos && self.eos_tokens.contains(&token);
        is_eos || self.wanted.stop_tokens.contains(&token)
    }
}
