//! What a model's makers suggest for sampling: `generation_config.json` of the keys that llama.cpp has for it.
//!
//! It only translates; what a value may be is checked by the reader of `generation_config.json`.

use serde_json::{Map, Value, json};

use crate::config::SuggestedSampling;
use crate::gguf::{Metadata, MetadataError, NewValue};

const TEMPERATURE: &str = "general.sampling.temp";
const TOP_K: &str = "general.sampling.top_k";
const TOP_P: &str = "general.sampling.top_p";
const MIN_P: &str = "general.sampling.min_p";
const REPETITION_PENALTY: &str = "general.sampling.penalty_repeat";

/// The fields of `generation_config.json` that have a key, which is a float.
const FLOATS: [(&str, &str); 4] = [
    ("temperature", TEMPERATURE),
    ("top_p", TOP_P),
    ("min_p", MIN_P),
    ("repetition_penalty", REPETITION_PENALTY),
];
const TOP_K_FIELD: &str = "top_k";

/// Fields that say nothing of sampling, or are said elsewhere in a GGUF file.
const OTHER_FIELDS: [&str; 5] =
    ["bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "_from_model_config"];

/// `generation_config.json` of the metadata, with how the texts of this configuration begin and end; nothing where no
/// sampling is suggested.
pub(super) fn generation_config(metadata: &Metadata, config: &Value) -> Result<Option<Value>, MetadataError> {
    let mut fields = Map::new();
    for (field, key) in FLOATS {
        if let Some(number) = metadata.float(key)? {
            fields.insert(field.to_owned(), json!(shortest(number as f32)));
        }
    }
    let top_k = match metadata.integer(TOP_K) {
        // Negative: llama.cpp keeps all tokens then, as it does for 0.
        Err(MetadataError::OutOfRange { .. }) => Some(0),
        found => found?,
    };
    if let Some(count) = top_k {
        fields.insert(TOP_K_FIELD.to_owned(), json!(count));
    }
    if fields.is_empty() {
        return Ok(None);
    }
    fields.insert("do_sample".to_owned(), json!(true));
    for field in ["bos_token_id", "eos_token_id"] {
        if let Some(value) = config.get(field) {
            fields.insert(field.to_owned(), value.clone());
        }
    }
    Ok(Some(Value::Object(fields)))
}

/// The shortest decimal number that is this f32: 0.7, and not 0.699999988079071.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().expect("shortest: what is written as a number is read as one")
}

/// The keys of what is suggested.
pub(crate) fn sampling_entries(suggested: &SuggestedSampling) -> Vec<(String, NewValue)> {
    let SuggestedSampling { temperature, top_k, top_p, min_p, repetition_penalty } = *suggested;
    let float = |key: &str, number: Option<f32>| number.map(|n| (key.to_owned(), NewValue::Float32(n)));
    let top_k = top_k.map(|count| {
        let count = i32::try_from(count).expect("sampling_entries: SuggestedSampling::read bounds `top_k`");
        (TOP_K.to_owned(), NewValue::Int32(count))
    });
    let floats = [float(TEMPERATURE, temperature), float(TOP_P, top_p), float(MIN_P, min_p)];
    let entries = floats.into_iter().chain([top_k, float(REPETITION_PENALTY, repetition_penalty)]);
    entries.flatten().collect()
}

/// The fields of a `generation_config.json` that no key holds.
pub(crate) fn without_key(generation: &Map<String, Value>) -> Vec<String> {
    let has_key = |name: &str| name == TOP_K_FIELD || FLOATS.iter().any(|(field, _)| *field == name);
    let is_there = |(_, value): &(&String, &Value)| !value.is_null();
    let suggests = generation.iter().filter(is_there).any(|(name, _)| has_key(name));
    let lost = generation.iter().filter(is_there).filter(|(name, value)| {
        // A file that suggests something is one to sample with.
        let is_said = name.as_str() == "do_sample" && **value == json!(suggests);
        !is_said && !has_key(name) && !OTHER_FIELDS.contains(&name.as_str())
    });
    lost.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_without_a_key_are_found() {
        let lost =
            |text: &str| without_key(serde_json::from_str::<Value>(text).unwrap().as_object().unwrap());
        assert!(lost(r#"{"do_sample":true,"temperature":0.3,"top_k":4,"eos_token_id":2}"#).is_empty());
        assert!(lost(r#"{"do_sample":false,"typical_p":null}"#).is_empty());
        assert_eq!(lost(r#"{"do_sample":false,"top_p":0.9,"typical_p":0.5}"#), ["do_sample", "typical_p"]);
        assert_eq!(lost(r#"{"do_sample":true}"#), ["do_sample"]);
    }

    #[test]
    fn a_number_is_as_short_as_it_was() {
        assert_eq!(json!(shortest(0.7)).to_string(), "0.7");
        assert_eq!(shortest(1.0), 1.0);
    }
}
