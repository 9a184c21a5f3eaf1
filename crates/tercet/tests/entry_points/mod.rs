//! The readers as a fuzzer sees them: bytes in, nothing out, no panic.
//!
//! Each takes one file of a tiny model folder, reads the whole folder with it, and uses what was
//! read. Shared by the smoke test and the fuzz targets.
#![allow(dead_code, unreachable_pub, reason = "each user includes the file and uses its own part")]

use std::sync::{Arc, LazyLock};

use tercet::checkpoint::{Checkpoint, INDEX_FILE, SINGLE_FILE};
use tercet::config::{CONFIG_FILE, Config};
use tercet::gguf::model::GgufModel;
use tercet::gguf::{self, Gguf, NewGgufTensor, NewValue, TensorType, ternary};
use tercet::model::Model;
use tercet::source::{MemoryFolder, Source};
use tercet::tokenizer::{TOKENIZER_FILE, Tokenizer};
use tercet_kernels::{Isa, Layout, Pool};

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

/// Reads a GGUF file as a model: configuration, tokenizer, and every ternary matrix and table.
pub fn gguf(bytes: &[u8]) {
    std::hint::black_box(model_of_gguf(bytes).is_some());
}

/// The model of a GGUF file, if it is one.
pub fn model_of_gguf(bytes: &[u8]) -> Option<Model> {
    let file = Gguf::in_memory("m.gguf", bytes.into()).ok()?;
    let source = Source::Gguf(GgufModel::new(Arc::new(file)).ok()?);
    let checkpoint = Checkpoint::open(&source).ok()?;
    let config = Config::read(&source, &checkpoint).ok()?;
    let message = Tokenizer::read(&source, &config).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(!message.contains("panicked"), "{message}");
    let pool = Arc::new(Pool::new(Isa::best(), 1));
    Model::from_checkpoint(&checkpoint, config, pool, Layout::TwoBit).ok()
}

/// A right GGUF file with a tensor of every type that a tiny model can have.
pub fn right_gguf() -> Vec<u8> {
    let number = |value: u32| NewValue::Uint32(value);
    let text = |text: &str| NewValue::Text(text.to_owned());
    let tokens = ["<s>", "a", "b", "ab"].map(str::to_owned).to_vec();
    let metadata = [
        ("general.architecture", text("llama")),
        ("llama.context_length", number(64)),
        ("llama.embedding_length", number(256)),
        ("llama.feed_forward_length", number(256)),
        ("llama.block_count", number(1)),
        ("llama.attention.head_count", number(2)),
        ("llama.attention.layer_norm_rms_epsilon", NewValue::Float32(1e-5)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("llama-bpe")),
        ("tokenizer.chat_template", text("{{ messages[0]['content'] }}")),
        ("tokenizer.ggml.tokens", NewValue::Texts(tokens)),
        ("tokenizer.ggml.token_type", NewValue::Int32s(vec![3, 1, 1, 1])),
        ("tokenizer.ggml.merges", NewValue::Texts(vec!["a b".to_owned()])),
        ("tokenizer.ggml.bos_token_id", number(0)),
        ("tokenizer.ggml.add_bos_token", NewValue::Bool(true)),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
    let tensors = [
        ("token_embd", TensorType::Q6K, vec![4, 256]),
        ("output", TensorType::Q8_0, vec![4, 256]),
        ("output_norm", TensorType::F32, vec![256]),
        ("blk.0.attn_norm", TensorType::F32, vec![256]),
        ("blk.0.ffn_norm", TensorType::F32, vec![256]),
        ("blk.0.attn_q", TensorType::I2S, vec![256, 256]),
        ("blk.0.attn_k", TensorType::Tq1_0, vec![256, 256]),
        ("blk.0.attn_v", TensorType::Tq2_0, vec![256, 256]),
        ("blk.0.attn_output", TensorType::F16, vec![256, 256]),
        ("blk.0.ffn_gate", TensorType::Bf16, vec![256, 256]),
        ("blk.0.ffn_up", TensorType::I2S, vec![256, 256]),
        ("blk.0.ffn_down", TensorType::I2S, vec![256, 256]),
    ];
    let tensors = tensors.map(|(name, tensor_type, shape)| NewGgufTensor {
        name: format!("{name}.weight"),
        tensor_type,
        shape,
    });
    let mut file = Vec::new();
    gguf::write(&mut file, &metadata, &tensors, &mut |i, out| {
        let size_bytes = tensors[i].size_bytes() as usize;
        match tensors[i].tensor_type {
            // All codes are 0, which is -1; the scale is 0.5.
            TensorType::I2S => {
                out.write_all(&vec![0; size_bytes - 32])?;
                out.write_all(&ternary::to_i2_s_tail(0.5))
            }
            TensorType::Tq1_0 => {
                out.write_all(&ternary::to_tq1_0_block(&[2; 256], half::f16::ONE).repeat(256))
            }
            TensorType::Tq2_0 => {
                out.write_all(&ternary::to_tq2_0_block(&[0; 256], half::f16::ONE).repeat(256))
            }
            // Floats of one magnitude, and what is near enough for the others.
            _ => out.write_all(&[0x3c; 1].repeat(size_bytes)),
        }
    })
    .expect("memory can be written to");
    file
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
