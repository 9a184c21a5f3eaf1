//! A server of the tests' build, with the small model made one that chats.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::load::server::Server;
use crate::process;

/// The embedded model's folder.
const STORIES: &str = "crates/tercet/models/stories";
const BINARY: &str = "target/test-fast/tercet";

/// Writes a message a line, with all that the interface has: tools, their calls, and what they told.
const TEMPLATE: &str = r#"{{- bos_token }}
{%- if tools %}
{%- for tool in tools %}{{ tool.function | tojson }}
{% endfor %}
{%- endif %}
{%- for message in messages %}
{{- message.role }}: {{ message.content or "" }}
{%- for call in message.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}
{% endfor %}
{%- if add_generation_prompt %}assistant:{% endif %}"#;

/// Builds the binary.
pub(super) fn build() -> Result<()> {
    let build = ["build", "--profile", "test-fast", "--package", "tercet-cli"];
    process::run(&mut process::command("cargo", &build))
}

/// The binary, which knows nothing of the user's.
pub(super) fn tercet() -> Command {
    let mut command = Command::new(process::root().join(BINARY));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("TERCET_") || name.starts_with("HF_") {
            command.env_remove(&*name);
        }
    }
    command.env("HF_HUB_OFFLINE", "1");
    command
}

/// Starts the server.
pub(super) fn start(arguments: &[&str]) -> Result<Server> {
    Server::start(tercet(), arguments)
}

/// Where it is.
pub(super) fn url(server: &Server) -> String {
    format!("http://{}", server.address)
}

/// Copies the embedded model and gives it a template for chats.
pub(super) fn write_chat_model(folder: &Path) -> Result<()> {
    copy(folder)?;
    change(&folder.join("tokenizer_config.json"), "chat_template", json!(TEMPLATE))
}

/// Copies the embedded model without the token that begins a text.
pub(super) fn write_plain_model(folder: &Path) -> Result<()> {
    copy(folder)?;
    change(&folder.join("tokenizer_config.json"), "add_bos_token", json!(false))?;
    change(&folder.join("tokenizer.json"), "post_processor", Value::Null)
}

fn copy(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(process::root().join(STORIES))? {
        let entry = entry?;
        fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    Ok(())
}

/// Sets a field of a JSON file.
fn change(file: &Path, field: &str, value: Value) -> Result<()> {
    let text = fs::read_to_string(file)?;
    let mut object: Value = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
    object[field] = value;
    fs::write(file, object.to_string())?;
    Ok(())
}
