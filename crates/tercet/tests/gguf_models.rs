//! A GGUF file gives the logits of the same model as safetensors, to the bit, in every type of its tensors.

mod gguf_file;

use std::collections::BTreeMap;
use std::sync::Arc;

use gguf_file::{File, Tensor, Value, f32_value, text_value, u32_value};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tercet::config::{
    Activation, Config, Family, Linears, Norms, ScaleRule, SubNorms, TensorKind, expected_tensors,
};
use tercet::gguf::model::GgufModel;
use tercet::gguf::{Gguf, TensorType, ternary};
use tercet::model::{LogitRows, Model, Session, SessionSize};
use tercet::source::{MemoryFolder, Source};
use tercet_kernels::{Isa, KvType, Layout, Pool, Sequence};

/// Names within a layer, here and in GGUF files.
const PARTS: [(&str, &str); 11] = [
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
];

fn config(architecture: &str) -> Config {
    let is_llama = architecture == "llama";
    Config {
        hidden_size: 256,
        intermediate_size: 512,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 64,
        vocab_size: 48,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: !is_llama,
        hidden_act: if architecture == "bitnet-b1.58" { Activation::Relu2 } else { Activation::Silu },
        norms: Norms { pre: true, sub: (!is_llama).then_some(SubNorms::Bitnet), in_linear_eps: None },
        linears: Linears::Packed { scale: ScaleRule::Multiply },
        family: if is_llama { Family::TernaryLlama } else { Family::Bitnet },
        family_evidence: String::new(),
        bos_token_id: None,
        eos_token_ids: vec![],
    }
}

/// A tensor of the model, before any format.
enum Content {
    /// `[rows, cols]` codes and the scale.
    Ternary([usize; 2], Vec<u8>, f32),
    Floats(Vec<usize>, Vec<f32>),
}

/// Random tensors whose floats and scales bf16 and f16 hold.
fn contents(config: &Config) -> BTreeMap<String, Content> {
    let mut state = 7u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u32
    };
    let dense = Config { linears: Linears::Masters, ..config.clone() };
    let tensors = expected_tensors(&dense).into_iter().map(|tensor| {
        let elements: usize = tensor.shape.iter().product();
        let content = match tensor.kind {
            TensorKind::Linear => {
                let shape = tensor.shape.try_into().unwrap();
                let mut codes: Vec<u8> = (0..elements).map(|_| (random() % 3) as u8).collect();
                // Blocks of zeros have no scale in TQ1_0 and TQ2_0.
                codes[..256].fill(1);
                Content::Ternary(shape, codes, (1 + random() % 31) as f32 / 512.0)
            }
            TensorKind::Norm => {
                Content::Floats(tensor.shape, vec![1.0 + (random() % 8) as f32 / 16.0; elements])
            }
            _ => {
                let values = (0..elements).map(|_| (random() % 255) as f32 / 128.0 - 1.0).collect();
                Content::Floats(tensor.shape, values)
            }
        };
        (tensor.name, content)
    });
    tensors.collect()
}

/// The model as safetensors.
fn folder(config: &Config, contents: &BTreeMap<String, Content>) -> Source {
    let mut tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for (name, content) in contents {
        match content {
            Content::Ternary([rows, cols], codes, scale) => {
                let planes = rows / 4;
                let byte = |i: usize| {
                    (0..4).fold(0, |byte, plane| byte | codes[i + plane * planes * cols] << (2 * plane))
                };
                let bytes = (0..planes * cols).map(byte).collect();
                tensors.insert(name.clone(), (Dtype::U8, vec![planes, *cols], bytes));
                let scale_name = format!("{}_scale", name);
                tensors.insert(scale_name, (Dtype::F32, vec![1], scale.to_le_bytes().to_vec()));
            }
            Content::Floats(shape, values) => {
                let bytes = values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
                tensors.insert(name.clone(), (Dtype::BF16, shape.clone(), bytes));
            }
        }
    }
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let weights = safetensors::serialize(views, None).unwrap();
    let files = [
        ("config.json".to_owned(), config.to_json().to_string().into_bytes().into()),
        ("model.safetensors".to_owned(), weights.into()),
    ];
    Source::Memory(MemoryFolder { name: "m".to_owned(), files: files.into() })
}

