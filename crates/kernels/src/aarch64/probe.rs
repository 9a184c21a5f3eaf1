//! Dot products of registers with registers, for the arithmetic probe.

use std::arch::aarch64::{vaddq_s32, vaddvq_s32, vdupq_n_s8, vdupq_n_s32};

use super::neon_dotprod::sdot;
use crate::scalar::probe::{INT8_OPERANDS, INT8_PRODUCTS};

/// Independent sums: more than the latency of a dot product times the units that do it.
const CHAINS: usize = 16;

/// See [`crate::scalar::probe::int8_dots`].
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn sdot_dots(rounds: usize) -> i32 {
    const REPEATS: usize = INT8_PRODUCTS / (CHAINS * 16);
    const _: () = assert!(REPEATS * CHAINS * 16 == INT8_PRODUCTS);
    let (codes, x) = (vdupq_n_s8(INT8_OPERANDS.0 as i8), vdupq_n_s8(INT8_OPERANDS.1));
    let mut chains = [vdupq_n_s32(0); CHAINS];
    for _ in 0..rounds * REPEATS {
        for chain in &mut chains {
            *chain = sdot(*chain, codes, x);
        }
    }
    vaddvq_s32(chains.into_iter().fold(vdupq_n_s32(0), |sum, chain| vaddq_s32(sum, chain)))
}
