//! Which published family a model belongs to, and the evidence.
//!
//! The families differ in how weights are stored and where norms sit; both follow from
//! `config.json` and from which norm tensors there are. It knows no sizes.
//!
//! ```text
//! model_type  quantisation                  extra norms                    family
//! bitnet      quantization_config           attn_sub_norm, ffn_sub_norm    Bitnet
//! llama       `weight_bits` is 1            inner_attn_ln, ffn_layernorm   OneBitLlm (masters)
//! llama       quantization_config           none                           TernaryLlama
//! llama       the same, `use_rms_norm`      <linear>.rms_norm              NormInLinear
//! llama       none                          none                           DenseLlama (dense)
//!
//! linear_class    quantization_mode         linears
//! bitlinear       offline                   packed; the scale divides
//! autobitlinear   offline                   packed; the scale multiplies
//! autobitlinear   online                    float masters
//! `quant_method` is `gguf`                  each as its tensor in the GGUF file has it
//! ```

use std::fmt;

use super::error::ConfigError;
use super::fields::Fields;
use super::{Linears, Norms, ScaleRule, SubNorms};
use crate::checkpoint::Checkpoint;

/// A published family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `BitNetForCausalLM` of `transformers`: BitNet b1.58 2B4T and its like.
    Bitnet,
    /// The reproduction of the paper by 1bitLLM.
    OneBitLlm,
    /// LLaMA with ternary linears: Falcon3-1.58bit, Falcon-E, Llama3-8B-1.58.
    TernaryLlama,
    /// LLaMA with a norm inside every ternary linear, as the paper's training tips have it.
    NormInLinear,
    /// LLaMA with dense linears: the paper's baseline.
    DenseLlama,
}

impl Family {
    /// A short name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bitnet => "bitnet",
            Self::OneBitLlm => "1bitllm",
            Self::TernaryLlama => "ternary-llama",
            Self::NormInLinear => "norm-in-linear",
            Self::DenseLlama => "dense-llama",
        }
    }

    /// What the family is, for people.
    pub fn description(self) -> &'static str {
        match self {
            Self::Bitnet => "BitNet b1.58 with sub-norms before `o_proj` and `down_proj`",
            Self::OneBitLlm => "BitNet b1.58 as reproduced by 1bitLLM",
            Self::TernaryLlama => "LLaMA with ternary linears",
            Self::NormInLinear => "LLaMA with a norm inside every ternary linear",
            Self::DenseLlama => "LLaMA with dense linears",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

/// What was recognised.
pub(super) struct Recognised {
    pub(super) family: Family,
    /// The evidence, for people.
    pub(super) why: String,
    pub(super) norms: Norms,
    pub(super) linears: Linears,
}

/// The base architecture that `model_type` names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ModelType {
    Bitnet,
    Llama,
}

/// Reads `model_type` and checks that `architectures` agrees.
pub(super) fn model_type(fields: &Fields) -> Result<ModelType, ConfigError> {
    const ARCHITECTURES: [&str; 3] = ["LlamaForCausalLM", "BitNetForCausalLM", "BitnetForCausalLM"];
    for architecture in fields.list("architectures")?.unwrap_or_default() {
        if !ARCHITECTURES.iter().any(|known| architecture == known) {
            let supported = "`LlamaForCausalLM`, `BitNetForCausalLM`, `BitnetForCausalLM`";
            return Err(fields.unsupported("architectures", supported));
        }
    }
    match fields.text("model_type")? {
        Some("bitnet") => Ok(ModelType::Bitnet),
        Some("llama") => Ok(ModelType::Llama),
        Some(_) => Err(fields.unsupported("model_type", "`bitnet`, `llama`")),
        None => Err(fields.missing("model_type")),
    }
}

/// Recognises the family of a model.
pub(super) fn recognise(
    fields: &Fields,
    model_type: ModelType,
    checkpoint: &Checkpoint,
) -> Result<Recognised, ConfigError> {
    let quantization = fields.object("quantization_config")?;
    let bits = has_right_bits(fields)?;
    match (model_type, quantization) {
        (ModelType::Bitnet, None) => Err(ConfigError::NoQuantization { file: fields.file().to_owned() }),
        (ModelType::Llama, None) if bits => Ok(Recognised {
            family: Family::OneBitLlm,
            why: "`model_type` is `llama` and `weight_bits` is 1".to_owned(),
            norms: Norms { pre: true, sub: Some(SubNorms::OneBitLlm), in_linear_eps: None },
            linears: Linears::Masters,
        }),
        (ModelType::Llama, None) => Ok(Recognised {
            family: Family::DenseLlama,
            why: "`model_type` is `llama` and there is no `quantization_config`".to_owned(),
            norms: Norms { pre: true, sub: None, in_linear_eps: None },
            linears: Linears::Dense,
        }),
        (model_type, Some(quantization)) => bitnet_quantized(model_type, &quantization, checkpoint),
    }
}

