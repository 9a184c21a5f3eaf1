//! Gradients of a product in f32, by the `gemm` crate.

use std::ops::Range;

use super::{GradientProduct, GradientSizes, Input, Weight, dequantize_matrix, dequantize_rows};
use crate::buffer::Buffer;
use crate::gemm::{Destination, MatrixMut, MatrixRef, multiply};
use crate::ops::rows::for_rows;
use crate::pool::{Pool, Worker};

/// Rows of a product that a worker computes at a time: fixed, so that threads change no bit.
const BLOCK_ROWS: usize = 64;

/// Room for quantized operands as floats; those that are floats are taken where they lie.
pub(super) struct FloatOperands {
    weight: Buffer<f32>, // [n, k]
    input: Buffer<f32>,  // [m, k]
}

impl FloatOperands {
    pub(super) fn new(pool: &Pool, sizes: &GradientSizes) -> Self {
        let [weight, input] = numbers(sizes).map(|len| Buffer::zeroed(pool, len));
        FloatOperands { weight, input }
    }

    pub(super) fn prepare_weight(&self, worker: &Worker<'_>, weight: Weight<'_>) {
        if let Weight::Ternary(matrix, _) = weight {
            dequantize_matrix(worker, matrix, &self.weight);
        }
    }

    pub(super) fn prepare_input(&self, worker: &Worker<'_>, input: Input<'_>, [m, k]: [usize; 2]) {
        if let Input::Codes(rows) = input {
            dequantize_rows(worker, rows, m, k, &self.input);
        }
    }

    pub(super) fn input_gradient(
        &self,
        worker: &Worker<'_>,
        product: &GradientProduct<'_>,
        destination: Destination,
        d_x: &Buffer<f32>,
    ) {
        let [m, n, k] = product.shape;
        let operation = worker.begin_operation();
        let d_y = product.d_y.read(worker);
        let w = match product.w {
            Weight::Ternary(..) => self.weight.read(worker),
            Weight::Floats(w, first) => &w.read(worker)[first..],
        };
        let w = MatrixRef::new(w, [n, k], k);
        let mut d_x = d_x.write(worker, operation);
        for_blocks(worker, operation, m, |rows| {
            let d_y = MatrixRef::new(&d_y[rows.start * n..], [rows.len(), n], n);
            let out = d_x.slice(rows.start * k, rows.len() * k);
            let out = MatrixMut::new(out, [rows.len(), k], k);
            multiply(d_y, w, product.w.scale(), destination, out);
        });
    }

    pub(super) fn weight_gradient(
        &self,
        worker: &Worker<'_>,
        product: &GradientProduct<'_>,
        destination: Destination,
        gradients: &Buffer<f32>,
        first: usize,
    ) {
        let [m, n, k] = product.shape;
        let operation = worker.begin_operation();
        let d_y = product.d_y.read(worker);
        let x = match product.x {
            Input::Codes(_) => self.input.read(worker),
            Input::Floats(x) => x.read(worker),
        };
        let x = MatrixRef::new(x, [m, k], k);
        let mut d_w = gradients.write(worker, operation);
        for_blocks(worker, operation, n, |rows| {
            let d_y = MatrixRef::new(&d_y[rows.start..], [m, rows.len()], n).transposed();
            let out = d_w.slice(first + rows.start * k, rows.len() * k);
            multiply(d_y, x, 1.0, destination, MatrixMut::new(out, [rows.len(), k], k));
        });
    }
}

/// Numbers of the two operands.
pub(super) fn numbers(sizes: &GradientSizes) -> [usize; 2] {
    if !sizes.is_quantized {
        return [0; 2];
    }
    [
        sizes.matrices.iter().map(|[n, k]| n.saturating_mul(*k)).max().unwrap_or(0),
        sizes.matrices.iter().map(|[_, k]| k.saturating_mul(sizes.rows)).max().unwrap_or(0),
    ]
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

/// Calls `f` with each block of rows that this worker claims.
fn for_blocks(worker: &Worker<'_>, operation: u32, rows: usize, mut f: impl FnMut(Range<usize>)) {
    for_rows(worker, operation, rows.div_ceil(BLOCK_ROWS), |block| {
        let first = block * BLOCK_ROWS;
        f(first..rows.min(first + BLOCK_ROWS));
    });
}