/// The model as a GGUF file with linears of one type.
fn gguf_bytes(
    architecture: &str,
    config: &Config,
    contents: &BTreeMap<String, Content>,
    tensor_type: TensorType,
) -> File {
    let key = |name: &str| format!("{architecture}.{name}");
    let metadata: Vec<(String, Value)> = vec![
        ("general.architecture".into(), text_value(architecture)),
        (key("embedding_length"), u32_value(config.hidden_size as u32)),
        (key("feed_forward_length"), u32_value(config.intermediate_size as u32)),
        (key("block_count"), u32_value(config.num_hidden_layers as u32)),
        (key("attention.head_count"), u32_value(config.num_attention_heads as u32)),
        (key("attention.head_count_kv"), u32_value(config.num_key_value_heads as u32)),
        (key("attention.layer_norm_rms_epsilon"), f32_value(config.rms_norm_eps)),
        (key("rope.freq_base"), f32_value(config.rope_theta as f32)),
        (key("rope.dimension_count"), u32_value(config.head_dim as u32)),
        (key("context_length"), u32_value(config.max_position_embeddings as u32)),
    ];
    let mut file = File {
        magic: *b"GGUF",
        version: 3,
        tensor_count: None,
        key_count: None,
        metadata,
        tensors: Vec::new(),
        alignment: 32,
        data: Vec::new(),
    };
    for (name, content) in contents {
        let there = gguf_name(name);
        let is_permuted = architecture == "llama" && (there.contains("attn_q.") || there.contains("attn_k."));
        let (shape, number, bytes) = match content {
            Content::Ternary([rows, cols], codes, scale) => {
                let heads = rows / config.head_dim;
                let codes =
                    if is_permuted { permuted(codes, heads, config.head_dim, *cols) } else { codes.clone() };
                (vec![*cols as u64, *rows as u64], tensor_type.number(), stored(tensor_type, &codes, *scale))
            }
            Content::Floats(shape, values) if shape.len() == 1 => {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                (vec![shape[0] as u64], TensorType::F32.number(), bytes)
            }
            Content::Floats(shape, values) => {
                let bytes = values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
                (vec![shape[1] as u64, shape[0] as u64], TensorType::Bf16.number(), bytes)
            }
        };
        let offset = file.data.len() as u64;
        file.tensors.push(Tensor::new(&there, &shape, number, offset));
        file.data.extend(bytes);
        file.data.resize(file.data.len().next_multiple_of(file.alignment), 0);
    }
    file
}

fn gguf_name(name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => "token_embd.weight".to_owned(),
        "model.norm.weight" => "output_norm.weight".to_owned(),
        "lm_head.weight" => "output.weight".to_owned(),
        _ => {
            let (layer, part) = name.strip_prefix("model.layers.").unwrap().split_once('.').unwrap();
            let part = part.strip_suffix(".weight").unwrap();
            let (_, there) = PARTS.iter().find(|(here, _)| *here == part).unwrap();
            format!("blk.{layer}.{there}.weight")
        }
    }
}

/// `w.reshape(heads, 2, head_dim / 2, cols).swapaxes(1, 2)`, as llama.cpp's converter writes q and k.
fn permuted(codes: &[u8], heads: usize, head_dim: usize, cols: usize) -> Vec<u8> {
    let half = head_dim / 2;
    let mut out = Vec::new();
    for head in 0..heads {
        for i in 0..half {
            for pair in 0..2 {
                let row = (head * 2 + pair) * half + i;
                out.extend(&codes[row * cols..][..cols]);
            }
        }
    }
    out
}

