//! Fuzzes safetensors files: the header, and every tensor it leads to.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use tercet_fuzz::{entry_points, mutate, mutations, right_files};

static RIGHT: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| right_files("model.safetensors"));

fuzz_target!(|bytes: &[u8]| entry_points::safetensors(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed, &RIGHT, mutations::safetensors)
});
