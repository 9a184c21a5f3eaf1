//! The steps of the optimizers over long buffers of parameters.
//!
//! Parameters of one kind are a [`Region`]; each is cut into fixed blocks, so that the number of
//! threads changes no bit.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::buffer::Buffer;
use crate::dispatch;
use crate::gemm::{Destination, MatrixMut, MatrixRef, multiply};
use crate::ops::rows::for_rows;
use crate::pool::{Pool, Worker};
use crate::scalar::backward::AdamwStep;

/// Parameters that a worker updates at a time.
const BLOCK_ELEMENTS: usize = 1 << 14;

/// A range of the parameters and how AdamW treats it.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Its elements.
    pub range: Range<usize>,
    /// Its step.
    pub step: AdamwStep,
}

/// `Σ x²` over the ranges in f64, in fixed blocks added in order: the same for any threads.
pub fn sum_of_squares(pool: &Pool, x: &Buffer<f32>, ranges: &[Range<usize>]) -> f64 {
    let blocks = blocks(ranges.iter().cloned());
    let sums = Mutex::new(Vec::new());
    pool.run(|worker| {
        let operation = worker.begin_operation();
        let x = x.read(worker);
        let mut mine = Vec::new();
        for_rows(worker, operation, blocks.len(), |block| {
            mine.push((block, dispatch::squares(worker.isa(), &x[blocks[block].1.clone()])));
        });
        sums.lock().unwrap_or_else(PoisonError::into_inner).append(&mut mine);
    });
    let mut sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    sums.sort_unstable_by_key(|(block, _)| *block);
    sums.into_iter().map(|(_, sum)| sum).sum()
}

/// AdamW on every region. See [`AdamwStep`].
///
/// # Shapes
/// `gradients`, `m`, `v`, `weights`: as long as each other
///
/// # Panics
/// If regions overlap, or two of the buffers are one.
pub fn adamw(
    worker: &Worker<'_>,
    regions: &[Region],
    gradients: &Buffer<f32>,
    [m, v, weights]: [&Buffer<f32>; 3],
) {
    let blocks = blocks(regions.iter().map(|region| region.range.clone()));
    let operation = worker.begin_operation();
    let gradients = gradients.read(worker);
    let [mut m, mut v, mut weights] = Buffer::write_each([m, v, weights], worker, operation);
    for_rows(worker, operation, blocks.len(), |block| {
        let (region, range) = &blocks[block];
        let (first, len) = (range.start, range.len());
        dispatch::adamw(
            worker.isa(),
            &regions[*region].step,
            &gradients[range.clone()],
            m.slice(first, len),
            v.slice(first, len),
            weights.slice(first, len),
        );
    });
}

/// Ranges cut into blocks, each with the number of its range. No two ranges overlap, so that workers may
/// write the blocks that they claim.
pub(super) fn blocks(ranges: impl Iterator<Item = Range<usize>> + Clone) -> Vec<(usize, Range<usize>)> {
    assert_apart(ranges.clone());
    let cut = |(number, range): (usize, Range<usize>)| {
        let end = range.end;
        let starts = range.step_by(BLOCK_ELEMENTS);
        starts.map(move |start| (number, start..end.min(start + BLOCK_ELEMENTS)))
    };
    ranges.enumerate().flat_map(cut).collect()
}

/// Checks that no two ranges overlap.
fn assert_apart(ranges: impl Iterator<Item = Range<usize>>) {
    let mut ranges: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let are_apart = ranges.array_windows().all(|[a, b]| a.end <= b.start);
    assert!(are_apart, "an operation on ranges: no two of them overlap");
}

/// One step of Muon for every matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonStep {
    /// Multiplies gradients before they are used: the clipping.
    pub gradient_scale: f32,
    /// μ, of Nesterov's kind.
    pub momentum: f32,
    /// The learning rate.
    pub learning_rate: f32,
    /// What a weight is multiplied with first: `1 - learning_rate · weight_decay`.
    pub keep: f32,
}

