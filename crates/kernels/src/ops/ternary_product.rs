//! Products of int8 tokens with ternary matrices.

use std::hint::spin_loop;
use std::ops::Range;

use crate::buffer::{Buffer, Writer};
use crate::dispatch;
use crate::ops::CLAIMS_A_WORKER;
use crate::ops::int8_rows::{Int8Rows, PANEL_TOKENS, ReadRows, panel_of};
use crate::pool::Worker;
use crate::prefetch::prefetch;
use crate::ternary::{BLOCK_BYTES, Layout, TILE_ROWS, TernaryMatrix};

/// Columns a ternary matrix may have, so that no sum of codes × activations leaves i32, also where
/// a code stays shifted by six bits in its byte.
pub const MAX_COLUMNS: usize = i32::MAX as usize / (2 * 64 * 128);

/// Tiles that are swept together over one token: as many streams from memory.
const STREAMS: usize = 4;
/// Tiles that are swept together over a wide panel: as many sums as registers hold.
const PANEL_TILES: usize = 3;
/// Tokens from which on tiles are swept over wide panels.
const PANELS_FROM: usize = 4;
/// Bytes of the tokens that stay in a core's cache while a claim's tiles are swept over them.
const CACHED_BYTES: usize = 1 << 18;
/// Bytes of each stream that a waiting worker asks for: together a small part of a core's cache.
const AHEAD_BYTES: usize = 1 << 15;

/// One of the products that share their tokens.
#[derive(Clone, Copy)]
pub struct TernaryProduct<'a> {
    /// `[n, k]`
    pub w: &'a TernaryMatrix,
    /// real = (code - 1) × scale.
    pub w_scale: f32,
    /// `[m, n]`
    pub y: &'a Buffer<f32>,
}

/// `y[t][r] = (Σ_c W[r, c] · codes[t][c]) · (w_scale · x_scale[t])` for each product, the sum exactly.
///
/// # Shapes
/// - each `w`: `[n, k]` of one `k` and layout; `x`: `m` rows quantized at width `k`
/// - each `y`: `[m, n]`
///
/// # Panics
/// If the shapes do not fit, or `k` exceeds [`MAX_COLUMNS`].
pub fn ternary_products<const N: usize>(
    worker: &Worker<'_>,
    products: [TernaryProduct<'_>; N],
    x: &Int8Rows,
    m: usize,
) {
    let Some(TernaryProduct { w: first, .. }) = products.first() else { return };
    let (k, layout) = (first.cols(), first.layout());
    assert!(k <= MAX_COLUMNS, "ternary_products: the sums fit into i32");
    assert!(x.fits(k), "ternary_products: x has one value a column of W");
    for TernaryProduct { w, y, .. } in &products {
        assert!(
            w.cols() == k && w.layout() == layout,
            "ternary_products: the matrices have one width and layout"
        );
        assert!(m * w.rows() <= y.len(), "ternary_products: y has one value a row of W and token");
    }
    for (i, product) in products.iter().enumerate() {
        let is_other = |earlier: &TernaryProduct<'_>| !std::ptr::eq(earlier.y, product.y);
        assert!(products[..i].iter().all(is_other), "ternary_products: each product has a y of its own");
    }
    let operation = worker.begin_operation();
    let outputs = products.map(|product| product.y.write(worker, operation));
    let mut sweep = Sweep { worker, layout, products, outputs, x: x.read(worker, m), m };
    let tiles = tiles_of(&products);
    if m < PANELS_FROM {
        let claims = tiles.div_ceil(STREAMS);
        while let Some(claim) = worker.claim(operation, claims) {
            match stream_tiles(worker, claim, tiles) {
                Some(tiles) => sweep.tokens::<STREAMS>(tiles, 0..m),
                None => {
                    for tile in claim * STREAMS..tiles {
                        sweep.tokens([tile], 0..m);
                    }
                }
            }
        }
    } else {
        let claims = CLAIMS_A_WORKER * worker.threads();
        let claim_tiles = tiles.div_ceil(claims).max(1).next_multiple_of(PANEL_TILES);
        let chunk_tokens = (CACHED_BYTES / k.max(1)).next_multiple_of(8);
        while let Some(claim) = worker.claim(operation, tiles.div_ceil(claim_tiles)) {
            let (first, end) = (claim * claim_tiles, tiles.min((claim + 1) * claim_tiles));
            for chunk in (0..m).step_by(chunk_tokens) {
                let tokens = chunk..m.min(chunk + chunk_tokens);
                // They lie side by side, and so do their outputs.
                let mut tile = first;
                while end - tile >= PANEL_TILES {
                    sweep.tokens::<PANEL_TILES>(std::array::from_fn(|r| tile + r), tokens.clone());
                    tile += PANEL_TILES;
                }
                for tile in tile..end {
                    sweep.tokens([tile], tokens.clone());
                }
            }
        }
    }
}

/// A barrier before [`ternary_products`]: who waits asks meanwhile for the first bytes that it will
/// read, where they are more than the caches hold anyway.
pub fn barrier_before<const N: usize>(worker: &mut Worker<'_>, products: [TernaryProduct<'_>; N], m: usize) {
    let tiles = tiles_of(&products);
    let own = worker.share(worker.index(), tiles.div_ceil(STREAMS)).start;
    let Some(first) = stream_tiles(worker, own, tiles).filter(|_| m < PANELS_FROM) else {
        return worker.barrier();
    };
    let streams = first.map(|tile| {
        let (product, tile) = locate(&products, tile);
        products[product].w.tile(tile).as_ptr().cast::<u8>()
    });
    let mut ahead = 0;
    worker.barrier_while(|| {
        if ahead == AHEAD_BYTES {
            return spin_loop();
        }
        for stream in streams {
            prefetch(stream.wrapping_add(ahead));
        }
        ahead += BLOCK_BYTES;
    });
}

