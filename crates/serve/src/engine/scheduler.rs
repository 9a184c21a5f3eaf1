//! Which sequences go on in the next pass, and with how many rows.
//!
//! ```text
//! waiting ── admitted when its worst case fits ──► running ── pass after pass ──► done, its pages free
//! ```
//!
//! Every running sequence gets a row first; what is left of a pass is shared out evenly among those that still read
//! their prompts, so that a short prompt is not behind a long one; where others generate it is not the whole rest, so
//! that a long prompt does not hold them up. Sequences are admitted in the order in which they came, those of a large
//! group a little apart. It knows no HTTP and no threads but the pool's.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tercet::energy_counter::EnergyCounter;
use tercet::model::{ForwardError, LogitRows, Model, Session, SessionSize};
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{KV_BLOCK, KvCache, KvPages, Sequence};

use super::prefixes::{Block, Place, Prefixes, ROOT};
use super::request::{Event, Failed};
use super::sequence::{Job, Rows, Running};
use super::{EngineSettings, Status};

/// How many groups that come later a group's next request lets go first.
const GROUP_STEP: u64 = 4;

/// Where some sequences generate, this part of a pass is for prompts: a pass takes as long as it has rows, and every
/// one of their tokens takes a pass.
const BESIDE_GENERATION: usize = 4;

/// The sequences of one model.
pub(super) struct Scheduler<'a> {
    session: Session<'a>,
    tokenizer: Option<&'a Tokenizer>,
    settings: &'a EngineSettings,
    pages: Arc<KvPages>,
    prefixes: Prefixes,
    /// By turn, then by the order in which they came.
    waiting: BTreeMap<(u64, u64), Job>,
    running: Vec<Running<'a>>,
    groups: u64,
    jobs: u64,
    status: Status,
}

/// What a sequence does in a pass.
#[derive(Clone, Copy)]
struct Share {
    /// Its place among those that run.
    index: usize,
    /// Pending tokens that are computed.
    rows: usize,
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(
        model: &'a Model,
        tokenizer: Option<&'a Tokenizer>,
        settings: &'a EngineSettings,
    ) -> Self {
        let max_rows = settings.max_rows.max(settings.max_sequences);
        let size = SessionSize { context: settings.context, max_rows, max_logit_rows: max_rows };
        let session = Session::new(model, size);
        let pages = session.new_pages(settings.kv_type, settings.pages());
        Scheduler {
            session,
            tokenizer,
            settings,
            prefixes: Prefixes::default(),
            waiting: BTreeMap::new(),
            running: Vec::new(),
            groups: 0,
            jobs: 0,
            status: Status { total_pages: pages.total(), ..Status::default() },
            pages,
        }
    }

    /// Whether nothing waits and nothing runs.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// What it is doing. What waits is known to the queue.
    pub(super) fn status(&self) -> Status {
        let cached_pages = self.prefixes.unheld();
        Status {
            running: self.running.len(),
            cached_pages,
            used_pages: self.pages.total() - self.pages.free() - cached_pages,
            ..self.status
        }
    }

    /// Takes a group that has come.
    pub(super) fn add(&mut self, group: Vec<Job>) {
        for (number, job) in group.into_iter().enumerate() {
            let turn = self.groups + number as u64 * GROUP_STEP;
            self.waiting.insert((turn, self.jobs), job);
            self.jobs += 1;
        }
        self.groups += 1;
    }

    /// Lets go what nobody waits for, and admits what fits; how many wait no longer.
    pub(super) fn admit(&mut self) -> usize {
        self.drop_done();
        let before = self.waiting.len();
        self.waiting.retain(|_, job| !job.is_cancelled());
        while self.running.len() < self.settings.max_sequences {
            let Some(entry) = self.waiting.first_entry() else { break };
            let Some((cache, place)) = room(&self.pages, &mut self.prefixes, self.settings, entry.get())
            else {
                break;
            };
            let config = self.session.model().config();
            let sizes = [config.vocab_size, config.hidden_size];
            let job = entry.remove();
            let prompt_tokens = job.request.prompt.len() as u64;
            self.status.prompt_tokens += prompt_tokens;
            if self.settings.shares_prefixes && !job.must_compute_all() {
                self.status.queried_tokens += prompt_tokens;
            }
            self.status.cached_tokens += cache.len() as u64;
            self.running.push(Running::begin(
                job,
                cache,
                place,
                self.tokenizer,
                sizes,
                &config.eos_token_ids,
            ));
        }
        before - self.waiting.len()
    }