/// The coefficients of a step of the Newton-Schulz iteration (Jordan et al. 2024).
const NEWTON_SCHULZ: [f32; 3] = [3.4445, -4.7750, 2.0315];
const NEWTON_SCHULZ_STEPS: usize = 5;
/// Added to a norm that is divided by.
const NORM_EPS: f32 = 1e-7;

/// Muon on every matrix: `b = μ b + g`, `u = g + μ b`, and `w = w · keep - learning_rate · 0.2
/// sqrt(max(n, k)) · orthogonal(u)`.
///
/// Jordan et al. 2024; the factor `0.2 sqrt(max(n, k))`, which gives updates the size of AdamW's, is
/// that of arXiv:2502.16982.
///
/// # Shapes
/// `matrices`: where each begins, and `[n, k]`; `gradients`, `momenta`, `weights`: as long as each
/// other
///
/// # Panics
/// If matrices overlap, or two of the buffers are one.
pub fn muon(
    worker: &Worker<'_>,
    step: &MuonStep,
    matrices: &[(usize, [usize; 2])],
    gradients: &Buffer<f32>,
    [momenta, weights]: [&Buffer<f32>; 2],
) {
    assert_apart(matrices.iter().map(|(first, [n, k])| *first..first + n * k));
    let operation = worker.begin_operation();
    let gradients = gradients.read(worker);
    let [mut momenta, mut weights] = Buffer::write_each([momenta, weights], worker, operation);
    let isa = worker.isa();
    for_rows(worker, operation, matrices.len(), |matrix| {
        let (first, [n, k]) = matrices[matrix];
        let gradient: Vec<f32> =
            gradients[first..first + n * k].iter().map(|g| g * step.gradient_scale).collect();
        let momentum = momenta.slice(first, n * k);
        dispatch::combine(isa, momentum, step.momentum, &gradient, 1.0);
        let mut update = gradient;
        dispatch::combine(isa, &mut update, 1.0, momentum, step.momentum);
        orthogonalize(worker, &mut update, [n, k]);
        let size = -step.learning_rate * 0.2 * (n.max(k) as f32).sqrt();
        dispatch::combine(isa, weights.slice(first, n * k), step.keep, &update, size);
    });
}

/// Brings all singular values near 1: `X = X / ‖X‖`, then five times `A = X Xᵀ`,
/// `X = a X + (b A + c A²) X`, on the side that is shorter.
fn orthogonalize(worker: &Worker<'_>, x: &mut [f32], [n, k]: [usize; 2]) {
    let [a, b, c] = NEWTON_SCHULZ;
    let isa = worker.isa();
    let norm = dispatch::squares(isa, x).sqrt() as f32 + NORM_EPS;
    x.iter_mut().for_each(|x| *x /= norm);
    let is_tall = n > k;
    let side = n.min(k);
    let square = [side, side];
    let (mut gram, mut cubic) = (vec![0.0; side * side], vec![0.0; side * side]);
    let mut next = vec![0.0; n * k];
    for _ in 0..NEWTON_SCHULZ_STEPS {
        let view = MatrixRef::new(x, [n, k], k);
        let (left, right) = if is_tall { (view.transposed(), view) } else { (view, view.transposed()) };
        let out = MatrixMut::new(&mut gram, square, side);
        multiply(left, right, 1.0, Destination::Replace, out);
        // b A + c A²
        cubic.copy_from_slice(&gram);
        cubic.iter_mut().for_each(|x| *x *= b);
        let gram = MatrixRef::new(&gram, square, side);
        multiply(gram, gram, c, Destination::Add, MatrixMut::new(&mut cubic, square, side));
        next.copy_from_slice(x);
        next.iter_mut().for_each(|x| *x *= a);
        let cubic = MatrixRef::new(&cubic, square, side);
        let view = MatrixRef::new(x, [n, k], k);
        let (left, right) = if is_tall { (view, cubic) } else { (cubic, view) };
        multiply(left, right, 1.0, Destination::Add, MatrixMut::new(&mut next, [n, k], k));
        x.copy_from_slice(&next);
    }
}
