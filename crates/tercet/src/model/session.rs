//! Passes of a model: the room they take, and which rows of them give what.
//!
//! It knows neither text nor how a token is chosen.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tercet_kernels::ops::TokenScore;
use tercet_kernels::{KvCache, KvPages, KvShape, KvType, RotaryTable, Sequence, ops};

use super::profile::{Profile, WorkTimes};
use super::{ForwardError, Model, Pass, Scratch};
use crate::config::Config;

/// Rows of a pass that serve a prompt best: enough that weights are decoded for many tokens, and few
/// enough that what lies between two products stays in a processor's cache (512 are 5 % slower on
/// AMD Zen 5).
pub const PROMPT_ROWS: usize = 128;

/// How much room a [`Session`] has.
#[derive(Debug, Clone, Copy)]
pub struct SessionSize {
    /// Positions a sequence may have.
    pub context: usize,
    /// Rows (tokens of all sequences) of one pass.
    pub max_rows: usize,
    /// Rows of one pass whose logits are wanted.
    pub max_logit_rows: usize,
}

impl SessionSize {
    /// No room: for the memory of a model that is only read.
    pub const NONE: SessionSize = SessionSize { context: 0, max_rows: 0, max_logit_rows: 0 };
}

/// Which rows of a pass get logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitRows<'a> {
    /// None: more of a prompt follows.
    None,
    /// The last row of each sequence.
    Last,
    /// Every row.
    All,
    /// These, by their number in the pass: the tokens of the first sequence, then those of the next.
    Of(&'a [usize]),
}

impl LogitRows<'_> {
    /// The row of the pass that the logits of number `index` belong to.
    fn row(self, sequences: &[Sequence<'_>], index: usize) -> usize {
        match self {
            LogitRows::Last => {
                sequences[..=index].iter().map(|sequence| sequence.tokens.len()).sum::<usize>() - 1
            }
            LogitRows::Of(rows) => rows[index],
            LogitRows::All | LogitRows::None => index,
        }
    }
}

/// The passes that a prompt goes in: up to `max_rows` tokens each, and logits of the last token only.
pub fn prompt_passes(tokens: &[u32], max_rows: usize) -> impl Iterator<Item = (&[u32], LogitRows<'static>)> {
    let passes = tokens.len().div_ceil(max_rows);
    let logit_rows = move |pass| if pass + 1 == passes { LogitRows::Last } else { LogitRows::None };
    tokens.chunks(max_rows).enumerate().map(move |(pass, tokens)| (tokens, logit_rows(pass)))
}

/// Buffers and tables to run a model with; the step itself allocates nothing.
pub struct Session<'model> {
    model: &'model Model,
    size: SessionSize,
    rotary: RotaryTable,
    pub(super) scratch: Scratch,
    profile: Option<Profile>,
}

impl<'model> Session<'model> {
    /// Room for passes of `size`.
    pub fn new(model: &'model Model, size: SessionSize) -> Self {
        let config = &model.config;
        Session {
            model,
            size,
            rotary: RotaryTable::new(config.head_dim, config.rope_theta, size.context),
            scratch: Scratch::new(&model.pool, config, &size),
            profile: None,
        }
    }