    /// One pass of those that run, if any.
    pub(super) fn pass(&mut self) {
        let shares = self.plan();
        if shares.is_empty() {
            return;
        }
        let model = self.session.model();
        let energy = EnergyCounter::start();
        let wanted = self.wanted_rows(&shares);
        let of_pass = taking_part(&mut self.running, &shares);
        let mut sequences: Vec<Sequence<'_>> =
            of_pass.map(|(running, share)| running.sequence(share.rows)).collect();
        let logit_rows = LogitRows::Of(&wanted.logit_rows);
        match self.session.forward_with_hidden(&mut sequences, logit_rows, &wanted.hidden_rows) {
            Ok((logits, hidden)) => {
                drop(sequences);
                go_on(model, &mut self.running, &shares, &wanted, Rows { logits, hidden });
                self.status.passes += 1;
            }
            Err(ForwardError::NotFinite { row }) => {
                drop(sequences);
                // The others go on as if this pass had not been.
                self.running[wanted.owner(&shares, row)].fail(Failed::NotFinite);
            }
            Err(error) => unreachable!("pass: what was planned can be run: {error}"),
        }
        let joules = energy.and_then(|energy| energy.joules());
        self.close(&shares, joules);
    }

    /// The sequences that go on, each with its rows.
    fn plan(&mut self) -> Vec<Share> {
        let mut being_read: HashSet<(Place, Block)> = HashSet::new();
        let mut shares = Vec::with_capacity(self.running.len());
        for (index, running) in self.running.iter_mut().enumerate() {
            if self.settings.shares_prefixes {
                while running.adopt_next(&mut self.prefixes) {
                    self.status.cached_tokens += KV_BLOCK as u64;
                }
                // Another sequence computes the same: it is there after this pass.
                let place = running.place();
                if running.next_shareable_block().is_some_and(|block| being_read.contains(&(place, *block))) {
                    continue;
                }
                being_read.extend(running.block_being_read().map(|block| (place, *block)));
            }
            shares.push(Share { index, rows: 1 });
        }
        let more = |share: &Share| self.running[share.index].pending().len() - 1;
        let mut readers: Vec<usize> = (0..shares.len()).filter(|at| more(&shares[*at]) > 0).collect();
        readers.sort_by_key(|at| more(&shares[*at]));
        let max_rows = self.session.size().max_rows;
        let mut left = max_rows - shares.len();
        if readers.len() < shares.len() {
            left = left.min(max_rows.div_ceil(BESIDE_GENERATION));
        }
        let mut readers_left = readers.len();
        for at in readers {
            let rows = more(&shares[at]).min(left / readers_left);
            shares[at].rows += rows;
            left -= rows;
            readers_left -= 1;
        }
        shares
    }

    /// Which rows of the pass give logits, and which hidden rows.
    fn wanted_rows(&mut self, shares: &[Share]) -> WantedRows {
        let now = Instant::now();
        let mut wanted = WantedRows::default();
        let mut first = 0;
        for share in shares {
            let running = &mut self.running[share.index];
            running.start_pass(now);
            let [logits, hidden] = running.wanted_rows(share.rows);
            wanted.counts.push([logits.len(), hidden.len()]);
            wanted.logit_rows.extend(logits.map(|row| first + row));
            wanted.hidden_rows.extend(hidden.map(|row| first + row));
            first += share.rows;
        }
        wanted
    }

    /// After a pass: what became full is shared, what is done goes.
    fn close(&mut self, shares: &[Share], joules: Option<f64>) {
        let rows: usize = shares.iter().map(|share| share.rows).sum();
        for share in shares {
            let running = &mut self.running[share.index];
            if let Some(joules) = joules {
                running.add_joules(joules * share.rows as f64 / rows as f64);
            }
            if self.settings.shares_prefixes {
                running.share_pages(&mut self.prefixes);
            }
            self.status.generated_tokens += running.take_new_tokens() as u64;
        }
        self.drop_done();
    }

    /// Drops the sequences that are done, and what they hold.
    fn drop_done(&mut self) {
        for done in self.running.extract_if(.., |running| running.is_done()) {
            self.prefixes.release(done.place());
        }
    }

    /// Ends everything.
    pub(super) fn fail_all(&mut self) {
        for running in &mut self.running {
            running.fail(Failed::Stopped);
        }
        for job in self.waiting.values() {
            let _ = job.events.send(Event::Failed(Failed::Stopped));
        }
    }
}

/// The rows of a pass that give something.
#[derive(Default)]
struct WantedRows {
    /// Of the pass, those of one sequence after those of another.
    logit_rows: Vec<usize>,
    hidden_rows: Vec<usize>,
    /// How many of both kinds each sequence has.
    counts: Vec<[usize; 2]>,
}

impl WantedRows {
    /// Which of those that run a row belongs to; the rows with logits come first, then the hidden ones.
    fn owner(&self, shares: &[Share], row: usize) -> usize {
        let mut end = 0;
        for kind in [0, 1] {
            for (share, counts) in shares.iter().zip(&self.counts) {
                end += counts[kind];
                if row < end {
                    return share.index;
                }
            }
        }
        unreachable!("owner: the row belongs to a sequence of the pass")
    }
}