fn stored(tensor_type: TensorType, codes: &[u8], scale: f32) -> Vec<u8> {
    let values = || codes.iter().map(|code| (f32::from(*code) - 1.0) * scale);
    let blocks = || {
        codes.as_chunks::<256>().0.iter().map(|codes| {
            let is_zero = codes.iter().all(|code| *code == 1);
            (codes, f16::from_f32(if is_zero { 0.0 } else { scale }))
        })
    };
    match tensor_type {
        TensorType::F32 => values().flat_map(f32::to_le_bytes).collect(),
        TensorType::F16 => values().flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
        TensorType::Bf16 => values().flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
        TensorType::Tq1_0 => {
            blocks().flat_map(|(codes, scale)| ternary::to_tq1_0_block(codes, scale)).collect()
        }
        TensorType::Tq2_0 => {
            blocks().flat_map(|(codes, scale)| ternary::to_tq2_0_block(codes, scale)).collect()
        }
        TensorType::I2S => {
            let mut bytes: Vec<u8> = codes.as_chunks().0.iter().flat_map(ternary::to_i2_s_block).collect();
            bytes.extend(ternary::to_i2_s_tail(scale));
            bytes
        }
        other => panic!("{other} is no type of linears"),
    }
}

fn source(file: &File) -> Source {
    let gguf = Gguf::in_memory("m.gguf", file.bytes().into()).unwrap();
    Source::Gguf(GgufModel::new(Arc::new(gguf)).unwrap())
}

fn logits(source: &Source) -> Vec<f32> {
    let pool = Arc::new(Pool::new(Isa::best(), 2));
    let model = Model::load(source, pool, Layout::TwoBit).unwrap();
    let tokens: Vec<u32> = (0..9).map(|t| t * 5).collect();
    let size = SessionSize { context: tokens.len(), max_rows: tokens.len(), max_logit_rows: tokens.len() };
    let mut session = Session::new(&model, size);
    let mut cache = session.new_cache(KvType::F32);
    let mut sequences = [Sequence { tokens: &tokens, cache: &mut cache }];
    session.forward(&mut sequences, LogitRows::All).unwrap().to_vec()
}

const TQ2_0: u32 = 35;

const TERNARY_TYPES: [TensorType; 6] = [
    TensorType::I2S,
    TensorType::Tq1_0,
    TensorType::Tq2_0,
    TensorType::F32,
    TensorType::F16,
    TensorType::Bf16,
];

#[test]
fn every_type_and_architecture_gives_the_same_logits() {
    for architecture in ["bitnet", "bitnet-b1.58", "llama"] {
        let config = config(architecture);
        let contents = contents(&config);
        let want = logits(&folder(&config, &contents));
        assert!(want.iter().any(|logit| *logit != want[0]));
        for tensor_type in TERNARY_TYPES {
            // A llama file of floats is a dense model.
            let is_float = matches!(tensor_type, TensorType::F32 | TensorType::F16 | TensorType::Bf16);
            if architecture == "llama" && is_float {
                continue;
            }
            let got = logits(&source(&gguf_bytes(architecture, &config, &contents, tensor_type)));
            assert!(got == want, "{architecture}, {tensor_type}");
        }
    }
}

/// Without ternary types, `llama` is a dense model, whose rows of q and k stand in another order too.
#[test]
fn a_llama_of_floats_is_dense() {
    let config = config("llama");
    let contents = contents(&config);
    let weights = contents.iter().map(|(name, content)| match content {
        Content::Ternary(shape, codes, scale) => {
            let values = codes.iter().map(|code| (f32::from(*code) - 1.0) * scale).collect();
            (name.clone(), Content::Floats(shape.to_vec(), values))
        }
        Content::Floats(shape, values) => (name.clone(), Content::Floats(shape.clone(), values.clone())),
    });
    let dense = Config { linears: Linears::Dense, family: Family::DenseLlama, ..config.clone() };
    let want = logits(&folder(&dense, &weights.collect()));
    for tensor_type in [TensorType::F32, TensorType::F16, TensorType::Bf16] {
        let got = logits(&source(&gguf_bytes("llama", &config, &contents, tensor_type)));
        assert!(got == want, "{tensor_type}");
    }
}

