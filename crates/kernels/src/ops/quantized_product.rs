//! Products of int8 tokens with a quantized dense matrix.

use crate::buffer::{Buffer, Writer};
use crate::dispatch;
use crate::ops::CLAIMS_A_WORKER;
use crate::ops::int8_rows::{Int8Rows, ReadRows, panel_of};
use crate::pool::Worker;
use crate::quantized::{GROUP_COLUMNS, QuantizedMatrix, group_sums};
use crate::ternary::TILE_ROWS;

/// Tiles that are swept together over one or two tokens: as many streams from memory. A group of them is
/// several cache lines, so that more streams would be slower (33 and not 39 GB/s on AMD Zen 5).
const STREAMS: usize = 2;

/// `y[t][r] = x_scale[t] · Σ_g scale[r, g] · (Σ_c (code[r, c] - offset) · codes[t][c])`.
///
/// The inner sums are exact, the outer one is a chain of fused multiply-adds over the groups of 32
/// columns, ascending, from +0.
///
/// # Shapes
/// - `w`: `[n, k]`; `x`: `m` rows quantized at width `k`
/// - `y`: `[m, n]`
pub fn quantized_product(worker: &Worker<'_>, w: &QuantizedMatrix, x: &Int8Rows, m: usize, y: &Buffer<f32>) {
    assert!(x.fits(w.cols()), "quantized_product: x has one value a column of W");
    assert!(m * w.rows() <= y.len(), "quantized_product: y has one value a row of W and token");
    let operation = worker.begin_operation();
    let (mut group_sums, len) = x.group_sums(worker, operation);
    let group_sums = group_sums.slice(worker.index() * len, len);
    let product = Product { worker, w, x: x.read(worker, m) };
    let mut y = y.write(worker, operation);
    let claims = CLAIMS_A_WORKER * worker.threads();
    let claim_tiles = w.tiles().div_ceil(claims).max(1).next_multiple_of(STREAMS);
    while let Some(claim) = worker.claim(operation, w.tiles().div_ceil(claim_tiles)) {
        let first_tile = claim * claim_tiles;
        let tiles = first_tile..w.tiles().min(first_tile + claim_tiles);
        let mut first = 0;
        while first < m {
            let (_, width) = panel_of(first, m);
            match width {
                8 => product.panel::<8, 1>(tiles.clone(), first, group_sums, &mut y),
                4 => product.panel::<4, 2>(tiles.clone(), first, group_sums, &mut y),
                2 => product.panel::<2, STREAMS>(tiles.clone(), first, group_sums, &mut y),
                _ => product.panel::<1, STREAMS>(tiles.clone(), first, group_sums, &mut y),
            }
            first += width;
        }
    }
}

struct Product<'a> {
    worker: &'a Worker<'a>,
    w: &'a QuantizedMatrix,
    x: ReadRows<'a>,
}

impl Product<'_> {
    /// The panel of `W` tokens from `first` on over all `tiles`, `R` of them together.
    fn panel<const W: usize, const R: usize>(
        &self,
        tiles: std::ops::Range<usize>,
        first: usize,
        sums: &mut [i32],
        y: &mut Writer<'_, f32>,
    ) {
        let x = self.x.panel::<W>(first);
        let sums = &mut sums.as_chunks_mut::<W>().0[..self.w.cols().div_ceil(GROUP_COLUMNS)];
        group_sums(x, sums);
        // Tiles that are swept together lie far apart, so that each is a long stream.
        let stream = tiles.len() / R;
        for i in 0..stream {
            self.tiles::<W, R>(std::array::from_fn(|r| tiles.start + r * stream + i), x, sums, first, y);
        }
        for tile in tiles.start + stream * R..tiles.end {
            self.tiles::<W, 1>([tile], x, sums, first, y);
        }
    }

    fn tiles<const W: usize, const R: usize>(
        &self,
        tiles: [usize; R],
        x: &[[[i8; 4]; W]],
        group_sums: &[[i32; W]],
        first: usize,
        y: &mut Writer<'_, f32>,
    ) {
        let (n, isa) = (self.w.rows(), self.worker.isa());
        let mut out = [[[0.0; TILE_ROWS]; W]; R];
        let operands = tiles.map(|tile| self.w.tile(tile));
        dispatch::quantized_tiles(isa, self.w.quantized_type(), operands, x, group_sums, &mut out);
        for (tile, out) in tiles.into_iter().zip(&out) {
            let first_row = tile * TILE_ROWS;
            let tile_rows = TILE_ROWS.min(n - first_row);
            for (t, out) in (first..).zip(out) {
                let scale = self.x.scales()[t];
                let y = y.slice(t * n + first_row, tile_rows);
                for (y, out) in y.iter_mut().zip(out) {
                    *y = scale * out;
                }
            }
        }
    }
}
