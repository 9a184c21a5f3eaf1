//! Operations a second that the workers of a pool do in registers, by kind of arithmetic.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::dispatch;
use crate::isa::Isa;
use crate::pool::Pool;
use crate::scalar::probe::{BF16_PRODUCTS, INT8_PRODUCTS};

/// How long a pass takes at least: much against the start of a run, little against a time slice.
const PASS_TIME: Duration = Duration::from_millis(4);
/// Rounds of the first pass; they are doubled until a pass is long enough.
const FIRST_ROUNDS: usize = 1 << 10;
/// Chains of f32: what fills two units with a latency of four, in 256 and in 512 bits.
const FEW_CHAINS: usize = 6 * 16;
const MANY_CHAINS: usize = 12 * 16;

/// Floating-point operations a second, two to a fused multiply-add, that the workers of `pool` do
/// together in f32.
///
/// The best of `passes`, each of some milliseconds.
pub fn float_rate(pool: &Pool, passes: usize) -> f64 {
    multiply_adds::<FEW_CHAINS>(pool, passes).max(multiply_adds::<MANY_CHAINS>(pool, passes))
}

/// Operations a second, two to a product, of int8 dot products in the pool's instruction set.
pub(super) fn int8_rate(pool: &Pool, passes: usize) -> f64 {
    best_rate(pool, INT8_PRODUCTS, passes, |isa, rounds| {
        black_box(dispatch::int8_dots(isa, rounds));
    })
}

/// Operations a second, two to a product, of bf16 dot products, where there is an instruction.
pub(super) fn bf16_rate(pool: &Pool, passes: usize) -> Option<f64> {
    dispatch::bf16_dots(pool.isa(), 0)?;
    let rate = best_rate(pool, BF16_PRODUCTS, passes, |isa, rounds| {
        black_box(dispatch::bf16_dots(isa, rounds));
    });
    Some(rate)
}

fn multiply_adds<const CHAINS: usize>(pool: &Pool, passes: usize) -> f64 {
    best_rate(pool, CHAINS, passes, |isa, rounds| {
        let mut chains = black_box([1.0; CHAINS]);
        dispatch::multiply_adds(isa, rounds, &mut chains);
        black_box(chains);
    })
}

/// The best rate of some passes of `run(isa, rounds)` on every worker, which does `products`
/// multiplications and as many additions a round.
fn best_rate(pool: &Pool, products: usize, passes: usize, run: impl Fn(Isa, usize) + Sync) -> f64 {
    let mut rounds = FIRST_ROUNDS;
    let mut best = 0.0f64;
    let mut passed = 0;
    while passed < passes {
        let started = Instant::now();
        let workers = AtomicUsize::new(0);
        pool.run(|worker| {
            workers.fetch_add(1, Ordering::Relaxed);
            run(worker.isa(), rounds);
        });
        let elapsed = started.elapsed();
        if elapsed < PASS_TIME {
            rounds *= 2;
            continue;
        }
        let operations = (2 * products * rounds * workers.into_inner()) as f64;
        best = best.max(operations / elapsed.as_secs_f64());
        passed += 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_does_all_the_products() {
        for isa in Isa::available() {
            assert_eq!(dispatch::int8_dots(isa, 3), -6 * 3 * INT8_PRODUCTS as i32, "{isa:?}");
            if let Some(sum) = dispatch::bf16_dots(isa, 3) {
                assert_eq!(sum, (3 * BF16_PRODUCTS) as f32, "{isa:?}");
            }
        }
    }
}
