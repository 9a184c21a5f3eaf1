//! Fuzzes `config.json`, beside the right tensors of four families.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use tercet_fuzz::{entry_points, mutate, mutations, right_files};

static RIGHT: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| right_files("config.json"));

fuzz_target!(|bytes: &[u8]| entry_points::config(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed, &RIGHT, mutations::json)
});
