//! What this machine can do at best, measured: bytes read and f32 arithmetic a second.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::buffer::Buffer;
use crate::dispatch;
use crate::pool::Pool;
use crate::scalar::CHAINS;

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

/// Floating-point operations a second, two to a fused multiply-add, that the workers of `pool` do
/// together in f32.
///
/// The best of `passes`, each of some milliseconds.
pub fn float_rate(pool: &Pool, passes: usize) -> f64 {
    const ROUNDS: usize = 1 << 18;
    let mut best = 0.0f64;
    for _ in 0..passes {
        let started = Instant::now();
        pool.run(|worker| {
            let mut chains = [worker.index() as f32; CHAINS];
            dispatch::multiply_adds(worker.isa(), ROUNDS, &mut chains);
            std::hint::black_box(chains);
        });
        let operations = (2 * ROUNDS * CHAINS * pool.threads()) as f64;
        best = best.max(operations / started.elapsed().as_secs_f64());
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn rates_are_positive() {
        let pool = Pool::new(Isa::best(), 1);
        assert!(float_rate(&pool, 1) > 0.0 && read_bandwidth(&pool, 1 << 20, 1) > 0.0);
    }
}