/// The tiles of one claim of a single token, or `None` for the last few of all.
///
/// Those of a worker's share follow each other in [`STREAMS`] streams, so that each is as long as
/// can be.
fn stream_tiles(worker: &Worker<'_>, claim: usize, tiles: usize) -> Option<[usize; STREAMS]> {
    let claims = tiles.div_ceil(STREAMS);
    let whole = tiles / STREAMS;
    if claim >= whole {
        return None;
    }
    let share = worker.share(worker.owner(claim, claims), claims);
    let len = share.end.min(whole) - share.start;
    Some(std::array::from_fn(|r| STREAMS * share.start + r * len + claim - share.start))
}

fn tiles_of<const N: usize>(products: &[TernaryProduct<'_>; N]) -> usize {
    products.iter().map(|product| product.w.tiles()).sum()
}

/// The product that tile `tile` of all belongs to, and its number there.
fn locate<const N: usize>(products: &[TernaryProduct<'_>; N], mut tile: usize) -> (usize, usize) {
    for (index, product) in products.iter().enumerate() {
        if tile < product.w.tiles() {
            return (index, tile);
        }
        tile -= product.w.tiles();
    }
    unreachable!("locate: the tile belongs to a product")
}

/// Tiles over tokens.
struct Sweep<'a, const N: usize> {
    worker: &'a Worker<'a>,
    layout: Layout,
    products: [TernaryProduct<'a>; N],
    outputs: [Writer<'a, f32>; N],
    x: ReadRows<'a>,
    m: usize,
}

impl<const N: usize> Sweep<'_, N> {
    /// `R` tiles over the panels of `tokens`.
    fn tokens<const R: usize>(&mut self, tiles: [usize; R], tokens: Range<usize>) {
        let tiles = tiles.map(|tile| locate(&self.products, tile));
        let mut first = tokens.start;
        if tokens.len() >= PANEL_TOKENS {
            // One array for all panels: to make it takes a sixth of the time of a narrow product.
            let mut sums = [[[0; TILE_ROWS]; PANEL_TOKENS]; R];
            while first + PANEL_TOKENS <= tokens.end {
                self.panel(tiles, first, &mut sums);
                first += PANEL_TOKENS;
            }
        }
        while first < tokens.end {
            let (_, width) = panel_of(first, self.m);
            match width {
                4 => self.panel(tiles, first, &mut [[[0; TILE_ROWS]; 4]; R]),
                2 => self.panel(tiles, first, &mut [[[0; TILE_ROWS]; 2]; R]),
                _ => self.panel(tiles, first, &mut [[[0; TILE_ROWS]; 1]; R]),
            }
            first += width;
        }
    }

    /// `R` tiles over the panel of `W` tokens from `first` on.
    fn panel<const R: usize, const W: usize>(
        &mut self,
        tiles: [(usize, usize); R],
        first: usize,
        sums: &mut [[[i32; TILE_ROWS]; W]; R],
    ) {
        let isa = self.worker.isa();
        let blocks = tiles.map(|(product, tile)| self.products[product].w.tile(tile));
        dispatch::ternary_tiles::<R, W>(isa, self.layout, blocks, self.x.panel(first), sums);
        let code_sums = std::array::from_fn(|t| self.x.code_sums()[first + t]);
        let x_scales: [f32; W] = std::array::from_fn(|t| self.x.scales()[first + t]);
        for ((product, tile), sums) in tiles.into_iter().zip(&*sums) {
            let TernaryProduct { w, w_scale, .. } = self.products[product];
            let (n, first_row) = (w.rows(), tile * TILE_ROWS);
            let scales = x_scales.map(|scale| w_scale * scale);
            let y = self.outputs[product].rows(first * n + first_row, TILE_ROWS.min(n - first_row), n, W);
            dispatch::scale_sums::<W>(isa, sums, &code_sums, &scales, y);
        }
    }
}