/// Whether `weight_bits` is there; it must then be 1, and `input_bits` 8.
fn has_right_bits(fields: &Fields) -> Result<bool, ConfigError> {
    if fields.number("input_bits")?.is_some_and(|bits| bits != 8.0) {
        return Err(fields.unsupported("input_bits", "8"));
    }
    match fields.number("weight_bits")? {
        Some(1.0) => Ok(true),
        Some(_) => Err(fields.unsupported("weight_bits", "1")),
        None => Ok(false),
    }
}

/// The families with a `quantization_config`.
fn bitnet_quantized(
    model_type: ModelType,
    quantization: &Fields,
    checkpoint: &Checkpoint,
) -> Result<Recognised, ConfigError> {
    let is_gguf = checkpoint.is_gguf();
    match quantization.text("quant_method")? {
        Some("bitnet") if !is_gguf => {}
        Some("gguf") if is_gguf => return Ok(of_gguf(model_type)),
        Some(_) => return Err(quantization.unsupported("quant_method", "`bitnet`")),
        None => return Err(quantization.missing("quant_method")),
    }
    let (linears, stored) = linears(quantization)?;
    check_exceptions(quantization)?;

    let in_linear_eps = in_linear_eps(quantization)?;
    let (family, sub) = match (model_type, in_linear_eps) {
        (ModelType::Bitnet, _) => (Family::Bitnet, Some(SubNorms::Bitnet)),
        (ModelType::Llama, Some(_)) => (Family::NormInLinear, None),
        (ModelType::Llama, None) => (Family::TernaryLlama, None),
    };
    // Norms inside the linears may stand in place of those before attention and MLP; which of
    // the two a model was trained with shows only in its tensors.
    let has_pre = checkpoint.names().any(|name| name.ends_with(".input_layernorm.weight"));
    let pre = has_pre || in_linear_eps.is_none();

    let model_type = match model_type {
        ModelType::Bitnet => "bitnet",
        ModelType::Llama => "llama",
    };
    let placement = match (in_linear_eps, pre) {
        (None, _) => "",
        (Some(_), true) => " with `use_rms_norm`",
        (Some(_), false) => " with `use_rms_norm` and no `input_layernorm`",
    };
    Ok(Recognised {
        family,
        why: format!("`model_type` is `{model_type}`, `quantization_config` says {stored}{placement}"),
        norms: Norms { pre, sub, in_linear_eps },
        linears,
    })
}

/// The family of a GGUF file with ternary linears, whose `config.json` was made of its metadata.
fn of_gguf(model_type: ModelType) -> Recognised {
    let (family, sub) = match model_type {
        ModelType::Bitnet => (Family::Bitnet, Some(SubNorms::Bitnet)),
        ModelType::Llama => (Family::TernaryLlama, None),
    };
    Recognised {
        family,
        why: "`general.architecture` and the types of the tensors".to_owned(),
        norms: Norms { pre: true, sub, in_linear_eps: None },
        linears: Linears::Blocks,
    }
}

/// How `linear_class` and `quantization_mode` say that linears are stored.
///
/// Old configurations lack both; then `transformers` takes `bitlinear` and `offline`.
fn linears(quantization: &Fields) -> Result<(Linears, &'static str), ConfigError> {
    let class = quantization.text("linear_class")?.unwrap_or("bitlinear");
    let mode = quantization.text("quantization_mode")?.unwrap_or("offline");
    match (class, mode) {
        ("bitlinear", "offline") => {
            Ok((Linears::Packed { scale: ScaleRule::Divide }, "`bitlinear`, `offline`"))
        }
        ("autobitlinear", "offline") => {
            Ok((Linears::Packed { scale: ScaleRule::Multiply }, "`autobitlinear`, `offline`"))
        }
        ("autobitlinear", "online") => Ok((Linears::Masters, "`autobitlinear`, `online`")),
        ("bitlinear" | "autobitlinear", _) => Err(quantization.unsupported(
            "quantization_mode",
            "`offline`, and `online` where `linear_class` is `autobitlinear`",
        )),
        _ => Err(quantization.unsupported("linear_class", "`bitlinear`, `autobitlinear`")),
    }
}

/// Checks that every linear but the head is ternary.
fn check_exceptions(quantization: &Fields) -> Result<(), ConfigError> {
    let exceptions = quantization.list("modules_to_not_convert")?.unwrap_or_default();
    if exceptions.iter().all(|module| module == "lm_head") {
        return Ok(());
    }
    Err(quantization.unsupported("modules_to_not_convert", "null and `[\"lm_head\"]`"))
}

/// The epsilon of the norms inside linears, if there are such norms.
fn in_linear_eps(quantization: &Fields) -> Result<Option<f32>, ConfigError> {
    if !quantization.flag("use_rms_norm")?.unwrap_or(false) {
        return Ok(None);
    }
    let eps = super::eps(quantization, "rms_norm_eps")?;
    Ok(Some(eps.unwrap_or(1e-6)))
}