/// Loads a file of I2_S after something was done to it.
#[track_caller]
fn check_refused(damage: impl Fn(&mut File), want: &str) {
    check_refused_in("bitnet-b1.58", TensorType::I2S, damage, want);
}

#[track_caller]
fn check_refused_in(architecture: &str, tensor_type: TensorType, damage: impl Fn(&mut File), want: &str) {
    let config = config(architecture);
    let mut file = gguf_bytes(architecture, &config, &contents(&config), tensor_type);
    damage(&mut file);
    let gguf = Gguf::in_memory("m.gguf", file.bytes().into()).unwrap();
    let message = match GgufModel::new(Arc::new(gguf)) {
        Err(error) => error.to_string(),
        Ok(model) => {
            let pool = Arc::new(Pool::new(Isa::best(), 1));
            match Model::load(&Source::Gguf(model), pool, Layout::TwoBit) {
                Ok(_) => panic!("the file was loaded, expected `{want}`"),
                Err(error) => error.to_string(),
            }
        }
    };
    assert!(message.contains(want), "found `{message}`, expected `{want}`");
    assert!(message.contains("m.gguf"), "`{message}` does not name the file");
}

fn set(file: &mut File, key: &str, value: Value) {
    let entry = file.metadata.iter_mut().find(|(own, _)| own.ends_with(key)).unwrap();
    entry.1 = value;
}

/// The bytes of a tensor.
fn bytes_of<'f>(file: &'f mut File, name: &str) -> &'f mut [u8] {
    let tensor = file.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    &mut file.data[tensor.offset as usize..]
}

#[test]
fn what_the_container_cannot_know_is_refused_by_name() {
    check_refused(|f| set(f, "architecture", text_value("qwen3")), "architecture `qwen3`");
    check_refused(|f| set(f, "architecture", u32_value(1)), "`general.architecture` is of type uint32");
    check_refused(|f| drop(f.metadata.remove(0)), "`general.architecture` is missing");
    check_refused(|f| drop(f.metadata.remove(1)), "`bitnet-b1.58.embedding_length` is missing");
    check_refused(|f| set(f, "block_count", u32_value(1_000_000_000)), "num_hidden_layers");
    check_refused(|f| set(f, "block_count", u32_value(3)), "tensor `blk.2.");
    check_refused(|f| set(f, "head_count", u32_value(0)), "num_attention_heads");
    check_refused(|f| set(f, "head_count_kv", u32_value(3)), "num_key_value_heads");
    check_refused(|f| set(f, "epsilon", f32_value(f32::NAN)), "epsilon` is NaN");
    check_refused(|f| set(f, "freq_base", f32_value(f32::INFINITY)), "freq_base` is inf");
    check_refused(|f| set(f, "dimension_count", u32_value(32)), "shape");
    check_refused(
        |f| f.metadata.push(("bitnet-b1.58.rope.scaling.type".into(), text_value("yarn"))),
        "`bitnet-b1.58.rope.scaling.type` is yarn, expected `none`, or `linear` with the factor 1",
    );
    check_refused(
        |f| f.metadata.push(("bitnet-b1.58.attention.value_length".into(), u32_value(128))),
        "`bitnet-b1.58.attention.value_length` is 128, expected 64, the size of keys",
    );
    check_refused(
        |f| f.metadata.push(("bitnet-b1.58.vocab_size".into(), u32_value(49))),
        "`bitnet-b1.58.vocab_size` is 49, expected at most 48, the rows of `token_embd.weight`",
    );
    for key in ["rope.scaling.factor", "rope.scale_linear"] {
        let key = format!("bitnet-b1.58.{key}");
        let want = format!("`{key}` is 4, expected 1");
        check_refused(|f| f.metadata.push((key.clone(), f32_value(4.0))), &want);
    }
    check_refused(
        |f| f.metadata.retain(|(key, _)| !key.ends_with("epsilon")),
        "`bitnet-b1.58.attention.layer_norm_rms_epsilon` is missing",
    );
    check_refused(
        |f| f.tensors.iter_mut().find(|t| t.name == "token_embd.weight").unwrap().number = TQ2_0,
        "`token_embd.weight` has type TQ2_0, expected F32, F16, BF16, Q8_0, Q6_K or Q4_0",
    );
    check_refused(
        |f| f.tensors.iter_mut().find(|t| t.name == "output_norm.weight").unwrap().number = TQ2_0,
        "`output_norm.weight` has type TQ2_0, expected F32, F16 or BF16",
    );
    check_refused(|f| f.metadata.push(("tokenizer.ggml.eos_token_id".into(), u32_value(48))), "eos_token_id");
    check_refused(|f| f.tensors[3].name = "blk.0.attn_q.bias".into(), "blk.0.attn_q.bias");
    check_refused(
        |f| set(f, "block_count", u32_value(1)),
        "tensor `blk.1.attn_norm.weight` belongs to layer 1",
    );
    let not_finite = |f: &mut File| bytes_of(f, "blk.1.attn_norm.weight")[..4].fill(0xff);
    check_refused(not_finite, "tensor `blk.1.attn_norm.weight`: element 0 is not finite");
    check_refused(
        |f| f.tensors[3].name = "model.norm.weight".into(),
        "another has the place of, `model.norm.weight`",
    );
    check_refused(|f| f.tensors.retain(|t| t.name != "token_embd.weight"), "token_embd.weight` is missing");
    check_refused(
        |f| f.tensors.retain(|t| t.name != "blk.1.ffn_sub_norm.weight"),
        "`blk.1.ffn_sub_norm.weight` is missing",
    );
    check_refused(|f| bytes_of(f, "blk.1.ffn_up.weight")[5] |= 0b1100, "`blk.1.ffn_up.weight`: row");
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let put = |f: &mut File| {
            let tail = 512 * 256 / 4;
            bytes_of(f, "blk.1.ffn_up.weight")[tail..tail + 4].copy_from_slice(&scale.to_le_bytes());
        };
        check_refused(put, "`blk.1.ffn_up.weight` is");
    }
}

