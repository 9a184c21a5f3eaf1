//! Gradients of a product from operands in bf16, packed in pairs.
//!
//! ```text
//! d_x = d_y · Ŵ        d_y row by row, pairs along n      Ŵ in panels of 16 of k, pairs along n
//! d_w = d_yᵀ · x̂       d_y in panels of n, pairs of rows  x̂ in panels of 16 of k, pairs of rows
//! ```
//!
//! Ternary weights and int8 codes are exact in bf16. The scale of a token goes into its row of
//! `d_y` before that is rounded, the scale of a matrix comes last. Each element of a gradient is one
//! sum, whoever computes it, so the number of threads changes no bit.

use std::ops::Range;

use super::{GradientProduct, GradientSizes, Input, Weight};
use crate::buffer::{Buffer, Writer};
use crate::dispatch;
use crate::gemm::Destination;
use crate::isa::Isa;
use crate::ops::rows::for_rows;
use crate::pool::{Pool, Worker};
use crate::scalar::pairs::{PAIR_LANES, PairLanes, PairRows, TILE_HEIGHT, TileStore, panel_groups};
use crate::ternary::{Layout, TILE_ROWS};

/// Rows that a worker packs at a time.
const PACK_ROWS: usize = 32;
/// No scale for any of them.
const ONES: [f32; PACK_ROWS] = [1.0; PACK_ROWS];
/// Rows of a gradient that a worker computes at a time.
const BLOCK_ROWS: usize = 64;
/// Pairs that are summed before the next panels: those of a block of rows and of a tile's panels
/// are half a megabyte, which the second cache holds.
const CHUNK_PAIRS: usize = 1024;

/// Room for the operands of one product.
pub(super) struct PairedOperands {
    weight: Buffer<u32>,         // [k / 16, n / 2, 16]
    input: Buffer<u32>,          // [k / 16, m / 2, 16]
    gradient_rows: Buffer<u32>,  // [m, n / 2]
    gradient_pairs: Buffer<u32>, // [n / 16, m / 2, 16]
}

impl PairedOperands {
    pub(super) fn new(pool: &Pool, sizes: &GradientSizes) -> Self {
        let [weight, input, rows, pairs] = words(sizes).map(|len| Buffer::zeroed(pool, len));
        PairedOperands { weight, input, gradient_rows: rows, gradient_pairs: pairs }
    }

    pub(super) fn prepare_weight(&self, worker: &Worker<'_>, weight: Weight<'_>, [n, k]: [usize; 2]) {
        let operation = worker.begin_operation();
        let mut out = self.weight.write(worker, operation);
        let pairs = n.div_ceil(2);
        match weight {
            Weight::Ternary(matrix, _) => {
                assert_eq!(matrix.layout(), Layout::TwoBit, "prepare_weight: a block has 16 columns");
                for_rows(worker, operation, matrix.tiles(), |tile| {
                    let first = tile * TILE_ROWS / 2;
                    for (panel, block) in matrix.tile(tile).iter().enumerate() {
                        let len = (TILE_ROWS / 2).min(pairs - first);
                        let out = lanes_mut(&mut out, panel * pairs + first, len);
                        dispatch::pair_ternary(worker.isa(), block, out);
                    }
                });
            }
            Weight::Floats(w, first) => {
                pack_rows(worker, operation, &w.read(worker)[first..], [n, k], None, &mut out);
            }
        }
    }

    pub(super) fn prepare_input(&self, worker: &Worker<'_>, input: Input<'_>, [m, k]: [usize; 2]) {
        let operation = worker.begin_operation();
        let mut out = self.input.write(worker, operation);
        match input {
            Input::Codes(rows) => {
                let rows = rows.read(worker, m);
                let mut codes = vec![0; PACK_ROWS * k];
                for_rows(worker, operation, m.div_ceil(PACK_ROWS), |block| {
                    let first = block * PACK_ROWS;
                    let count = PACK_ROWS.min(m - first);
                    for (row, codes) in (first..first + count).zip(codes.chunks_exact_mut(k)) {
                        rows.copy_row(row, codes);
                    }
                    for panel in 0..k.div_ceil(PAIR_LANES) {
                        let column = panel * PAIR_LANES;
                        let at = panel * m.div_ceil(2) + first / 2;
                        let out = lanes_mut(&mut out, at, count.div_ceil(2));
                        let cols = PAIR_LANES.min(k - column);
                        dispatch::pair_codes(worker.isa(), &codes[column..], k, count, cols, out);
                    }
                });
            }
            Input::Floats(x) => pack_rows(worker, operation, x.read(worker), [m, k], None, &mut out),
        }
    }

