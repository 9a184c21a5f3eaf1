//! Ways to damage a GGUF file at random: its bytes, and since those changes mostly end at the head, its entries.
//!
//! Shared by the smoke test and the fuzz targets.
#![allow(dead_code, unreachable_pub, reason = "each user includes the file and uses its own part")]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::gguf_file::File;
use crate::mutations::{below, bytes};

/// Mutates bytes one time in four or where a GGUF file cannot be walked through, and else its entries.
pub fn mutate(rng: &mut ChaCha8Rng, file: &[u8]) -> Vec<u8> {
    let Some(mut file) =
        File::parse(file).filter(|file| !file.metadata.is_empty() && !file.tensors.is_empty())
    else {
        return bytes(rng, file);
    };
    if below(rng, 4) == 0 {
        return bytes(rng, &file.bytes());
    }
    for _ in 0..=below(rng, 3) {
        let (key, other) = (below(rng, file.metadata.len()), below(rng, file.metadata.len()));
        let (tensor, another) = (below(rng, file.tensors.len()), below(rng, file.tensors.len()));
        match below(rng, 14) {
            0 => file.metadata[key].1 = file.metadata[other].1.clone(),
            1 => file.metadata[key].0 = file.metadata[other].0.clone(),
            2 => drop(file.metadata.remove(key)),
            3 => file.metadata[key].1.0 = rng.next_u32() % 14,
            4 => file.metadata[key].1.1 = bytes(rng, &file.metadata[key].1.1),
            5 => file.metadata[key].1.1 = size(rng).to_le_bytes().to_vec(),
            6 => file.tensors[tensor].name = file.tensors[another].name.clone(),
            7 => drop(file.tensors.remove(tensor)),
            8 => file.tensors[tensor].sizes.iter_mut().take(1).for_each(|first| *first = size(rng)),
            9 => file.tensors[tensor].sizes = file.tensors[another].sizes.clone(),
            10 => file.tensors[tensor].number = rng.next_u32() % 44,
            11 => file.tensors[tensor].offset = size(rng) & !31,
            12 => file.tensor_count = Some(size(rng)),
            _ => file.data = bytes(rng, &file.data),
        }
        if file.metadata.is_empty() || file.tensors.is_empty() {
            break;
        }
    }
    file.bytes()
}

/// A size that programs stumble over, or a small one.
fn size(rng: &mut ChaCha8Rng) -> u64 {
    let sizes = [0, 1, 31, 255, 256, u64::from(u32::MAX), 1 << 32, 1 << 62, i64::MAX as u64, u64::MAX];
    if below(rng, 2) == 0 { sizes[below(rng, sizes.len())] } else { u64::from(rng.next_u32() % 4096) }
}
