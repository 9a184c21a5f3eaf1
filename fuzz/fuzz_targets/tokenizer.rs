//! Fuzzes `tokenizer.json`, and a text encoded, decoded and streamed with it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use tercet_fuzz::{entry_points, mutate, mutations, right_files};

static RIGHT: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| right_files("tokenizer.json"));

fuzz_target!(|bytes: &[u8]| entry_points::tokenizer(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed, &RIGHT, mutations::json)
});
