//! Fuzzes the configuration of a training run: what is asked of it before any file is opened.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use tercet_fuzz::{mutate, train_config};

static RIGHT: LazyLock<Vec<Vec<u8>>> = LazyLock::new(train_config::right_files);

fuzz_target!(|bytes: &[u8]| {
    train_config::train_config(bytes);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed, &RIGHT, train_config::mutate)
});
