//! Passes that score many stretches of tokens: some lanes side by side, each with a cache.
//!
//! A lane takes a group of stretches that share their beginning and walks through it, depth first: a row
//! of the tree is computed once, and scores every stretch that goes through it. Between stretches the
//! cache goes back to where they part. A pass takes the next rows of every lane until it is full.

use std::ops::{ControlFlow, Range};

use tercet::model::{ForwardError, Session};
use tercet_kernels::{KvCache, KvType, Sequence};

use super::ScoredTokens;
use super::plan::{Plan, common};

/// How likely the targets of a stretch are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Sum of the log-probabilities, in nats.
    pub log_likelihood: f64,
    /// Sum of their squares, for the error of a mean.
    pub sum_of_squares: f64,
    /// Whether every target is the likeliest token.
    pub is_greedy: bool,
}

/// What hears of the work while it is done.
pub trait Listener {
    /// The score of a stretch, by its index; each comes once, in any order.
    fn scored(&mut self, index: usize, score: Score);

    /// Rows computed so far, of how many; `Break` ends the work.
    fn progress(&mut self, rows: usize, total_rows: usize) -> ControlFlow<()>;
}

/// Scores stretches with up to `lanes` caches; `Break` if the listener ended it.
///
/// # Errors
/// [`ForwardError`] if a pass fails.
///
/// # Panics
/// If a stretch has no targets, or more than tokens.
pub fn score(
    session: &mut Session<'_>,
    kv_type: KvType,
    lanes: usize,
    items: &[ScoredTokens],
    listener: &mut dyn Listener,
) -> Result<ControlFlow<()>, ForwardError> {
    for item in items {
        assert!((1..=item.input.len()).contains(&item.targets.len()), "score: targets are of the last rows");
    }
    let plan = Plan::new(items);
    let mut work = Work { items, plan: &plan, next_group: 0, tallies: vec![Tally::default(); items.len()] };
    let lanes = lanes.clamp(1, plan.groups.len().max(1));
    let mut lanes: Vec<Lane> = (0..lanes).map(|_| Lane::new(session.new_cache(kv_type))).collect();
    for lane in &mut lanes {
        work.take_group(lane);
    }
    let size = session.size();
    let max_rows = size.max_rows.min(size.max_logit_rows);
    let mut rows_done = 0;
    while lanes.iter().any(|lane| lane.item.is_some()) {
        let pass = Pass::gather(&lanes, &work, max_rows);
        let mut sequences: Vec<Sequence<'_>> = Vec::with_capacity(lanes.len());
        for (lane, chunk) in lanes.iter_mut().zip(&pass.chunks) {
            if let Some(item) = lane.item.filter(|_| !chunk.is_empty()) {
                let tokens = &work.item(item).input[chunk.clone()];
                sequences.push(Sequence { tokens, cache: &mut lane.cache });
            }
        }
        let scores = session.score(&mut sequences, &pass.rows, &pass.targets)?;
        for (index, score) in pass.owners.iter().zip(scores) {
            if let Some(score) = work.tallies[*index].add(score, items[*index].targets.len()) {
                listener.scored(*index, score);
            }
        }
        rows_done += pass.row_count();
        for (lane, chunk) in lanes.iter_mut().zip(&pass.chunks) {
            lane.row = lane.row.max(chunk.end);
            work.go_on(lane);
        }
        if listener.progress(rows_done, plan.rows.max(rows_done)).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        lanes.rotate_left(1);
    }
    Ok(ControlFlow::Continue(()))
}

/// A cache, and how far the stretch is that it works on.
struct Lane {
    cache: KvCache,
    /// The tokens that the cache holds, of the stretch before perhaps.
    tokens: Vec<u32>,
    group: Range<usize>,
    /// The stretch, by its place in the plan's order; none if there is no more work.
    item: Option<usize>,
    /// Its rows that are done.
    row: usize,
}

impl Lane {
    fn new(cache: KvCache) -> Self {
        Lane { cache, tokens: Vec::new(), group: 0..0, item: None, row: 0 }
    }

    /// Goes back to the first `len` positions.
    fn truncate(&mut self, len: usize) {
        self.cache.truncate(len);
        self.tokens.truncate(len);
        self.row = len;
    }
}

