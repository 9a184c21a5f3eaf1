//! Gradients of operations on whole rows, one token a row.

use std::ops::Range;

use crate::buffer::{Buffer, Writer};
use crate::dispatch;
use crate::gemm::Destination;
use crate::kv::{Sequence, locate};
use crate::ops::attention::rows_of;
use crate::ops::optimizer::blocks;
use crate::ops::rows::for_rows;
use crate::pool::{Pool, Worker};
use crate::rotary::RotaryTable;

/// Columns of a gain's or an embedding's gradient that a worker computes at a time.
const BLOCK_COLUMNS: usize = 64;

/// The elements of some ranges become 0.
pub fn fill_zero(worker: &Worker<'_>, x: &Buffer<f32>, ranges: &[Range<usize>]) {
    let blocks = blocks(ranges.iter().cloned());
    let operation = worker.begin_operation();
    let mut x = x.write(worker, operation);
    for_rows(worker, operation, blocks.len(), |block| {
        let range = &blocks[block].1;
        x.slice(range.start, range.len()).fill(0.0);
    });
}

/// Rows whose parts of a gain's gradient are summed by themselves.
pub(super) const GAIN_ROWS: usize = 32;

/// The parts of the gradient of a gain, one for each block of rows.
pub struct GainParts(Buffer<f32>);

impl GainParts {
    /// Room for rows of at most `width` values.
    pub fn new(pool: &Pool, rows: usize, width: usize) -> Self {
        GainParts(Buffer::zeroed(pool, rows.div_ceil(GAIN_ROWS) * width))
    }

    /// Whether there is room for the parts of `m` rows of `width` values.
    pub(super) fn fits(&self, [m, width]: [usize; 2]) -> bool {
        m.div_ceil(GAIN_ROWS) * width <= self.0.len()
    }

    /// To be written in blocks of [`GAIN_ROWS`] rows.
    pub(super) fn write<'w>(&'w self, worker: &'w Worker<'_>, operation: u32) -> Writer<'w, f32> {
        self.0.write(worker, operation)
    }
}

/// The gradient of [`rms_norm`](crate::ops::rms_norm) in `d_x`, or added to it, and that of its gain in
/// parts, for [`add_gain_parts`].
///
/// # Shapes
/// `x`, `d_y`, `d_x`: `[m, width]`; `gain`: `[width]`
///
/// # Panics
/// If a buffer is of another shape, or the parts have no room.
#[expect(clippy::too_many_arguments, reason = "those of the forward operation, and the gradients")]
pub fn rms_norm_backward(
    worker: &Worker<'_>,
    x: &Buffer<f32>,
    m: usize,
    gain: &[f32],
    eps: f32,
    d_y: &Buffer<f32>,
    parts: &GainParts,
    destination: Destination,
    d_x: &Buffer<f32>,
) {
    let width = gain.len();
    assert!(
        [x, d_y, d_x].into_iter().all(|x| m * width <= x.len()),
        "rms_norm_backward: one value a column and row"
    );
    assert!(parts.fits([m, width]), "rms_norm_backward: the parts of the gain's gradient have room");
    let is_added = destination == Destination::Add;
    let operation = worker.begin_operation();
    let (x, d_y) = (x.read(worker), d_y.read(worker));
    let (mut d_x, mut parts) = (d_x.write(worker, operation), parts.write(worker, operation));
    for_rows(worker, operation, m.div_ceil(GAIN_ROWS), |block| {
        let d_gain = parts.slice(block * width, width);
        d_gain.fill(0.0);
        for row in block * GAIN_ROWS..m.min((block + 1) * GAIN_ROWS) {
            let range = row * width..(row + 1) * width;
            let (x, d_y) = (&x[range.clone()], &d_y[range.clone()]);
            let d_x = d_x.slice(range.start, width);
            let isa = worker.isa();
            dispatch::rms_norm_backward(isa, x, gain, eps, d_y, is_added, [d_x, d_gain]);
        }
    });
}

