//! How many positions the cache has: enough for all requests at once, where memory allows it.

use tercet::model::{MemoryNeed, SessionSize};
use tercet_kernels::KvType;

use crate::failure::{Exit, Failure};
use crate::origin::Origin;
use crate::{figures, fit, machine};

/// Where the system does not say what is free.
const UNKNOWN_BYTES: u64 = 2 << 30;

/// Positions of a request that are suggested where more do not fit.
const CONTEXTS_SMALL: [usize; 2] = [1024, 256];

/// What is wanted.
pub(super) struct Room {
    pub(super) context: usize,
    pub(super) kv_type: KvType,
    pub(super) max_sequences: usize,
    /// Tokens of a pass, where no more sequences are decoded in it.
    pub(super) batch_rows: usize,
    /// Bytes for the cache, where somebody said so.
    pub(super) cache_bytes: Option<u64>,
}

impl Room {
    /// Positions of the cache, and bytes of the weights.
    ///
    /// # Errors
    /// Exit code 5 if it would not fit into memory, 2 if the cache would hold not even one request.
    pub(super) fn check(&self, origin: &Origin) -> Result<(usize, u64), Failure> {
        let max_rows = self.max_rows();
        let size = SessionSize { context: self.context, max_rows, max_logit_rows: max_rows };
        let one = origin.memory_need(&size, self.kv_type);
        let position_bytes = MemoryNeed::cache_bytes_per_position(&origin.config, self.kv_type).max(1);
        let available = machine::memory().map(|memory| memory.available_bytes);
        let positions = self.positions(&one, position_bytes, available)?;
        let need = |positions: usize| MemoryNeed { cache_bytes: positions as u64 * position_bytes, ..one };
        fit::check(&need(positions), &origin.name(), &self.smaller(origin))?;
        Ok((positions, one.weight_bytes))
    }

    /// Tokens of a pass at most: one of each sequence at least.
    pub(super) fn max_rows(&self) -> usize {
        self.batch_rows.max(self.max_sequences)
    }

    /// Flags that make less room, for one request, and what is taken with them.
    fn smaller(&self, origin: &Origin) -> Vec<(String, MemoryNeed)> {
        let contexts = CONTEXTS_SMALL.into_iter().filter(|context| *context < self.context);
        let smaller = contexts.map(|context| {
            let size = SessionSize { context, max_rows: self.batch_rows, max_logit_rows: self.batch_rows };
            (format!("--parallel 1 --ctx-size {context}"), origin.memory_need(&size, self.kv_type))
        });
        smaller.collect()
    }

    fn positions(
        &self,
        one: &MemoryNeed,
        position_bytes: u64,
        available: Option<u64>,
    ) -> Result<usize, Failure> {
        let wanted = self.context.saturating_mul(self.max_sequences);
        let of_bytes = |bytes: u64| usize::try_from(bytes / position_bytes).unwrap_or(usize::MAX);
        let Some(bytes) = self.cache_bytes else {
            let free = available.map(|available| {
                available.saturating_sub(one.weight_bytes).saturating_sub(one.scratch_bytes) / 2
            });
            // One request must fit; whether it does, is checked like everything else.
            return Ok(wanted.min(of_bytes(free.unwrap_or(UNKNOWN_BYTES))).max(self.context));
        };
        if of_bytes(bytes) < self.context {
            let least = self.context as u64 * position_bytes;
            let message = format!(
                "`--cache-memory` is {}, expected at least {} for one request of {} positions",
                figures::bytes(bytes),
                figures::bytes(least),
                self.context,
            );
            let hint = "`--ctx-size` makes requests shorter, `--kv int8` their positions smaller";
            return Err(Failure::message(Exit::Usage, message).with_hint(hint));
        }
        Ok(of_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use tercet::presets::PRESETS;

    use super::*;
    use crate::weight_types::{Head, Weights};

    #[test]
    fn what_is_suggested_takes_what_it_takes_when_it_is_asked_for() {
        let origin = Origin::random(&PRESETS[0], Weights::TwoBit, Head::Model);
        let room = |context, max_sequences| Room {
            context,
            kv_type: KvType::F16,
            max_sequences,
            batch_rows: 128,
            cache_bytes: None,
        };
        let size = |context| SessionSize { context, max_rows: 128, max_logit_rows: 128 };
        let want = |context| origin.memory_need(&size(context), KvType::F16).total_bytes();
        let smaller = room(99_999_999, 1000).smaller(&origin);
        let found: Vec<_> =
            smaller.iter().map(|(flags, need)| (flags.as_str(), need.total_bytes())).collect();
        let flags = ["--parallel 1 --ctx-size 1024", "--parallel 1 --ctx-size 256"];
        assert_eq!(found, [(flags[0], want(1024)), (flags[1], want(256))]);
        assert_eq!(room(1024, 1).smaller(&origin).len(), 1, "what is refused is not suggested");
    }

    #[test]
    fn the_cache_takes_half_of_what_is_free_and_always_one_request() {
        let need = MemoryNeed { weight_bytes: 600, cache_bytes: 0, scratch_bytes: 400 };
        let room = |cache_bytes| Room {
            context: 100,
            kv_type: KvType::F16,
            max_sequences: 4,
            batch_rows: 8,
            cache_bytes,
        };
        let check = |cache_bytes, available, want: Option<usize>| {
            assert_eq!(
                room(cache_bytes).positions(&need, 10, available).ok(),
                want,
                "{cache_bytes:?} {available:?}"
            );
        };
        check(None, Some(1_000_000), Some(400));
        check(None, Some(7_000), Some(300));
        check(None, Some(1_500), Some(100));
        check(None, None, Some(400));
        check(Some(2_000), Some(1_500), Some(200));
        check(Some(999), Some(1_000_000), None);
    }
}
