//! The small files of a model's folder, by their names. It knows what is in none of them.
//!
//! Whoever copies a folder takes these; code that a model brings along is not among them.

use crate::config::{CONFIG_FILE, GENERATION_CONFIG_FILE};
use crate::tokenizer::{
    CHAT_TEMPLATE_FILE, SPECIAL_TOKENS_MAP_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE,
    TOOL_USE_TEMPLATE_FILE,
};

/// The file of a model's card.
pub const CARD_FILE: &str = "README.md";

/// What a model is run with, beside its weights.
pub const RUN_FILES: [&str; 6] = [
    CONFIG_FILE,
    GENERATION_CONFIG_FILE,
    TOKENIZER_FILE,
    TOKENIZER_CONFIG_FILE,
    CHAT_TEMPLATE_FILE,
    TOOL_USE_TEMPLATE_FILE,
];

/// What goes along: other software reads it, or people do. So do the templates with other names than that of tools: see
/// [`named_template`](crate::tokenizer::named_template).
pub const EXTRA_FILES: [&str; 8] = [
    SPECIAL_TOKENS_MAP_FILE,
    "added_tokens.json",
    "tokenizer.model",
    CARD_FILE,
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
];