/// `d_gain += Σ_t d_y[t] · x[t] / rms(x[t])` from its parts, in the elements of `gradients` from
/// `first` on.
///
/// # Shapes
/// `parts`: as [`rms_norm_backward`] left them for `[m, width]`
///
/// # Panics
/// If there are not so many parts, or the gain does not lie in `gradients`.
pub fn add_gain_parts(
    worker: &Worker<'_>,
    parts: &GainParts,
    [m, width]: [usize; 2],
    gradients: &Buffer<f32>,
    first: usize,
) {
    assert!(parts.fits([m, width]), "add_gain_parts: the parts are those of as many rows");
    assert!(first + width <= gradients.len(), "add_gain_parts: the gain lies in the gradients");
    let operation = worker.begin_operation();
    let parts = parts.0.read(worker);
    let mut d_gain = gradients.write(worker, operation);
    for_columns(worker, operation, width, |columns| {
        let d_gain = d_gain.slice(first + columns.start, columns.len());
        for part in parts.chunks_exact(width).take(m.div_ceil(GAIN_ROWS)) {
            dispatch::add_assign(worker.isa(), d_gain, &part[columns.clone()]);
        }
    });
}

/// Rotates every head back by the angles of its position: the gradient of
/// [`rotate`](crate::ops::rotate).
///
/// # Shapes
/// `d`: `[rows of the pass, heads, head_dim]`, in place
pub fn rotate_backward(
    worker: &Worker<'_>,
    table: &RotaryTable,
    sequences: &[Sequence<'_>],
    heads: usize,
    d: &Buffer<f32>,
) {
    let width = heads * 2 * table.half();
    let operation = worker.begin_operation();
    let mut rows = d.write(worker, operation);
    for_rows(worker, operation, rows_of(sequences), |row| {
        let (cos, sin) = table.position(locate(sequences, row).1);
        for head in rows.slice(row * width, width).chunks_exact_mut(2 * cos.len()) {
            dispatch::rotate_backward(worker.isa(), head, cos, sin);
        }
    });
}

/// `d_table[tokens[t]] += d_x[t]`, in the elements of `gradients` from `first` on.
///
/// # Shapes
/// `d_x`: `[tokens, width]`; `d_table`: `[vocabulary, width]`
pub fn embed_backward(
    worker: &Worker<'_>,
    tokens: &[u32],
    d_x: &Buffer<f32>,
    width: usize,
    gradients: &Buffer<f32>,
    first: usize,
) {
    let operation = worker.begin_operation();
    let d_x = d_x.read(worker);
    let mut d_table = gradients.write(worker, operation);
    for_columns(worker, operation, width, |columns| {
        for (row, token) in tokens.iter().enumerate() {
            let start = first + *token as usize * width + columns.start;
            let d_x = &d_x[row * width + columns.start..row * width + columns.end];
            dispatch::add_assign(worker.isa(), d_table.slice(start, columns.len()), d_x);
        }
    });
}

/// `x[rows[i]] = part[i]`.
///
/// # Shapes
/// `part`: `[rows, width]`; `x`: `[_, width]`
///
/// # Panics
/// If the rows do not ascend: none is written by two workers.
pub fn scatter_rows(worker: &Worker<'_>, part: &Buffer<f32>, rows: &[usize], width: usize, x: &Buffer<f32>) {
    assert!(rows.array_windows().all(|[a, b]| a < b), "scatter_rows: the rows ascend");
    let operation = worker.begin_operation();
    let part = part.read(worker);
    let mut x = x.write(worker, operation);
    for_rows(worker, operation, rows.len(), |i| {
        x.slice(rows[i] * width, width).copy_from_slice(&part[i * width..][..width]);
    });
}

/// Calls `f` with each range of columns that this worker claims.
fn for_columns(worker: &Worker<'_>, operation: u32, width: usize, mut f: impl FnMut(Range<usize>)) {
    for_rows(worker, operation, width.div_ceil(BLOCK_COLUMNS), |block| {
        let first = block * BLOCK_COLUMNS;
        f(first..width.min(first + BLOCK_COLUMNS));
    });
}
