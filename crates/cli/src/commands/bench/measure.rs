//! Timing a test: the cache filled to its depth, a pass to warm up, then repetition after repetition.
//!
//! Tokens are pseudo-random and the same in every run; no token is chosen and no text is made.

use std::time::Instant;

use tercet::model::{
    ForwardError, LogitRows, Model, PROMPT_ROWS, Session, SessionSize, WorkTimes, prompt_passes,
};
use tercet::random;
use tercet_kernels::{KvCache, KvType, Sequence};

use super::test::{Kind, Test};
use crate::ceilings::Rates;
use crate::machine;
use tercet::energy_counter::EnergyCounter;

/// What was measured of one test.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measurement {
    /// Tokens a second of each repetition, all sequences together.
    pub(super) samples: Vec<f64>,
    /// The ceilings beside each: the better ones of a probe before and one after.
    pub(super) ceilings: Vec<Rates>,
    /// Where the time of a prompt went.
    pub(super) work_times: Option<WorkTimes>,
    /// What the process had resident after the test.
    pub(super) rss_bytes: Option<u64>,
    /// What the processor used in all repetitions, where it has a counter.
    pub(super) joules: Option<f64>,
}

/// Runs a test, with caches for at least `context` positions, and `probe` around each repetition.
///
/// # Errors
/// [`ForwardError::NotFinite`] where the model gives no numbers.
pub(super) fn measure(
    model: &Model,
    test: &Test,
    context: usize,
    kv_type: KvType,
    repeats: usize,
    probe: impl Fn() -> Rates,
) -> Result<Measurement, ForwardError> {
    let size = test.session_size(context);
    let mut caches = filled_caches(model, test, &size, kv_type)?;
    let mut session = Session::new(model, size);
    warm_up(&mut session, &mut caches, test)?;
    if test.kind == Kind::Prompt {
        session.start_profile();
    }
    let mut joules = Some(0.0);
    let (mut samples, mut ceilings) = (Vec::with_capacity(repeats), Vec::with_capacity(repeats));
    let mut before = probe();
    for _ in 0..repeats {
        let energy = EnergyCounter::start();
        let started = Instant::now();
        match test.kind {
            Kind::Prompt => read_prompt(&mut session, &mut caches[0], test.tokens)?,
            Kind::Decode => decode(&mut session, &mut caches, test.tokens)?,
        }
        samples.push(test.total_tokens() as f64 / started.elapsed().as_secs_f64());
        joules = joules.zip(energy.and_then(|energy| energy.joules())).map(|(sum, joules)| sum + joules);
        let after = probe();
        ceilings.push(before.max(after));
        before = after;
        caches.iter_mut().for_each(|cache| cache.truncate(test.depth));
    }
    Ok(Measurement {
        samples,
        ceilings,
        work_times: session.work_times(),
        rss_bytes: machine::resident_bytes(),
        joules,
    })
}

/// A cache for each sequence, filled to the depth of the test.
fn filled_caches(
    model: &Model,
    test: &Test,
    size: &SessionSize,
    kv_type: KvType,
) -> Result<Vec<KvCache>, ForwardError> {
    // A session of its own, so that what is timed is not charged with its buffers.
    let max_rows = test.depth.clamp(1, PROMPT_ROWS);
    let mut session = Session::new(model, SessionSize { max_rows, max_logit_rows: 1, ..*size });
    let mut caches: Vec<_> = (0..test.parallel).map(|_| session.new_cache(kv_type)).collect();
    for cache in &mut caches {
        read_prompt(&mut session, cache, test.depth)?;
    }
    Ok(caches)
}

/// One pass of each shape, so that buffers are there and clocks are up.
fn warm_up(session: &mut Session<'_>, caches: &mut [KvCache], test: &Test) -> Result<(), ForwardError> {
    match test.kind {
        Kind::Prompt => read_prompt(session, &mut caches[0], test.tokens.min(PROMPT_ROWS))?,
        Kind::Decode => decode(session, caches, 1)?,
    }
    caches.iter_mut().for_each(|cache| cache.truncate(test.depth));
    Ok(())
}

fn read_prompt(session: &mut Session<'_>, cache: &mut KvCache, tokens: usize) -> Result<(), ForwardError> {
    let vocabulary = session.model().config().vocab_size;
    let tokens = random::tokens(tokens, vocabulary);
    for (tokens, logit_rows) in prompt_passes(&tokens, PROMPT_ROWS) {
        session.forward(&mut [Sequence { tokens, cache }], logit_rows)?;
    }
    Ok(())
}

fn decode(session: &mut Session<'_>, caches: &mut [KvCache], tokens: usize) -> Result<(), ForwardError> {
    let vocabulary = session.model().config().vocab_size;
    for step in 0..tokens {
        let numbers = step * caches.len() + 1..=(step + 1) * caches.len();
        let next: Vec<[u32; 1]> = numbers.map(|number| [random::token(number, vocabulary)]).collect();
        let mut sequences: Vec<_> =
            next.iter().zip(&mut *caches).map(|(tokens, cache)| Sequence { tokens, cache }).collect();
        session.forward(&mut sequences, LogitRows::Last)?;
    }
    Ok(())
}
