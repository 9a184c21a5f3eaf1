//! The products of bf16 pairs, for the backward pass.
//!
//! It knows no threads, allocation or errors. Every other operation of this instruction set is
//! that of `avx512vbmi.rs`.
#![expect(unsafe_code, reason = "vector loads and stores take pointers")]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512,
};

pub(crate) use super::probe::vdpbf16ps_dots as bf16_dots;
use crate::scalar::pairs::{PAIR_LANES, PairLanes, PairRows, TILE_HEIGHT, TileStore};

/// See [`crate::scalar::pairs::bf16_tile`].
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) fn bf16_tile<const C: usize>(
    a: PairRows<'_>,
    b: [&[PairLanes]; C],
    store: TileStore,
    y: [&mut [f32]; TILE_HEIGHT],
) {
    let chains = match a {
        PairRows::Rows(rows) => tile_of_rows(rows, b),
        PairRows::Panel(panel, is_upper) => tile_of_panel(panel, is_upper, b),
    };
    for (y, chains) in y.into_iter().zip(&chains) {
        store_row(chains, store, y);
    }
}

type Chains<const C: usize> = [[__m512; C]; TILE_HEIGHT];

#[target_feature(enable = "avx512f,avx512bf16")]
fn tile_of_rows<const C: usize>(rows: [&[u32]; TILE_HEIGHT], b: [&[PairLanes]; C]) -> Chains<C> {
    let pairs = b[0].len();
    let (mut rows, b) = (rows, of_length(b, pairs));
    for row in &mut rows {
        *row = &row[..pairs];
    }
    let mut chains = [[_mm512_setzero_ps(); C]; TILE_HEIGHT];
    #[expect(clippy::needless_range_loop, reason = "all rows and panels are read at `p`")]
    for p in 0..pairs {
        let b = load_pair(&b, p);
        for r in 0..TILE_HEIGHT {
            add_products(&mut chains[r], rows[r][p], b);
        }
    }
    chains
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn tile_of_panel<const C: usize>(panel: &[PairLanes], is_upper: bool, b: [&[PairLanes]; C]) -> Chains<C> {
    let pairs = b[0].len();
    let (panel, b) = (&panel[..pairs], of_length(b, pairs));
    let half = usize::from(is_upper);
    let mut chains = [[_mm512_setzero_ps(); C]; TILE_HEIGHT];
    #[expect(clippy::needless_range_loop, reason = "all panels are read at `p`")]
    for p in 0..pairs {
        let b = load_pair(&b, p);
        let a: &[u32; TILE_HEIGHT] = &panel[p].as_chunks().0[half];
        for r in 0..TILE_HEIGHT {
            add_products(&mut chains[r], a[r], b);
        }
    }
    chains
}

// Loops, because `map` and `from_fn` are not compiled for the instruction set and call the closure.

#[target_feature(enable = "avx512f")]
fn of_length<const C: usize>(mut panels: [&[PairLanes]; C], pairs: usize) -> [&[PairLanes]; C] {
    for panel in &mut panels {
        *panel = &panel[..pairs];
    }
    panels
}

/// Pair `p` of each panel.
#[target_feature(enable = "avx512f")]
fn load_pair<const C: usize>(panels: &[&[PairLanes]; C], p: usize) -> [__m512bh; C] {
    let mut pairs = [as_pairs(_mm512_setzero_si512()); C];
    for c in 0..C {
        pairs[c] = load(&panels[c][p]);
    }
    pairs
}

/// One row of a tile to where it belongs.
#[target_feature(enable = "avx512f")]
fn store_row<const C: usize>(chains: &[__m512; C], store: TileStore, y: &mut [f32]) {
    let scale = _mm512_set1_ps(store.scale);
    for (c, chain) in chains.iter().enumerate() {
        let Some(y) = y.get_mut(c * PAIR_LANES..) else { return };
        let len = y.len().min(PAIR_LANES);
        let lanes = ((1u32 << len) - 1) as u16;
        let mut sums = _mm512_mul_ps(*chain, scale);
        if store.is_added {
            // SAFETY: the mask leaves out the lanes that `y` does not have.
            sums = _mm512_add_ps(unsafe { _mm512_maskz_loadu_ps(lanes, y.as_ptr()) }, sums);
        }
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_ps(y.as_mut_ptr(), lanes, sums) }
    }
}

/// `chains[c] += word · b[c]`.
#[target_feature(enable = "avx512f,avx512bf16")]
fn add_products<const C: usize>(chains: &mut [__m512; C], word: u32, b: [__m512bh; C]) {
    let a = as_pairs(_mm512_set1_epi32(word.cast_signed()));
    for c in 0..C {
        chains[c] = _mm512_dpbf16_ps(chains[c], a, b[c]);
    }
}

#[target_feature(enable = "avx512f")]
fn load(lanes: &PairLanes) -> __m512bh {
    // SAFETY: the array is 64 readable bytes; `loadu` needs no alignment.
    as_pairs(unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f")]
fn as_pairs(words: __m512i) -> __m512bh {
    // SAFETY: both types are 64 bytes of any value.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(words) }
}
