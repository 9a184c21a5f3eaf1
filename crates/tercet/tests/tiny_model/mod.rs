//! A tiny model folder of each family, in memory, to be read as it is or damaged first.
//!
//! Shared by the tests of the crate, those in `tests/`, and the fuzz targets.
#![allow(dead_code, unreachable_pub, reason = "each user includes the file and uses its own part")]

use std::collections::BTreeMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};
use tercet::config::{
    Activation, Config, Family, Linears, Norms, ScaleRule, SubNorms, TensorKind, expected_tensors,
};
use tercet::source::{MemoryFolder, Source};

/// The families, and the ways in which they store weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// BitNet 2B4T, packed.
    Bitnet,
    /// BitNet 2B4T, float masters.
    BitnetMasters,
    /// 1bitLLM.
    OneBitLlm,
    /// Falcon3-1.58bit and its like.
    TernaryLlama,
    /// A norm inside every linear, and those before attention and MLP.
    NormInLinear,
    /// A norm inside every linear and no others.
    NormOnlyInLinear,
    /// LLaMA.
    Dense,
}

/// Every kind.
pub const KINDS: [Kind; 7] = [
    Kind::Bitnet,
    Kind::BitnetMasters,
    Kind::OneBitLlm,
    Kind::TernaryLlama,
    Kind::NormInLinear,
    Kind::NormOnlyInLinear,
    Kind::Dense,
];

/// One tensor as it will be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// A model folder that has not been written yet.
#[derive(Debug, Clone)]
pub struct TinyModel {
    pub config: Map<String, Value>,
    pub tensors: BTreeMap<String, Tensor>,
    pub tokenizer: Value,
}

impl TinyModel {
    /// The right model of a kind, the same one every time.
    pub fn new(kind: Kind) -> Self {
        let config = config_of(kind);
        let mut state = 1u64;
        let mut byte = || {
            // Knuth's linear congruential generator; the high bits are the random ones.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let tensors = expected_tensors(&config).into_iter().map(|tensor| {
            let elements: usize = tensor.shape.iter().product();
            let is_packed =
                tensor.kind == TensorKind::Linear && matches!(config.linears, Linears::Packed { .. });
            let (dtype, bytes) = if is_packed {
                // Four codes of 0, 1 or 2 in each byte.
                (Dtype::U8, (0..elements).map(|_| byte() & 0b1010_1010).collect())
            } else {
                let values = (0..elements).map(|_| match tensor.kind {
                    TensorKind::Norm | TensorKind::WeightScale => 1.0,
                    _ => f32::from(byte()) / 1280.0 - 0.1,
                });
                (Dtype::BF16, values.flat_map(bf16).collect())
            };
            (tensor.name, Tensor { dtype, shape: tensor.shape, bytes })
        });
        Self { tensors: tensors.collect(), config: config_json(kind, &config), tokenizer: tokenizer_json() }
    }

    /// The folder with its files.
    pub fn folder(&self) -> MemoryFolder {
        let mut files = BTreeMap::new();
        let mut add = |name: &str, bytes: Vec<u8>| files.insert(name.to_owned(), bytes.into());
        add("config.json", Value::Object(self.config.clone()).to_string().into());
        add("tokenizer.json", self.tokenizer.to_string().into());
        add("model.safetensors", safetensors_bytes(&self.tensors));
        MemoryFolder { name: "tiny".to_owned(), files }
    }

    /// The folder as a source.
    pub fn source(&self) -> Source {
        Source::Memory(self.folder())
    }
}

/// Writes tensors as one safetensors file.
pub fn safetensors_bytes(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let views = tensors.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (name.as_str(), view.expect("a tiny tensor has as many bytes as its shape says"))
    });
    safetensors::serialize(views, None).expect("a tiny model can be written")
}

fn bf16(value: f32) -> [u8; 2] {
    let [_, _, low, high] = value.to_le_bytes();
    [low, high]
}

