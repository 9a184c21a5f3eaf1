//! Attention over one block of the cache, by AVX2 and by AVX-512.
//!
//! A vector of keys or values is read and converted once for all `G` queries; registers hold the
//! chains of `G` queries and `V` vectors.

use super::vectors::{Avx2, Avx512, Vectors};
use crate::scalar::{self, BlockSoftmax, KV_BLOCK, KvBlock, LANES, Stored};

const CACHE_LINE_BYTES: usize = 64;

/// See [`scalar::attend_block`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn attend_block_avx2<T: Stored, const G: usize>(
    q: [&[f32]; G],
    block: &KvBlock<'_, T>,
    valid: [usize; G],
    scale: f32,
    out: &mut [f32],
) -> [BlockSoftmax; G] {
    let vectors = Avx2::new();
    if q[0].len() < Avx2::LANES {
        return scalar::attend_block(q, block, valid, scale, out);
    }
    let mut weights = score_chains::<_, T, G, 2>(vectors, q, block, valid[G - 1]);
    let parts = weigh(vectors, &mut weights, block, valid, scale);
    weighted_sums::<_, T, G, 2>(vectors, &weights, block, valid, out);
    parts
}

/// See [`scalar::attend_block`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(crate) fn attend_block_avx512<T: Stored, const G: usize>(
    q: [&[f32]; G],
    block: &KvBlock<'_, T>,
    valid: [usize; G],
    scale: f32,
    out: &mut [f32],
) -> [BlockSoftmax; G] {
    let vectors = Avx512::new();
    if q[0].len() < Avx512::LANES {
        return attend_block_avx2(q, block, valid, scale, out);
    }
    let seen = valid[G - 1];
    let mut weights = if seen <= KV_BLOCK / 2 {
        score_chains::<_, T, G, 2>(vectors, q, block, seen)
    } else {
        score_chains::<_, T, G, 4>(vectors, q, block, seen)
    };
    let parts = weigh(vectors, &mut weights, block, valid, scale);
    weighted_sums::<_, T, G, 4>(vectors, &weights, block, valid, out);
    parts
}

/// `Σ_d q[d] · keys[d][p]` of the first `seen` positions, and some after them.
#[inline(always)]
fn score_chains<S: Vectors, T: Stored, const G: usize, const V: usize>(
    vectors: S,
    q: [&[f32]; G],
    block: &KvBlock<'_, T>,
    seen: usize,
) -> [[f32; KV_BLOCK]; G] {
    let head_dim = q[0].len();
    let q = q.map(|q| &q[..head_dim]);
    let keys = &block.keys.as_chunks::<KV_BLOCK>().0[..head_dim];
    let mut scores = [[0.0; KV_BLOCK]; G];
    for first in (0..seen).step_by(V * S::LANES) {
        let mut chains = [[vectors.splat(0.0); V]; G];
        for d in 0..head_dim {
            let keys = &keys[d][first..first + V * S::LANES];
            prefetch(vectors, keys, block.to_next);
            let keys = load::<S, T, V>(vectors, keys);
            for g in 0..G {
                let q = vectors.splat(q[g][d]);
                for v in 0..V {
                    chains[g][v] = vectors.mul_add(q, keys[v], chains[g][v]);
                }
            }
        }
        for g in 0..G {
            store(vectors, chains[g], &mut scores[g][first..]);
        }
    }
    scores
}

#[inline(always)]
fn weigh<S: Vectors, T, const G: usize>(
    vectors: S,
    chains: &mut [[f32; KV_BLOCK]; G],
    block: &KvBlock<'_, T>,
    valid: [usize; G],
    scale: f32,
) -> [BlockSoftmax; G] {
    let mut parts = [BlockSoftmax::default(); G];
    for g in 0..G {
        parts[g] = weigh_one(vectors, &mut chains[g], block.scales, valid[g], scale);
    }
    parts
}

/// See [`scalar::weigh`].
#[inline(always)]
fn weigh_one<S: Vectors>(
    vectors: S,
    chains: &mut [f32; KV_BLOCK],
    [key_scales, value_scales]: [&[f32; KV_BLOCK]; 2],
    valid: usize,
    scale: f32,
) -> BlockSoftmax {
    let scale = vectors.splat(scale);
    for p in (0..KV_BLOCK).step_by(S::LANES) {
        let scale = vectors.mul(vectors.load(&key_scales[p..]), scale);
        vectors.store(vectors.mul(vectors.load(&chains[p..]), scale), &mut chains[p..]);
    }
    chains[valid..].fill(f32::NEG_INFINITY);
    let mut greatest = vectors.load(&chains[..]);
    for p in (S::LANES..KV_BLOCK).step_by(S::LANES) {
        greatest = vectors.greater(vectors.load(&chains[p..]), greatest);
    }
    let mut lanes = [f32::NEG_INFINITY; LANES];
    vectors.store(greatest, &mut lanes);
    let max = scalar::greatest_lane(lanes);
    for i in (0..LANES).step_by(S::LANES) {
        let mut sum = vectors.splat(0.0);
        for p in (i..KV_BLOCK).step_by(LANES) {
            let weight = exp(vectors, vectors.sub(vectors.load(&chains[p..]), vectors.splat(max)));
            sum = vectors.add(sum, weight);
            vectors.store(vectors.mul(weight, vectors.load(&value_scales[p..])), &mut chains[p..]);
        }
        vectors.store(sum, &mut lanes[i..]);
    }
    BlockSoftmax { max, sum: scalar::add_lanes(lanes) }
}

