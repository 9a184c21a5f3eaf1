//! Quantized operands as floats, and those on their way to being quantized.

use crate::buffer::Buffer;
use crate::dispatch;
use crate::ops::int8_rows::Int8Rows;
use crate::ops::rows::for_rows;
use crate::pool::Worker;
use crate::ternary::{TILE_ROWS, TernaryMatrix};

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
/// `w`: `[n, k]` masters; `out`: the codes as [`dequantize_matrix`] gave them, replaced here
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
