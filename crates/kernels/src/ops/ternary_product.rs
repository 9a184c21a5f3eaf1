//! Products of int8 tokens with a ternary matrix.

use crate::buffer::{Buffer, Writer};
use crate::dispatch;
use crate::ops::CLAIMS_A_WORKER;
use crate::ops::int8_rows::{Int8Rows, ReadRows, panel_of};
use crate::pool::Worker;
use crate::ternary::{TILE_ROWS, TernaryMatrix};

/// Columns a ternary matrix may have, so that no sum of codes × activations leaves i32, also where
/// a code stays shifted by six bits in its byte.
pub const MAX_COLUMNS: usize = i32::MAX as usize / (2 * 64 * 128);

/// Tiles that are swept together over one token: as many streams from memory.
const STREAMS: usize = 4;
/// Tiles that are swept together over a wide panel: as many sums as registers hold.
const PANEL_TILES: usize = 3;
/// Tokens that stay in a core's cache while a claim's tiles are swept over them.
const CACHED_BYTES: usize = 1 << 18;

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
    assert!(x.fits(w.cols()), "ternary_product: x has one value a column of W");
    assert!(m * w.rows() <= y.len(), "ternary_product: y has one value a row of W and token");
    let operation = worker.begin_operation();
    let product = Product { worker, w, w_scale, x: x.read(worker, m) };
    let mut y = y.write(worker, operation);
    let together = if m < 4 { STREAMS } else { PANEL_TILES };
    let claims = CLAIMS_A_WORKER * worker.threads();
    let claim_tiles = w.tiles().div_ceil(claims).next_multiple_of(together);
    let chunk_tokens = (CACHED_BYTES / w.cols().max(1)).next_multiple_of(8);
    while let Some(claim) = worker.claim(operation, w.tiles().div_ceil(claim_tiles) as u32) {
        let first = claim * claim_tiles;
        let tiles = claim_tiles.min(w.tiles() - first);
        for chunk in (0..m).step_by(chunk_tokens) {
            let tokens = chunk..m.min(chunk + chunk_tokens);
            let rounds = tiles / together;
            for i in 0..rounds {
                if together == STREAMS {
                    // They lie far apart, so that each is a long stream.
                    let tiles = std::array::from_fn(|r| first + r * rounds + i);
                    product.sweep::<STREAMS>(tiles, tokens.clone(), m, &mut y);
                } else {
                    // They lie side by side, and so do their outputs.
                    let tiles = std::array::from_fn(|r| first + i * PANEL_TILES + r);
                    product.sweep::<PANEL_TILES>(tiles, tokens.clone(), m, &mut y);
                }
            }
            for tile in first + rounds * together..first + tiles {
                product.sweep::<1>([tile], tokens.clone(), m, &mut y);
            }
        }
    }
}

struct Product<'a> {
    worker: &'a Worker<'a>,
    w: &'a TernaryMatrix,
    w_scale: f32,
    x: ReadRows<'a>,
}

impl Product<'_> {
    /// `R` tiles for the panels of `tokens`.
    fn sweep<const R: usize>(
        &self,
        tiles: [usize; R],
        tokens: std::ops::Range<usize>,
        m: usize,
        y: &mut Writer<'_, f32>,
    ) {
        let mut first = tokens.start;
        while first < tokens.end {
            let (_, width) = panel_of(first, m);
            match width {
                8 => self.panel::<R, 8>(tiles, first, y),
                4 => self.panel::<R, 4>(tiles, first, y),
                2 => self.panel::<R, 2>(tiles, first, y),
                _ => self.panel::<R, 1>(tiles, first, y),
            }
            first += width;
        }
    }

    /// `R` tiles for the panel of `W` tokens from `first` on.
    fn panel<const R: usize, const W: usize>(
        &self,
        tiles: [usize; R],
        first: usize,
        y: &mut Writer<'_, f32>,
    ) {
        let (n, isa) = (self.w.rows(), self.worker.isa());
        let mut sums = [[[0; TILE_ROWS]; W]; R];
        let blocks = tiles.map(|tile| self.w.tile(tile));
        dispatch::ternary_tiles::<R, W>(isa, self.w.layout(), blocks, self.x.panel(first), &mut sums);
        for (tile, sums) in tiles.into_iter().zip(&sums) {
            let first_row = tile * TILE_ROWS;
            let tile_rows = TILE_ROWS.min(n - first_row);
            for (t, sums) in (first..).zip(sums) {
                let scale = self.w_scale * self.x.scales()[t];
                let y = y.slice(t * n + first_row, tile_rows);
                dispatch::scale_sums(isa, &sums[..tile_rows], self.x.code_sums()[t], scale, y);
            }
        }
    }
}
