//! The products of attention's gradients in bf16, packed in pairs.

use std::ops::Range;

use super::{BLOCK_ROWS, Block, Head};
use crate::dispatch;
use crate::isa::Isa;
use crate::scalar::pairs::{PAIR_LANES, PairLanes, PairRows, TILE_HEIGHT, TileStore, panel_groups};

/// No scale for any row of a block.
const ONES: [f32; BLOCK_ROWS] = [1.0; BLOCK_ROWS];
/// Pairs of rows of a block.
const BLOCK_PAIRS: usize = BLOCK_ROWS / 2;

/// Room of one worker, as long as the longest sequence it has met.
#[derive(Default)]
pub(super) struct PairRoom {
    keys: Vec<PairLanes>,     // [rows / 16, head_dim / 2]: pairs along head_dim
    values: Vec<PairLanes>,   // the same
    key_rows: Vec<PairLanes>, // [head_dim / 16, rows / 2]: pairs of rows
    rows: Vec<u32>,           // [16, head_dim / 2]

    q: Vec<u32>,                // [64, head_dim / 2]
    d_out: Vec<u32>,            // the same
    q_rows: Vec<PairLanes>,     // [head_dim / 16, 32]
    d_out_rows: Vec<PairLanes>, // [head_dim / 16, 32]

    scores: Vec<f32>,                 // [64, rows up to a multiple of 16]
    d_scores: Vec<f32>,               // the same
    d_score_words: Vec<u32>,          // [64, rows / 2]
    probability_rows: Vec<PairLanes>, // [rows / 16, 32]
    d_score_rows: Vec<PairLanes>,     // [rows / 16, 32]
    d_q: Vec<f32>,                    // [64, head_dim]
    pub(super) d_k: Vec<f32>,         // [rows, head_dim]
    pub(super) d_v: Vec<f32>,         // [rows, head_dim]
}

impl PairRoom {
    pub(super) fn start(&mut self, head: &Head<'_>) {
        let Head { isa, rows, head_dim, k, v, kv_width, .. } = *head;
        let (pairs, panels) = (head_dim.div_ceil(2), rows.div_ceil(PAIR_LANES));
        let head_panels = head_dim.div_ceil(PAIR_LANES);
        let empty = [0; PAIR_LANES];
        for lanes in [&mut self.keys, &mut self.values] {
            lanes.resize(panels * pairs, empty);
        }
        self.key_rows.resize(head_panels * rows.div_ceil(2), empty);
        self.rows.resize(PAIR_LANES * pairs, 0);
        for rows in [&mut self.q, &mut self.d_out] {
            rows.resize(BLOCK_ROWS * pairs, 0);
        }
        for rows in [&mut self.q_rows, &mut self.d_out_rows] {
            rows.resize(head_panels * BLOCK_PAIRS, empty);
        }
        let stride = panels * PAIR_LANES;
        for scores in [&mut self.scores, &mut self.d_scores] {
            scores.resize(BLOCK_ROWS * stride, 0.0);
        }
        self.d_score_words.resize(BLOCK_ROWS * rows.div_ceil(2), 0);
        for rows in [&mut self.probability_rows, &mut self.d_score_rows] {
            rows.resize(panels * BLOCK_PAIRS, empty);
        }
        self.d_q.resize(BLOCK_ROWS * head_dim, 0.0);
        for gradient in [&mut self.d_k, &mut self.d_v] {
            gradient.clear();
            gradient.resize(rows * head_dim, 0.0);
        }

        for (x, lanes) in [(k, &mut self.keys), (v, &mut self.values)] {
            for (panel, lanes) in lanes.chunks_exact_mut(pairs).enumerate() {
                let first = panel * PAIR_LANES;
                let count = PAIR_LANES.min(rows - first);
                dispatch::pair_columns(
                    isa,
                    &x[first * kv_width..],
                    kv_width,
                    count,
                    head_dim,
                    &mut self.rows,
                );
                for (row, words) in self.rows.chunks_exact(pairs).take(count).enumerate() {
                    for (lanes, word) in lanes.iter_mut().zip(words) {
                        lanes[row] = *word;
                    }
                }
            }
        }
        pack_rows(isa, k, kv_width, [rows, head_dim], &mut self.key_rows);
    }

