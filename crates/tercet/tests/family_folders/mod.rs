//! A folder of each family with random weights, wide enough for every form; its tokenizer is the embedded model's.

use std::collections::BTreeMap;
use std::path::Path;

use half::bf16;
use tercet::checkpoint::{Dtype, NewTensor, write_files};
use tercet::config::{
    Activation, Config, Family, Linears, Norms, ScaleRule, SubNorms, TensorKind, expected_tensors,
};
use tercet::embedded;

/// The rows of the table in `docs/models.md`.
pub(crate) const FAMILIES: [&str; 7] = [
    "bitnet-packed",
    "bitnet-masters",
    "bitnet-silu",
    "1bitllm",
    "ternary-llama",
    "norm-in-linear",
    "dense-llama",
];

fn config(family: &str) -> Config {
    let pre = Norms { pre: true, sub: None, in_linear_eps: None };
    let sub = |names| Norms { sub: Some(names), ..pre };
    let multiply = Linears::Packed { scale: ScaleRule::Multiply };
    let divide = Linears::Packed { scale: ScaleRule::Divide };
    let (kind, norms, linears) = match family {
        "bitnet-packed" | "bitnet-silu" => (Family::Bitnet, sub(SubNorms::Bitnet), multiply),
        "bitnet-masters" => (Family::Bitnet, sub(SubNorms::Bitnet), Linears::Masters),
        "1bitllm" => (Family::OneBitLlm, sub(SubNorms::OneBitLlm), Linears::Masters),
        "ternary-llama" => (Family::TernaryLlama, pre, divide),
        "norm-in-linear" => (Family::NormInLinear, Norms { in_linear_eps: Some(1e-6), ..pre }, divide),
        _ => (Family::DenseLlama, pre, Linears::Dense),
    };
    let is_relu2 = matches!(family, "bitnet-packed" | "bitnet-masters");
    Config {
        hidden_size: 256,
        intermediate_size: 512,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 64,
        vocab_size: 520,
        max_position_embeddings: 128,
        rms_norm_eps: 1e-5,
        rope_theta: if is_relu2 { 500_000.0 } else { 10_000.0 },
        tie_word_embeddings: family != "ternary-llama",
        hidden_act: if is_relu2 { Activation::Relu2 } else { Activation::Silu },
        norms,
        linears,
        family: kind,
        family_evidence: String::new(),
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
    }
}

/// Writes the model of a family into a folder that is made.
pub(crate) fn write(family: &str, folder: &Path) {
    let config = config(family);
    std::fs::create_dir(folder).unwrap();
    let tensors = expected_tensors(&config);
    let dtype = |kind: TensorKind| match (kind, config.linears) {
        (TensorKind::Linear, Linears::Packed { .. }) => Dtype::U8,
        // The masters of 1bitLLM's family are f32, those of 2B4T's bf16.
        (TensorKind::Linear, Linears::Masters) if family == "1bitllm" => Dtype::F32,
        (TensorKind::WeightScale, _) => Dtype::F32,
        _ => Dtype::BF16,
    };
    let new = |tensor: &tercet::config::ExpectedTensor| NewTensor {
        name: tensor.name.clone(),
        dtype: dtype(tensor.kind),
        shape: tensor.shape.clone(),
    };
    let new: Vec<NewTensor> = tensors.iter().map(new).collect();
    let mut state = 3u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u32
    };
    write_files(folder, &new, &BTreeMap::new(), &mut |number, out| {
        let elements: usize = new[number].shape.iter().product();
        for _ in 0..elements {
            let uniform = random() as f32 / (1 << 23) as f32 - 1.0;
            let value = match tensors[number].kind {
                TensorKind::Norm => 1.0 + uniform / 4.0,
                TensorKind::WeightScale => match config.linears {
                    Linears::Packed { scale: ScaleRule::Divide } => 30.0 + uniform,
                    _ => 0.04 + uniform / 100.0,
                },
                // None so small that f16 rounds it.
                TensorKind::Embedding | TensorKind::Head => (uniform * 2048.0).round() / 16384.0,
                TensorKind::Linear => uniform / 8.0,
            };
            match new[number].dtype {
                Dtype::U8 => {
                    let codes = random() % 81;
                    let byte = [1, 3, 9, 27].iter().rev().fold(0, |byte, power| 4 * byte + codes / power % 3);
                    out.write_all(&[byte as u8])?;
                }
                Dtype::F32 => out.write_all(&value.to_le_bytes())?,
                _ => out.write_all(&bf16::from_f32(value).to_le_bytes())?,
            }
        }
        Ok(())
    })
    .unwrap();
    std::fs::write(folder.join("config.json"), config.to_json().to_string()).unwrap();
    let embedded = embedded::stories();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::write(folder.join(file), embedded.read(file).unwrap()).unwrap();
    }
}
