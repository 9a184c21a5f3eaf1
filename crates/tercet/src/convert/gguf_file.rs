//! The metadata of a GGUF file: the keys that llama.cpp and bitnet.cpp expect. It knows no tensor's bytes.

use serde_json::Value;

use super::{ConvertError, gguf_tokenizer};
use crate::config::{Config, SuggestedSampling};
use crate::gguf::model::{Architecture, TURN_ENDS, sampling_entries, templates_entries};
use crate::gguf::{NewValue, TensorType};
use crate::json::parse_object;
use crate::source::Source;
use crate::tokenizer::{ChatTemplates, TOKENIZER_FILE, Tokenizer};

/// All keys of a model.
pub(super) fn metadata(
    source: &Source,
    name: &str,
    config: &Config,
    architecture: Architecture,
    linears: TensorType,
) -> Result<Vec<(String, NewValue)>, ConvertError> {
    let mut entries = vec![
        ("general.architecture".to_owned(), NewValue::Text(architecture.name().to_owned())),
        ("general.type".to_owned(), NewValue::Text("model".to_owned())),
        ("general.name".to_owned(), NewValue::Text(name.to_owned())),
        ("general.file_type".to_owned(), NewValue::Uint32(file_type(linears))),
        ("general.quantization_version".to_owned(), NewValue::Uint32(2)),
    ];
    entries.extend(sampling_entries(&SuggestedSampling::read(source)?));
    let mut put =
        |key: &str, value: NewValue| entries.push((format!("{}.{key}", architecture.name()), value));
    let size = |size: usize| NewValue::Uint32(size as u32);
    put("vocab_size", size(config.vocab_size));
    put("context_length", size(config.max_position_embeddings));
    put("embedding_length", size(config.hidden_size));
    put("block_count", size(config.num_hidden_layers));
    put("feed_forward_length", size(config.intermediate_size));
    put("attention.head_count", size(config.num_attention_heads));
    put("attention.head_count_kv", size(config.num_key_value_heads));
    put("attention.key_length", size(config.head_dim));
    put("attention.value_length", size(config.head_dim));
    put("attention.layer_norm_rms_epsilon", NewValue::Float32(config.rms_norm_eps));
    put("rope.dimension_count", size(config.head_dim));
    put("rope.freq_base", NewValue::Float32(config.rope_theta as f32));
    entries.extend(tokenizer(source, config)?);
    Ok(entries)
}

/// The number that files give their type of linears; bitnet.cpp's own for I2_S.
fn file_type(linears: TensorType) -> u32 {
    match linears {
        TensorType::F16 => 1,
        TensorType::Bf16 => 32,
        TensorType::Tq1_0 => 36,
        TensorType::Tq2_0 => 37,
        TensorType::I2S => 40,
        TensorType::F32 | TensorType::Q4_0 | TensorType::Q8_0 | TensorType::Q6K => 0,
    }
}

/// The keys of the tokenizer, of the tokens around a text and of the chat templates.
fn tokenizer(source: &Source, config: &Config) -> Result<Vec<(String, NewValue)>, ConvertError> {
    let file = source.file_name(TOKENIZER_FILE);
    let refused = |what: String| ConvertError::Tokenizer { file: file.clone(), what };
    let templates = ChatTemplates::read(source)?;
    if !source.has(TOKENIZER_FILE) {
        if templates.size().0 > 0 {
            return Err(refused("a chat template without a tokenizer, and that file is missing".to_owned()));
        }
        let bos =
            config.bos_token_id.map(|bos| ("tokenizer.ggml.bos_token_id".to_owned(), NewValue::Uint32(bos)));
        return Ok(bos.into_iter().chain(ends(config, &Value::Null, &refused)?).collect());
    }
    let bytes = source.read(TOKENIZER_FILE)?;
    // What is not read here cannot be compared later.
    Tokenizer::from_bytes(&file, &bytes, config.vocab_size)?;
    let object = parse_object(&bytes).map_err(|error| refused(format!("what is no JSON: {error}")))?;
    let tokenizer = Value::Object(object);
    let mut entries = gguf_tokenizer::metadata(&file, &tokenizer, config)?;
    entries.extend(ends(config, &tokenizer, &refused)?);
    let of_templates = templates_entries(&templates)
        .map_err(|(name, what)| ConvertError::Tokenizer { file: ChatTemplates::file_of(source, name), what });
    entries.extend(of_templates?);
    Ok(entries)
}

/// The tokens that end a text: there are three keys, and tokens that are known by their names need none.
fn ends(
    config: &Config,
    tokenizer: &Value,
    refused: &impl Fn(String) -> ConvertError,
) -> Result<Vec<(String, NewValue)>, ConvertError> {
    const KEYS: [&str; 3] = ["eos", "eot", "eom"];
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten();
    let is_named = |token: &&Value| token["content"].as_str().is_some_and(|text| TURN_ENDS.contains(&text));
    let named: Vec<Option<u64>> = added.filter(is_named).map(|token| token["id"].as_u64()).collect();
    let (first, rest) = match config.eos_token_ids.split_first() {
        Some((first, rest)) => (*first, rest),
        None => return Ok(Vec::new()),
    };
    let mut ends = vec![first];
    ends.extend(rest.iter().filter(|id| !named.contains(&Some(u64::from(**id)))));
    if ends.len() > KEYS.len() {
        return Err(refused(format!(
            "{} tokens that end a text, where it has {} keys",
            ends.len(),
            KEYS.len()
        )));
    }
    let key = |(name, id): (&&str, u32)| (format!("tokenizer.ggml.{name}_token_id"), NewValue::Uint32(id));
    Ok(KEYS.iter().zip(ends).map(key).collect())
}
