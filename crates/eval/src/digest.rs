//! What tells one function of tokens from another: the weights and how they are computed with.

use sha2::{Digest, Sha256};
use tercet::checkpoint::Checkpoint;
use tercet::digest::hex;

/// Counts up when the order of arithmetic of the library changes, so that no kept answer is of another.
const ARITHMETIC: u32 = 1;

/// The digest of a model's tensors, of `files` that say how it computes and what ends a text, each with its
/// name, and of `settings` that change what it computes.
///
/// Two copies of a model have the same digest wherever they are; every byte of the weights is read.
pub fn function_digest(checkpoint: &Checkpoint, files: &[(&str, &[u8])], settings: &[&str]) -> String {
    let mut digest = Sha256::new();
    let mut add = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    add(&ARITHMETIC.to_le_bytes());
    add(&(files.len() as u64).to_le_bytes());
    for (name, bytes) in files {
        add(name.as_bytes());
        add(bytes);
    }
    settings.iter().for_each(|setting| add(setting.as_bytes()));
    let mut names: Vec<&str> = checkpoint.names().collect();
    names.sort_unstable();
    for name in names {
        let tensor = checkpoint.get(name).expect("function_digest: the checkpoint has what it names");
        add(name.as_bytes());
        add(format!("{:?} {:?}", tensor.dtype, tensor.shape).as_bytes());
        add(tensor.bytes);
        tensor.give_back(0..tensor.bytes.len());
    }
    hex(&digest.finalize())
}

#[cfg(test)]
mod tests {
    use tercet::embedded;

    use super::*;

    #[test]
    fn settings_and_configuration_make_another_function() {
        let checkpoint = Checkpoint::open(&embedded::stories()).unwrap();
        let digests = [
            function_digest(&checkpoint, &[("a", b"{}")], &["f32", "model"]),
            function_digest(&checkpoint, &[("a", b"{}")], &["f16", "model"]),
            function_digest(&checkpoint, &[("a", b"{ }")], &["f32", "model"]),
            function_digest(&checkpoint, &[("a", b"{}")], &["f32m", "odel"]),
            function_digest(&checkpoint, &[("b", b"{}")], &["f32", "model"]),
            function_digest(&checkpoint, &[("a", b"{}"), ("f32", b"model")], &[]),
        ];
        for (at, digest) in digests.iter().enumerate() {
            assert_eq!(digests.iter().position(|other| other == digest), Some(at));
        }
        assert_eq!(digests[0], function_digest(&checkpoint, &[("a", b"{}")], &["f32", "model"]));
    }
}
