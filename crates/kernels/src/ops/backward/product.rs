//! Gradients of `y = x̂ · Ŵᵀ`, and the float operands they take.
//!
//! ```text
//! d_x = d_y · Ŵ        [m, k] = [m, n] · [n, k]
//! d_w = d_yᵀ · x̂       [n, k] = [n, m] · [m, k]
//! ```
//!
//! `Ŵ` and `x̂` are what the forward pass multiplied: the codes of a ternary matrix with the scale
//! applied to the product, and the dequantized int8 rows. The straight-through estimator is that
//! these gradients are taken for those of the masters and of the unquantized rows.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::dispatch;
use crate::gemm::{Destination, MatrixMut, MatrixRef, multiply};
use crate::ops::int8_rows::Int8Rows;
use crate::ops::rows::for_rows;
use crate::pool::Worker;
use crate::ternary::{TILE_ROWS, TernaryMatrix};

/// Rows of a product that a worker computes at a time: fixed, so that threads change no bit.
const BLOCK_ROWS: usize = 64;
/// Elements of a matrix that a worker blends at a time.
const BLOCK_ELEMENTS: usize = 1 << 14;

/// `out = (code - 1)` of every weight, as f32.
///
/// # Shapes
/// `w`: `[n, k]`; `out`: room for `[n, k]`
pub fn dequantize_matrix(worker: &Worker<'_>, w: &TernaryMatrix, out: &Buffer<f32>) {
    let (rows, cols) = (w.rows(), w.cols());
    let operation = worker.begin_operation();
    let mut out = out.write(worker, operation);
    for_rows(worker, operation, w.tiles(), |tile| {
        let first = tile * TILE_ROWS;
        let tile_rows = TILE_ROWS.min(rows - first);
        w.read_tile(tile, out.slice(first * cols, tile_rows * cols));
    });
}

/// `out = w + λ (scale · (code - 1) - w)`: a matrix on its way to being ternary.
///
/// # Shapes
/// `w`: `[n, k]` masters; `codes`: as [`dequantize_matrix`] gave them in `out`, replaced here
pub fn blend_matrix(worker: &Worker<'_>, w: &[f32], scale: f32, lambda: f32, out: &Buffer<f32>) {
    let operation = worker.begin_operation();
    let mut out = out.write(worker, operation);
    for_rows(worker, operation, w.len().div_ceil(BLOCK_ELEMENTS), |block| {
        let first = block * BLOCK_ELEMENTS;
        let w = &w[first..w.len().min(first + BLOCK_ELEMENTS)];
        let out = out.slice(first, w.len());
        for out in &mut *out {
            *out *= scale;
        }
        dispatch::blend(worker.isa(), w, lambda, out);
    });
}

/// `out[t] = codes[t] · scale[t]`.
///
/// # Shapes
/// `x`: `m` rows quantized at `width`; `out`: `[m, width]`
pub fn dequantize_rows(worker: &Worker<'_>, x: &Int8Rows, m: usize, width: usize, out: &Buffer<f32>) {
    let operation = worker.begin_operation();
    let rows = x.read(worker, m);
    let mut out = out.write(worker, operation);
    let mut codes = vec![0; width];
    for_rows(worker, operation, m, |row| {
        let scale = rows.copy_row(row, &mut codes);
        dispatch::dequantize(worker.isa(), &codes, scale, out.slice(row * width, width));
    });
}

/// `out[t] = x[t] + λ (codes[t] · scale[t] - x[t])`.
///
/// # Shapes
/// `x`, `out`: `[m, width]`; `quantized`: `m` rows quantized at `width`
pub fn blend_rows(
    worker: &Worker<'_>,
    x: &Buffer<f32>,
    quantized: &Int8Rows,
    lambda: f32,
    [m, width]: [usize; 2],
    out: &Buffer<f32>,
) {
    let operation = worker.begin_operation();
    let (x, rows) = (x.read(worker), quantized.read(worker, m));
    let mut out = out.write(worker, operation);
    let mut codes = vec![0; width];
    for_rows(worker, operation, m, |row| {
        let scale = rows.copy_row(row, &mut codes);
        let out = out.slice(row * width, width);
        dispatch::dequantize(worker.isa(), &codes, scale, out);
        dispatch::blend(worker.isa(), &x[row * width..][..width], lambda, out);
    });
}

/// `y = x · wᵀ` in no stated order: the forward pass on the way to being ternary.
///
/// # Shapes
/// `x`: `[m, k]`; `w`: `[n, k]`; `y`: `[m, n]`
pub fn float_product(
    worker: &Worker<'_>,
    x: &Buffer<f32>,
    w: &[f32],
    [m, n, k]: [usize; 3],
    y: &Buffer<f32>,
) {
    let operation = worker.begin_operation();
    let x = x.read(worker);
    let mut y = y.write(worker, operation);
    let w = MatrixRef::new(w, [n, k], k).transposed();
    for_blocks(worker, operation, m, |rows| {
        let x = MatrixRef::new(&x[rows.start * k..], [rows.len(), k], k);
        let out = y.slice(rows.start * n, rows.len() * n);
        multiply(x, w, 1.0, Destination::Replace, MatrixMut::new(out, [rows.len(), n], n));
    });
}

/// `d_x = d_y · w · scale`, or added to `d_x`.
///
/// # Shapes
/// `d_y`: `[m, n]`; `w`: `[n, k]`; `d_x`: `[m, k]`
pub fn input_gradient(
    worker: &Worker<'_>,
    d_y: &Buffer<f32>,
    w: &[f32],
    scale: f32,
    [m, n, k]: [usize; 3],
    destination: Destination,
    d_x: &Buffer<f32>,
) {
    let operation = worker.begin_operation();
    let d_y = d_y.read(worker);
    let mut d_x = d_x.write(worker, operation);
    let w = MatrixRef::new(w, [n, k], k);
    for_blocks(worker, operation, m, |rows| {
        let d_y = MatrixRef::new(&d_y[rows.start * n..], [rows.len(), n], n);
        let out = d_x.slice(rows.start * k, rows.len() * k);
        multiply(d_y, w, scale, destination, MatrixMut::new(out, [rows.len(), k], k));
    });
}

/// `d_w += d_yᵀ · x`, in the elements of `gradients` from `first` on.
///
/// # Shapes
/// `d_y`: `[m, n]`; `x`: `[m, k]`; `d_w`: `[n, k]`
pub fn weight_gradient(
    worker: &Worker<'_>,
    d_y: &Buffer<f32>,
    x: &Buffer<f32>,
    [m, n, k]: [usize; 3],
    gradients: &Buffer<f32>,
    first: usize,
) {
    let operation = worker.begin_operation();
    let (d_y, x) = (d_y.read(worker), x.read(worker));
    let mut d_w = gradients.write(worker, operation);
    let x = MatrixRef::new(x, [m, k], k);
    for_blocks(worker, operation, n, |rows| {
        let d_y = MatrixRef::new(&d_y[rows.start..], [m, rows.len()], n).transposed();
        let out = d_w.slice(first + rows.start * k, rows.len() * k);
        multiply(d_y, x, 1.0, Destination::Add, MatrixMut::new(out, [rows.len(), k], k));
    });
}

/// Calls `f` with each block of rows that this worker claims.
fn for_blocks(worker: &Worker<'_>, operation: u32, rows: usize, mut f: impl FnMut(Range<usize>)) {
    for_rows(worker, operation, rows.div_ceil(BLOCK_ROWS), |block| {
        let first = block * BLOCK_ROWS;
        f(first..rows.min(first + BLOCK_ROWS));
    });
}
