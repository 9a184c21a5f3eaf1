//! Models to convert, and converting them as the command line does.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tercet::convert::{Conversion, Options, TableType, Target};
use tercet::source::Source;
use tercet::verify::OnDisk;
use tercet_kernels::{Isa, Pool};

use super::tiny_run;

/// Sizes that every type of blocks can hold.
pub(super) const SMALL: &[&str] = &[
    "model.hidden_size=256",
    "model.intermediate_size=512",
    "model.num_attention_heads=4",
    "model.num_key_value_heads=2",
];

/// The layers of BitNet b1.58 2B4T, of which there are two.
pub(super) const AS_2B4T: &[&str] = &[
    "model.hidden_size=2560",
    "model.intermediate_size=6912",
    "model.num_attention_heads=20",
    "model.num_key_value_heads=5",
    "schedule.learning_rate=5e-4",
    "watch.save_every=0",
];

/// Families that a GGUF file can hold: what messages call each, and what is changed in the run.
pub(super) const FAMILIES: [(&str, &[&str]); 3] = [
    ("sub-norms, relu2", &["model.norms=sub", "model.hidden_act=relu2"]),
    ("sub-norms, silu", &["model.norms=sub"]),
    ("ternary LLaMA", &["model.norms=pre"]),
];

/// Trains a model of these sizes and norms for a few steps in `folder`, and returns its packed folder.
pub(super) fn trained(folder: &Path, sizes: &[&str], changes: &[&str]) -> Result<PathBuf> {
    let changes: Vec<&str> = sizes.iter().chain(changes).copied().collect();
    Ok(tiny_run::run(folder, &changes, None)?.join("model"))
}

/// Converts the model in `from`.
pub(super) fn convert(from: &Path, to: &Path, target: Target, head: Option<TableType>) -> Result<()> {
    let model = OnDisk::open(Source::folder(from)?)?;
    let pool = Pool::new(Isa::best(), 1);
    let options = Options { target, head, force: false };
    let OnDisk { source, checkpoint, config } = &model;
    let mut conversion = Conversion::new(&pool, source, checkpoint, config, &options, &mut |_| {})?;
    Ok(conversion.write(to, &mut |_| ControlFlow::Continue(()))?)
}
