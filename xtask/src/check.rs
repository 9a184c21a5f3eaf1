//! `cargo xtask check`: what CI runs.

use anyhow::{Result, bail};

use crate::{process, test};

/// The version of cargo-deny that CI installs.
const CARGO_DENY: &str = "0.20.2";

pub fn run() -> Result<()> {
    process::run(&mut process::command("cargo", &["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--profile", "test-fast", "--", "-D", "warnings"];
    process::run(&mut process::command("cargo", &clippy))?;
    let mut documentation =
        process::command("cargo", &["doc", "--workspace", "--no-deps", "--profile", "test-fast"]);
    process::run(documentation.env("RUSTDOCFLAGS", "-D warnings"))?;
    if !process::exists("cargo-deny") {
        bail!("cargo-deny is not installed: cargo install cargo-deny --locked --version {CARGO_DENY}");
    }
    process::run(&mut process::command("cargo", &["deny", "check", "bans", "licenses", "sources"]))?;
    test::run()
}
