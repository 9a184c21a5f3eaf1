//! Products of float tokens with a dense matrix.

use crate::aligned::Element;
use crate::buffer::{Buffer, Writer};
use crate::dense::{DenseView, ViewedValues};
use crate::dispatch;
use crate::ops::CLAIMS_A_WORKER;
use crate::pool::Worker;
use crate::scalar::Stored;

/// Rows of a dense product that are computed together.
const DENSE_ROWS: usize = 4;

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
    let x = x.read(worker);
    let mut y = y.write(worker, operation);
    let groups = n.div_ceil(DENSE_ROWS);
    let groups_a_claim = groups.div_ceil(CLAIMS_A_WORKER * worker.threads()).max(1);
    while let Some(claim) = worker.claim(operation, groups.div_ceil(groups_a_claim) as u32) {
        let first_group = claim * groups_a_claim;
        for group in first_group..(first_group + groups_a_claim).min(groups) {
            let first = group * DENSE_ROWS;
            let rows = DENSE_ROWS.min(n - first);
            // Past the last row the last one is computed again and dropped.
            let w = std::array::from_fn(|r| &values[(first + r.min(rows - 1)) * k..][..k]);
            let mut t = 0;
            while t < m {
                t += if m - t >= 4 {
                    dense_group::<T, 4>(worker, w, rows, x, t, &mut y, [n, first])
                } else {
                    dense_group::<T, 1>(worker, w, rows, x, t, &mut y, [n, first])
                };
            }
        }
    }
}

/// Four rows for `M` tokens from `first_token` on; returns `M`.
fn dense_group<T: Stored + Element, const M: usize>(
    worker: &Worker<'_>,
    w: [&[T]; DENSE_ROWS],
    rows: usize,
    x: &[f32],
    first_token: usize,
    y: &mut Writer<'_, f32>,
    [n, first_row]: [usize; 2],
) -> usize {
    let k = w[0].len();
    let x = std::array::from_fn(|t| &x[(first_token + t) * k..][..k]);
    let sums = dispatch::dense_dots::<T, DENSE_ROWS, M>(worker.isa(), w, x);
    for (t, sums) in (first_token..).zip(&sums) {
        y.slice(t * n + first_row, rows).copy_from_slice(&sums[..rows]);
    }
    M
}