    pub(super) fn block(&mut self, head: &Head<'_>, block: &Block<'_>) -> &[f32] {
        let Head { isa, head_dim, q_width, .. } = *head;
        let (rows, seen, pairs) = (block.rows, block.seen(), head_dim.div_ceil(2));
        dispatch::pair_columns(isa, block.q, q_width, rows, head_dim, &mut self.q);
        dispatch::pair_columns(isa, block.d_out, q_width, rows, head_dim, &mut self.d_out);
        pack_rows(isa, block.q, q_width, [rows, head_dim], &mut self.q_rows);
        pack_rows(isa, block.d_out, q_width, [rows, head_dim], &mut self.d_out_rows);

        let stride = self.scores.len() / BLOCK_ROWS;
        let seen_panels = 0..seen.div_ceil(PAIR_LANES);
        // No row of a tile sees the keys from `end` on.
        let end = |row: usize| (block.first + row + TILE_HEIGHT).min(seen);
        let of_seen = |row: usize, key: usize| 0..if key < end(row) { pairs } else { 0 };
        let scores = Product { isa, pairs, right: &self.keys, cols: stride, scale: head.scale() };
        let left = rows_of(&self.q, pairs, rows);
        scores.of(rows, seen_panels.clone(), of_seen, left, false, &mut self.scores);
        let d_scores = Product { isa, pairs, right: &self.values, cols: stride, scale: 1.0 };
        let left = rows_of(&self.d_out, pairs, rows);
        d_scores.of(rows, seen_panels, of_seen, left, false, &mut self.d_scores);
        block.softmax(head, stride, &mut self.scores, &mut self.d_scores);

        let score_pairs = seen.div_ceil(2);
        dispatch::pair_columns(isa, &self.d_scores, stride, rows, seen, &mut self.d_score_words);
        pack_rows(isa, &self.scores, stride, [rows, seen], &mut self.probability_rows);
        pack_rows(isa, &self.d_scores, stride, [rows, seen], &mut self.d_score_rows);

        let head_panels = 0..head_dim.div_ceil(PAIR_LANES);
        let block_pairs = rows.div_ceil(2);
        // A key is seen by the rows from its own on.
        let of_seeing = |key: usize, _| key.saturating_sub(block.first) / 2..block_pairs;
        let by_rows = |right| Product { isa, pairs: block_pairs, right, cols: head_dim, scale: 1.0 };
        let left = panels_of(&self.probability_rows, block_pairs);
        by_rows(&self.d_out_rows).of(seen, head_panels.clone(), of_seeing, left, true, &mut self.d_v);
        let left = panels_of(&self.d_score_rows, block_pairs);
        by_rows(&self.q_rows).of(seen, head_panels.clone(), of_seeing, left, true, &mut self.d_k);
        let whole = head.rows.div_ceil(2);
        let d_q = Product { isa, pairs: whole, right: &self.key_rows, cols: head_dim, scale: 1.0 };
        let left = rows_of(&self.d_score_words, score_pairs, rows);
        d_q.of(rows, head_panels, |row, _| 0..end(row).div_ceil(2), left, false, &mut self.d_q);
        &self.d_q[..rows * head_dim]
    }
}

/// The tiles of left operands that lie row by row; rows past the last are those of the last.
fn rows_of<'l>(words: &'l [u32], pairs: usize, rows: usize) -> impl Fn(usize, Range<usize>) -> PairRows<'l> {
    move |row, span| {
        let words = |r: usize| &words[(row + r).min(rows - 1) * pairs..][span.clone()];
        PairRows::Rows(std::array::from_fn(words))
    }
}

/// The tiles of left operands that lie in panels.
fn panels_of<'l>(panels: &'l [PairLanes], pairs: usize) -> impl Fn(usize, Range<usize>) -> PairRows<'l> {
    move |row, span| {
        let panel = &panels[row / PAIR_LANES * pairs..][span];
        PairRows::Panel(panel, !row.is_multiple_of(PAIR_LANES))
    }
}

/// Rows `stride` apart into panels of pairs of rows.
fn pack_rows(isa: Isa, x: &[f32], stride: usize, [rows, cols]: [usize; 2], out: &mut [PairLanes]) {
    let pairs = rows.div_ceil(2);
    for (panel, out) in out.chunks_mut(pairs).take(cols.div_ceil(PAIR_LANES)).enumerate() {
        let column = panel * PAIR_LANES;
        let width = PAIR_LANES.min(cols - column);
        for (first, out) in (0..rows).step_by(BLOCK_ROWS).zip(out.chunks_mut(BLOCK_PAIRS)) {
            let scales = &ONES[..BLOCK_ROWS.min(rows - first)];
            dispatch::pair_rows(isa, &x[first * stride + column..], stride, scales, width, out);
        }
    }
}

/// A right operand in panels.
struct Product<'a> {
    isa: Isa,
    /// Pairs of a panel.
    pairs: usize,
    right: &'a [PairLanes],
    /// How far rows of the result lie apart.
    cols: usize,
    scale: f32,
}

impl Product<'_> {
    /// The first `rows` of the product with some panels.
    ///
    /// A tile is summed over the pairs `span(row, column)`; one without any is left as it is.
    fn of<'l>(
        &self,
        rows: usize,
        panels: Range<usize>,
        span: impl Fn(usize, usize) -> Range<usize>,
        left: impl Fn(usize, Range<usize>) -> PairRows<'l>,
        is_added: bool,
        out: &mut [f32],
    ) {
        for (first, count) in panel_groups(panels) {
            match count {
                1 => self.tiles::<1>(rows, first, &span, &left, is_added, out),
                2 => self.tiles::<2>(rows, first, &span, &left, is_added, out),
                _ => self.tiles::<3>(rows, first, &span, &left, is_added, out),
            }
        }
    }

    fn tiles<'l, const C: usize>(
        &self,
        rows: usize,
        first: usize,
        span: &impl Fn(usize, usize) -> Range<usize>,
        left: &impl Fn(usize, Range<usize>) -> PairRows<'l>,
        is_added: bool,
        out: &mut [f32],
    ) {
        let column = first * PAIR_LANES;
        let width = (C * PAIR_LANES).min(self.cols - column);
        let store = TileStore { scale: self.scale, is_added };
        for (tile, out) in out[..rows * self.cols].chunks_mut(TILE_HEIGHT * self.cols).enumerate() {
            let row = tile * TILE_HEIGHT;
            let span = span(row, column);
            if span.is_empty() {
                continue;
            }
            let right =
                std::array::from_fn(|c| &self.right[(first + c) * self.pairs..][..self.pairs][span.clone()]);
            let mut out = out.chunks_mut(self.cols);
            let y = std::array::from_fn(|_| match out.next() {
                Some(row) => &mut row[column..column + width],
                None => &mut [],
            });
            dispatch::bf16_tile::<C>(self.isa, left(row, span), right, store, y);
        }
    }
}
