//! Whole runs on text that the test makes: they learn, resume to the same bytes, and leave a model
//! that inference reads.

mod tiny_run;

use std::fs;
use std::sync::Arc;

use tercet::checkpoint::Checkpoint;
use tercet::config::Config;
use tercet::model::{MemoryNeed, Model, SessionSize};
use tercet::source::Source;
use tercet_kernels::{Isa, KvType, Layout, Pool};
use tercet_train::checkpoint::Store;
use tercet_train::trainer::{estimate, prepare, train};

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
fn a_record_that_cannot_be_read_back_does_not_withhold_the_model() {
    let folder = tempfile::tempdir().unwrap();
    run(&config(folder.path(), &[]), 1, &mut Watcher::default()).unwrap();
    let (log, model) = (folder.path().join("run/log.jsonl"), folder.path().join("run/model"));
    let mut bytes = fs::read(&log).unwrap();
    bytes[0] = b'x';
    fs::write(&log, bytes).unwrap();
    fs::remove_dir_all(&model).unwrap();
    let mut watcher = Watcher::default();
    assert!(run(&config(folder.path(), &[]), 1, &mut watcher).unwrap().is_finished);
    assert!(model.join("model.safetensors").exists());
    assert!(watcher.warnings[0].contains("log.jsonl:1: is no record"), "{:?}", watcher.warnings);
    assert_eq!(watcher.warnings.len(), 1);
}

#[test]
fn a_run_that_is_stopped_before_its_first_step_saves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let prepared = prepare(config(folder.path(), &[]), 1, &mut Watcher::default()).unwrap();
    let pool = Arc::new(Pool::new(Isa::best(), 1));
    let mut watcher = Watcher { stop_after: Some(0), ..Watcher::default() };
    let outcome = train(&prepared, &pool, &mut watcher, None).unwrap();
    assert_eq!((outcome.steps_done, outcome.is_finished), (0, false));
    let entries = fs::read_dir(folder.path().join("run/checkpoints")).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [".lock"]);
    assert!(run(&config(folder.path(), &[]), 1, &mut Watcher::default()).unwrap().is_finished);
}

#[test]
fn a_run_whose_checkpoints_were_removed_is_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut watcher = Watcher { stop_after: Some(11), ..Watcher::default() };
    run(&config(folder.path(), &[]), 1, &mut watcher).unwrap();
    let log = fs::read(folder.path().join("run/log.jsonl")).unwrap();
    fs::remove_dir_all(folder.path().join("run/checkpoints")).unwrap();
    let error = run(&config(folder.path(), &[]), 1, &mut Watcher::default()).unwrap_err();
    assert!(error.to_string().contains("step 11, so a checkpoint of step 8 was saved"), "{error}");
    assert!(error.hint().unwrap().contains("run.output"));
    assert_eq!(fs::read(folder.path().join("run/log.jsonl")).unwrap(), log);
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
fn what_cannot_go_on_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let mut watcher = Watcher { stop_after: Some(2), ..Watcher::default() };
    run(&config(folder.path(), &[]), 1, &mut watcher).unwrap();
    let made = || {
        let entries = fs::read_dir(folder.path().join("run/cache")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".bin")).collect();
        names.sort();
        names
    };
    let before = made();
    let check = |changes: &[&str], want: &str| {
        let error =
            prepare(config(folder.path(), changes), 1, &mut Watcher::default()).err().expect("it is refused");
        assert!(error.to_string().contains(want), "{error}");
        assert_eq!(made(), before, "{changes:?}: no tokenizer and no tokens are made");
    };
    check(
        &["tokenizer.vocab_size=310"],
        "begun with another configuration:\ntokenizer.vocab_size: found 310",
    );
    let data = folder.path().join("data.txt");
    let was = fs::read_to_string(&data).unwrap();
    fs::write(&data, was.replace("cat", "cow")).unwrap();
    check(&[], "was begun with other data: found content ");
    fs::write(&data, was).unwrap();
    let store = Store::open(&folder.path().join("run/checkpoints"), 1).unwrap();
    check(&[], "trains here");
    drop(store);
    fs::remove_dir_all(folder.path().join("run/checkpoints/step-00000002")).unwrap();
    fs::create_dir(folder.path().join("run/model")).unwrap();
    check(&[], "model: is there without checkpoints");
    fs::remove_dir(folder.path().join("run/model")).unwrap();
    assert!(run(&config(folder.path(), &[]), 1, &mut Watcher::default()).unwrap().is_finished);
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

