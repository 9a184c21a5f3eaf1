//! The tensors that a model of a given configuration has.
//!
//! One list for the reader's check and for every writer. It knows names and shapes, not bytes.

use super::{Config, Linears};
use crate::planes;

/// One tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedTensor {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its shape as stored.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: TensorKind,
}

/// What a tensor is in a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorKind {
    /// The weight of a linear of a layer; stored `[out, in]`, or packed `[ceil(out / 4), in]`.
    Linear,
    /// The scale of a packed linear: one float.
    WeightScale,
    /// The gain of an RMSNorm.
    Norm,
    /// The token embedding, `[vocab_size, hidden_size]`.
    Embedding,
    /// The vocabulary projection of an untied model, `[vocab_size, hidden_size]`.
    Head,
}

/// The name of the token embedding.
pub const EMBEDDING: &str = "model.embed_tokens.weight";

/// The name of the vocabulary projection.
pub const HEAD: &str = "lm_head.weight";

/// One linear of a layer.
struct Linear {
    /// Its name within the layer.
    name: &'static str,
    out_features: usize,
    in_features: usize,
}

/// All tensors of a model, from the embedding to the head, layer by layer.
pub fn expected_tensors(config: &Config) -> Vec<ExpectedTensor> {
    let table = vec![config.vocab_size, config.hidden_size];
    let mut tensors = vec![ExpectedTensor {
        name: EMBEDDING.to_owned(),
        shape: table.clone(),
        kind: TensorKind::Embedding,
    }];
    for layer in 0..config.num_hidden_layers {
        let prefix = format!("model.layers.{layer}.");
        for (name, size) in layer_norms(config) {
            tensors.push(norm(format!("{prefix}{name}.weight"), size));
        }
        for linear in layer_linears(config) {
            push_linear(&mut tensors, config, &prefix, &linear);
        }
    }
    tensors.push(norm("model.norm.weight".to_owned(), config.hidden_size));
    if !config.tie_word_embeddings {
        tensors.push(ExpectedTensor { name: HEAD.to_owned(), shape: table, kind: TensorKind::Head });
    }
    tensors
}

/// The module that a weight is of: `model.layers.7.mlp.up_proj` of `model.layers.7.mlp.up_proj.weight`.
pub(crate) fn module_name(weight: &str) -> &str {
    weight.strip_suffix(".weight").unwrap_or(weight)
}

/// The shape `[out, in]` of a linear, by its name within a layer.
///
/// # Panics
/// If a layer has no such linear.
pub fn linear_shape(config: &Config, name: &str) -> [usize; 2] {
    let linear = layer_linears(config).into_iter().find(|linear| linear.name == name);
    let linear = linear.expect("linear_shape: a linear that every layer has");
    [linear.out_features, linear.in_features]
}

/// Weights in the linears of all layers.
pub(super) fn linear_parameters(config: &Config) -> u64 {
    let sizes = layer_linears(config);
    let layer: u64 = sizes.iter().map(|l| l.out_features as u64 * l.in_features as u64).sum();
    layer * config.num_hidden_layers as u64
}

fn push_linear(tensors: &mut Vec<ExpectedTensor>, config: &Config, prefix: &str, linear: &Linear) {
    let name = format!("{prefix}{}", linear.name);
    let is_packed = matches!(config.linears, Linears::Packed { .. });
    let rows = if is_packed { planes::byte_rows(linear.out_features) } else { linear.out_features };
    tensors.push(ExpectedTensor {
        name: format!("{name}.weight"),
        shape: vec![rows, linear.in_features],
        kind: TensorKind::Linear,
    });
    if is_packed {
        tensors.push(ExpectedTensor {
            name: format!("{name}.weight_scale"),
            shape: vec![1],
            kind: TensorKind::WeightScale,
        });
    }
    if config.norms.in_linear_eps.is_some() {
        tensors.push(norm(format!("{name}.rms_norm.weight"), linear.in_features));
    }
}

fn norm(name: String, size: usize) -> ExpectedTensor {
    ExpectedTensor { name, shape: vec![size], kind: TensorKind::Norm }
}

/// The norms of a layer that stand outside its linears, with their sizes.
fn layer_norms(config: &Config) -> Vec<(&'static str, usize)> {
    let mut norms = Vec::new();
    if config.norms.pre {
        norms.push(("input_layernorm", config.hidden_size));
        norms.push(("post_attention_layernorm", config.hidden_size));
    }
    if let Some(names) = config.norms.sub {
        norms.push((names.attention(), config.attention_size()));
        norms.push((names.mlp(), config.intermediate_size));
    }
    norms
}

/// The linears of a layer, in the order of their use.
fn layer_linears(config: &Config) -> [Linear; 7] {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    let attention = config.attention_size();
    let key_value = config.num_key_value_heads * config.head_dim;
    [
        ("self_attn.q_proj", attention, hidden),
        ("self_attn.k_proj", key_value, hidden),
        ("self_attn.v_proj", key_value, hidden),
        ("self_attn.o_proj", hidden, attention),
        ("mlp.gate_proj", intermediate, hidden),
        ("mlp.up_proj", intermediate, hidden),
        ("mlp.down_proj", hidden, intermediate),
    ]
    .map(|(name, out_features, in_features)| Linear { name, out_features, in_features })
}
