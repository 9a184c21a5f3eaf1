//! Whole runs on text that the test makes: they learn, resume to the same bytes, and leave a model
//! that inference reads.

mod tiny_run;

use std::fs;
use std::sync::Arc;

use tercet::model::Model;
use tercet::source::Source;
use tercet_kernels::{Isa, Layout, Pool};
use tercet_train::trainer::{estimate, prepare};

use tiny_run::{Watcher, assert_same, config, config_of, results, run, text};

#[test]
fn a_run_learns_and_leaves_a_model_that_inference_reads() {
    let folder = tempfile::tempdir().unwrap();
    let mut watcher = Watcher::default();
    let outcome = run(&config(folder.path(), &[]), 2, &mut watcher).unwrap();
    assert!(outcome.is_finished && outcome.steps_done == 24);
    assert_eq!(watcher.losses.len(), 24);
    let (first, last) = (watcher.losses[0], watcher.losses[23]);
    assert!(last < first - 1.0, "from {first} to {last}");
    assert_eq!(watcher.samples, 2);
    // At 10 and 20, where it saves (8, 16), and at the end.
    assert_eq!(watcher.validations.iter().map(|v| v.step).collect::<Vec<_>>(), [8, 10, 16, 20, 24]);
    let pool = Arc::new(Pool::new(Isa::best(), 1));
    for model in ["model", "checkpoints/step-00000024"] {
        let source = Source::folder(folder.path().join("run").join(model)).unwrap();
        Model::load(&source, Arc::clone(&pool), Layout::TwoBit).unwrap();
    }
    let card = fs::read_to_string(outcome.folder.join("README.md")).unwrap();
    assert!(card.contains("nats a token") && card.contains("[train]"), "{card}");
    for file in ["curves.svg", "trainer_state.json", "timings.csv", "config.toml"] {
        assert!(folder.path().join("run").join(file).metadata().unwrap().len() > 0, "{file}");
    }
}

#[test]
fn an_interrupted_run_ends_in_the_same_bytes() {
    let whole = tempfile::tempdir().unwrap();
    run(&config(whole.path(), &[]), 1, &mut Watcher::default()).unwrap();
    let parts = tempfile::tempdir().unwrap();
    for stop_after in [3, 11, 12] {
        let mut watcher = Watcher { stop_after: Some(stop_after), ..Watcher::default() };
        let outcome = run(&config(parts.path(), &[]), 2, &mut watcher).unwrap();
        assert!(!outcome.is_finished && outcome.steps_done == stop_after);
    }
    assert!(run(&config(parts.path(), &[]), 2, &mut Watcher::default()).unwrap().is_finished);
    assert_same(&results(whole.path()), &results(parts.path()));
}

#[test]
fn a_damaged_checkpoint_costs_the_steps_since_the_one_before() {
    let whole = tempfile::tempdir().unwrap();
    run(&config(whole.path(), &[]), 1, &mut Watcher::default()).unwrap();
    let damaged = tempfile::tempdir().unwrap();
    let mut watcher = Watcher { stop_after: Some(17), ..Watcher::default() };
    run(&config(damaged.path(), &[]), 1, &mut watcher).unwrap();
    let file = damaged.path().join("run/checkpoints/step-00000017/optimizer.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let mut watcher = Watcher::default();
    run(&config(damaged.path(), &[]), 1, &mut watcher).unwrap();
    assert!(
        watcher.warnings.iter().any(|warning| warning.contains("step-00000017")),
        "{:?}",
        watcher.warnings
    );
    assert_eq!(watcher.losses.len(), 8);
    assert_same(&results(whole.path()), &results(damaged.path()));
}

#[test]
fn another_configuration_does_not_go_on_from_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut watcher = Watcher { stop_after: Some(2), ..Watcher::default() };
    run(&config(folder.path(), &[]), 1, &mut watcher).unwrap();
    let changed = config(folder.path(), &["schedule.learning_rate=1e-3", "watch.keep=5"]);
    let error = run(&changed, 1, &mut Watcher::default()).unwrap_err().to_string();
    assert!(error.contains("schedule.learning_rate") && !error.contains("keep"), "{error}");
}

