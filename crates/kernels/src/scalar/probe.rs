//! The loops that the probes time. Each result depends on all of the work, so none can be left out.

use std::hint::black_box;

use crate::prefetch::prefetch;

/// Products of a round of [`int8_dots`]: twelve registers of 64.
pub(crate) const INT8_PRODUCTS: usize = 12 * 64;
/// Products of a round of `bf16_dots`: twelve registers of 32.
pub(crate) const BF16_PRODUCTS: usize = 12 * 32;
/// The operands of [`int8_dots`]: a code and an activation.
pub(crate) const INT8_OPERANDS: (u8, i8) = (2, -3);

/// Words of a cache line.
const LINE_WORDS: usize = 16;

/// The sum of the words of some streams of one length, whole pairs of lines of them, each line asked
/// for `lines_ahead` lines before it is used.
#[inline(always)]
pub(crate) fn sum_streams<const S: usize>(streams: [&[u32]; S], lines_ahead: usize) -> u32 {
    let streams = streams.map(|words| words.as_chunks::<LINE_WORDS>().0);
    // Two sets of lanes for each stream, so that no addition waits for another.
    let mut lanes = [[[0u32; LINE_WORDS]; 2]; S];
    for first in (0..streams[0].len() / 2).map(|pair| 2 * pair) {
        for (lanes, lines) in lanes.iter_mut().zip(&streams) {
            for (lanes, line) in lanes.iter_mut().zip(&lines[first..first + 2]) {
                prefetch(std::ptr::from_ref(line).wrapping_add(lines_ahead));
                for (lane, word) in lanes.iter_mut().zip(line) {
                    *lane = lane.wrapping_add(*word);
                }
            }
        }
    }
    lanes.as_flattened().as_flattened().iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// `rounds` fused multiply-adds on each of `N` independent chains.
#[inline(always)]
pub(crate) fn multiply_adds<const N: usize>(rounds: usize, chains: &mut [f32; N]) {
    let mut lanes = *chains;
    for _ in 0..rounds {
        for lane in &mut lanes {
            *lane = lane.mul_add(0.999, 1e-3);
        }
    }
    *chains = lanes;
}

/// `rounds` times [`INT8_PRODUCTS`] products of [`INT8_OPERANDS`], added in i32 and wrapped.
pub(crate) fn int8_dots(rounds: usize) -> i32 {
    const LANES: usize = 16;
    let mut lanes = [0i32; LANES];
    for _ in 0..rounds {
        let (codes, x) = black_box(([INT8_OPERANDS.0; 64], [INT8_OPERANDS.1; 64]));
        for _ in 0..INT8_PRODUCTS / codes.len() {
            for (lane, (codes, x)) in
                lanes.iter_mut().zip(codes.as_chunks::<4>().0.iter().zip(x.as_chunks::<4>().0))
            {
                let dot = codes.iter().zip(x).map(|(code, x)| i32::from(*code) * i32::from(*x)).sum();
                *lane = lane.wrapping_add(dot);
            }
        }
    }
    lanes.into_iter().fold(0, i32::wrapping_add)
}
