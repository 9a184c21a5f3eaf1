//! The fuzzers, one after the other.

use anyhow::{Result, bail, ensure};

use crate::process;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Minutes, shared by all targets.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The one target to fuzz.
    #[arg(long)]
    target: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { minutes, target } = arguments;
    ensure!(*minutes > 0.0, "--minutes is {minutes}, expected more than 0");
    if !process::exists("cargo-fuzz") {
        bail!("cargo-fuzz is not installed: cargo install cargo-fuzz --locked");
    }
    let all = targets()?;
    let chosen: Vec<&String> = all.iter().filter(|name| target.as_ref().is_none_or(|t| t == *name)).collect();
    ensure!(!chosen.is_empty(), "there is no such target, expected one of {}", all.join(", "));
    let seconds = (minutes * 60.0 / chosen.len() as f64).ceil();
    for name in chosen {
        let limit = format!("-max_total_time={seconds}");
        let arguments = ["fuzz", "run", name, "--", &limit, "-rss_limit_mb=2048", "-timeout=10"];
        // The sanitizers are unstable; this lets the pinned compiler use them.
        process::run(process::command("cargo", &arguments).env("RUSTC_BOOTSTRAP", "1"))?;
    }
    Ok(())
}

/// The fuzz targets, by name.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in process::root().join("fuzz/fuzz_targets").read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|is| is == "rs") {
            names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}
