//! The definition of attention over one block of the cache.

use super::{LANES, Stored, add_lanes, exp, fold_lanes};

/// Absolute positions of a block of the key and value cache.
pub const KV_BLOCK: usize = 64;

/// One block of the cache, of one key and value head.
pub(crate) struct KvBlock<'a, T> {
    /// `[head_dim, 64]`
    pub(crate) keys: &'a [T],
    /// `[64, head_dim]`
    pub(crate) values: &'a [T],
    /// Scales of the keys and of the values, one a position: real = number × scale. A cache of
    /// floats has scales 1.
    pub(crate) scales: [&'a [f32; KV_BLOCK]; 2],
    /// How many numbers further on the next block of this head begins.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only attention on x86-64 asks"))]
    pub(crate) to_next: isize,
}

/// What one block of positions gives to the softmax of one head.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct BlockSoftmax {
    /// Largest score of the block.
    pub(crate) max: f32,
    /// `Σ e^(score - max)`, a row reduction over the 64 positions.
    pub(crate) sum: f32,
}

/// Attention of `G` queries over one block of the cache.
///
/// Query `g` sees the first `valid[g]` positions, which ascend with `g`. With the key scales `k` and the
/// value scales `v`, `scores[p] = (Σ_d q[d] · keys[d][p]) · (k[p] · scale)` and
/// `out[d] = Σ_p (e^(scores[p] - max) · v[p]) · values[p][d]`.
///
/// # Shapes
/// `out`: `[G, head_dim]`
#[inline(always)]
pub(crate) fn attend_block<T: Stored, const G: usize>(
    q: [&[f32]; G],
    block: &KvBlock<'_, T>,
    valid: [usize; G],
    scale: f32,
    out: &mut [f32],
) -> [BlockSoftmax; G] {
    let head_dim = q[0].len();
    let mut parts = [BlockSoftmax::default(); G];
    for (g, out) in out.chunks_exact_mut(head_dim).enumerate() {
        let mut weights = [0.0; KV_BLOCK];
        for first in (0..valid[g]).step_by(LANES) {
            let mut chains = [0.0; LANES];
            for (q, keys) in q[g].iter().zip(block.keys.as_chunks::<KV_BLOCK>().0) {
                for i in 0..LANES {
                    chains[i] = q.mul_add(keys[first + i].to_f32(), chains[i]);
                }
            }
            weights[first..first + LANES].copy_from_slice(&chains);
        }
        parts[g] = weigh(&mut weights, block.scales, valid[g], scale);
        out.fill(0.0);
        for (weight, values) in weights[..valid[g]].iter().zip(block.values.chunks_exact(head_dim)) {
            for (out, value) in out.iter_mut().zip(values) {
                *out = weight.mul_add(value.to_f32(), *out);
            }
        }
    }
    parts
}

/// Turns the chains `Σ_d q[d] · keys[d][p]` of a block into what its values are multiplied by.
///
/// What it returns for a query that sees no position means nothing.
#[inline(always)]
fn weigh(
    chains: &mut [f32; KV_BLOCK],
    [key_scales, value_scales]: [&[f32; KV_BLOCK]; 2],
    valid: usize,
    scale: f32,
) -> BlockSoftmax {
    for (p, (chain, key_scale)) in chains.iter_mut().zip(key_scales).enumerate() {
        let score = *chain * (key_scale * scale);
        *chain = if p < valid { score } else { f32::NEG_INFINITY };
    }
    let mut greatest = [f32::NEG_INFINITY; LANES];
    for scores in chains.as_chunks::<LANES>().0 {
        for i in 0..LANES {
            greatest[i] = greater(scores[i], greatest[i]);
        }
    }
    let max = greatest_lane(greatest);
    let mut sums = [0.0; LANES];
    for scores in chains.as_chunks_mut::<LANES>().0 {
        for i in 0..LANES {
            scores[i] = exp(scores[i] - max);
            sums[i] += scores[i];
        }
    }
    for (weight, value_scale) in chains.iter_mut().zip(value_scales) {
        *weight *= value_scale;
    }
    BlockSoftmax { max, sum: add_lanes(sums) }
}

#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The greatest of 16 lanes.
#[inline(always)]
pub(crate) fn greatest_lane(lanes: [f32; LANES]) -> f32 {
    fold_lanes(lanes, greater)
}

/// Merges a block into what the earlier blocks gave.
///
/// `M = max(m₁, m₂)`, `a = e^(m₁ - M)`, `b = e^(m₂ - M)`; sums and outputs become `s₁·a + s₂·b`.
#[inline(always)]
pub(crate) fn merge_blocks(
    total: &mut BlockSoftmax,
    out: &mut [f32],
    block: BlockSoftmax,
    block_out: &[f32],
) {
    let max = greater(block.max, total.max);
    let (a, b) = (exp(total.max - max), exp(block.max - max));
    *total = BlockSoftmax { max, sum: total.sum * a + block.sum * b };
    for (out, block) in out.iter_mut().zip(block_out) {
        *out = *out * a + *block * b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_times_scales_are_the_numbers() {
        const HEAD_DIM: usize = 3;
        let codes = |seed: usize| std::array::from_fn(|i| ((i * 37 + seed) % 255) as u8 as i8);
        let [keys, values]: [[i8; HEAD_DIM * KV_BLOCK]; 2] = [codes(1), codes(2)];
        let scales: [[f32; KV_BLOCK]; 2] =
            [1, 2].map(|seed| std::array::from_fn(|p| ((p * 7 + seed) % 11 + 1) as f32 / 1000.0));
        let ones = [1.0; KV_BLOCK];
        let real_keys: Vec<f32> =
            keys.iter().enumerate().map(|(i, key)| f32::from(*key) * scales[0][i % KV_BLOCK]).collect();
        let real_values: Vec<f32> =
            values.iter().enumerate().map(|(i, value)| f32::from(*value) * scales[1][i / HEAD_DIM]).collect();
        let block = KvBlock { keys: &keys, values: &values, scales: [&scales[0], &scales[1]], to_next: 0 };
        let real = KvBlock { keys: &real_keys, values: &real_values, scales: [&ones, &ones], to_next: 0 };
        let q = [[0.3, -0.2, 0.5], [1.0, 2.0, -1.0]];
        let q: [&[f32]; 2] = [&q[0], &q[1]];
        let (mut got, mut want) = ([0.0; 2 * HEAD_DIM], [0.0; 2 * HEAD_DIM]);
        let parts = attend_block(q, &block, [40, 64], 0.5, &mut got);
        let real_parts = attend_block(q, &real, [40, 64], 0.5, &mut want);
        for (part, real) in parts.iter().zip(&real_parts) {
            assert!((part.max - real.max).abs() < 1e-5 && (part.sum / real.sum - 1.0).abs() < 1e-5);
        }
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-5 * want.abs().max(0.1), "{got} {want}");
        }
    }
}