/// What reading a tiny model must give.
pub fn config_of(kind: Kind) -> Config {
    let pre = Norms { pre: true, sub: None, in_linear_eps: None };
    let in_linear = Norms { in_linear_eps: Some(1e-6), ..pre };
    let sub = |names| Norms { sub: Some(names), ..pre };
    let multiply = Linears::Packed { scale: ScaleRule::Multiply };
    let divide = Linears::Packed { scale: ScaleRule::Divide };
    let (family, norms, linears) = match kind {
        Kind::Bitnet => (Family::Bitnet, sub(SubNorms::Bitnet), multiply),
        Kind::BitnetMasters => (Family::Bitnet, sub(SubNorms::Bitnet), Linears::Masters),
        Kind::OneBitLlm => (Family::OneBitLlm, sub(SubNorms::OneBitLlm), Linears::Masters),
        Kind::TernaryLlama => (Family::TernaryLlama, pre, divide),
        Kind::NormInLinear => (Family::NormInLinear, in_linear, divide),
        Kind::NormOnlyInLinear => {
            let norms = Norms { pre: false, ..in_linear };
            (Family::NormInLinear, norms, Linears::Masters)
        }
        Kind::Dense => (Family::DenseLlama, pre, Linears::Dense),
    };
    let is_bitnet = family == Family::Bitnet;
    Config {
        hidden_size: 16,
        intermediate_size: 22,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        vocab_size: 300,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-5,
        rope_theta: if is_bitnet { 500_000.0 } else { 10_000.0 },
        tie_word_embeddings: kind != Kind::TernaryLlama,
        hidden_act: if is_bitnet { Activation::Relu2 } else { Activation::Silu },
        norms,
        linears,
        family,
        family_evidence: String::new(),
        bos_token_id: Some(264),
        eos_token_ids: vec![265],
    }
}

/// `config.json` of a tiny model.
fn config_json(kind: Kind, config: &Config) -> Map<String, Value> {
    let mut fields = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": 1e-5,
        "rope_theta": config.rope_theta,
        "rope_scaling": null,
        "tie_word_embeddings": config.tie_word_embeddings,
        "hidden_act": if config.hidden_act == Activation::Relu2 { "relu2" } else { "silu" },
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_ids[0],
        "torch_dtype": "bfloat16",
    });
    let quantization = match kind {
        Kind::Bitnet => json!({"quant_method": "bitnet", "linear_class": "autobitlinear",
            "quantization_mode": "offline"}),
        Kind::BitnetMasters => json!({"quant_method": "bitnet", "linear_class": "autobitlinear",
            "quantization_mode": "online"}),
        Kind::TernaryLlama => {
            json!({"quant_method": "bitnet", "modules_to_not_convert": ["lm_head"]})
        }
        Kind::NormInLinear => json!({"quant_method": "bitnet", "use_rms_norm": true}),
        Kind::NormOnlyInLinear => json!({"quant_method": "bitnet", "linear_class": "autobitlinear",
            "quantization_mode": "online", "use_rms_norm": true, "rms_norm_eps": 1e-6}),
        Kind::OneBitLlm | Kind::Dense => Value::Null,
    };
    match kind {
        Kind::Bitnet | Kind::BitnetMasters => {
            fields["model_type"] = "bitnet".into();
            fields["architectures"] = json!(["BitNetForCausalLM"]);
        }
        Kind::OneBitLlm => {
            fields["architectures"] = json!(["BitnetForCausalLM"]);
            fields["weight_bits"] = 1.into();
            fields["input_bits"] = 8.into();
        }
        _ => {}
    }
    if !quantization.is_null() {
        fields["quantization_config"] = quantization;
    }
    match fields {
        Value::Object(fields) => fields,
        _ => unreachable!("the literal above is an object"),
    }
}

/// A byte-level BPE tokenizer: 256 bytes, eight merges, two special tokens.
fn tokenizer_json() -> Value {
    let byte = |b: u8| byte_level_char(b).to_string();
    let mut vocab: Map<String, Value> = (0..=255u8).map(|b| (byte(b), b.into())).collect();
    let space = byte(b' ');
    let merges = [
        ("t", "h"),
        ("th", "e"),
        (space.as_str(), "the"),
        ("i", "n"),
        ("in", "g"),
        ("a", "n"),
        ("an", "d"),
        (space.as_str(), "and"),
    ];
    for (i, (a, b)) in merges.iter().enumerate() {
        vocab.insert(format!("{a}{b}"), (256 + i).into());
    }
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(264, "<bos>"), special(265, "<eos>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}| ?\p{L}+|\s+(?!\S)|\s+|[^\s\p{L}\p{N}]+"},
                "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [264], "tokens": ["<bos>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "ignore_merges": false, "vocab": vocab,
            "merges": merges.map(|(a, b)| json!([a, b]))},
    })
}

/// The printable character by which byte-level BPE writes a byte, as GPT-2's encoder has it.
fn byte_level_char(byte: u8) -> char {
    let is_printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if is_printable(byte) {
        return char::from(byte);
    }
    let earlier = (0..byte).filter(|b| !is_printable(*b)).count() as u32;
    char::from_u32(256 + earlier).expect("the first 324 code points are characters")
}
