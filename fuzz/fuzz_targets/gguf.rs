//! Fuzzes GGUF files: head, configuration, tokenizer, and every tensor they lead to.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use tercet_fuzz::{entry_points, gguf_mutations, mutate};

static RIGHT: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| vec![entry_points::right_gguf()]);

fuzz_target!(|bytes: &[u8]| entry_points::gguf(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed, &RIGHT, gguf_mutations::mutate)
});
