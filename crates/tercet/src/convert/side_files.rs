//! The small files of a folder that is written: configuration, tokenizer, chat template, what is suggested for
//! generation, and the card. It knows no tensor's bytes.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::plan::Plan;
use super::{ConvertError, card};
use crate::checkpoint::Dtype;
use crate::config::{CONFIG_FILE, Config, EMBEDDING, GENERATION_CONFIG_FILE};
use crate::folder_files::{CARD_FILE, EXTRA_FILES, RUN_FILES};
use crate::gguf::model::without_key;
use crate::json::{parse_object, shown};
use crate::source::Source;
use crate::tokenizer::named_template_files;

/// All small files of the folder, by their names.
pub(super) fn files(
    source: &Source,
    plan: &Plan,
    card: &card::Card<'_>,
) -> Result<BTreeMap<String, Vec<u8>>, ConvertError> {
    let mut files = BTreeMap::new();
    let is_made = |name: &str| name == CONFIG_FILE || name == CARD_FILE;
    let templates = named_template_files(source)?;
    let kept = RUN_FILES.into_iter().chain(EXTRA_FILES).chain(templates.iter().map(String::as_str));
    for name in kept.filter(|name| !is_made(name) && source.has(name)) {
        files.insert(name.to_owned(), source.read(name)?.into_owned());
    }
    if !files.contains_key(GENERATION_CONFIG_FILE) {
        files.insert(GENERATION_CONFIG_FILE.to_owned(), text(&generation_config(&plan.config)));
    }
    files.insert(CONFIG_FILE.to_owned(), text(&config(source, plan)?));
    files.insert(CARD_FILE.to_owned(), card.text(source)?.into_bytes());
    Ok(files)
}

fn object(source: &Source, file: &'static str) -> Result<Map<String, Value>, ConvertError> {
    let bytes = source.read(file)?;
    parse_object(&bytes).map_err(|error| ConvertError::Json { file: source.file_name(file), source: error })
}

/// The fields of what a source suggests for generation that a GGUF file has no key for.
pub(super) fn suggestions_without_key(source: &Source) -> Result<Vec<String>, ConvertError> {
    match source.has(GENERATION_CONFIG_FILE) {
        true => Ok(without_key(&object(source, GENERATION_CONFIG_FILE)?)),
        false => Ok(Vec::new()),
    }
}

/// The source's fields, with those of the result's configuration in their place.
fn config(source: &Source, plan: &Plan) -> Result<Value, ConvertError> {
    /// Fields that say how the source was stored, name code that is not kept, or a place.
    const DROPPED: [&str; 7] = [
        "quantization_config",
        "weight_bits",
        "input_bits",
        "dtype",
        "torch_dtype",
        "auto_map",
        "_name_or_path",
    ];
    let mut fields = object(source, CONFIG_FILE)?;
    fields.retain(|name, _| !DROPPED.contains(&name.as_str()));
    if let Value::Object(own) = plan.config.to_json() {
        fields.extend(own);
    }
    let embedding = plan.parts.iter().find(|part| part.name == EMBEDDING);
    let dtype = match embedding.map(|part| part.content.dtype()) {
        Some(Dtype::F16) => "float16",
        Some(Dtype::BF16) => "bfloat16",
        _ => "float32",
    };
    fields.insert("torch_dtype".to_owned(), json!(dtype));
    Ok(Value::Object(fields))
}

/// What a folder says of generation where its source said nothing: how texts begin and end.
fn generation_config(config: &Config) -> Value {
    json!({ "bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_ids })
}

fn text(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// What a model is called: as its GGUF file says, or as its folder is named.
pub(super) fn model_name(source: &Source) -> String {
    if let Source::Gguf(model) = source
        && let Ok(Some(name)) = model.gguf().metadata().string("general.name")
    {
        return shown(name);
    }
    let name = source.name();
    let path = Path::new(&name);
    // A snapshot of the Hub is named by its commit, in `models--org--name/snapshots`.
    let repository = path.parent().filter(|parent| parent.ends_with("snapshots")).and_then(Path::parent);
    let folder = repository.unwrap_or(path).file_name().map(|folder| folder.to_string_lossy().into_owned());
    let folder = folder.unwrap_or_else(|| name.clone());
    match folder.strip_prefix("models--") {
        Some(id) => id.replace("--", "/"),
        None => folder,
    }
}
