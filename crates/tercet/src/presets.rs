//! Model shapes by name: the sizes of the papers, and three for training on one machine.
//!
//! Shapes only; a preset has no weights and no tokenizer.

use crate::config::{Activation, Config, Family, Linears, Norms, ScaleRule, SubNorms};

/// A named model shape.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of `Config`")]
pub struct Preset {
    /// What to call it.
    pub name: &'static str,
    /// Where the shape comes from.
    pub source: &'static str,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    pub rope_theta: f64,
    pub rms_norm_eps: f32,
    pub tie_word_embeddings: bool,
    /// Activation and norms, which go together.
    pub style: Style,
}

/// The two ways in which the presets arrange activation and norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Norms before attention and MLP and before `o_proj` and `down_proj`.
    SubNorms(Activation),
    /// Norms before attention and MLP; SiLU.
    PreNorms,
}

const BITNET_DUMMY: &str = "microsoft/BitNet, `utils/generate-dummy-bitnet-model.py`";
const TIPS: &str = "The Era of 1-bit LLMs: Training Tips, Code, FAQ, table of sizes";
const TRAINING: &str = "sizes for training on one machine";

/// A row in the manner of the paper: SiLU, 1bitLLM's norms, vocabulary of 32002, tied head.
const PAPER: Preset = Preset {
    name: "",
    source: "",
    hidden_size: 0,
    intermediate_size: 0,
    num_hidden_layers: 0,
    num_attention_heads: 0,
    num_key_value_heads: 0,
    vocab_size: 32002,
    max_position_embeddings: 2048,
    rope_theta: 10_000.0,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    style: Style::SubNorms(Activation::Silu),
};

/// A row with the shape `hidden / intermediate / layers / heads`.
const fn row(name: &'static str, shape: [usize; 4], source: &'static str) -> Preset {
    let [hidden_size, intermediate_size, num_hidden_layers, num_attention_heads] = shape;
    Preset {
        name,
        source,
        hidden_size,
        intermediate_size,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads: num_attention_heads,
        ..PAPER
    }
}

/// A row for training: vocabulary and context beside the shape.
const fn training_row(
    name: &'static str,
    shape: [usize; 4],
    vocab_size: usize,
    max_position_embeddings: usize,
) -> Preset {
    Preset {
        vocab_size,
        max_position_embeddings,
        // What PyTorch's `rms_norm` takes when none is given.
        rms_norm_eps: f32::EPSILON,
        style: Style::SubNorms(Activation::Silu),
        ..row(name, shape, TRAINING)
    }
}

/// All presets, by size.
pub const PRESETS: &[Preset] = &[
    training_row("s", [256, 688, 8, 8], 4096, 256),
    training_row("m", [512, 1376, 12, 8], 8192, 512),
    training_row("l", [768, 2048, 12, 12], 32000, 512),
    row("125m", [768, 3072, 11, 12], BITNET_DUMMY),
    row("350m", [1024, 3072, 24, 16], BITNET_DUMMY),
    row("700m", [1536, 4096, 24, 16], "1bitLLM/bitnet_b1_58-large, its configuration"),
    row("1.3b", [2048, 5460, 24, 32], TIPS),
    Preset {
        num_key_value_heads: 5,
        vocab_size: 128_256,
        max_position_embeddings: 4096,
        rope_theta: 500_000.0,
        style: Style::SubNorms(Activation::Relu2),
        ..row("2b4t", [2560, 6912, 30, 20], "BitNet b1.58 2B4T, arXiv:2504.12285")
    },
    row("3b", [3200, 8640, 26, 32], TIPS),
    row("3.9b", [3200, 12800, 26, 32], TIPS),
    row("7b", [4096, 12032, 32, 32], BITNET_DUMMY),
    Preset {
        num_key_value_heads: 8,
        vocab_size: 128_256,
        max_position_embeddings: 8192,
        rope_theta: 500_000.0,
        tie_word_embeddings: false,
        style: Style::PreNorms,
        ..row("8b", [4096, 14336, 32, 32], "LLaMA-3-8B, as HF1BitLLM/Llama3-8B-1.58")
    },
    row("13b", [5120, 13824, 40, 40], BITNET_DUMMY),
    row("30b", [6656, 16384, 60, 52], BITNET_DUMMY),
    Preset { tie_word_embeddings: false, ..row("70b", [8192, 24576, 80, 64], BITNET_DUMMY) },
    Preset { tie_word_embeddings: false, ..row("100b", [8192, 45568, 72, 64], BITNET_DUMMY) },
];

impl Preset {
    /// The preset of this name, whatever its case.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name.eq_ignore_ascii_case(name))
    }

    /// The configuration of a full-precision LLaMA of this shape: the baseline of the paper.
    pub fn dense_config(&self) -> Config {
        Config {
            hidden_act: Activation::Silu,
            norms: Norms { pre: true, sub: None, in_linear_eps: None },
            linears: Linears::Dense,
            family: Family::DenseLlama,
            ..self.config()
        }
    }

    /// The configuration of a model of this shape, with packed linears.
    pub fn config(&self) -> Config {
        let pre_only = Norms { pre: true, sub: None, in_linear_eps: None };
        let (family, hidden_act, norms, scale) = match self.style {
            Style::SubNorms(activation) => {
                let norms = Norms { sub: Some(SubNorms::Bitnet), ..pre_only };
                (Family::Bitnet, activation, norms, ScaleRule::Multiply)
            }
            Style::PreNorms => (Family::TernaryLlama, Activation::Silu, pre_only, ScaleRule::Divide),
        };
        Config {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: self.num_key_value_heads,
            head_dim: self.hidden_size / self.num_attention_heads,
            vocab_size: self.vocab_size,
            max_position_embeddings: self.max_position_embeddings,
            rms_norm_eps: self.rms_norm_eps,
            rope_theta: self.rope_theta,
            tie_word_embeddings: self.tie_word_embeddings,
            hidden_act,
            norms,
            linears: Linears::Packed { scale },
            family,
            family_evidence: format!("preset `{}`", self.name),
            bos_token_id: None,
            eos_token_ids: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ternary weights of a preset, in tenths of 10⁹, cut.
    fn tenths_of_a_billion(name: &str) -> u64 {
        Preset::by_name(name).unwrap().config().ternary_parameters() / 100_000_000
    }

    #[test]
    fn parameters_are_those_of_the_papers() {
        let config = Preset::by_name("2B4T").unwrap().config();
        assert_eq!(config.ternary_parameters(), 2_084_044_800);
        assert_eq!(config.embedding_parameters(), 328_335_360);
        assert_eq!(tenths_of_a_billion("70b"), 697);
        assert_eq!(tenths_of_a_billion("100b"), 999);
    }

    #[test]
    fn every_preset_is_a_possible_model() {
        for preset in PRESETS {
            let config = preset.config();
            assert!(!preset.source.is_empty(), "{}", preset.name);
            assert_eq!(config.hidden_size, config.attention_size(), "{}", preset.name);
            assert!(config.head_dim.is_multiple_of(2), "{}", preset.name);
            let groups = config.num_attention_heads.is_multiple_of(config.num_key_value_heads);
            assert!(groups, "{}", preset.name);
            let found = Preset::by_name(preset.name);
            assert_eq!(found, Some(preset), "names are unique");
        }
        assert_eq!(Preset::by_name("9b"), None);
    }
}
