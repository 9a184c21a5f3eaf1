//! Products of float tokens with a dense matrix.

use crate::buffer::{Buffer, Writer};
use crate::dense::{DenseView, ViewedValues};
use crate::dispatch;
use crate::ops::CLAIMS_A_WORKER;
use crate::pool::Worker;
use crate::scalar::Stored;

/// Rows that are computed together: as many streams from memory.
const STREAMS: usize = 4;
/// Tokens that are computed together where there are so many.
const TOKENS: usize = 4;

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
    let product = Product { worker, values, k, x: x.read(worker) };
    let mut y = y.write(worker, operation);
    // The rows of a claim are read in streams, each as long as can be.
    let claim_rows = n.div_ceil(CLAIMS_A_WORKER * worker.threads()).max(1).next_multiple_of(STREAMS);
    while let Some(claim) = worker.claim(operation, n.div_ceil(claim_rows)) {
        let (first, end) = (claim * claim_rows, n.min((claim + 1) * claim_rows));
        let len = (end - first) / STREAMS;
        for row in first..first + len {
            let rows = std::array::from_fn(|r| row + r * len);
            product.tokens::<STREAMS>(rows, m, n, &mut y);
        }
        for row in first + len * STREAMS..end {
            product.tokens([row], m, n, &mut y);
        }
    }
}

struct Product<'a, T> {
    worker: &'a Worker<'a>,
    values: &'a [T],
    k: usize,
    x: &'a [f32],
}

impl<T: Stored> Product<'_, T> {
    /// `R` rows for all tokens.
    fn tokens<const R: usize>(&self, rows: [usize; R], m: usize, n: usize, y: &mut Writer<'_, f32>) {
        let wide = m / TOKENS * TOKENS;
        for t in (0..wide).step_by(TOKENS) {
            self.dots::<R, TOKENS>(rows, t, n, y);
        }
        for t in wide..m {
            self.dots::<R, 1>(rows, t, n, y);
        }
    }

    /// `R` rows for the `M` tokens from `first` on.
    fn dots<const R: usize, const M: usize>(
        &self,
        rows: [usize; R],
        first: usize,
        n: usize,
        y: &mut Writer<'_, f32>,
    ) {
        let k = self.k;
        let w = rows.map(|row| &self.values[row * k..][..k]);
        let x = std::array::from_fn(|t| &self.x[(first + t) * k..][..k]);
        let sums = dispatch::dense_dots::<T, R, M>(self.worker.isa(), w, x);
        for (t, sums) in (first..).zip(&sums) {
            for (row, sum) in rows.iter().zip(sums) {
                y.slice(t * n + row, 1)[0] = *sum;
            }
        }
    }
}
