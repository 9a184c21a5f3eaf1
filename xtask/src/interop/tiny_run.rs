//! A small run of training, on text that is made here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use tercet_kernels::{Isa, Pool};
use tercet_train::config::TrainConfig;
use tercet_train::trainer::{Observer, StepNews, prepare, train};

/// Steps of a run.
pub(super) const STEPS: u64 = 20;

/// Trains in `folder`, stopping after `stop_after` steps if that is given; returns the output.
pub(super) fn run(folder: &Path, changes: &[&str], stop_after: Option<u64>) -> Result<PathBuf> {
    let (who, does) = (["the owl", "a fox", "one bear"], ["sees a moon", "eats bread", "sings"]);
    let line = |i: usize| format!("{} {}.\n", who[i * 7 / 3 % 3], does[i * 5 / 2 % 3]);
    fs::write(folder.join("text.txt"), (0..2000).map(line).collect::<String>())?;
    let output = folder.join("run");
    let text = format!(
        r#"
        run.output = "{}"
        [model]
        hidden_size = 64
        intermediate_size = 96
        num_hidden_layers = 2
        num_attention_heads = 4
        num_key_value_heads = 2
        [data]
        train = ["{}"]
        sequence_length = 32
        [tokenizer]
        vocab_size = 320
        [train]
        steps = {STEPS}
        micro_batch = 4
        [schedule]
        learning_rate = 5e-3
        [watch]
        validate_every = 5
        validation_sequences = 4
        sample_every = 0
        save_every = 10
        "#,
        output.display(),
        folder.join("text.txt").display()
    );
    let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    let config = TrainConfig::parse_with("interop.toml", &text, &changes)?;
    let mut watcher = Watcher { stop_after, step: 0 };
    let prepared = prepare(config, 1, &mut watcher)?;
    train(&prepared, &Arc::new(Pool::new(Isa::best(), 1)), &mut watcher, None)?;
    Ok(output)
}

struct Watcher {
    stop_after: Option<u64>,
    step: u64,
}

impl Observer for Watcher {
    fn step(&mut self, step: &StepNews<'_>) {
        self.step = step.record.step;
    }

    fn wants_stop(&self) -> bool {
        self.stop_after.is_some_and(|step| self.step >= step)
    }
}
