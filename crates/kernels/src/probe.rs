//! The read bandwidth of this machine, measured.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::buffer::Buffer;
use crate::dispatch;
use crate::pool::Pool;

/// Words that a worker claims at a time.
const CLAIM_WORDS: usize = 1 << 18;

/// Bytes a second that the workers of `pool` read from memory together.
///
/// The best of `passes` over `size_bytes` bytes, which should be well above the last cache.
pub fn read_bandwidth(pool: &Pool, size_bytes: usize, passes: usize) -> f64 {
    let words = Buffer::<u32>::from_fn(pool, size_bytes / size_of::<u32>(), |i| i as u32);
    let sum = AtomicU32::new(0);
    let mut best = 0.0f64;
    for _ in 0..passes {
        let started = Instant::now();
        pool.run(|worker| {
            let operation = worker.begin_operation();
            let words = words.read(worker);
            while let Some(claim) = worker.claim(operation, words.len().div_ceil(CLAIM_WORDS) as u32) {
                let words = &words[claim * CLAIM_WORDS..];
                let words = &words[..words.len().min(CLAIM_WORDS)];
                sum.fetch_add(dispatch::sum_words(worker.isa(), words), Ordering::Relaxed);
            }
        });
        best = best.max(size_bytes as f64 / started.elapsed().as_secs_f64());
    }
    // The sum is used, so that the reads cannot be left out.
    std::hint::black_box(sum.into_inner());
    best
}
