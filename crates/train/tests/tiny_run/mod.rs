//! A run of seconds on text of its own, what it tells, and what it leaves.
#![allow(dead_code, reason = "each test includes the file and uses its own part")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tercet_kernels::{Isa, Pool};
use tercet_train::checkpoint::Stage;
use tercet_train::config::TrainConfig;
use tercet_train::log::ValidationRecord;
use tercet_train::trainer::{Observer, Outcome, StepNews, TrainError, prepare, train};

/// Sentences of a little grammar, so that there is something to learn.
pub(crate) fn text(sentences: usize) -> String {
    let (who, does, what) = (
        ["the cat", "a dog", "one bird", "my fox"],
        ["sees", "likes", "finds"],
        ["the sun", "a ball", "milk"],
    );
    let sentence = |i: usize| {
        let mixed = i.wrapping_mul(2_654_435_761) >> 7;
        format!("{} {} {}.\n", who[mixed % 4], does[mixed / 4 % 3], what[mixed / 12 % 3])
    };
    (0..sentences).map(sentence).collect()
}

/// A small model from scratch.
const FROM_SCRATCH: &str = "
    [model]
    hidden_size = 32
    intermediate_size = 48
    num_hidden_layers = 2
    num_attention_heads = 4
    [tokenizer]
    vocab_size = 300
";

/// A run of 24 steps in a folder, with changes.
pub(crate) fn config(folder: &Path, changes: &[&str]) -> TrainConfig {
    config_of(folder, FROM_SCRATCH, changes)
}

pub(crate) fn config_of(folder: &Path, model: &str, changes: &[&str]) -> TrainConfig {
    let data = folder.join("data.txt");
    if !data.exists() {
        fs::write(&data, text(3000)).unwrap();
    }
    let rest = format!(
        r#"
        [run]
        output = "{}"
        [data]
        train = ["{}"]
        sequence_length = 32
        [train]
        steps = 24
        micro_batch = 4
        [schedule]
        learning_rate = 5e-3
        [watch]
        validate_every = 10
        validation_sequences = 8
        sample_every = 12
        sample_tokens = 8
        save_every = 8
        "#,
        folder.join("run").display(),
        data.display()
    );
    let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    TrainConfig::parse_with("test.toml", &(model.to_owned() + &rest), &changes).unwrap()
}

/// Stops after a step, and remembers what it heard.
#[derive(Default)]
pub(crate) struct Watcher {
    pub(crate) stop_after: Option<u64>,
    /// The step that was taken last.
    pub(crate) step: Arc<AtomicU64>,
    pub(crate) losses: Vec<f32>,
    pub(crate) gradient_norms: Vec<f32>,
    pub(crate) validations: Vec<ValidationRecord>,
    pub(crate) warnings: Vec<String>,
    pub(crate) samples: usize,
}

impl Observer for Watcher {
    fn step(&mut self, step: &StepNews<'_>) {
        self.step.store(step.record.step, Ordering::Relaxed);
        self.losses.push(step.record.loss);
        self.gradient_norms.push(step.record.gradient_norm);
    }

    fn warning(&mut self, message: &str) {
        self.warnings.push(message.to_owned());
    }

    fn validated(&mut self, validation: &ValidationRecord) {
        self.validations.push(*validation);
    }

    fn sampled(&mut self, _: u64, _: &str) {
        self.samples += 1;
    }

    fn wants_stop(&self) -> bool {
        self.stop_after.is_some_and(|step| self.step.load(Ordering::Relaxed) >= step)
    }
}

/// Trains, or goes on, to the end or until the watcher stops it.
pub(crate) fn run(
    config: &TrainConfig,
    threads: usize,
    watcher: &mut Watcher,
) -> Result<Outcome, TrainError> {
    run_hearing(config, threads, watcher, None)
}

/// The same; `on_stage` hears of the stages of saving.
pub(crate) fn run_hearing(
    config: &TrainConfig,
    threads: usize,
    watcher: &mut Watcher,
    on_stage: Option<Box<dyn FnMut(Stage) + Send>>,
) -> Result<Outcome, TrainError> {
    let pool = Arc::new(Pool::new(Isa::best(), threads));
    let prepared = prepare(config.clone(), threads, watcher)?;
    train(&prepared, &pool, watcher, on_stage)
}

/// What must be the same in an interrupted run and one that was not.
pub(crate) fn results(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = [
        "log.jsonl",
        "log.csv",
        "model/model.safetensors",
        "model/config.json",
        "checkpoints/step-00000024/model.safetensors",
        "checkpoints/step-00000024/optimizer.safetensors",
    ];
    files.map(|file| (file.to_owned(), fs::read(folder.join("run").join(file)).unwrap())).to_vec()
}

#[track_caller]
pub(crate) fn assert_same(a: &[(String, Vec<u8>)], b: &[(String, Vec<u8>)]) {
    for ((name, a), (_, b)) in a.iter().zip(b) {
        assert!(a == b, "{name} differs");
    }
}
