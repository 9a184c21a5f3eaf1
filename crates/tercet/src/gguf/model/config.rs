//! `config.json` of the metadata of a GGUF file.
//!
//! It only translates; what the fields may be is checked by the reader of `config.json`.

use serde_json::{Map, Value, json};

use super::names::model_name;
use super::tokens::Tokens;
use crate::checkpoint::RowOrder;
use crate::config::{EMBEDDING, HEAD};
use crate::gguf::{Gguf, GgufError, GgufTensor, Metadata, MetadataError};
use crate::json::shown;

const ARCHITECTURE_KEY: &str = "general.architecture";

/// What kind of model a GGUF file says it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `bitnet`: 1bitLLM's models, with SiLU.
    Bitnet,
    /// `bitnet-25`: the first files of BitNet b1.58 2B4T, which store the embedding twice.
    Bitnet25,
    /// `bitnet-b1.58`: BitNet b1.58 2B4T.
    BitnetB158,
    /// `llama`: LLaMA, with rows of `q_proj` and `k_proj` in another order.
    Llama,
}

/// A GGUF file that holds no model that is known.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum ModelError {
    #[error(
        "{file}: found architecture `{found}`, expected `bitnet`, `bitnet-25`, `bitnet-b1.58` or `llama`"
    )]
    Architecture { file: String, found: String },
    #[error("{file}: tensor `token_embd.weight` is missing, or not a matrix")]
    NoEmbedding { file: String },
    #[error("{file}: tensor `{name}` is one that another has the place of, `{here}`")]
    SameTensor { file: String, name: String, here: String },
    /// Texts would be cut otherwise than in training.
    #[error(transparent)]
    PreTokenizer(MetadataError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

impl ModelError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Gguf(error) => error.hint(),
            Self::Architecture { .. } => {
                Some("tercet runs ternary models and LLaMA; llama.cpp runs many others")
            }
            Self::PreTokenizer(_) => Some(
                "say how the model's texts are cut, and add it: \
                 `gguf-new-metadata --pre-tokenizer llama-bpe OLD NEW`, or `gpt-2`",
            ),
            Self::NoEmbedding { .. } | Self::SameTensor { .. } | Self::Metadata(_) => {
                Some("the file is damaged or was converted wrongly: download or convert it again")
            }
        }
    }
}

impl Architecture {
    pub(super) fn of(gguf: &Gguf) -> Result<Self, ModelError> {
        let metadata = gguf.metadata();
        let name = metadata.string(ARCHITECTURE_KEY)?.ok_or_else(|| metadata.missing(ARCHITECTURE_KEY))?;
        let all = [Self::Bitnet, Self::Bitnet25, Self::BitnetB158, Self::Llama];
        let found = all.into_iter().find(|architecture| architecture.name() == name);
        let unknown = || ModelError::Architecture { file: gguf.file().to_owned(), found: shown(name) };
        found.ok_or_else(unknown)
    }

    /// Its name in a file, which also begins the keys of its sizes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bitnet => "bitnet",
            Self::Bitnet25 => "bitnet-25",
            Self::BitnetB158 => "bitnet-b1.58",
            Self::Llama => "llama",
        }
    }

    /// Whether it is that of BitNet b1.58 2B4T.
    pub(super) fn is_2b4t(self) -> bool {
        matches!(self, Self::Bitnet25 | Self::BitnetB158)
    }

    /// How a file has the rows of a tensor, by its name here: LLaMA's `q_proj` and `k_proj` have theirs in the order of
    /// interleaved rotary pairs.
    pub(crate) fn row_order(self, name: &str, head_dim: usize) -> RowOrder {
        let is_rotated = [".q_proj.weight", ".k_proj.weight"].iter().any(|end| name.ends_with(end));
        if self == Self::Llama && is_rotated { RowOrder::Interleaved { head_dim } } else { RowOrder::Same }
    }
}

/// Rows of the embedding.
pub(super) fn vocab_size(gguf: &Gguf, architecture: Architecture) -> Result<usize, ModelError> {
    match find(gguf, architecture, EMBEDDING).map(|tensor| tensor.shape.as_slice()) {
        Some(&[vocab_size, _]) => Ok(vocab_size),
        _ => Err(ModelError::NoEmbedding { file: gguf.file().to_owned() }),
    }
}

/// The tensor of this name here.
fn find<'g>(gguf: &'g Gguf, architecture: Architecture, name: &str) -> Option<&'g GgufTensor> {
    gguf.tensors().iter().find(|tensor| model_name(architecture, &tensor.name) == name)
}

