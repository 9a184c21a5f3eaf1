//! What a model is: its sizes, where its norms sit, how its linears are stored.
//!
//! | module | holds |
//! |---|---|
//! | `read` | `config.json` and `generation_config.json`, field by field |
//! | `family` | which published family it is |
//! | `tensors` | the tensors such a model has |
//! | `write` | `config.json` of a configuration |
//! | `check` | whether a checkpoint has them |
//! | `suggested` | what the makers suggest for sampling |
//! | `fields` | JSON fields by name and type |
//!
//! A [`Config`] that was read has been checked against the checkpoint, so the loader may rely on
//! names, types and shapes. Nothing here runs code that a model brings along.

mod check;
mod error;
mod family;
mod fields;
mod read;
mod suggested;
mod tensors;
mod write;

pub use error::ConfigError;
pub use family::Family;
pub use suggested::SuggestedSampling;
pub(crate) use tensors::module_name;
pub use tensors::{EMBEDDING, ExpectedTensor, HEAD, TensorKind, expected_tensors, linear_shape};
pub use tercet_kernels::ops::Activation;

use tercet_kernels::KvShape;

use crate::checkpoint::Checkpoint;
use crate::source::Source;

use fields::Fields;

/// The file that holds a model's configuration.
pub const CONFIG_FILE: &str = "config.json";

/// The file that holds what a model's makers suggest for generation.
pub const GENERATION_CONFIG_FILE: &str = "generation_config.json";

/// A checked model configuration, with the names of `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Values in the residual stream of a token.
    pub hidden_size: usize,
    /// Values between the linears of an MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads; a multiple of the key-value heads.
    pub num_attention_heads: usize,
    /// Key-value heads.
    pub num_key_value_heads: usize,
    /// Values of one head; even.
    pub head_dim: usize,
    /// Entries of the embedding.
    pub vocab_size: usize,
    /// Positions the model was trained for.
    pub max_position_embeddings: usize,
    /// What every norm outside the linears adds to the mean square.
    pub rms_norm_eps: f32,
    /// The base of the rotary embedding.
    pub rope_theta: f64,
    /// Whether the embedding is also the head.
    pub tie_word_embeddings: bool,
    /// The activation of the MLP's gate.
    pub hidden_act: Activation,
    /// Where norms sit.
    pub norms: Norms,
    /// How the layers' linears are stored.
    pub linears: Linears,
    /// The family, for people.
    pub family: Family,
    /// The evidence for the family, for people.
    pub family_evidence: String,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text, without repetition.
    pub eos_token_ids: Vec<u32>,
}

/// Where a layer's norms sit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norms {
    /// `input_layernorm` and `post_attention_layernorm`.
    pub pre: bool,
    /// The norms before `o_proj` and `down_proj`.
    pub sub: Option<SubNorms>,
    /// The epsilon of `<linear>.rms_norm`, the norms inside every linear.
    pub in_linear_eps: Option<f32>,
}

/// What the norms before `o_proj` and `down_proj` are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubNorms {
    /// `attn_sub_norm` and `ffn_sub_norm`.
    Bitnet,
    /// `inner_attn_ln` and `ffn_layernorm`.
    OneBitLlm,
}

impl SubNorms {
    /// The norm before `o_proj`, within a layer.
    pub fn attention(self) -> &'static str {
        match self {
            Self::Bitnet => "self_attn.attn_sub_norm",
            Self::OneBitLlm => "self_attn.inner_attn_ln",
        }
    }

    /// The norm before `down_proj`, within a layer.
    pub fn mlp(self) -> &'static str {
        match self {
            Self::Bitnet => "mlp.ffn_sub_norm",
            Self::OneBitLlm => "mlp.ffn_layernorm",
        }
    }
}

/// How the linears of the layers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linears {
    /// Floats, used as they are.
    Dense,
    /// Ternary codes, four to a byte, with one `weight_scale` a linear.
    Packed {
        /// What the scale means.
        scale: ScaleRule,
    },
    /// Floats that are quantised to ternary when loaded.
    Masters,
    /// Tensors of a GGUF file, each ternary in its own way: blocks of codes with their scales, floats of which all
    /// are one magnitude or 0, or floats that are quantised when loaded.
    Blocks,
}

