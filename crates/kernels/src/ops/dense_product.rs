//! Products of float tokens with a dense matrix.

use std::ops::Range;

use crate::buffer::{Buffer, Writer};
use crate::dense::{DenseView, ViewedValues};
use crate::dispatch;
use crate::ops::CLAIMS_A_WORKER;
use crate::pool::Worker;
use crate::scalar::{DENSE_TILE, Stored};

/// Rows that are computed together: where they are read once, as many streams from memory.
const STREAMS: usize = DENSE_TILE;
/// From so many tokens on, rows are read from a cache and lie side by side.
const PANELS_FROM: usize = 16;
/// Bytes of tokens that are multiplied with all rows of a claim before the next: they stay in the
/// first cache.
const PANEL_BYTES: usize = 24 << 10;
/// Tokens whose sums are kept before they are written.
const PANEL_TOKENS_MAX: usize = 32;
/// Rows whose sums are written together: a cache line of each token.
const STRIP_ROWS: usize = 64 / size_of::<f32>();

/// `y[t][r] = Σ_c W[r, c] · x[t][c]` in f32, each a row reduction.
///
/// # Shapes
/// `w`: `[n, k]`; `x`: `[m, k]`; `y`: `[m, n]`
pub fn dense_product(worker: &Worker<'_>, w: DenseView<'_>, x: &Buffer<f32>, m: usize, y: &Buffer<f32>) {
    assert!(m * w.cols() <= x.len(), "dense_product: x has one value a column of W and token");
    assert!(m * w.rows() <= y.len(), "dense_product: y has one value a row of W and token");
    let shape = [w.rows(), w.cols()];
    match w.values {
        ViewedValues::F32(values) => dense_product_of(worker, values, shape, x, m, y),
        ViewedValues::F16(values) => dense_product_of(worker, values, shape, x, m, y),
        ViewedValues::Bf16(values) => dense_product_of(worker, values, shape, x, m, y),
    }
}

fn dense_product_of<T: Stored>(
    worker: &Worker<'_>,
    values: &[T],
    [n, k]: [usize; 2],
    x: &Buffer<f32>,
    m: usize,
    y: &Buffer<f32>,
) {
    let operation = worker.begin_operation();
    let product = Product { worker, values, n, k, x: x.read(worker) };
    let mut y = y.write(worker, operation);
    let claim_rows = n.div_ceil(CLAIMS_A_WORKER * worker.threads()).max(1).next_multiple_of(STRIP_ROWS);
    while let Some(claim) = worker.claim(operation, n.div_ceil(claim_rows)) {
        let rows = claim * claim_rows..n.min((claim + 1) * claim_rows);
        if m < PANELS_FROM { product.streams(rows, m, &mut y) } else { product.panels(rows, m, &mut y) }
    }
}

struct Product<'a, T> {
    worker: &'a Worker<'a>,
    values: &'a [T],
    n: usize,
    k: usize,
    x: &'a [f32],
}

impl<T: Stored> Product<'_, T> {
    /// Rows in streams, each as long as can be, for a few tokens.
    fn streams(&self, rows: Range<usize>, m: usize, y: &mut Writer<'_, f32>) {
        let len = rows.len() / STREAMS;
        for row in rows.start..rows.start + len {
            self.tokens::<STREAMS>(std::array::from_fn(|r| row + r * len), 0..m, y);
        }
        for row in rows.start + len * STREAMS..rows.end {
            self.tokens([row], 0..m, y);
        }
    }

    /// Rows side by side, for panels of tokens after each other.
    fn panels(&self, rows: Range<usize>, m: usize, y: &mut Writer<'_, f32>) {
        let panel = (PANEL_BYTES / (self.k.max(1) * size_of::<f32>())).max(1).next_multiple_of(DENSE_TILE);
        let whole = rows.len() / STRIP_ROWS * STRIP_ROWS;
        for first in (0..m).step_by(panel) {
            let tokens = first..m.min(first + panel);
            for row in (rows.start..rows.start + whole).step_by(STRIP_ROWS) {
                self.strip(row, tokens.clone(), y);
            }
            for row in rows.start + whole..rows.end {
                self.tokens([row], tokens.clone(), y);
            }
        }
    }

    /// The rows of a strip for some tokens: of each token a cache line is written at once, since those of
    /// several often have one place in the cache.
    fn strip(&self, row: usize, tokens: Range<usize>, y: &mut Writer<'_, f32>) {
        let k = self.k;
        let mut sums = [[[0.0; DENSE_TILE]; PANEL_TOKENS_MAX]; STRIP_ROWS / DENSE_TILE];
        for first in tokens.clone().step_by(PANEL_TOKENS_MAX) {
            let count = PANEL_TOKENS_MAX.min(tokens.end - first);
            let x = &self.x[first * k..][..count * k];
            for (tile, sums) in sums.iter_mut().enumerate() {
                let row = row + tile * DENSE_TILE;
                let w: [&[T]; DENSE_TILE] = std::array::from_fn(|r| &self.values[(row + r) * k..][..k]);
                dispatch::dense_panel(self.worker.isa(), w, x, &mut sums[..count]);
            }
            for t in 0..count {
                let out = y.slice((first + t) * self.n + row, STRIP_ROWS);
                for (out, sums) in out.as_chunks_mut().0.iter_mut().zip(&sums) {
                    *out = sums[t];
                }
            }
        }
    }

    /// `R` rows, anywhere, for some tokens.
    fn tokens<const R: usize>(&self, rows: [usize; R], tokens: Range<usize>, y: &mut Writer<'_, f32>) {
        let k = self.k;
        let w = rows.map(|row| &self.values[row * k..][..k]);
        let mut sums = [[0.0; R]; PANEL_TOKENS_MAX];
        for first in tokens.clone().step_by(PANEL_TOKENS_MAX) {
            let count = PANEL_TOKENS_MAX.min(tokens.end - first);
            let sums = &mut sums[..count];
            dispatch::dense_panel(self.worker.isa(), w, &self.x[first * k..][..count * k], sums);
            for (t, sums) in sums.iter().enumerate() {
                for (row, sum) in rows.iter().zip(sums) {
                    y.slice((first + t) * self.n + row, 1)[0] = *sum;
                }
            }
        }
    }
}
