//! `tokenizer_config.json` of the metadata of a GGUF file: the tokens that begin and end a text, and the chat template.
//!
//! It runs no template.

use serde_json::{Value, json};

use super::config::Architecture;
use super::tokens::Tokens;
use crate::gguf::MetadataError;

const TEMPLATE: &str = "tokenizer.chat_template";

/// The longest template that is read.
pub(crate) const TEMPLATE_MAX_BYTES: usize = 1 << 20;

/// What only the template has that bitnet.cpp's converter wrote into the files of BitNet b1.58 2B4T: a wrong role, and
/// no end of a turn.
const FAULT: &str = "BITNETAssistant";

/// How BitNet b1.58 2B4T was trained to talk: `User: …<|eot_id|>Assistant: …<|eot_id|>`, as its technical report
/// (arXiv:2504.12285) and the tokenizer of its makers have it.
const TEMPLATE_2B4T: &str = "{{ bos_token }}\
    {% for message in messages %}\
    {{ (message['role'] | capitalize) + ': ' + (message['content'] | trim) + '<|eot_id|>' }}\
    {% endfor %}\
    {% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";

/// The file.
pub(super) fn of(tokens: &Tokens<'_>, architecture: Architecture) -> Result<Value, MetadataError> {
    let mut config =
        json!({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false});
    for token in ["bos", "eos"] {
        if let Some((_, text)) = tokens.named(&format!("tokenizer.ggml.{token}_token_id"))? {
            config[format!("{token}_token")] = json!(text);
        }
    }
    if let Some(template) = template(tokens, architecture)? {
        config["chat_template"] = json!(template);
    }
    Ok(config)
}

fn template<'a>(tokens: &Tokens<'a>, architecture: Architecture) -> Result<Option<&'a str>, MetadataError> {
    match tokens.metadata.string(TEMPLATE)? {
        Some(long) if long.len() > TEMPLATE_MAX_BYTES => {
            let found = format!("a text of {} bytes", long.len());
            Err(tokens.metadata.out_of_range(TEMPLATE, found, format!("at most {TEMPLATE_MAX_BYTES}")))
        }
        Some(faulty) if architecture.is_2b4t() && faulty.contains(FAULT) => Ok(Some(TEMPLATE_2B4T)),
        template => Ok(template),
    }
}
