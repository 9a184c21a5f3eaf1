//! Products of tokens with a matrix: ternary × int8 and dense × f32.

use crate::aligned::Element;
use crate::buffer::{Buffer, Writer};
use crate::dense::{DenseView, ViewedValues};
use crate::dispatch;
use crate::ops::rows::for_rows;
use crate::pool::{Pool, Worker};
use crate::scalar::Stored;
use crate::ternary::{Layout, TILE_ROWS, TernaryMatrix};

/// Columns a ternary matrix may have, so that no sum of codes × activations leaves i32.
pub const MAX_COLUMNS: usize = i32::MAX as usize / (2 * 128);

/// Claims an operation is cut into for each worker, so that a slow one leaves its share to others.
const CLAIMS_A_WORKER: usize = 16;
/// Rows of a dense product that are computed together.
const DENSE_ROWS: usize = 4;

/// Quantized activations: one int8 row, scale and code sum a token.
pub struct Int8Rows {
    codes: Buffer<i8>,
    scales: Buffer<f32>,
    code_sums: Buffer<i32>,
    stride: usize,
}

impl Int8Rows {
    /// Room for `max_rows` tokens of at most `max_width` values.
    pub fn new(pool: &Pool, max_rows: usize, max_width: usize) -> Self {
        let stride = padded_width(max_width);
        Int8Rows {
            codes: Buffer::zeroed(pool, max_rows * stride),
            scales: Buffer::zeroed(pool, max_rows),
            code_sums: Buffer::zeroed(pool, max_rows),
            stride,
        }
    }

    /// All rows, to read until the next barrier.
    pub(super) fn read<'a>(&'a self, worker: &'a Worker<'_>) -> ReadRows<'a> {
        ReadRows { codes: self.codes.read(worker), scales: self.scales.read(worker), stride: self.stride }
    }

    /// The codes of one token, outside a run.
    pub fn codes_of(&mut self, row: usize, width: usize) -> &[i8] {
        &self.codes.as_mut_slice()[row * self.stride..][..width]
    }
}

/// Quantized rows that are being read.
pub(super) struct ReadRows<'a> {
    codes: &'a [i8],
    scales: &'a [f32],
    stride: usize,
}

impl ReadRows<'_> {
    /// The codes of one token and their scale.
    pub(super) fn row(&self, row: usize, width: usize) -> (&[i8], f32) {
        (&self.codes[row * self.stride..][..width], self.scales[row])
    }
}

/// Width after padding to whole blocks of every layout.
fn padded_width(width: usize) -> usize {
    const BLOCKS: usize = 80;
    const _: () = assert!(BLOCKS.is_multiple_of(Layout::TwoBit.block_columns()));
    const _: () = assert!(BLOCKS.is_multiple_of(Layout::BaseThree.block_columns()));
    width.next_multiple_of(BLOCKS)
}

/// Quantizes each row of `x` by its largest magnitude. See [`crate::quantize`].
///
/// # Shapes
/// `x`: `[m, width]`; `out`: room for `m` rows of `width`
pub fn quantize_rows(worker: &Worker<'_>, x: &Buffer<f32>, m: usize, width: usize, out: &Int8Rows) {
    assert!(padded_width(width) <= out.stride, "quantize_rows: the rows fit");
    let operation = worker.begin_operation();
    let x = x.read(worker);
    let mut codes = out.codes.write(worker, operation);
    let mut scales = out.scales.write(worker, operation);
    let mut code_sums = out.code_sums.write(worker, operation);
    for_rows(worker, operation, m, |row| {
        let codes = codes.slice(row * out.stride, padded_width(width));
        let (scale, sum) = dispatch::absmax(worker.isa(), &x[row * width..][..width], codes);
        scales.slice(row, 1)[0] = scale;
        code_sums.slice(row, 1)[0] = sum;
    });
}

/// `y[t][r] = (Σ_c W[r, c] · codes[t][c]) · (w_scale · x_scale[t])`, the sum exactly.
///
/// # Shapes
/// - `w`: `[n, k]`; `x`: `m` rows quantized at width `k`
/// - `y`: `[m, n]`
///
/// # Panics
/// If the shapes do not fit, or `k` exceeds [`MAX_COLUMNS`].
pub fn ternary_product(
    worker: &Worker<'_>,
    w: &TernaryMatrix,
    w_scale: f32,
    x: &Int8Rows,
    m: usize,
    y: &Buffer<f32>,
) {
    assert!(w.cols() <= MAX_COLUMNS, "ternary_product: the sums fit into i32");
    assert!(padded_width(w.cols()) <= x.stride, "ternary_product: x has one value a column of W");
    assert!(m * w.rows() <= y.len(), "ternary_product: y has one value a row of W and token");
    let operation = worker.begin_operation();
    let product = TernaryProduct {
        worker,
        w,
        w_scale,
        codes: x.codes.read(worker),
        stride: x.stride,
        scales: x.scales.read(worker),
        code_sums: x.code_sums.read(worker),
    };
    let mut y = y.write(worker, operation);
    let tiles_a_claim = w.tiles().div_ceil(CLAIMS_A_WORKER * worker.threads()).max(1);
    while let Some(claim) = worker.claim(operation, w.tiles().div_ceil(tiles_a_claim) as u32) {
        let first_tile = claim * tiles_a_claim;
        for tile in first_tile..(first_tile + tiles_a_claim).min(w.tiles()) {
            let mut t = 0;
            while t < m {
                t += match m - t {
                    8.. => product.tile::<8>(tile, t, &mut y),
                    4.. => product.tile::<4>(tile, t, &mut y),
                    2.. => product.tile::<2>(tile, t, &mut y),
                    _ => product.tile::<1>(tile, t, &mut y),
                };
            }
        }
    }
}

struct TernaryProduct<'a> {
    worker: &'a Worker<'a>,
    w: &'a TernaryMatrix,
    w_scale: f32,
    codes: &'a [i8],
    stride: usize,
    scales: &'a [f32],
    code_sums: &'a [i32],
}

impl TernaryProduct<'_> {
    /// One tile for `M` tokens from `first` on; returns `M`.
    fn tile<const M: usize>(&self, tile: usize, first: usize, y: &mut Writer<'_, f32>) -> usize {
        let (n, isa) = (self.w.rows(), self.worker.isa());
        let blocks = self.w.tile(tile);
        let width = blocks.len() * self.w.layout().block_columns();
        let rows = std::array::from_fn(|t| &self.codes[(first + t) * self.stride..][..width]);
        let mut sums = [[0; TILE_ROWS]; M];
        dispatch::ternary_tile::<M>(isa, self.w.layout(), blocks, rows, &mut sums);
        let first_row = tile * TILE_ROWS;
        let tile_rows = TILE_ROWS.min(n - first_row);
        for (t, sums) in (first..).zip(&sums) {
            let scale = self.w_scale * self.scales[t];
            let y = y.slice(t * n + first_row, tile_rows);
            dispatch::scale_sums(isa, &sums[..tile_rows], self.code_sums[t], scale, y);
        }
        M
    }
}

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
