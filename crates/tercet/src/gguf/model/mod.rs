//! A GGUF file as the folder of a model: files beside the tensors are made of its metadata, and tensors have the
//! names that safetensors give them.
//!
//! | module | holds |
//! |---|---|
//! | `config` | `config.json` of the metadata |
//! | `sampling` | `generation_config.json` of it |
//! | `names` | the names of tensors, here and there |
//! | `tokens` | the tokens of the metadata, checked |
//! | `tokenizer` | `tokenizer.json` of them |
//! | `tokenizer_config` | `tokenizer_config.json` of them |
//! | `json_text` | JSON of bounded length, written as it is made |
//!
//! It knows the architectures; whether tensors and configuration agree is `config::check`'s to say.

mod config;
mod json_text;
mod names;
mod sampling;
mod tokenizer;
mod tokenizer_config;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use config::{Architecture, ModelError};
pub(crate) use names::{gguf_name, model_name};
pub(crate) use sampling::{sampling_entries, without_key};
pub(crate) use tokenizer::LLAMA3_PATTERN;
pub(crate) use tokenizer_config::templates_entries;
use tokens::Tokens;
pub(crate) use tokens::{TURN_ENDS, token_type};

use serde_json::Value;

use super::{Gguf, NewGgufTensor, NewValue, TensorType, write};
use crate::checkpoint::RowOrder;
use crate::config::{CONFIG_FILE, GENERATION_CONFIG_FILE};
use crate::json::shown;
use crate::tokenizer::{TOKENIZER_CONFIG_FILE, TOKENIZER_FILE};

/// The model of a GGUF file.
#[derive(Debug, Clone)]
pub struct GgufModel {
    gguf: Arc<Gguf>,
    architecture: Architecture,
    /// Rows of a head of `q_proj` and `k_proj`; nothing where the sizes make no sense.
    head_dim: Option<usize>,
    files: Arc<BTreeMap<&'static str, Vec<u8>>>,
}

impl GgufModel {
    /// Makes the side files of a file's metadata.
    ///
    /// # Errors
    /// [`ModelError`] if the architecture is another, or a key is missing or wrong.
    pub fn new(gguf: Arc<Gguf>) -> Result<Self, ModelError> {
        let architecture = Architecture::of(&gguf)?;
        check_names(&gguf, architecture)?;
        let vocab_size = config::vocab_size(&gguf, architecture)?;
        let tokens = Tokens::read(gguf.metadata(), vocab_size)?;
        let config = config::of(&gguf, architecture, vocab_size, tokens.as_ref())?;
        let mut files = BTreeMap::from([(CONFIG_FILE, config.to_string().into_bytes())]);
        if let Some(generation) = sampling::generation_config(gguf.metadata(), &config)? {
            files.insert(GENERATION_CONFIG_FILE, generation.to_string().into_bytes());
        }
        if let Some(tokens) = &tokens
            && let Some(tokenizer) = tokenizer::of(tokens, architecture)?
        {
            files.insert(TOKENIZER_FILE, tokenizer);
            let tokenizer_config = tokenizer_config::of(tokens, architecture)?;
            files.insert(TOKENIZER_CONFIG_FILE, tokenizer_config.to_string().into_bytes());
        }
        Ok(Self { head_dim: head_dim(&config), files: Arc::new(files), gguf, architecture })
    }

    /// The file.
    pub fn gguf(&self) -> &Arc<Gguf> {
        &self.gguf
    }

    /// What kind of model it is.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// How the file has the rows of a tensor, by its name here.
    pub(crate) fn row_order(&self, name: &str) -> RowOrder {
        self.head_dim.map_or(RowOrder::Same, |head_dim| self.architecture.row_order(name, head_dim))
    }

    /// The files that a folder would have beside the tensors.
    pub(crate) fn files(&self) -> &BTreeMap<&'static str, Vec<u8>> {
        &self.files
    }
}

/// The `tokenizer.json` that is made of these entries, in a file whose embedding has so many rows.
///
/// # Errors
/// [`ModelError`] as of [`GgufModel::new`].
pub(crate) fn tokenizer_of(
    entries: &[(String, NewValue)],
    rows: usize,
) -> Result<Option<Vec<u8>>, ModelError> {
    let tensor = NewGgufTensor { name: "none".to_owned(), tensor_type: TensorType::F32, shape: vec![1] };
    let mut bytes = Vec::new();
    write(&mut bytes, entries, &[tensor], &mut |_, out| out.write_all(&[0; 4]))
        .expect("tokenizer_of: writing to memory does not fail");
    let gguf = Gguf::in_memory("the metadata", bytes.into())?;
    match Tokens::read(gguf.metadata(), rows)? {
        Some(tokens) => tokenizer::of(&tokens, Architecture::of(&gguf)?),
        None => Ok(None),
    }
}

/// Two names there must not be one here.
fn check_names(gguf: &Gguf, architecture: Architecture) -> Result<(), ModelError> {
    let mut names = BTreeSet::new();
    for tensor in gguf.tensors() {
        let here = model_name(architecture, &tensor.name);
        if !names.insert(here.clone()) {
            let (file, name) = (gguf.file().to_owned(), shown(&tensor.name));
            return Err(ModelError::SameTensor { file, name, here });
        }
    }
    Ok(())
}

/// Rows of a head, of a configuration that was not checked yet.
fn head_dim(config: &Value) -> Option<usize> {
    let count = |field: &str| config[field].as_u64().and_then(|count| usize::try_from(count).ok());
    let of_hidden = || count("hidden_size")?.checked_div(count("num_attention_heads")?);
    count("head_dim").or_else(of_hidden).filter(|head_dim| *head_dim >= 2 && head_dim.is_multiple_of(2))
}
