//! What tells answers apart: ids, times, and seeds where a request has none.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use tercet::random::{INCREMENT, finalize};

use super::Api;

/// What all chunks of an answer begin with.
pub(super) struct Head {
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) system_fingerprint: String,
}

impl Head {
    /// Of a new answer, whose id has a prefix such as `chatcmpl-`.
    pub(super) fn new(api: &Api, prefix: &str, model: String) -> Self {
        Head { id: new_id(prefix), created: now(), model, system_fingerprint: api.fingerprint() }
    }
}

/// An id with a prefix, such as `chatcmpl-`.
fn new_id(prefix: &str) -> String {
    format!("{prefix}{:016x}{:08x}", random(), random() >> 32)
}

/// 64 random bits; no secret may depend on them.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The seed of one of several choices: the first has the request's own.
pub(super) fn choice_seed(seed: u64, choice: usize) -> u64 {
    if choice == 0 {
        return seed;
    }
    finalize(seed.wrapping_add((choice as u64).wrapping_mul(INCREMENT)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_and_seeds_differ() {
        let ids: BTreeSet<String> = (0..100).map(|_| new_id("cmpl-")).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == "cmpl-".len() + 24), "{ids:?}");
        let seeds: BTreeSet<u64> = (0..8).map(|choice| choice_seed(42, choice)).collect();
        assert_eq!(seeds.len(), 8);
        assert!(seeds.contains(&42), "the first is the request's own");
    }
}
