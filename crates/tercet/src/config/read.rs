//! `config.json` and `generation_config.json`, field by field.
//!
//! Fields that would make another function than the one computed here are refused; fields that
//! only describe (types, training settings, remote code, which is never run) are passed over.

use serde_json::Value;
use tercet_kernels::ops::{MAX_COLUMNS, MAX_HEAD_DIM};

use super::family::{ModelType, Recognised, model_type, recognise};
use super::{Activation, CONFIG_FILE, Config, ConfigError, Fields, GENERATION_CONFIG_FILE, Linears, eps};
use crate::checkpoint::Checkpoint;
use crate::source::Source;

// The greatest sizes believed. Each is far above any model's, and low enough that products of
// three of them fit in 64 bits. Layers are few enough for the operations of one run of a pool.
const HIDDEN_SIZE_MAX: usize = 1 << 20;
const INTERMEDIATE_SIZE_MAX: usize = 1 << 22;
const LAYERS_MAX: usize = 1 << 10;
const HEADS_MAX: usize = 1 << 14;
const VOCAB_SIZE_MAX: usize = 1 << 24;
const POSITIONS_MAX: usize = 1 << 27;
const ROPE_THETA_MAX: f64 = 1e12;
const EOS_TOKENS_MAX: usize = 1024;

/// Reads both files into a configuration that agrees with itself.
pub(super) fn read(source: &Source, checkpoint: &Checkpoint) -> Result<Config, ConfigError> {
    let fields = Fields::parse(source.file_name(CONFIG_FILE), &source.read(CONFIG_FILE)?)?;
    let model_type = model_type(&fields)?;
    refuse_unsupported(&fields)?;
    let Recognised { family, why, norms, linears } = recognise(&fields, model_type, checkpoint)?;

    let hidden_size = required(&fields, "hidden_size", HIDDEN_SIZE_MAX)?;
    let num_attention_heads = required(&fields, "num_attention_heads", HEADS_MAX)?;
    let vocab_size = required(&fields, "vocab_size", VOCAB_SIZE_MAX)?;
    // Absent fields have the values that `transformers` gives them for each `model_type`.
    let defaults = match model_type {
        ModelType::Bitnet => Defaults { rms_norm_eps: 1e-5, rope_theta: 500_000.0 },
        ModelType::Llama => Defaults { rms_norm_eps: 1e-6, rope_theta: 10_000.0 },
    };
    let config = Config {
        hidden_size,
        intermediate_size: required(&fields, "intermediate_size", INTERMEDIATE_SIZE_MAX)?,
        num_hidden_layers: required(&fields, "num_hidden_layers", LAYERS_MAX)?,
        num_attention_heads,
        num_key_value_heads: key_value_heads(&fields, num_attention_heads)?,
        head_dim: head_dim(&fields, hidden_size, num_attention_heads)?,
        vocab_size,
        max_position_embeddings: fields.count("max_position_embeddings", POSITIONS_MAX)?.unwrap_or(2048),
        rms_norm_eps: eps(&fields, "rms_norm_eps")?.unwrap_or(defaults.rms_norm_eps),
        rope_theta: rope_theta(&fields)?.unwrap_or(defaults.rope_theta),
        tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
        hidden_act: hidden_act(&fields, model_type)?,
        norms,
        linears,
        family,
        family_evidence: why,
        bos_token_id: token_ids(&fields, "bos_token_id", vocab_size)?.first().copied(),
        eos_token_ids: eos_token_ids(source, &fields, vocab_size)?,
    };
    check_widths(&fields, &config)?;
    Ok(config)
}

/// What a ternary linear sums must fit in the sums of the kernels.
fn check_widths(fields: &Fields, config: &Config) -> Result<(), ConfigError> {
    let widths = [
        ("hidden_size", config.hidden_size),
        ("intermediate_size", config.intermediate_size),
        ("num_attention_heads * head_dim", config.attention_size()),
    ];
    match widths.into_iter().find(|(_, width)| *width > MAX_COLUMNS) {
        Some((field, width)) if config.linears != Linears::Dense => Err(ConfigError::Value {
            file: fields.file().to_owned(),
            field: field.to_owned(),
            found: width.to_string(),
            expected: format!("at most {MAX_COLUMNS}, the inputs of a ternary linear"),
        }),
        _ => Ok(()),
    }
}

struct Defaults {
    rms_norm_eps: f32,
    rope_theta: f64,
}

fn required(fields: &Fields, field: &str, max: usize) -> Result<usize, ConfigError> {
    fields.count(field, max)?.ok_or_else(|| fields.missing(field))
}

/// Refuses fields that would change the function and that nothing here computes.
fn refuse_unsupported(fields: &Fields) -> Result<(), ConfigError> {
    for field in ["attention_bias", "mlp_bias"] {
        if fields.flag(field)? == Some(true) {
            return Err(fields.unsupported(field, "false"));
        }
    }
    let uses_window = fields.flag("use_sliding_window")?.unwrap_or(true);
    if uses_window && fields.get("sliding_window").is_some() {
        return Err(fields.unsupported("sliding_window", "null"));
    }
    if fields.number("partial_rotary_factor")?.is_some_and(|factor| factor != 1.0) {
        return Err(fields.unsupported("partial_rotary_factor", "1"));
    }
    for layer in fields.list("layer_types")?.unwrap_or_default() {
        if layer != "full_attention" {
            return Err(fields.unsupported("layer_types", "`full_attention` for every layer"));
        }
    }
    Ok(())
}

