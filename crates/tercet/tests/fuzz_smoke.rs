//! A few seconds of fuzzing with a fixed seed: right files, mutated, must never make a reader
//! panic.

mod entry_points;
mod gguf_file;
mod gguf_mutations;
mod mutations;
mod tiny_model;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tiny_model::{KINDS, Kind, TinyModel};

/// Mutated files a reader; together they take a few seconds.
const ROUNDS: usize = 3000;

/// Calls a reader with mutations of right files.
fn fuzz(seed: u64, right: &[Vec<u8>], mutate: fn(&mut ChaCha8Rng, &[u8]) -> Vec<u8>, read: fn(&[u8])) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..ROUNDS {
        let file = &right[mutations::below(&mut rng, right.len())];
        read(&mutate(&mut rng, file));
    }
}

/// One file of each family's folder.
fn files(name: &str) -> Vec<Vec<u8>> {
    KINDS.map(|kind| TinyModel::new(kind).folder().files[name].to_vec()).into()
}

#[test]
fn no_safetensors_file_makes_the_reader_panic() {
    fuzz(1, &files("model.safetensors"), mutations::safetensors, entry_points::safetensors);
}

#[test]
fn no_index_makes_the_reader_panic() {
    fuzz(2, &[entry_points::right_index()], mutations::json, entry_points::index);
}

#[test]
fn no_configuration_makes_the_reader_panic() {
    fuzz(3, &files("config.json"), mutations::json, entry_points::config);
}

#[test]
fn no_tokenizer_makes_the_reader_panic() {
    let right = TinyModel::new(Kind::Bitnet).tokenizer.to_string().into();
    fuzz(4, &[right], mutations::json, entry_points::tokenizer);
}

#[test]
fn no_gguf_file_makes_the_reader_panic() {
    let right = entry_points::right_gguf();
    assert!(entry_points::model_of_gguf(&right).is_some(), "the right file is not read");
    fuzz(5, &[right], gguf_mutations::mutate, entry_points::gguf);
}
