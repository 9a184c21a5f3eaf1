//! `tokenizer_config.json` of the metadata of a GGUF file: the tokens that begin and end a text, and the templates of
//! chats.
//!
//! It runs no template.

use serde_json::{Value, json};

use super::config::Architecture;
use super::tokens::Tokens;
use crate::gguf::{MetadataError, NewValue};
use crate::json::shown;
use crate::tokenizer::{ChatTemplates, DEFAULT_TEMPLATE};

/// The template that is used where none is asked for; with a dot and a name after it, the one of this name.
const TEMPLATE: &str = "tokenizer.chat_template";
/// The names.
const NAMES: &str = "tokenizer.chat_templates";

/// Bytes of all templates that are read.
const TEMPLATES_MAX_BYTES: usize = 1 << 20;
/// Templates with names that are read.
const NAMES_MAX: usize = 64;

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
    if let Some(templates) = templates(tokens, architecture)?.to_field() {
        config["chat_template"] = templates;
    }
    Ok(config)
}

/// The keys of templates, or what of these a GGUF file cannot hold, after the name of the template that it is about.
pub(crate) fn templates_entries(
    templates: &ChatTemplates,
) -> Result<Vec<(String, NewValue)>, (&str, String)> {
    let ChatTemplates { default, named } = templates;
    let (count, bytes) = templates.size();
    if bytes > TEMPLATES_MAX_BYTES {
        let what = if count == 1 { "a chat template" } else { "chat templates" };
        let longest = templates.all().max_by_key(|(_, template)| template.len());
        let name = longest.map_or(DEFAULT_TEMPLATE, |(name, _)| name);
        return Err((name, format!("{what} of {bytes} bytes, more than {TEMPLATES_MAX_BYTES}")));
    }
    if named.len() > NAMES_MAX {
        let what = format!("{} named chat templates, more than {NAMES_MAX}", named.len());
        return Err((DEFAULT_TEMPLATE, what));
    }
    if let Some(other) = named.keys().find(|name| !is_name(name)) {
        let name = shown(other);
        let what = format!("a chat template named `{name}`: such names are letters, digits and `_` alone");
        return Err((other, what));
    }
    let text = |key: String, template: &String| (key, NewValue::Text(template.clone()));
    let mut entries: Vec<_> = default.iter().map(|template| text(TEMPLATE.to_owned(), template)).collect();
    entries.extend(named.iter().map(|(name, template)| text(key_of(name), template)));
    if !named.is_empty() {
        entries.push((NAMES.to_owned(), NewValue::Texts(named.keys().cloned().collect())));
    }
    Ok(entries)
}

fn key_of(name: &str) -> String {
    format!("{TEMPLATE}.{name}")
}

/// Whether a name is one as llama.cpp's converter writes them.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn templates(tokens: &Tokens<'_>, architecture: Architecture) -> Result<ChatTemplates, MetadataError> {
    let metadata = tokens.metadata;
    let (mut templates, mut bytes) = (ChatTemplates::default(), 0);
    let mut text = |key: &str| -> Result<Option<String>, MetadataError> {
        let Some(text) = metadata.string(key)? else { return Ok(None) };
        bytes += text.len();
        if bytes > TEMPLATES_MAX_BYTES {
            let found = format!("a text of {} bytes", text.len());
            let expected = format!("at most {TEMPLATES_MAX_BYTES} for all templates");
            return Err(metadata.out_of_range(key, found, expected));
        }
        Ok(Some(text.to_owned()))
    };
    templates.default = match text(TEMPLATE)? {
        Some(faulty) if architecture.is_2b4t() && faulty.contains(FAULT) => Some(TEMPLATE_2B4T.to_owned()),
        template => template,
    };
    let Some(names) = metadata.strings(NAMES)? else { return Ok(templates) };
    let wrong = |found: String, expected: String| metadata.out_of_range(NAMES, found, expected);
    if names.len() > NAMES_MAX {
        return Err(wrong(format!("a list of {}", names.len()), format!("at most {NAMES_MAX}")));
    }
    for name in names {
        let key = key_of(name);
        let template = text(&key)?.ok_or_else(|| metadata.missing(&shown(&key)))?;
        if templates.named.insert(name.to_owned(), template).is_some() {
            return Err(wrong(format!("`{}` twice", shown(name)), "each name once".to_owned()));
        }
    }
    Ok(templates)
}
