//! What this machine can do at best, measured: bytes read and arithmetic a second.
//!
//! | module | holds |
//! |---|---|
//! | `bandwidth` | bytes a second read from memory |
//! | `rates` | operations a second of int8 dot products, bf16 dot products and f32 multiply-adds |
//!
//! It knows no model: what a speed is a fraction of is for whoever compares.

mod bandwidth;
mod rates;

pub use bandwidth::read_bandwidth;
pub use rates::float_rate;

use crate::pool::Pool;

/// Passes of each probe of the bandwidth and of each of arithmetic, of which the best counts.
const PASSES: [usize; 2] = [6, 8];
/// Those of a probe between two measurements.
const FEW_PASSES: [usize; 2] = [2, 2];

/// What the workers of one pool can do together, at best. An operation is a multiplication or an
/// addition: two to a multiply-add.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// Bytes read from memory.
    pub read_bytes_per_s: f64,
    /// Operations of the 4-way int8 dot product of the pool's instruction set.
    pub int8_ops_per_s: f64,
    /// Operations of the bf16 dot product, where the instruction set and this CPU have one.
    pub bf16_ops_per_s: Option<f64>,
    /// Operations of fused multiply-adds in f32.
    pub f32_ops_per_s: f64,
}

impl Ceilings {
    /// Measures them, reading `size_bytes` bytes, which should be well above the last cache.
    ///
    /// It takes well under 3 s.
    pub fn measure(pool: &Pool, size_bytes: usize) -> Self {
        Self::best_of(PASSES, pool, size_bytes)
    }

    /// As [`measure`](Self::measure) in a third of the time, for between two measurements.
    pub fn glance(pool: &Pool, size_bytes: usize) -> Self {
        Self::best_of(FEW_PASSES, pool, size_bytes)
    }

    fn best_of([bandwidth_passes, rate_passes]: [usize; 2], pool: &Pool, size_bytes: usize) -> Self {
        Ceilings {
            read_bytes_per_s: read_bandwidth(pool, size_bytes, bandwidth_passes),
            int8_ops_per_s: rates::int8_rate(pool, rate_passes),
            bf16_ops_per_s: rates::bf16_rate(pool, rate_passes),
            f32_ops_per_s: float_rate(pool, rate_passes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn rates_are_positive() {
        for isa in Isa::available() {
            let ceilings = Ceilings::measure(&Pool::new(isa, 2), 1 << 20);
            let Ceilings { read_bytes_per_s, int8_ops_per_s, bf16_ops_per_s, f32_ops_per_s } = ceilings;
            let rates = [read_bytes_per_s, int8_ops_per_s, bf16_ops_per_s.unwrap_or(1.0), f32_ops_per_s];
            assert!(rates.iter().all(|rate| rate.is_finite() && *rate > 0.0), "{isa:?}: {ceilings:?}");
        }
    }
}
