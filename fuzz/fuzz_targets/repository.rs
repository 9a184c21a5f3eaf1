//! Fuzzes the Hub's list of a repository.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use tercet_fuzz::{mutate, mutations, repository_bytes};

static RIGHT: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| vec![repository_bytes::right_answer()]);

fuzz_target!(|bytes: &[u8]| {
    repository_bytes::repository(bytes);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed, &RIGHT, mutations::json)
});