    /// The model.
    pub fn model(&self) -> &'model Model {
        self.model
    }

    /// The room it has.
    pub fn size(&self) -> SessionSize {
        self.size
    }

    /// Measures from now on where the time of passes goes, from 0.
    pub fn start_profile(&mut self) {
        self.profile = Some(Profile::default());
    }

    /// Where the time went since [`start_profile`](Self::start_profile), if that was called.
    pub fn work_times(&self) -> Option<WorkTimes> {
        self.profile.as_ref().map(Profile::times)
    }

    /// An empty cache for one sequence of up to the session's context.
    pub fn new_cache(&self, kv_type: KvType) -> KvCache {
        KvCache::new(&self.model.pool, kv_type, self.model.config.kv_shape(), self.size.context)
    }

    /// Pages for the caches of several sequences together.
    pub fn new_pages(&self, kv_type: KvType, pages: usize) -> Arc<KvPages> {
        KvPages::new(&self.model.pool, kv_type, self.model.config.kv_shape(), pages)
    }

    /// Runs the new tokens of every sequence, appends them to their caches, and returns logits.
    ///
    /// # Shapes
    /// Returns `[rows, vocabulary]`, the rows being those of `logit_rows`, sequence after sequence.
    ///
    /// # Errors
    /// [`ForwardError`] if tokens, positions or rows do not fit, or a logit is not finite. The
    /// caches are then as before.
    pub fn forward(
        &mut self,
        sequences: &mut [Sequence<'_>],
        logit_rows: LogitRows<'_>,
    ) -> Result<&[f32], ForwardError> {
        self.forward_with_hidden(sequences, logit_rows, &[]).map(|(logits, _)| logits)
    }

    /// As [`forward`](Self::forward), and returns the hidden rows of `hidden_rows` after the last norm too.
    ///
    /// # Shapes
    /// Returns logits, and `[hidden rows, hidden_size]`; both kinds together take the room of logit rows.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward); [`ForwardError::NotFinite`] counts hidden rows after those of logits.
    pub fn forward_with_hidden(
        &mut self,
        sequences: &mut [Sequence<'_>],
        logit_rows: LogitRows<'_>,
        hidden_rows: &[usize],
    ) -> Result<(&[f32], &[f32]), ForwardError> {
        let Session { model, size, rotary, scratch: s, profile } = self;
        let profile = profile.as_ref();
        let config = &model.config;
        let rows: usize = sequences.iter().map(|sequence| sequence.tokens.len()).sum();
        check_pass(config, size, sequences, rows)?;
        let wanted = match logit_rows {
            LogitRows::All => rows,
            LogitRows::Last => sequences.len(),
            LogitRows::None => 0,
            LogitRows::Of(wanted) => wanted.len(),
        };
        let listed = if let LogitRows::Of(rows) = logit_rows { rows } else { &[] };
        if let Some(row) = listed.iter().chain(hidden_rows).find(|row| **row >= rows) {
            return Err(ForwardError::NoSuchRow { found: *row, expected: rows });
        }
        let normed = wanted + hidden_rows.len();
        if normed > size.max_logit_rows {
            return Err(ForwardError::LogitRows { found: normed, expected: size.max_logit_rows });
        }

        let started = profile.map(|_| Instant::now());
        model.pool.run(|worker| {
            let sequences = &*sequences;
            let pass = Pass { config, rotary, sequences, rows, cache_layer: 0, profile };
            let row_of = |index: usize| match index.checked_sub(wanted) {
                Some(hidden) => hidden_rows[hidden],
                None => logit_rows.row(sequences, index),
            };
            model.forward(worker, pass, (0..normed).map(row_of), wanted, s);
        });
        if let Some((profile, started)) = profile.zip(started) {
            profile.add_pass(started.elapsed());
        }

        let logits = &s.logits.as_mut_slice()[..wanted * config.vocab_size];
        if let Some(index) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(ForwardError::NotFinite { row: index / config.vocab_size });
        }
        let hidden = &s.normed.as_mut_slice()[wanted * config.hidden_size..normed * config.hidden_size];
        if let Some(index) = hidden.iter().position(|value| !value.is_finite()) {
            return Err(ForwardError::NotFinite { row: wanted + index / config.hidden_size });
        }
        for sequence in sequences {
            sequence.cache.advance(sequence.tokens.len());
        }
        Ok((logits, hidden))
    }

    /// Runs a pass and says how likely each of some tokens is after its row, without a copy of the logits.
    ///
    /// `rows` are as in [`LogitRows::Of`]; `targets` are pairs of an index in `rows` and a token, the
    /// indices ascending; `scores` are theirs, in order.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    ///
    /// # Panics
    /// If the indices do not ascend, or a target is not in the vocabulary.
    pub fn score(
        &mut self,
        sequences: &mut [Sequence<'_>],
        rows: &[usize],
        targets: &[(usize, u32)],
    ) -> Result<Vec<TokenScore>, ForwardError> {
        self.forward(sequences, if rows.is_empty() { LogitRows::None } else { LogitRows::Of(rows) })?;
        let scores = Mutex::new(Vec::with_capacity(targets.len()));
        let vocab_size = self.model.config.vocab_size;
        self.model.pool.run(|worker| {
            let shape = [rows.len(), vocab_size];
            ops::log_probabilities(worker, &self.scratch.logits, shape, targets, &scores);
        });
        let mut scores = scores.into_inner().unwrap_or_else(PoisonError::into_inner);
        scores.sort_unstable_by_key(|(index, _)| *index);
        Ok(scores.into_iter().map(|(_, score)| score).collect())
    }

    /// One layer alone, for checks against a reference: `hidden` is `[rows, hidden_size]` at
    /// positions 0 and on, the result has the same shape.
    ///
    /// # Panics
    /// If the rows do not fit the session, or there is no such layer.
    pub fn forward_layer(&mut self, layer: usize, hidden: &[f32], kv_type: KvType) -> Vec<f32> {
        let Session { model, rotary, scratch: s, .. } = self;
        let config = &model.config;
        let rows = hidden.len() / config.hidden_size;
        s.hidden.as_mut_slice()[..hidden.len()].copy_from_slice(hidden);
        let shape = KvShape { num_hidden_layers: 1, ..config.kv_shape() };
        let mut cache = KvCache::new(&model.pool, kv_type, shape, rows);
        let tokens = vec![0; rows];
        let sequences = [Sequence { tokens: &tokens, cache: &mut cache }];
        model.pool.run(|worker| {
            let pass = Pass { config, rotary, sequences: &sequences, rows, cache_layer: 0, profile: None };
            model.layers[layer].forward(worker, &pass, false, s);
            ops::add_assign(worker, &s.hidden, &s.branch, rows, config.hidden_size);
        });
        s.hidden.as_mut_slice()[..hidden.len()].to_vec()
    }
}

fn check_pass(
    config: &Config,
    size: &SessionSize,
    sequences: &[Sequence<'_>],
    rows: usize,
) -> Result<(), ForwardError> {
    if rows > size.max_rows {
        return Err(ForwardError::Rows { found: rows, expected: size.max_rows });
    }
    for sequence in sequences {
        if sequence.tokens.is_empty() {
            return Err(ForwardError::NoTokens);
        }
        let context = sequence.cache.capacity().min(size.context);
        let positions = sequence.cache.len() + sequence.tokens.len();
        if positions > context {
            return Err(ForwardError::Context { found: positions, expected: context });
        }
        if let Some(token) = sequence.tokens.iter().find(|token| **token as usize >= config.vocab_size) {
            return Err(ForwardError::Token { found: *token, expected: config.vocab_size });
        }
    }
    Ok(())
}