/// See [`scalar::exp`].
#[inline(always)]
fn exp<S: Vectors>(vectors: S, x: S::Vector) -> S::Vector {
    let clamped = vectors.lesser(vectors.splat(88.0), x);
    let round = vectors.splat(scalar::EXP_ROUND);
    let shifted = vectors.mul_add(clamped, vectors.splat(std::f32::consts::LOG2_E), round);
    let n = vectors.sub(shifted, round);
    let mut r = clamped;
    for part in scalar::EXP_LN2 {
        r = vectors.mul_add(n, vectors.splat(-part), r);
    }
    let mut p = vectors.splat(scalar::EXP_TAYLOR[0]);
    for coefficient in &scalar::EXP_TAYLOR[1..] {
        p = vectors.mul_add(r, p, vectors.splat(*coefficient));
    }
    let power = vectors.add_and_shift(shifted, 127u32.wrapping_sub(scalar::EXP_ROUND.to_bits()));
    vectors.zero_if_less(x, vectors.splat(-87.0), vectors.mul(p, power))
}

/// `out[g][d] = Σ_p weights[g][p] · values[p][d]`.
#[inline(always)]
fn weighted_sums<S: Vectors, T: Stored, const G: usize, const V: usize>(
    vectors: S,
    weights: &[[f32; KV_BLOCK]; G],
    block: &KvBlock<'_, T>,
    valid: [usize; G],
    out: &mut [f32],
) {
    let head_dim = out.len() / G;
    let strips = head_dim / (V * S::LANES) * (V * S::LANES);
    for first in (0..strips).step_by(V * S::LANES) {
        weighted_strip::<S, T, G, V>(vectors, weights, block, valid, first, out);
    }
    let pairs = strips + (head_dim - strips) / (2 * S::LANES) * (2 * S::LANES);
    for first in (strips..pairs).step_by(2 * S::LANES) {
        weighted_strip::<S, T, G, 2>(vectors, weights, block, valid, first, out);
    }
    for first in (pairs..head_dim).step_by(S::LANES) {
        // The last vector may compute some elements again, to the same bits.
        let first = first.min(head_dim - S::LANES);
        weighted_strip::<S, T, G, 1>(vectors, weights, block, valid, first, out);
    }
}

/// [`weighted_sums`] of `V` vectors from element `first` on.
#[inline(always)]
fn weighted_strip<S: Vectors, T: Stored, const G: usize, const V: usize>(
    vectors: S,
    weights: &[[f32; KV_BLOCK]; G],
    block: &KvBlock<'_, T>,
    valid: [usize; G],
    first: usize,
    out: &mut [f32],
) {
    let head_dim = out.len() / G;
    let mut chains = [[vectors.splat(0.0); V]; G];
    let mut rows =
        block.values.chunks_exact(head_dim).map(|row| &row[first..first + V * S::LANES]).enumerate();
    for (p, row) in rows.by_ref().take(valid[0].min(KV_BLOCK)) {
        prefetch(vectors, row, block.to_next);
        let values = load::<S, T, V>(vectors, row);
        for g in 0..G {
            let weight = vectors.splat(weights[g][p]);
            for v in 0..V {
                chains[g][v] = vectors.mul_add(weight, values[v], chains[g][v]);
            }
        }
    }
    for (p, row) in rows.take(valid[G - 1] - valid[0]) {
        let values = load::<S, T, V>(vectors, row);
        for g in 0..G {
            if p < valid[g] {
                let weight = vectors.splat(weights[g][p]);
                for v in 0..V {
                    chains[g][v] = vectors.mul_add(weight, values[v], chains[g][v]);
                }
            }
        }
    }
    for g in 0..G {
        store(vectors, chains[g], &mut out[g * head_dim + first..]);
    }
}

/// Asks for the numbers that lie `to_next` after these.
#[inline(always)]
fn prefetch<S: Vectors, T>(vectors: S, values: &[T], to_next: isize) {
    for line in (0..values.len()).step_by(CACHE_LINE_BYTES / size_of::<T>()) {
        vectors.prefetch(values, to_next + line as isize);
    }
}

#[inline(always)]
fn load<S: Vectors, T: Stored, const V: usize>(vectors: S, values: &[T]) -> [S::Vector; V] {
    let mut loaded = [vectors.splat(0.0); V];
    for v in 0..V {
        loaded[v] = vectors.load(&values[v * S::LANES..]);
    }
    loaded
}

#[inline(always)]
fn store<S: Vectors, const V: usize>(vectors: S, values: [S::Vector; V], out: &mut [f32]) {
    for v in 0..V {
        vectors.store(values[v], &mut out[v * S::LANES..]);
    }
}
