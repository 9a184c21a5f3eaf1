//! The readers as a fuzzer sees them: bytes in, nothing out, no panic.
//!
//! Each takes one file of a tiny model folder, reads the whole folder with it, and uses what was
//! read. Shared by the smoke test and the fuzz targets.
#![allow(dead_code, unreachable_pub, reason = "each user includes the file and uses its own part")]

use std::sync::LazyLock;

use tercet::checkpoint::{Checkpoint, INDEX_FILE, SINGLE_FILE};
use tercet::config::{CONFIG_FILE, Config};
use tercet::source::{MemoryFolder, Source};
use tercet::tokenizer::{TOKENIZER_FILE, Tokenizer};

use crate::tiny_model::{Kind, TinyModel, config_of, safetensors_bytes};

/// A text with what tokenizers stumble over.
const TEXT: &str = "It's 12 o'clock\u{200D}\u{1F600},\r\n\t <bos>the</s> and \u{FFFD}   ";

/// Reads a safetensors file and all its tensors.
pub fn safetensors(bytes: &[u8]) {
    let mut folder = MemoryFolder::default();
    folder.files.insert(SINGLE_FILE.to_owned(), bytes.into());
    if let Ok(checkpoint) = Checkpoint::open(&Source::Memory(folder)) {
        for name in checkpoint.names() {
            let tensor = checkpoint.get(name).expect("a name of the checkpoint has a tensor");
            let sum: u64 = tensor.bytes.iter().map(|byte| u64::from(*byte)).sum();
            std::hint::black_box((sum, tensor.dtype, tensor.shape));
            tensor.give_back(0..tensor.bytes.len());
        }
    }
}

/// Reads an index beside two right shards.
pub fn index(bytes: &[u8]) {
    let mut folder = SHARDED.0.clone();
    folder.files.insert(INDEX_FILE.to_owned(), bytes.into());
    let opened = Checkpoint::open(&Source::Memory(folder));
    std::hint::black_box(opened.is_ok());
}

/// The right index beside the same shards.
pub fn right_index() -> Vec<u8> {
    SHARDED.1.clone()
}

/// Reads a configuration beside the right tensors of each family.
pub fn config(bytes: &[u8]) {
    let mut folder = MemoryFolder::default();
    folder.files.insert(CONFIG_FILE.to_owned(), bytes.into());
    let source = Source::Memory(folder);
    for checkpoint in &*CHECKPOINTS {
        if let Ok(config) = Config::read(&source, checkpoint) {
            std::hint::black_box(config.ternary_parameters() + config.embedding_parameters());
        }
    }
}

/// Reads a tokenizer, and encodes, decodes and streams a text.
///
/// The library's own panics come back as errors; here they count as panics.
pub fn tokenizer(bytes: &[u8]) {
    let mut folder = MemoryFolder::default();
    folder.files.insert(TOKENIZER_FILE.to_owned(), bytes.into());
    let read = Tokenizer::read(&Source::Memory(folder), &config_of(Kind::Bitnet));
    let encoded = read.and_then(|tokenizer| {
        let ids = tokenizer.encode(TEXT, true)?;
        let mut stream = tokenizer.stream();
        let mut text: String = ids.iter().filter_map(|id| stream.push(*id)).collect();
        text.push_str(&stream.finish());
        std::hint::black_box((text, tokenizer.decode(&ids)));
        Ok(())
    });
    if let Err(error) = encoded {
        let message = error.to_string();
        assert!(!message.contains("panicked"), "{message}");
    }
}

/// The tensors of four families.
static CHECKPOINTS: LazyLock<Vec<Checkpoint>> = LazyLock::new(|| {
    let kinds = [Kind::Bitnet, Kind::OneBitLlm, Kind::NormOnlyInLinear, Kind::Dense];
    let open = |kind| Checkpoint::open(&TinyModel::new(kind).source());
    kinds.map(|kind| open(kind).expect("the tensors are right")).into()
});

/// A folder whose tensors are in two files, without the index, and the index.
static SHARDED: LazyLock<(MemoryFolder, Vec<u8>)> = LazyLock::new(|| {
    let mut first = TinyModel::new(Kind::Dense).tensors;
    let second = first.split_off("model.layers.1");
    let mut folder = MemoryFolder::default();
    let mut shard_of = serde_json::Map::new();
    for (shard, tensors) in [("1.safetensors", first), ("2.safetensors", second)] {
        folder.files.insert(shard.to_owned(), safetensors_bytes(&tensors).into());
        shard_of.extend(tensors.into_keys().map(|name| (name, shard.into())));
    }
    let index = serde_json::json!({"weight_map": shard_of});
    (folder, index.to_string().into())
});
