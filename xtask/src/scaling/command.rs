//! What `tercet train` is given for a run. It starts nothing.

use std::path::Path;
use std::process::Command;

use super::plan::{Arm, Run, SIZES};
use crate::process;

/// What all runs share.
pub(super) const CONFIG: &str = "examples/scaling.toml";
/// A folder for each run, and the tokens that all of them read.
pub(super) const RUNS: &str = "runs/scaling";

/// First letters of the authors whose novels are for validation; all others are for training.
const VALIDATION_LETTERS: [&str; 1] = ["[LTW]"];
const TRAINING_LETTERS: [&str; 2] = ["[A-K]", "[M-S]"];

/// `tercet train` for a run on these novels.
pub(super) fn command(run: &Run, novels: &str, output: &Path) -> Command {
    let binary = process::root().join("target/release/tercet");
    let mut command = process::command(&binary.to_string_lossy(), &["train", CONFIG, "--plain"]);
    command.args(["--threads", "1", &format!("data.cache={RUNS}/cache"), "--output"]).arg(output);
    command.args(settings(run, novels));
    command
}

/// All by which a run differs from [`CONFIG`] and that decides what comes of it.
pub(super) fn settings(run: &Run, novels: &str) -> Vec<String> {
    let texts = |letters: &str| format!("{novels}/{letters}*.txt.gz");
    let size = &SIZES[run.size];
    let norms = match run.arm {
        Arm::Ternary => "sub",
        Arm::Dense => "pre",
    };
    vec![
        format!("run.seed={}", run.seed),
        format!("model.linears={}", run.arm.name()),
        format!("model.norms={norms}"),
        format!("model.hidden_size={}", size.hidden_size),
        format!("model.intermediate_size={}", size.intermediate_size),
        format!("model.num_hidden_layers={}", size.num_hidden_layers),
        format!("model.num_attention_heads={}", size.num_attention_heads),
        format!("schedule.learning_rate={}", run.learning_rate()),
        format!("data.train={:?}", TRAINING_LETTERS.map(texts)),
        format!("data.validation={:?}", VALIDATION_LETTERS.map(texts)),
    ]
}

/// The name of a run's folder; no two runs share one.
pub(super) fn name(run: &Run) -> String {
    let size = SIZES[run.size].name.replace(' ', "");
    format!("{size}-{}-{}-seed{}", run.arm.name(), run.learning_rate(), run.seed)
}