/// Sizes that are said twice may be said, and an embedding may have rows of padding.
#[test]
fn sizes_may_be_said_twice() {
    let config = config("bitnet");
    let mut file = gguf_bytes("bitnet", &config, &contents(&config), TensorType::I2S);
    let want = logits(&source(&file));
    let [values, vocabulary] = [config.head_dim, config.vocab_size - 1].map(|size| u32_value(size as u32));
    file.metadata.push(("bitnet.attention.value_length".into(), values));
    file.metadata.push(("bitnet.vocab_size".into(), vocabulary));
    assert!(logits(&source(&file)) == want);
}

/// llama.cpp's converter says of every `bitnet` that positions are scaled by 1.
#[test]
fn positions_scaled_by_1_are_not_scaled() {
    let config = config("bitnet");
    let mut file = gguf_bytes("bitnet", &config, &contents(&config), TensorType::I2S);
    let want = logits(&source(&file));
    file.metadata.push(("bitnet.rope.scaling.type".into(), text_value("linear")));
    file.metadata.push(("bitnet.rope.scaling.factor".into(), f32_value(1.0)));
    file.metadata.push(("bitnet.rope.scale_linear".into(), f32_value(0.0)));
    assert!(logits(&source(&file)) == want);
}

/// Adds to each linear a scale beside it, and takes that away from the scale inside.
fn with_scales(contents: &BTreeMap<String, Content>, tensor_type: TensorType, config: &Config) -> File {
    let halved = contents.iter().map(|(name, content)| match content {
        Content::Ternary(shape, codes, scale) => {
            (name.clone(), Content::Ternary(*shape, codes.clone(), scale * 2.0))
        }
        Content::Floats(shape, values) => (name.clone(), Content::Floats(shape.clone(), values.clone())),
    });
    let mut file = gguf_bytes("bitnet", config, &halved.collect(), tensor_type);
    for name in contents.keys().filter(|name| matches!(contents[*name], Content::Ternary(..))) {
        let name = gguf_name(name).replace(".weight", ".scale");
        add_scale(&mut file, &name, 0.5);
    }
    file
}