    pub(super) fn prepare_gradient(&self, worker: &Worker<'_>, product: &GradientProduct<'_>) {
        let [m, n, _] = product.shape;
        let pairs = n.div_ceil(2);
        let d_y = product.d_y.read(worker);
        let scales = match product.x {
            Input::Codes(rows) => Some(rows.read(worker, m).scales()),
            Input::Floats(_) => None,
        };
        let operation = worker.begin_operation();
        let mut rows = self.gradient_rows.write(worker, operation);
        let mut panels = self.gradient_pairs.write(worker, operation);
        for_rows(worker, operation, m.div_ceil(PACK_ROWS), |block| {
            let first = block * PACK_ROWS;
            let count = PACK_ROWS.min(m - first);
            let out = rows.slice(first * pairs, count * pairs);
            dispatch::pair_columns(worker.isa(), &d_y[first * n..], n, count, n, out);
            pack_block(worker.isa(), d_y, [m, n], scales, block, &mut panels);
        });
    }

    pub(super) fn input_gradient(
        &self,
        worker: &Worker<'_>,
        product: &GradientProduct<'_>,
        destination: Destination,
        d_x: &Buffer<f32>,
    ) {
        let [m, n, k] = product.shape;
        let pairs = n.div_ceil(2);
        let operation = worker.begin_operation();
        let rows = self.gradient_rows.read(worker);
        let sweep = Sweep {
            isa: worker.isa(),
            right: self.weight.read(worker),
            pairs,
            cols: k,
            scale: product.w.scale(),
            destination,
            first: 0,
        };
        let mut d_x = d_x.write(worker, operation);
        let left = |row: usize, chunk: Range<usize>| {
            // Rows past the last are computed and not kept.
            PairRows::Rows(std::array::from_fn(|r| {
                let first = (row + r).min(m - 1) * pairs;
                &rows[first + chunk.start..first + chunk.end]
            }))
        };
        for_rows(worker, operation, m.div_ceil(BLOCK_ROWS), |block| {
            sweep.rows(block * BLOCK_ROWS..m.min((block + 1) * BLOCK_ROWS), left, &mut d_x);
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
        let pairs = m.div_ceil(2);
        let operation = worker.begin_operation();
        let panels = self.gradient_pairs.read(worker);
        let right = self.input.read(worker);
        let sweep = Sweep { isa: worker.isa(), right, pairs, cols: k, scale: 1.0, destination, first };
        let mut d_w = gradients.write(worker, operation);
        let left = |row: usize, chunk: Range<usize>| {
            let is_upper = !row.is_multiple_of(PAIR_LANES);
            PairRows::Panel(&panel(panels, pairs, row / PAIR_LANES)[chunk], is_upper)
        };
        for_rows(worker, operation, n.div_ceil(BLOCK_ROWS), |block| {
            sweep.rows(block * BLOCK_ROWS..n.min((block + 1) * BLOCK_ROWS), left, &mut d_w);
        });
    }
}

/// Words of the four operands.
pub(super) fn words(sizes: &GradientSizes) -> [usize; 4] {
    let panels =
        |rows: usize, cols: usize| cols.next_multiple_of(PAIR_LANES).saturating_mul(rows.div_ceil(2));
    [
        sizes.matrices.iter().map(|[n, k]| panels(*n, *k)).max().unwrap_or(0),
        sizes.matrices.iter().map(|[_, k]| panels(sizes.rows, *k)).max().unwrap_or(0),
        sizes.matrices.iter().map(|[n, _]| n.div_ceil(2).saturating_mul(sizes.rows)).max().unwrap_or(0),
        sizes.matrices.iter().map(|[n, _]| panels(sizes.rows, *n)).max().unwrap_or(0),
    ]
}

/// A right operand in panels, and what becomes of the products with it.
struct Sweep<'a> {
    isa: Isa,
    right: &'a [u32],
    /// Pairs that are summed.
    pairs: usize,
    /// Columns of the right operand, and of a row of the result.
    cols: usize,
    scale: f32,
    destination: Destination,
    /// Where the result begins.
    first: usize,
}

impl Sweep<'_> {
    /// Some rows of the result; `left` gives the tile from a row on.
    fn rows<'l>(
        &self,
        rows: Range<usize>,
        left: impl Fn(usize, Range<usize>) -> PairRows<'l>,
        out: &mut Writer<'_, f32>,
    ) {
        let panels = self.cols.div_ceil(PAIR_LANES);
        for start in (0..self.pairs).step_by(CHUNK_PAIRS) {
            let chunk = start..self.pairs.min(start + CHUNK_PAIRS);
            for (first, count) in panel_groups(0..panels) {
                match count {
                    1 => self.tiles::<1>(first, rows.clone(), chunk.clone(), &left, out),
                    2 => self.tiles::<2>(first, rows.clone(), chunk.clone(), &left, out),
                    _ => self.tiles::<3>(first, rows.clone(), chunk.clone(), &left, out),
                }
            }
        }
    }

    /// The tiles of `C` panels from `first` on.
    fn tiles<'l, const C: usize>(
        &self,
        first: usize,
        rows: Range<usize>,
        chunk: Range<usize>,
        left: &impl Fn(usize, Range<usize>) -> PairRows<'l>,
        out: &mut Writer<'_, f32>,
    ) {
        let is_added = self.destination == Destination::Add || chunk.start > 0;
        let store = TileStore { scale: self.scale, is_added };
        let right = std::array::from_fn(|c| &panel(self.right, self.pairs, first + c)[chunk.clone()]);
        let column = first * PAIR_LANES;
        let width = (C * PAIR_LANES).min(self.cols - column);
        for row in rows.clone().step_by(TILE_HEIGHT) {
            let at = self.first + row * self.cols + column;
            let y = out.rows(at, width, self.cols, rows.end - row);
            dispatch::bf16_tile::<C>(self.isa, left(row, chunk.clone()), right, store, y);
        }
    }
}