/// What a stored `weight_scale` does to the ternary weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleRule {
    /// `W = weight_scale · T`.
    Multiply,
    /// `W = T / weight_scale`.
    Divide,
}

impl Config {
    /// Reads a model's configuration and checks it against the model's tensors.
    ///
    /// # Errors
    /// [`ConfigError`] if a field is missing, out of range or asks for something this version
    /// does not compute, or if the tensors are not those of such a model.
    pub fn read(source: &Source, checkpoint: &Checkpoint) -> Result<Self, ConfigError> {
        let config = read::read(source, checkpoint)?;
        check::check(&config, checkpoint)?;
        Ok(config)
    }

    /// The configuration with the names of BitNet b1.58 2B4T for the norms of 1bitLLM's family, which has no form but
    /// floats: the same function.
    pub fn with_bitnet_names(mut self) -> Self {
        if self.norms.sub == Some(SubNorms::OneBitLlm) {
            self.norms.sub = Some(SubNorms::Bitnet);
            self.family = Family::Bitnet;
        }
        self
    }

    /// Values of all query heads of a token.
    pub fn attention_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// What its keys and values depend on.
    pub fn kv_shape(&self) -> KvShape {
        let Config { num_hidden_layers, num_key_value_heads, head_dim, .. } = *self;
        KvShape { num_hidden_layers, num_key_value_heads, head_dim }
    }

    /// Whether the inputs of linears are kept as floats: dense ones, and those of norms inside.
    pub(crate) fn linears_take_floats(&self) -> bool {
        self.linears == Linears::Dense || self.norms.in_linear_eps.is_some()
    }

    /// Ternary weights: those of the layers' linears, unless they are dense.
    pub fn ternary_parameters(&self) -> u64 {
        match self.linears {
            Linears::Dense => 0,
            Linears::Packed { .. } | Linears::Masters | Linears::Blocks => self.linear_parameters(),
        }
    }

    /// All that was trained: the linears, the embedding, a head of its own and the norms' gains. The scales of
    /// ternary weights are no parameters: they follow from them.
    pub fn parameters(&self) -> u64 {
        self.linear_parameters() + self.embedding_parameters() + self.norm_parameters()
    }

    /// The gains of all norms.
    pub fn norm_parameters(&self) -> u64 {
        let norms = expected_tensors(self).into_iter().filter(|tensor| tensor.kind == TensorKind::Norm);
        norms.map(|norm| norm.shape[0] as u64).sum()
    }

    /// Weights of the layers' linears, ternary or dense.
    pub fn linear_parameters(&self) -> u64 {
        tensors::linear_parameters(self)
    }

    /// Weights of the embedding and of a head that is not tied to it.
    pub fn embedding_parameters(&self) -> u64 {
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        tables * self.vocab_size as u64 * self.hidden_size as u64
    }
}