/// The scores of a stretch so far.
#[derive(Clone, Default)]
struct Tally {
    count: usize,
    log_likelihood: f64,
    sum_of_squares: f64,
    is_not_greedy: bool,
}

impl Tally {
    /// Adds the score of the next target; the score of the stretch if that was the last.
    fn add(&mut self, score: tercet_kernels::ops::TokenScore, targets: usize) -> Option<Score> {
        self.count += 1;
        self.log_likelihood += score.log_probability;
        self.sum_of_squares += score.log_probability * score.log_probability;
        self.is_not_greedy |= !score.is_greedy;
        (self.count == targets).then_some(Score {
            log_likelihood: self.log_likelihood,
            sum_of_squares: self.sum_of_squares,
            is_greedy: !self.is_not_greedy,
        })
    }
}

/// What is to be done, and what is.
struct Work<'a> {
    items: &'a [ScoredTokens],
    plan: &'a Plan,
    next_group: usize,
    tallies: Vec<Tally>,
}

impl<'a> Work<'a> {
    fn item(&self, at: usize) -> &'a ScoredTokens {
        &self.items[self.plan.order[at]]
    }

    /// Gives a lane the next group; it keeps what its cache holds of the group's beginning.
    fn take_group(&mut self, lane: &mut Lane) {
        let Some(group) = self.plan.groups.get(self.next_group).cloned() else {
            lane.item = None;
            return;
        };
        self.next_group += 1;
        let first_scored = group.clone().map(|at| self.item(at).first_row()).min().unwrap_or(0);
        let kept = common(&lane.tokens, &self.item(group.start).input).min(first_scored);
        lane.truncate(kept);
        lane.item = Some(group.start);
        lane.group = group;
    }

    /// After a pass: goes on to the next stretch where one is done.
    fn go_on(&mut self, lane: &mut Lane) {
        let Some(item) = lane.item else { return };
        let input = &self.item(item).input;
        lane.tokens.extend_from_slice(&input[lane.tokens.len()..lane.row]);
        if lane.row < input.len() {
            return;
        }
        // A stretch that is the same as the one before has been scored with it.
        let next = (item + 1..lane.group.end).find(|at| self.plan.shared[*at] < self.item(*at).input.len());
        match next {
            Some(next) => {
                lane.truncate(self.plan.shared[next]);
                lane.item = Some(next);
            }
            None => self.take_group(lane),
        }
    }
}

/// The rows of one pass.
struct Pass {
    /// What each lane computes: rows of its stretch.
    chunks: Vec<Range<usize>>,
    /// Rows of the pass that score something.
    rows: Vec<usize>,
    /// Pairs of an index in `rows` and a token.
    targets: Vec<(usize, u32)>,
    /// The stretch that each target belongs to.
    owners: Vec<usize>,
}

impl Pass {
    fn gather(lanes: &[Lane], work: &Work<'_>, max_rows: usize) -> Pass {
        let mut pass = Pass { chunks: Vec::new(), rows: Vec::new(), targets: Vec::new(), owners: Vec::new() };
        let mut rows = 0;
        for lane in lanes {
            let Some(item) = lane.item else {
                pass.chunks.push(0..0);
                continue;
            };
            let end = work.item(item).input.len().min(lane.row + max_rows - rows);
            for row in lane.row..end {
                pass.add_targets(work, lane, item, row, rows + row - lane.row);
            }
            pass.chunks.push(lane.row..end);
            rows += end - lane.row;
        }
        pass
    }

    /// What row `row` of a stretch says about it, and about those after it that go through the row.
    fn add_targets(&mut self, work: &Work<'_>, lane: &Lane, item: usize, row: usize, pass_row: usize) {
        let before = self.targets.len();
        for at in item..lane.group.end {
            if at > item && work.plan.shared[at] <= row {
                break;
            }
            let stretch = work.item(at);
            if let Some(target) = row.checked_sub(stretch.first_row()) {
                self.targets.push((self.rows.len(), stretch.targets[target]));
                self.owners.push(work.plan.order[at]);
            }
        }
        if self.targets.len() > before {
            self.rows.push(pass_row);
        }
    }

    fn row_count(&self) -> usize {
        self.chunks.iter().map(ExactSizeIterator::len).sum()
    }
}