/// `x`, row by row, into panels of pairs of rows, each times its scale.
fn pack_rows(
    worker: &Worker<'_>,
    operation: u32,
    x: &[f32],
    [rows, cols]: [usize; 2],
    scales: Option<&[f32]>,
    out: &mut Writer<'_, u32>,
) {
    for_rows(worker, operation, rows.div_ceil(PACK_ROWS), |block| {
        pack_block(worker.isa(), x, [rows, cols], scales, block, out);
    });
}

fn pack_block(
    isa: Isa,
    x: &[f32],
    [rows, cols]: [usize; 2],
    scales: Option<&[f32]>,
    block: usize,
    out: &mut Writer<'_, u32>,
) {
    let first = block * PACK_ROWS;
    let count = PACK_ROWS.min(rows - first);
    let scales = scales.map_or(&ONES[..count], |scales| &scales[first..first + count]);
    for panel in 0..cols.div_ceil(PAIR_LANES) {
        let column = panel * PAIR_LANES;
        let out = lanes_mut(out, panel * rows.div_ceil(2) + first / 2, count.div_ceil(2));
        let width = PAIR_LANES.min(cols - column);
        dispatch::pair_rows(isa, &x[first * cols + column..], cols, scales, width, out);
    }
}

/// The pairs of one panel of a matrix of so many pairs of rows.
fn panel(words: &[u32], pairs: usize, panel: usize) -> &[PairLanes] {
    words[panel * pairs * PAIR_LANES..][..pairs * PAIR_LANES].as_chunks().0
}

/// `len` pairs of lanes from lanes `first` on.
fn lanes_mut<'w>(out: &'w mut Writer<'_, u32>, first: usize, len: usize) -> &'w mut [PairLanes] {
    out.slice(first * PAIR_LANES, len * PAIR_LANES).as_chunks_mut().0
}
