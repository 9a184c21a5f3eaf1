//! What the fuzz targets share: the readers' entry points, right files, and mutations of them.
//!
//! The mutations know JSON, since those of bytes alone mostly end at the first bracket. Run one
//! with `cargo +nightly fuzz run tokenizer -- -max_len=65536`.

#[path = "../../crates/tercet/tests/entry_points/mod.rs"]
pub mod entry_points;
#[path = "../../crates/tercet/tests/gguf_file/mod.rs"]
pub mod gguf_file;
#[path = "../../crates/tercet/tests/gguf_mutations/mod.rs"]
pub mod gguf_mutations;
#[path = "../../crates/tercet/tests/mutations/mod.rs"]
pub mod mutations;
#[path = "../../crates/hub/tests/repository_bytes/mod.rs"]
pub mod repository_bytes;
#[path = "../../crates/serve/tests/schema_bytes/mod.rs"]
pub mod schema_bytes;
#[path = "../../crates/tercet/tests/tiny_model/mod.rs"]
pub mod tiny_model;
#[path = "../../crates/train/tests/train_config/mod.rs"]
pub mod train_config;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tiny_model::{KINDS, TinyModel};

/// A way to mutate a file.
pub type Mutation = fn(&mut ChaCha8Rng, &[u8]) -> Vec<u8>;

/// The right files of one name, one of each family.
pub fn right_files(name: &str) -> Vec<Vec<u8>> {
    KINDS
        .map(|kind| TinyModel::new(kind).folder().files[name].to_vec())
        .into()
}

/// A mutator for libFuzzer: mutates its input, or now and then a right file; returns the length.
///
/// # Shapes
/// - `data`: room for `max_size` bytes, of which the first `size` are the input
pub fn mutate(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    right: &[Vec<u8>],
    mutation: Mutation,
) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.into());
    let start = match mutations::below(&mut rng, 64) {
        0 => &right[mutations::below(&mut rng, right.len())],
        _ if size < 2 => &right[mutations::below(&mut rng, right.len())],
        _ => &data[..size],
    };
    if mutations::below(&mut rng, 2) == 0 {
        let mutated = mutation(&mut rng, start);
        if mutated.len() <= max_size {
            data[..mutated.len()].copy_from_slice(&mutated);
            return mutated.len();
        }
    }
    libfuzzer_sys::fuzzer_mutate(data, size, max_size)
}