/// The configuration as `config.json` would hold it.
pub(super) fn of(
    gguf: &Gguf,
    architecture: Architecture,
    vocab_size: usize,
    tokens: Option<&Tokens<'_>>,
) -> Result<Value, ModelError> {
    let metadata = gguf.metadata();
    let key = |name: &str| format!("{}.{name}", architecture.name());
    let required = |name: &str| {
        let key = key(name);
        metadata.integer(&key)?.ok_or_else(|| metadata.missing(&key))
    };
    // The files of `bitnet-25` store the embedding again; whether it is the same is checked later.
    let is_tied = find(gguf, architecture, HEAD).is_none() || architecture == Architecture::Bitnet25;

    let mut config = Map::new();
    let mut put = |field: &str, value: Value| config.insert(field.to_owned(), value);
    let (model_type, hidden_act) = match architecture {
        Architecture::Bitnet => ("bitnet", "silu"),
        Architecture::Bitnet25 | Architecture::BitnetB158 => ("bitnet", "relu2"),
        Architecture::Llama => ("llama", "silu"),
    };
    put("model_type", json!(model_type));
    put("hidden_act", json!(hidden_act));
    put("vocab_size", json!(vocab_size));
    put("tie_word_embeddings", json!(is_tied));
    for (field, name) in [
        ("hidden_size", "embedding_length"),
        ("intermediate_size", "feed_forward_length"),
        ("num_hidden_layers", "block_count"),
        ("num_attention_heads", "attention.head_count"),
        ("max_position_embeddings", "context_length"),
    ] {
        put(field, json!(required(name)?));
    }
    let optional = |name: &str| metadata.integer(&key(name));
    if let Some(heads) = optional("attention.head_count_kv")? {
        put("num_key_value_heads", json!(heads));
    }
    let rotated = optional("rope.dimension_count")?;
    let head_dim = optional("attention.key_length")?.or(rotated);
    if let Some(head_dim) = head_dim {
        put("head_dim", json!(head_dim));
        if let Some(rotated) = rotated.filter(|rotated| *rotated != head_dim) {
            put("partial_rotary_factor", json!(rotated as f64 / head_dim as f64));
        }
    }
    let of_hidden = required("embedding_length")?.checked_div(required("attention.head_count")?);
    check_contradictions(metadata, key, vocab_size, head_dim.or(of_hidden))?;
    let eps = key("attention.layer_norm_rms_epsilon");
    put("rms_norm_eps", json!(metadata.float(&eps)?.ok_or_else(|| metadata.missing(&eps))?));
    put("rope_theta", json!(metadata.float(&key("rope.freq_base"))?.unwrap_or(10_000.0)));
    check_rope_scaling(metadata, key)?;
    if let Some(bos) = metadata.integer("tokenizer.ggml.bos_token_id")? {
        put("bos_token_id", json!(bos));
    }
    let ends = ["eos", "eot", "eom"].map(|end| metadata.integer(&format!("tokenizer.ggml.{end}_token_id")));
    let mut ends = ends.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
    // The files of BitNet b1.58 2B4T name the end of a text alone, but its turns end otherwise.
    ends.extend(tokens.iter().flat_map(|tokens| tokens.turn_ends()));
    put("eos_token_id", json!(ends));
    if model_type == "bitnet" || gguf.tensors().iter().any(|tensor| tensor.tensor_type.is_ternary()) {
        put("quantization_config", json!({ "quant_method": "gguf" }));
    }
    Ok(Value::Object(config))
}

/// Refuses sizes that are said twice, and not alike.
///
/// Values have the size of keys, as everywhere here. An embedding may have more rows than the vocabulary is said to
/// have, for padding.
fn check_contradictions(
    metadata: &Metadata,
    key: impl Fn(&str) -> String,
    rows: usize,
    head_dim: Option<u64>,
) -> Result<(), MetadataError> {
    let length = key("attention.value_length");
    if let (Some(found), Some(head_dim)) = (metadata.integer(&length)?, head_dim)
        && found != head_dim
    {
        let expected = format!("{head_dim}, the size of keys");
        return Err(metadata.out_of_range(&length, found.to_string(), expected));
    }
    let vocab_size = key("vocab_size");
    if let Some(found) = metadata.integer(&vocab_size)?.filter(|found| *found > rows as u64) {
        let expected = format!("at most {rows}, the rows of `token_embd.weight`");
        return Err(metadata.out_of_range(&vocab_size, found.to_string(), expected));
    }
    Ok(())
}

/// Positions must not be scaled, which would be another function than the one computed here.
///
/// As in llama.cpp, a factor without a type is one of `linear`, and 0 is none. Its converter gives every `bitnet` the
/// type `linear` and the factor 1.
fn check_rope_scaling(metadata: &Metadata, key: impl Fn(&str) -> String) -> Result<(), MetadataError> {
    let kind = key("rope.scaling.type");
    if let Some(found) = metadata.string(&kind)?.filter(|found| !["none", "linear"].contains(found)) {
        return Err(metadata.out_of_range(&kind, shown(found), "`none`, or `linear` with the factor 1"));
    }
    for factor in ["rope.scaling.factor", "rope.scale_linear"].map(key) {
        if let Some(found) = metadata.float(&factor)?.filter(|found| ![0.0, 1.0].contains(found)) {
            return Err(metadata.out_of_range(&factor, found.to_string(), "1, or 0 for none"));
        }
    }
    Ok(())
}
