//! Operations on whole rows, one token a row.

use crate::buffer::Buffer;
use crate::dense::DenseView;
use crate::dispatch;
use crate::ops::CLAIMS_A_WORKER;
use crate::pool::Worker;

/// Calls `f` with each row that this worker claims, some at a time where there are many.
pub(crate) fn for_rows(worker: &Worker<'_>, operation: u32, rows: usize, mut f: impl FnMut(usize)) {
    let claim_rows = (rows / (CLAIMS_A_WORKER * worker.threads())).max(1);
    while let Some(claim) = worker.claim(operation, rows.div_ceil(claim_rows)) {
        for row in claim * claim_rows..rows.min((claim + 1) * claim_rows) {
            f(row);
        }
    }
}

/// `out[t] = table[tokens[t]]` as f32.
///
/// # Shapes
/// - `table`: `[vocabulary, width]`; `tokens`: an iterator, cloned by every worker
/// - `out`: `[tokens, width]`
///
/// # Panics
/// If a token is not a row of the table.
pub fn embed(
    worker: &Worker<'_>,
    table: DenseView<'_>,
    tokens: impl Iterator<Item = u32> + Clone,
    out: &Buffer<f32>,
) {
    embed_with(worker, tokens, table.cols(), out, |token, row| {
        assert!((token as usize) < table.rows(), "embed: every token is a row of the table");
        table.read_row(worker.isa(), token as usize, row);
    });
}

/// `out[t]` is what `read(tokens[t], row)` writes, for tables that are not in memory.
///
/// # Shapes
/// `tokens`: an iterator, cloned by every worker; `out`: `[tokens, width]`
pub fn embed_with(
    worker: &Worker<'_>,
    tokens: impl Iterator<Item = u32> + Clone,
    width: usize,
    out: &Buffer<f32>,
    read: impl Fn(u32, &mut [f32]),
) {
    let operation = worker.begin_operation();
    let mut rows = out.write(worker, operation);
    for_rows(worker, operation, tokens.clone().count(), |row| {
        let token = tokens.clone().nth(row).expect("embed_with: a row a token");
        read(token, rows.slice(row * width, width));
    });
}

/// `out[i] = x[rows[i]]`.
///
/// # Shapes
/// `x`, `out`: `[_, width]`; `rows`: an iterator, cloned by every worker
pub fn gather_rows(
    worker: &Worker<'_>,
    x: &Buffer<f32>,
    rows: impl Iterator<Item = usize> + Clone,
    width: usize,
    out: &Buffer<f32>,
) {
    let operation = worker.begin_operation();
    let x = x.read(worker);
    let mut out = out.write(worker, operation);
    for_rows(worker, operation, rows.clone().count(), |i| {
        let row = rows.clone().nth(i).expect("gather_rows: one row an index");
        out.slice(i * width, width).copy_from_slice(&x[row * width..][..width]);
    });
}

/// `out[t] = x[t] / sqrt(mean(x[t]²) + eps) · gain`.
///
/// # Shapes
/// `x`, `out`: `[m, width]`; `gain`: `[width]`
pub fn rms_norm(worker: &Worker<'_>, x: &Buffer<f32>, m: usize, gain: &[f32], eps: f32, out: &Buffer<f32>) {
    let width = gain.len();
    let operation = worker.begin_operation();
    let x = x.read(worker);
    let mut rows = out.write(worker, operation);
    for_rows(worker, operation, m, |row| {
        let range = row * width..(row + 1) * width;
        dispatch::rms_norm(worker.isa(), &x[range.clone()], gain, eps, rows.slice(range.start, width));
    });
}

/// `out = x + y`, in `m` rows.
///
/// # Shapes
/// `x`, `y`, `out`: `[m, width]`
pub fn add(worker: &Worker<'_>, x: &Buffer<f32>, y: &Buffer<f32>, [m, width]: [usize; 2], out: &Buffer<f32>) {
    let operation = worker.begin_operation();
    let (x, y) = (x.read(worker), y.read(worker));
    let mut rows = out.write(worker, operation);
    for_rows(worker, operation, m, |row| {
        let range = row * width..(row + 1) * width;
        dispatch::add(worker.isa(), &x[range.clone()], &y[range.clone()], rows.slice(range.start, width));
    });
}

/// `x = x + y`, in `m` rows.
///
/// # Shapes
/// `x`, `y`: `[m, width]`
pub fn add_assign(worker: &Worker<'_>, x: &Buffer<f32>, y: &Buffer<f32>, m: usize, width: usize) {
    let operation = worker.begin_operation();
    let y = y.read(worker);
    let mut rows = x.write(worker, operation);
    for_rows(worker, operation, m, |row| {
        let range = row * width..(row + 1) * width;
        dispatch::add_assign(worker.isa(), rows.slice(range.start, width), &y[range.clone()]);
    });
}

/// `e^x` by the one definition of this crate, for what is computed outside a run (sampling).
pub fn exponential(x: f32) -> f32 {
    crate::scalar::exp(x)
}
