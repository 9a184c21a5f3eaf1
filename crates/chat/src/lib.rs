//! Conversations as text, by the template of a model.
//!
//! ```text
//! tokenizer_config.json, chat_template.jinja ─▶ Templates ── render(Conversation) ─▶ text
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `conversation` | messages as clients send them, and in the form that a template takes |
//! | `engine` | the template engine in its sandbox: source, work and output are bounded |
//! | `python` | what templates call that Python has and the engine lacks |
//! | `templates` | the templates of a model, which of them is used, and with which variables |
//!
//! A template comes with a model, so it may be wrong or hostile: it reaches nothing but what it is
//! given and the date. The text is that of transformers' `apply_chat_template`. It knows no tokens'
//! numbers and no HTTP.
//!
//! # A conversation
//!
//! ```
//! use serde_json::{Map, json};
//! use tercet_chat::{Conversation, SpecialTokens, Templates};
//!
//! // `Templates::read` takes those that a model comes with. This one is written here.
//! let template = "{{ bos_token }}{% for message in messages %}\
//!     {{ message.role | capitalize }}: {{ message.content }}\n\
//!                 {% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}";
//! let templates = Templates::of_text("my.jinja", template, SpecialTokens::new("<s>", "</s>"))?;
//! let text = templates.render(&Conversation {
//!     messages: &[json!({ "role": "user", "content": "Why is the sky blue?" })],
//!     tools: &[],
//!     add_generation_prompt: true,
//!     continue_final_message: false,
//!     variables: &Map::new(),
//! })?;
//! assert_eq!(text, "<s>User: Why is the sky blue?\nAssistant:");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The text has the token that begins it, where the template writes one: it is cut into tokens as it is, with nothing
//! added.
//!
//! # What holds
//!
//! A template's source is at most [`SOURCE_MAX_BYTES`] long, its text [`OUTPUT_MAX_BYTES`], and its work is counted
//! ([`FUEL`]): one that would not end is an error. A variable that a client may not set is refused by name
//! ([`VARIABLES`] are those it may), and [`TemplateError::is_of_conversation`] says whose mistake an error is.

mod conversation;
mod engine;
mod error;
mod python;
mod templates;

pub use conversation::{Conversation, VARIABLES};
pub use engine::{Clock, FUEL, OUTPUT_MAX_BYTES, SOURCE_MAX_BYTES};
pub use error::TemplateError;
pub use templates::{SpecialTokens, Templates};