/// What `docs/training.md` says of `norms` for a dense model: λ warms up what is rounded, and no added norm.
#[test]
fn a_dense_model_begins_as_it_was_where_no_norms_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let dense = config(folder.path(), &["model.linears=dense", "model.norms=pre"]);
    run(&dense, 2, &mut Watcher::default()).unwrap();
    let dense = folder.path().join("run/model").display().to_string();
    let first_loss = |model: &str, changes: &[&str]| {
        let other = tempfile::tempdir().unwrap();
        fs::copy(folder.path().join("data.txt"), other.path().join("data.txt")).unwrap();
        let model = format!("[model]\nfrom = \"{dense}\"\n{model}\n");
        let mut watcher = Watcher::default();
        run(&config_of(other.path(), &model, changes), 2, &mut watcher).unwrap();
        watcher.losses[0]
    };
    let as_it_was = first_loss("linears = \"dense\"", &[]);
    let ternary =
        |norms: &str| first_loss(&format!("norms = \"{norms}\""), &["quantization.warmup_steps=12"]);
    assert!((ternary("pre") - as_it_was).abs() < 1e-3, "{} beside {as_it_was}", ternary("pre"));
    assert!((ternary("sub") - as_it_was).abs() > 1e-2, "{} beside {as_it_was}", ternary("sub"));
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
        let weights = fs::read(folder.path().join("run/model/model.safetensors")).unwrap();
        (watcher.warnings, log, weights)
    };
    let (warnings, log, weights) = outcome(&[]);
    assert!(warnings.iter().any(|warning| warning.contains("left out")), "{warnings:?}\n{log}");
    assert!(log.contains("loss spike") && log.contains("\"step\":220"));
    // The last step before one at which it goes back over several.
    let before_spike = warnings.iter().filter_map(|warning| {
        let step: u64 = warning.strip_prefix("step ")?.split_once(':')?.0.parse().ok()?;
        let back: u64 = warning.split_once("back to step ")?.1.split_once(',')?.0.parse().ok()?;
        (step - back > 1).then_some(step - 1)
    });
    let before_spike = before_spike.min().expect("a spike that does not follow a checkpoint at once");
    // It may stop where it saves anyway, and between: what a stop saves is no place to go back to.
    for stops in [&[9, 160][..], &[9, 163], &[before_spike]] {
        let (_, interrupted, its_weights) = outcome(stops);
        assert_eq!(interrupted, log, "stopped at {stops:?}, it leaves out the same");
        assert!(its_weights == weights, "stopped at {stops:?}");
    }
}

#[test]
fn samples_and_a_teacher_are_part_of_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let need_of = |config| prepare(config, 1, &mut Watcher::default()).unwrap().memory_need(Isa::best());
    let without = need_of(config(folder.path(), &["watch.sample_every=0"]));
    let with = need_of(config(folder.path(), &[]));
    let outcome = run(&config(folder.path(), &[]), 1, &mut Watcher::default()).unwrap();
    let packed = fs::metadata(outcome.folder.join("model.safetensors")).unwrap().len();
    assert_eq!(without.sample_bytes, 0);
    assert_eq!(with.total_bytes(), without.total_bytes() + with.sample_bytes);
    // The model twice, and a cache of two layers for 32 positions, in a block of 64; some rows of buffers.
    let cache = 2 * 2 * 64 * 32 * 4;
    let sample = 2 * packed + cache;
    assert!((sample..2 * sample).contains(&with.sample_bytes), "{sample}, {with:?}");

    let teacher = outcome.folder;
    let student = tempfile::tempdir().unwrap();
    fs::copy(folder.path().join("data.txt"), student.path().join("data.txt")).unwrap();
    let tables = format!(
        "[model]\nfrom = \"{}\"\n[distillation]\nteacher = \"{}\"\n",
        folder.path().join("run/checkpoints/step-00000024").display(),
        teacher.display()
    );
    let need = need_of(config_of(student.path(), &tables, &[]));
    let source = Source::folder(&teacher).unwrap();
    let checkpoint = Checkpoint::open(&source).unwrap();
    let model = Config::read(&source, &checkpoint).unwrap();
    let rows = 4 * 32;
    let size = SessionSize { context: 32, max_rows: rows, max_logit_rows: rows };
    let one = MemoryNeed::of_checkpoint(&model, &checkpoint, Layout::TwoBit, &size, KvType::F32);
    let window = (rows * model.vocab_size * 4) as u64;
    assert_eq!(need.teacher_bytes, one.weight_bytes + one.scratch_bytes + 4 * one.cache_bytes + window);
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