fn add_scale(file: &mut File, name: &str, scale: f32) {
    file.tensors.push(Tensor::new(name, &[1], TensorType::F32.number(), file.data.len() as u64));
    file.data.extend(scale.to_le_bytes());
    file.data.resize(file.data.len().next_multiple_of(file.alignment), 0);
}

#[test]
fn scales_beside_the_linears_of_a_bitnet_multiply() {
    let config = config("bitnet");
    let contents = contents(&config);
    let want = logits(&folder(&config, &contents));
    for tensor_type in TERNARY_TYPES {
        let got = logits(&source(&with_scales(&contents, tensor_type, &config)));
        assert!(got == want, "{tensor_type}");
    }
}

#[test]
fn scales_that_cannot_be_are_refused() {
    let name = "blk.0.attn_q.scale";
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let want = "`blk.0.attn_q.scale` is";
        check_refused_in("bitnet", TensorType::I2S, |f| add_scale(f, name, scale), want);
    }
    let twice = |f: &mut File| {
        add_scale(f, name, 1.0);
        f.tensors.last_mut().unwrap().sizes = vec![2];
    };
    check_refused_in("bitnet", TensorType::I2S, twice, "`blk.0.attn_q.scale` has shape [2], expected [1]");
    let of_masters = |f: &mut File| {
        bytes_of(f, "blk.0.attn_q.weight")[..4].copy_from_slice(&0.75f32.to_le_bytes());
        add_scale(f, name, 1.0);
    };
    check_refused_in("bitnet", TensorType::F32, of_masters, "`blk.0.attn_q.weight` has a scale beside it");
    // Right by itself, and none together with that of the blocks.
    let large = |f: &mut File| add_scale(f, name, 3e38);
    check_refused_in("bitnet", TensorType::I2S, large, "`blk.0.attn_q.scale` is");
    let of_norm = |f: &mut File| add_scale(f, "model.norm.weight_scale", 1.0);
    check_refused_in("bitnet", TensorType::I2S, of_norm, "linear `output_norm.weight` has packed bytes");
    // Only of this architecture is it known what they mean.
    let want = "`blk.0.attn_q.scale` is none that";
    check_refused_in("bitnet-b1.58", TensorType::I2S, |f| add_scale(f, name, 1.0), want);
}

/// A matrix of zeros is the same in every type: floats are quantised with the least scale there is.
#[test]
fn matrices_of_zeros_are_read() {
    let config = config("bitnet");
    let mut contents = contents(&config);
    let name = "model.layers.1.mlp.up_proj.weight";
    let Content::Ternary(shape, codes, _) = &contents[name] else { panic!("{name} is ternary") };
    let (zeros, tail) = (vec![1; codes.len()], codes.len() / 4);
    contents.insert(name.to_owned(), Content::Ternary(*shape, zeros, 1e-5));
    let want = logits(&folder(&config, &contents));
    for tensor_type in TERNARY_TYPES {
        let got = logits(&source(&gguf_bytes("bitnet", &config, &contents, tensor_type)));
        assert!(got == want, "{tensor_type}");
    }
    // Where bitnet.cpp's converter finds no magnitude, it writes the scale 0.
    let mut file = gguf_bytes("bitnet", &config, &contents, TensorType::I2S);
    bytes_of(&mut file, "blk.1.ffn_up.weight")[tail..tail + 4].fill(0);
    assert!(logits(&source(&file)) == want);
}

#[test]
fn blocks_of_several_scales_are_refused() {
    let config = config("bitnet");
    let mut file = gguf_bytes("bitnet", &config, &contents(&config), TensorType::Tq2_0);
    bytes_of(&mut file, "blk.0.attn_v.weight")[66 * 3 + 64..66 * 4].copy_from_slice(&f16::ONE.to_le_bytes());
    let error =
        Model::load(&source(&file), Arc::new(Pool::new(Isa::best(), 1)), Layout::TwoBit).err().unwrap();
    assert!(error.to_string().contains("`blk.0.attn_v.weight` has blocks with the scales 1 and"), "{error}");
}
