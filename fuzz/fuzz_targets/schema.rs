//! Fuzzes JSON schemas of clients: the grammar of each, and a walk through it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use tercet_fuzz::{mutate, mutations, schema_bytes};

static RIGHT: LazyLock<Vec<Vec<u8>>> = LazyLock::new(schema_bytes::right_schemas);

fuzz_target!(|bytes: &[u8]| schema_bytes::schema(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed, &RIGHT, mutations::json)
});