fn key_value_heads(fields: &Fields, num_attention_heads: usize) -> Result<usize, ConfigError> {
    let heads = fields.count("num_key_value_heads", HEADS_MAX)?;
    let heads = heads.unwrap_or(num_attention_heads);
    if num_attention_heads.is_multiple_of(heads) {
        return Ok(heads);
    }
    Err(ConfigError::DoesNotDivide {
        file: fields.file().to_owned(),
        field: "num_attention_heads",
        found: num_attention_heads,
        divisor: "num_key_value_heads",
        divisor_found: heads,
    })
}

fn head_dim(fields: &Fields, hidden_size: usize, num_attention_heads: usize) -> Result<usize, ConfigError> {
    const EVEN: &str = "an even number, since rotary embedding turns pairs";
    if let Some(head_dim) = fields.count("head_dim", MAX_HEAD_DIM)? {
        if !head_dim.is_multiple_of(2) {
            return Err(fields.wrong("head_dim", EVEN));
        }
        return Ok(head_dim);
    }
    if !hidden_size.is_multiple_of(num_attention_heads) {
        return Err(ConfigError::DoesNotDivide {
            file: fields.file().to_owned(),
            field: "hidden_size",
            found: hidden_size,
            divisor: "num_attention_heads",
            divisor_found: num_attention_heads,
        });
    }
    let head_dim = hidden_size / num_attention_heads;
    let wrong = |expected: String| ConfigError::Value {
        file: fields.file().to_owned(),
        field: "hidden_size / num_attention_heads".to_owned(),
        found: head_dim.to_string(),
        expected,
    };
    if head_dim > MAX_HEAD_DIM {
        return Err(wrong(format!("at most {MAX_HEAD_DIM}")));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(wrong(EVEN.to_owned()));
    }
    Ok(head_dim)
}

fn hidden_act(fields: &Fields, model_type: ModelType) -> Result<Activation, ConfigError> {
    match (fields.text("hidden_act")?, model_type) {
        (Some("silu" | "swish"), _) | (None, ModelType::Llama) => Ok(Activation::Silu),
        (Some("relu2"), _) | (None, ModelType::Bitnet) => Ok(Activation::Relu2),
        (Some(_), _) => Err(fields.unsupported("hidden_act", "`silu`, `relu2`")),
    }
}

/// The base of the rotary embedding, from either of the two places that hold it.
fn rope_theta(fields: &Fields) -> Result<Option<f64>, ConfigError> {
    let mut theta = positive_theta(fields)?;
    for field in ["rope_parameters", "rope_scaling"] {
        let Some(rope) = fields.object(field)? else {
            continue;
        };
        for name in rope.names() {
            if !matches!(name, "rope_theta" | "rope_type" | "type") {
                return Err(rope.unsupported(name, "`rope_theta` and `rope_type` only"));
            }
        }
        for name in ["rope_type", "type"] {
            if rope.text(name)?.is_some_and(|kind| kind != "default") {
                return Err(rope.unsupported(name, "`default`"));
            }
        }
        let inner = positive_theta(&rope)?;
        if let (Some(outer), Some(inner)) = (theta, inner)
            && outer != inner
        {
            return Err(ConfigError::Conflict {
                file: fields.file().to_owned(),
                field: rope.path("rope_theta"),
                found: inner.to_string(),
                other: "rope_theta".to_owned(),
                other_found: outer.to_string(),
            });
        }
        theta = theta.or(inner);
    }
    Ok(theta)
}

fn positive_theta(fields: &Fields) -> Result<Option<f64>, ConfigError> {
    match fields.number("rope_theta")? {
        Some(theta) if !(theta > 0.0 && theta <= ROPE_THETA_MAX) => {
            Err(fields.wrong("rope_theta", "a positive number up to 1e12"))
        }
        theta => Ok(theta),
    }
}

/// The tokens that end a text, of both files.
fn eos_token_ids(source: &Source, fields: &Fields, vocab_size: usize) -> Result<Vec<u32>, ConfigError> {
    let mut ids = token_ids(fields, "eos_token_id", vocab_size)?;
    if source.has(GENERATION_CONFIG_FILE) {
        let file = source.file_name(GENERATION_CONFIG_FILE);
        let generation = Fields::parse(file, &source.read(GENERATION_CONFIG_FILE)?)?;
        for id in token_ids(&generation, "eos_token_id", vocab_size)? {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    Ok(ids)
}

/// The tokens of a field that holds one, a list of them, or none; without repetition.
fn token_ids(fields: &Fields, field: &str, vocab_size: usize) -> Result<Vec<u32>, ConfigError> {
    const EXPECTED: &str = "a token or a list of at most 1024 tokens";
    let values = match fields.get(field) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() > EOS_TOKENS_MAX => {
            return Err(fields.wrong(field, EXPECTED));
        }
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    let mut ids = Vec::new();
    for value in values {
        let found = value.as_u64().ok_or_else(|| fields.wrong(field, EXPECTED))?;
        let id = u32::try_from(found).ok().filter(|id| (*id as usize) < vocab_size);
        let id = id.ok_or_else(|| ConfigError::TokenId {
            file: fields.file().to_owned(),
            field: fields.path(field),
            found,
            vocab_size,
        })?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}
