//! A headless Chromium looks at the page of `tercet serve`; the scripts in `tools/browser` have its checks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{clients, node, served};
use crate::process;
use crate::report::Report;

const KEY: &str = "interop-0123456789abcdef0123456789abcdef";
const SCRIPTS: &str = "tools/browser";
/// Where the packages of Node lie.
const NODE_FOLDER: &str = "target/interop-browser";
/// The variable that names the browser, and what it is called where nobody says.
const VARIABLE: &str = "CHROMIUM";
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Drives the page of the model inside and of one that chats; screenshots go to a folder, from the project's root.
pub(super) fn run(screenshots: &Path, report: &mut Report) -> Result<()> {
    let chromium = chromium()?;
    if node::is_missing() {
        bail!("`node` and `npm` are not installed; the browser is driven by them");
    }
    served::build()?;
    let folder = tempfile::tempdir()?;
    let (model, key_file) = (folder.path().join("chat-stories"), folder.path().join("key"));
    served::write_chat_model(&model)?;
    fs::write(&key_file, KEY)?;
    let [model, key_file] = [model, key_file].map(|path| path.display().to_string());
    let mut base = served::start(&[])?;
    let mut chat = served::start(&[&model, "--api-key-file", &key_file])?;

    let scripts = node::prepare(SCRIPTS, NODE_FOLDER)?;
    let [url, chat_url] = [&base, &chat].map(served::url);
    let screenshots = process::root().join(screenshots);
    let mut command = process::command("node", &["page_checks.mjs", &chromium, &url, &chat_url, KEY]);
    let told = super::json_of(command.arg(&screenshots).current_dir(&scripts));
    clients::add("the page", told, report);
    println!("  screenshots are in {}", screenshots.display());

    for server in [&mut base, &mut chat] {
        let sound = server.is_sound();
        let detail = sound.as_ref().map_or_else(|error| format!("{error:#}"), |()| "sound".into());
        super::check(report, "the server", sound.is_ok(), &detail);
    }
    Ok(())
}

/// The browser.
fn chromium() -> Result<String> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        let named = named.into_string().ok().with_context(|| format!("`{VARIABLE}` is no text"))?;
        if process::exists(&named) {
            return Ok(named);
        }
        bail!("`{VARIABLE}` is `{named}`, which cannot be started");
    }
    // The scripts want a path.
    let folders: Vec<_> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    let paths = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = paths.map(|path| path.display().to_string()).find(|path| process::exists(path));
    found.with_context(|| {
        format!("no browser is installed, looked for {}; `{VARIABLE}` names another", NAMES.join(", "))
    })
}
