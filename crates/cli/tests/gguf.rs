//! The model inside the binary as a GGUF file: the same text, the same logits, and errors that say what to do.

mod command;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use command::{command, outcome, tercet};
use tercet::checkpoint::{Checkpoint, Dtype};
use tercet::config::{Config, TensorKind, expected_tensors};
use tercet::embedded;
use tercet::gguf::{NewGgufTensor, NewValue, TensorType, ternary, write};
use tercet::model::TernaryRows;
use tercet::tokenizer::TOKENIZER_FILE;
use tercet_kernels::{Isa, Pool};

/// The file, once for all tests of a name.
fn stories(name: &str) -> PathBuf {
    let source = embedded::stories();
    let checkpoint = Checkpoint::open(&source).unwrap();
    let config = Config::read(&source, &checkpoint).unwrap();
    let pool = Arc::new(Pool::new(Isa::best(), 1));
    let mut tensors = Vec::new();
    let mut contents: Vec<Vec<u8>> = Vec::new();
    for tensor in expected_tensors(&config) {
        let stored = checkpoint.get(&tensor.name).unwrap();
        let (tensor_type, shape, bytes) = match tensor.kind {
            TensorKind::WeightScale => continue,
            TensorKind::Linear => {
                let linear = tensor.name.strip_suffix(".weight").unwrap();
                let rows = TernaryRows::open(&pool, &checkpoint, &config, linear).unwrap();
                (TensorType::I2S, rows.shape().to_vec(), i2_s_bytes(&rows))
            }
            _ => {
                let tensor_type = match stored.dtype {
                    Dtype::F32 => TensorType::F32,
                    Dtype::F16 => TensorType::F16,
                    Dtype::BF16 => TensorType::Bf16,
                    other => panic!("{}: {other}", tensor.name),
                };
                (tensor_type, tensor.shape, stored.bytes.to_vec())
            }
        };
        tensors.push(NewGgufTensor { name: gguf_name(&tensor.name), tensor_type, shape });
        contents.push(bytes);
    }
    let mut metadata = metadata(&config);
    metadata.extend(tokenizer(&source.read(TOKENIZER_FILE).unwrap()));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut file = std::fs::File::create(&path).unwrap();
    write(&mut file, &metadata, &tensors, &mut |i, out| out.write_all(&contents[i])).unwrap();
    path
}

fn i2_s_bytes(rows: &TernaryRows<'_>) -> Vec<u8> {
    let [count, cols] = rows.shape();
    let mut codes = vec![0; count * cols];
    let mut reader = rows.reader();
    for (row, codes) in codes.chunks_exact_mut(cols).enumerate() {
        reader.read(row, codes).unwrap();
    }
    let mut bytes: Vec<u8> = codes.as_chunks().0.iter().flat_map(ternary::to_i2_s_block).collect();
    bytes.extend(ternary::to_i2_s_tail(rows.scale()));
    bytes
}

fn gguf_name(name: &str) -> String {
    const PARTS: [(&str, &str); 14] = [
        ("model.layers.", "blk."),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.attn_sub_norm", "attn_sub_norm"),
        ("mlp.ffn_sub_norm", "ffn_sub_norm"),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
    ];
    PARTS.iter().fold(name.to_owned(), |name, (here, there)| name.replace(here, there))
}

fn metadata(config: &Config) -> Vec<(String, NewValue)> {
    let number = |value: usize| NewValue::Uint32(value as u32);
    [
        ("general.architecture", NewValue::Text("bitnet".to_owned())),
        ("bitnet.context_length", number(config.max_position_embeddings)),
        ("bitnet.embedding_length", number(config.hidden_size)),
        ("bitnet.feed_forward_length", number(config.intermediate_size)),
        ("bitnet.block_count", number(config.num_hidden_layers)),
        ("bitnet.attention.head_count", number(config.num_attention_heads)),
        ("bitnet.attention.head_count_kv", number(config.num_key_value_heads)),
        ("bitnet.attention.layer_norm_rms_epsilon", NewValue::Float32(config.rms_norm_eps)),
        ("bitnet.rope.freq_base", NewValue::Float32(config.rope_theta as f32)),
        ("bitnet.rope.dimension_count", number(config.head_dim)),
        ("tokenizer.ggml.model", NewValue::Text("llama".to_owned())),
        ("tokenizer.ggml.bos_token_id", NewValue::Uint32(config.bos_token_id.unwrap())),
        ("tokenizer.ggml.eos_token_id", NewValue::Uint32(config.eos_token_ids[0])),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// Its tokens by their ids, whose negatives SentencePiece's trainer gave as scores.
fn tokenizer(json: &[u8]) -> Vec<(String, NewValue)> {
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    let vocabulary = json["model"]["vocab"].as_object().unwrap();
    let mut tokens = vec![String::new(); vocabulary.len()];
    for (text, id) in vocabulary {
        tokens[id.as_u64().unwrap() as usize] = text.clone();
    }
    let types = tokens.iter().enumerate().map(|(id, text)| match id {
        0 => 2,
        1 | 2 => 3,
        _ if text.starts_with("<0x") && text.len() == 6 => 6,
        _ => 1,
    });
    [
        ("tokenizer.ggml.token_type", NewValue::Int32s(types.collect())),
        ("tokenizer.ggml.scores", NewValue::Float32s((0..tokens.len()).map(|id| -(id as f32)).collect())),
        ("tokenizer.ggml.tokens", NewValue::Texts(tokens)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

#[test]
fn a_gguf_file_runs_as_the_model_it_was_made_of() {
    let path = stories("runs.gguf");
    let arguments = ["Once upon a time", "-n", "24", "--temp", "0", "--logits-sha256"];
    let want = outcome(command().arg("run").args(arguments));
    let got = outcome(command().arg("run").arg(&path).args(arguments));
    assert_eq!((got.code, &got.stdout), (Some(0), &want.stdout), "{}", got.stderr);
    let digest =
        |stderr: &str| stderr.lines().find(|line| line.contains("logits-sha256")).unwrap().to_owned();
    assert_eq!(digest(&got.stderr), digest(&want.stderr));
    let shown = outcome(command().arg("inspect").arg(&path));
    assert!(shown.code == Some(0) && shown.stdout.contains("I2_S"), "{}{}", shown.stdout, shown.stderr);
}

#[test]
fn a_cut_file_says_so() {
    let path = stories("cut.gguf");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let found = tercet(["run", path.to_str().unwrap(), "Once"]);
    assert_eq!(found.code, Some(3));
    for says in ["cut.gguf: tensor `", "is the file whole?", "hint: the download may have been cut off"] {
        assert!(found.stderr.contains(says), "{}", found.stderr);
    }
}