/// The sequences that take part in a pass, with their shares, whose indices ascend.
fn taking_part<'a, 'm>(
    running: &'a mut [Running<'m>],
    shares: &'a [Share],
) -> impl Iterator<Item = (&'a mut Running<'m>, Share)> {
    let mut running = running.iter_mut().enumerate();
    shares.iter().map(move |share| {
        let found = running.find(|(index, _)| *index == share.index);
        (found.expect("taking_part: shares are in order").1, *share)
    })
}

/// Gives each sequence of a pass its rows, on all workers.
fn go_on(model: &Model, running: &mut [Running<'_>], shares: &[Share], wanted: &WantedRows, rows: Rows<'_>) {
    let config = model.config();
    let Rows { mut logits, mut hidden } = rows;
    let mut parts = Vec::with_capacity(shares.len());
    for ((running, share), [logit_rows, hidden_rows]) in taking_part(running, shares).zip(&wanted.counts) {
        let own = Rows {
            logits: logits.split_off(..logit_rows * config.vocab_size).expect("go_on: a row each"),
            hidden: hidden.split_off(..hidden_rows * config.hidden_size).expect("go_on: a row each"),
        };
        parts.push(Mutex::new((running, share.rows, own)));
    }
    let next = AtomicUsize::new(0);
    model.pool().run(|worker| {
        let mut scratch = Vec::new();
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (running, count, rows) = &mut *part.lock().unwrap_or_else(PoisonError::into_inner);
            // A sequence that panics is dropped; what it may have left half done goes with it.
            let result =
                catch_unwind(AssertUnwindSafe(|| running.go_on(worker.isa(), *count, *rows, &mut scratch)));
            if result.is_err() {
                running.fail(Failed::Panicked);
            }
        }
    });
}

/// A cache for the worst case of a job, with what is known of its beginning, whose place is then held; none, if there
/// is no room yet.
fn room(
    pages: &Arc<KvPages>,
    prefixes: &mut Prefixes,
    settings: &EngineSettings,
    job: &Job,
) -> Option<(KvCache, Place)> {
    let (mut place, mut shared) = (ROOT, Vec::new());
    if settings.shares_prefixes {
        for block in job.shareable_blocks() {
            let Some((next, page)) = prefixes.find(place, block) else { break };
            place = next;
            shared.push(page);
        }
    }
    let own = job.positions().div_ceil(KV_BLOCK) - shared.len();
    let missing = own.saturating_sub(pages.free());
    // Before anything is dropped, or it might be what was found.
    prefixes.hold(place);
    let has_room = missing <= prefixes.unheld() && prefixes.drop_oldest(missing) == missing;
    let cache = if has_room { pages.cache(shared, own) } else { None };
    if cache.is_none() {
        prefixes.release(place);
    }
    Some((cache?, place))
}

#[cfg(test)]
mod tests {
    use tercet::embedded;
    use tercet::generate::SamplingParams;
    use tercet_kernels::{Isa, KvType, Layout, Pool};
    use tokio::sync::mpsc::unbounded_channel;

    use super::super::{Continuation, Request, Wanted};
    use super::*;

    #[test]
    fn a_long_prompt_leaves_most_of_a_pass_to_those_that_generate() {
        let model =
            Model::load(&embedded::stories(), Arc::new(Pool::new(Isa::best(), 1)), Layout::TwoBit).unwrap();
        let settings = EngineSettings {
            context: 400,
            kv_type: KvType::F16,
            cache_positions: 1000,
            max_sequences: 8,
            max_rows: 48,
            queue: 8,
            shares_prefixes: false,
        };
        let mut scheduler = Scheduler::new(&model, None, &settings);
        let mut answers = Vec::new();
        let mut ask = |scheduler: &mut Scheduler<'_>, prompt: Vec<u32>| {
            let continuation = Continuation::new(20, SamplingParams::greedy());
            let request = Request { prompt, wanted: Wanted::Continuation(Box::new(continuation)) };
            let (events, answer) = unbounded_channel();
            answers.push(answer);
            scheduler.add(vec![Job { request, events, submitted: Instant::now() }]);
            scheduler.admit();
        };
        let rows = |scheduler: &mut Scheduler<'_>| -> Vec<usize> {
            scheduler.plan().iter().map(|share| share.rows).collect()
        };
        ask(&mut scheduler, vec![5; 300]);
        assert_eq!(rows(&mut scheduler), [48], "nobody generates");
        ask(&mut scheduler, vec![5; 4]);
        assert_eq!(rows(&mut scheduler), [44, 4], "both read");
        scheduler.pass();
        assert_eq!(rows(&mut scheduler), [13, 1], "the short one generates");
    }
}
