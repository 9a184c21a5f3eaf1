//! Bytes a second that the workers of a pool read from memory: the best of several ways to ask for
//! them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::buffer::Buffer;
use crate::dispatch;
use crate::isa::Isa;
use crate::pool::{Pool, Worker};

/// Words that a worker claims at a time: 4 MiB.
const CLAIM_WORDS: usize = 1 << 20;
/// Cache lines that are asked for ahead of their use, of each stream.
const LINES_AHEAD: usize = 24;

/// The ways to read: sums over some words.
const WAYS: [fn(Isa, &[u32]) -> u32; 3] =
    [in_streams::<1, 0>, in_streams::<4, 0>, in_streams::<4, LINES_AHEAD>];

/// Bytes a second that the workers of `pool` read from memory together.
///
/// The best of `passes` over `size_bytes` bytes in each of several ways: one sequential stream a
/// worker, and four with and without prefetches. The bytes lie where those of a model lie, in a
/// [`Buffer`]; they should be well above the last cache.
pub fn read_bandwidth(pool: &Pool, size_bytes: usize, passes: usize) -> f64 {
    let words = filled(pool, size_bytes / size_of::<u32>());
    let sum = AtomicU32::new(0);
    let mut best = 0.0f64;
    for _ in 0..passes {
        for way in WAYS {
            let started = Instant::now();
            pool.run(|worker| {
                let operation = worker.begin_operation();
                let words = words.read(worker);
                claims(worker, operation, words.len(), |first, len| {
                    sum.fetch_add(way(worker.isa(), &words[first..][..len]), Ordering::Relaxed);
                });
            });
            best = best.max(size_bytes as f64 / started.elapsed().as_secs_f64());
        }
    }
    // The sum is used, so that the reads cannot be left out.
    std::hint::black_box(sum.into_inner());
    best
}

/// Memory that was written, so that every page of it is there.
fn filled(pool: &Pool, len: usize) -> Buffer<u32> {
    let words = Buffer::<u32>::zeroed_weights(pool, len);
    pool.run(|worker| {
        let operation = worker.begin_operation();
        let mut words = words.write(worker, operation);
        claims(worker, operation, len, |first, len| words.slice(first, len).fill(first as u32));
    });
    words
}

/// Calls `f(first, len)` for every range that this worker claims.
fn claims(worker: &Worker<'_>, operation: u32, len: usize, mut f: impl FnMut(usize, usize)) {
    while let Some(claim) = worker.claim(operation, len.div_ceil(CLAIM_WORDS)) {
        let first = claim * CLAIM_WORDS;
        f(first, CLAIM_WORDS.min(len - first));
    }
}

/// The sum of all words but a remainder, in `S` streams one after the other in memory.
fn in_streams<const S: usize, const AHEAD: usize>(isa: Isa, words: &[u32]) -> u32 {
    let stream = words.len() / S;
    let streams: [&[u32]; S] = std::array::from_fn(|s| &words[s * stream..][..stream]);
    dispatch::sum_streams(isa, streams, AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_reads_every_word() {
        let words: Vec<u32> = (0..64 * 20).map(|i| i * i).collect();
        let want = words.iter().fold(0u32, |sum, word| sum.wrapping_add(*word));
        for isa in Isa::available() {
            for way in WAYS {
                assert_eq!(way(isa, &words), want, "{isa:?}");
            }
        }
    }
}
