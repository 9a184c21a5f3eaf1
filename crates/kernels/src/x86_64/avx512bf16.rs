//! The products of bf16 pairs, for the backward pass.
//!
//! It knows no threads, allocation or errors. Every other operation of this instruction set is
//! that of `avx512vbmi.rs`.
#![expect(unsafe_code, reason = "vector loads and stores take pointers")]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_storeu_ps,
};

use crate::scalar::pairs::{PAIR_LANES, PairLanes, PairRows, TILE_HEIGHT, TileSums};

/// See [`crate::scalar::pairs::tile`].
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) fn bf16_tile<const C: usize>(a: PairRows<'_>, b: [&[PairLanes]; C], sums: &mut TileSums<C>) {
    let pairs = b[0].len();
    let b = b.map(|panel| &panel[..pairs]);
    let mut chains = [[_mm512_setzero_ps(); C]; TILE_HEIGHT];
    match a {
        PairRows::Rows(rows) => {
            let rows = rows.map(|row| &row[..pairs]);
            for p in 0..pairs {
                let b: [__m512bh; C] = std::array::from_fn(|c| load(&b[c][p]));
                for r in 0..TILE_HEIGHT {
                    add_products(&mut chains[r], rows[r][p], b);
                }
            }
        }
        PairRows::Panel(panel, is_upper) => {
            let panel = &panel[..pairs];
            let first = TILE_HEIGHT * usize::from(is_upper);
            for p in 0..pairs {
                let b: [__m512bh; C] = std::array::from_fn(|c| load(&b[c][p]));
                let a: &[u32; TILE_HEIGHT] =
                    panel[p].as_chunks().0[first / TILE_HEIGHT..].first().expect("tile: a half");
                for r in 0..TILE_HEIGHT {
                    add_products(&mut chains[r], a[r], b);
                }
            }
        }
    }
    for (sums, chains) in sums.as_flattened_mut().iter_mut().zip(chains.as_flattened()) {
        store(sums, *chains);
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

#[target_feature(enable = "avx512f")]
fn store(sums: &mut [f32; PAIR_LANES], chains: __m512) {
    // SAFETY: the array is 64 writable bytes; `storeu` needs no alignment.
    unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), chains) }
}