/// Reads the epsilon of a norm: a number that is not negative; zero is a right value.
fn eps(fields: &Fields, field: &str) -> Result<Option<f32>, ConfigError> {
    // Wider than any model's, and far from where a small f32 would round to something else.
    const MAX: f64 = 1.0;
    match fields.number(field)? {
        Some(eps) if (0.0..=MAX).contains(&eps) => Ok(Some(eps as f32)),
        Some(_) => Err(fields.wrong(field, "a number from 0 to 1")),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tiny_model::{KINDS, Kind, TinyModel, config_of};

    fn read(model: &TinyModel) -> Result<Config, ConfigError> {
        let source = model.source();
        Config::read(&source, &Checkpoint::open(&source).unwrap())
    }

    /// Reads a model of a kind after one field was set.
    fn read_with(kind: Kind, field: &str, value: Value) -> Result<Config, ConfigError> {
        let mut model = TinyModel::new(kind);
        model.config.insert(field.to_owned(), value);
        read(&model)
    }

    #[test]
    fn every_family_is_recognised() {
        for kind in KINDS {
            let mut found = read(&TinyModel::new(kind)).unwrap();
            assert!(!found.family_evidence.is_empty());
            found.family_evidence.clear();
            assert_eq!(found, config_of(kind), "{kind:?}");
        }
    }

    #[test]
    fn old_quantization_configs_mean_bitlinear_offline() {
        let quantization = json!({"quant_method": "bitnet", "modules_to_not_convert": null});
        let config = read_with(Kind::TernaryLlama, "quantization_config", quantization).unwrap();
        assert_eq!(config.linears, Linears::Packed { scale: ScaleRule::Divide });
    }

    #[test]
    fn rope_theta_is_read_from_either_place() {
        for rope in [json!({"rope_theta": 7.0, "rope_type": "default"}), json!({"rope_theta": 7})] {
            let mut model = TinyModel::new(Kind::Dense);
            model.config.remove("rope_theta");
            model.config.insert("rope_parameters".to_owned(), rope);
            assert_eq!(read(&model).unwrap().rope_theta, 7.0);
        }
    }

    #[test]
    fn absent_fields_have_the_values_of_transformers() {
        for (kind, eps, theta) in [(Kind::Bitnet, 1e-5, 500_000.0), (Kind::Dense, 1e-6, 10_000.0)] {
            let mut model = TinyModel::new(kind);
            for field in ["rms_norm_eps", "rope_theta", "hidden_act", "max_position_embeddings"] {
                model.config.remove(field);
            }
            let config = read(&model).unwrap();
            assert_eq!((config.rms_norm_eps, config.rope_theta), (eps, theta));
            assert_eq!(config.hidden_act, config_of(kind).hidden_act);
            assert_eq!(config.max_position_embeddings, 2048);
        }
    }

    #[test]
    fn end_tokens_are_those_of_both_files_once() {
        let mut model = TinyModel::new(Kind::Dense);
        model.config.insert("eos_token_id".to_owned(), json!([265, 7, 265]));
        let mut folder = model.folder();
        let generation = br#"{"eos_token_id":[9,7],"temperature":0.6}"#;
        folder.files.insert(GENERATION_CONFIG_FILE.to_owned(), generation.as_slice().into());
        let source = Source::Memory(folder);
        let config = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
        assert_eq!(config.eos_token_ids, [265, 7, 9]);
    }

    #[test]
    fn fields_that_change_nothing_are_passed_over() {
        for (field, value) in [
            ("auto_map", json!({"AutoModelForCausalLM": "evil.Model"})),
            ("rms_norm_eps", json!(0)),
            ("rope_scaling", json!({"type": "default"})),
            ("partial_rotary_factor", json!(1.0)),
            ("sliding_window", json!(null)),
            ("layer_types", json!(["full_attention", "full_attention"])),
            ("eos_token_id", json!(null)),
            ("dtype", json!("float32")),
        ] {
            read_with(Kind::Dense, field, value).unwrap();
        }
    }

    #[test]
    fn a_tied_head_may_be_stored_if_it_is_the_embedding() {
        let mut model = TinyModel::new(Kind::Dense);
        let head = model.tensors[EMBEDDING].clone();
        model.tensors.insert(HEAD.to_owned(), head);
        read(&model).unwrap();
        model.tensors.get_mut(HEAD).unwrap().bytes[5] ^= 1;
        let error = read(&model).unwrap_err();
        assert!(matches!(error, ConfigError::TiedHeadDiffers { .. }), "{error}");
    }

    #[test]
    fn the_scale_may_be_a_scalar() {
        let mut model = TinyModel::new(Kind::Bitnet);
        let scale = model.tensors.get_mut("model.layers.0.mlp.up_proj.weight_scale").unwrap();
        scale.shape.clear();
        read(&model).unwrap();
    }

    #[test]
    fn old_rotary_tables_are_passed_over() {
        let mut model = TinyModel::new(Kind::Dense);
        let table = model.tensors["model.norm.weight"].clone();
        let name = "model.layers.0.self_attn.rotary_emb.inv_freq";
        model.tensors.insert(name.to_owned(), table);
        read(&model).unwrap();
    }
}
