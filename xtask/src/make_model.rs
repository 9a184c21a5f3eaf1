//! `cargo xtask make-model`: a model folder with random weights, of any preset's size.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use tercet::presets::{PRESETS, Preset};
use tercet::random_folder;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The shape, by name.
    #[arg(long)]
    preset: String,
    /// Seeds the weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The folder to write; it must not exist.
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let preset = Preset::by_name(&arguments.preset).with_context(|| {
        let names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        format!("preset `{}` is not known, expected one of {}", arguments.preset, names.join(", "))
    })?;
    let mut shown = 0;
    random_folder::write(&preset.config(), &arguments.out, arguments.seed, |written, total| {
        let percent = written * 100 / total.max(1);
        if percent != shown && std::io::stderr().is_terminal() {
            shown = percent;
            eprint!("\r{percent} % of {:.2} GB", total as f64 / 1e9);
            // Progress only: a terminal that is gone is no reason to stop.
            let _ = std::io::stderr().flush();
        }
    })?;
    eprintln!("\rwrote {}: random weights, its text is noise", arguments.out.display());
    Ok(())
}