#[test]
fn every_kind_of_run_learns() {
    for changes in [
        &["model.linears=dense", "model.norms=pre"][..],
        &["model.norms=sub", "model.hidden_act=relu2", "optimizer.kind=muon"],
        &["model.norms=1bitllm", "train.accumulation=2", "train.recompute=true"],
        &["model.norms=pre-and-in-linear", "data.respect_boundaries=true", "quantization.warmup_steps=10"],
        &["schedule.kind=warmup-stable-decay", "model.tie_word_embeddings=false"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::default();
        run(&config(folder.path(), changes), 2, &mut watcher).unwrap();
        let (first, last) = (watcher.losses[0], watcher.losses[23]);
        assert!(last < first - 0.5, "{changes:?}: from {first} to {last}");
    }
}

#[test]
fn a_dense_model_becomes_ternary_and_teaches() {
    let folder = tempfile::tempdir().unwrap();
    let dense = config(folder.path(), &["model.linears=dense", "model.norms=pre"]);
    run(&dense, 2, &mut Watcher::default()).unwrap();
    let dense = folder.path().join("run/model").display().to_string();
    for norms in ["pre", "sub"] {
        let student = tempfile::tempdir().unwrap();
        fs::copy(folder.path().join("data.txt"), student.path().join("data.txt")).unwrap();
        let model = format!("[model]\nfrom = \"{dense}\"\nnorms = \"{norms}\"\n");
        let teacher = format!("[distillation]\nteacher = \"{dense}\"\n");
        let config = config_of(student.path(), &(model + &teacher), &["quantization.warmup_steps=12"]);
        let mut watcher = Watcher::default();
        run(&config, 2, &mut watcher).unwrap();
        // It starts where the dense model ended, as long as nothing is quantised.
        assert!(watcher.losses[0] < 3.5, "{norms}: {:?}", watcher.losses);
        let config = fs::read_to_string(student.path().join("run/model/config.json")).unwrap();
        assert!(config.contains("autobitlinear"), "{config}");
    }
}

#[test]
fn a_spike_goes_back_and_leaves_batches_out() {
    let changes = [
        "train.gradients=f32",
        "train.spike_deviations=5",
        "train.on_spike=skip",
        "train.steps=220",
        "watch.validate_every=0",
        "watch.save_every=20",
        "schedule.kind=constant",
        "watch.sample_every=0",
    ];
    let noise: String = (0..60u32).map(|i| char::from(b'0' + (i * i * 31 % 71) as u8)).collect();
    let outcome = |stops: &[u64]| {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{}{noise}\n{}", text(1500), text(1500));
        fs::write(folder.path().join("data.txt"), text).unwrap();
        let mut watcher = Watcher::default();
        for stop in stops {
            watcher = Watcher { stop_after: Some(*stop), ..Watcher::default() };
            run(&config(folder.path(), &changes), 1, &mut watcher).unwrap();
        }
        watcher.stop_after = None;
        assert!(run(&config(folder.path(), &changes), 1, &mut watcher).unwrap().is_finished);
        let log = fs::read_to_string(folder.path().join("run/log.jsonl")).unwrap();
        (watcher.warnings, log)
    };
    let (warnings, log) = outcome(&[]);
    assert!(warnings.iter().any(|warning| warning.contains("left out")), "{warnings:?}\n{log}");
    assert!(log.contains("loss spike") && log.contains("\"step\":220"));
    // It stops where it saves anyway: a spike goes back to the last checkpoint.
    assert_eq!(outcome(&[9, 160]).1, log, "an interrupted run leaves out the same");
}

#[test]
fn an_estimate_says_what_a_run_takes() {
    let folder = tempfile::tempdir().unwrap();
    let pool = Arc::new(Pool::new(Isa::best(), 1));
    let prepared = prepare(config(folder.path(), &[]), 1, &mut Watcher::default()).unwrap();
    let estimate = estimate(&prepared, &pool);
    assert_eq!((estimate.steps, estimate.tokens_per_step), (24, 128));
    assert_eq!(estimate.ternary_parameters, 2 * (4 * 32 * 32 + 3 * 32 * 48));
    assert!(estimate.tokens_per_s > 0.0 && estimate.disk_bytes > estimate.checkpoint_bytes);
}

#[test]
fn more_checkpoints_than_any_disk_holds_are_estimated_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &[&format!("watch.keep={}", i64::MAX)]);
    let prepared = prepare(config, 1, &mut Watcher::default()).unwrap();
    let estimate = estimate(&prepared, &Arc::new(Pool::new(Isa::best(), 1)));
    assert_eq!(estimate.disk_bytes, u64::MAX);
}
