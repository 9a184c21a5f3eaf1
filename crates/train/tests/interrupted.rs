//! Runs that are killed while they save, or that cannot save, go on to the bytes of one that was left alone.

mod tiny_run;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tercet_train::checkpoint::{Stage, Store};
use tercet_train::config::TrainConfig;

use tiny_run::{Watcher, assert_same, config, results, run, run_hearing};

const STAGES: [Stage; 6] =
    [Stage::Created, Stage::Written, Stage::Synced, Stage::Manifest, Stage::Renamed, Stage::Pruned];
/// The steps at which the run saves.
const SAVES: [u64; 3] = [8, 16, 24];
/// Files of a checkpoint, in the order in which they are written.
const FILES: [&str; 5] =
    ["config.json", "model.safetensors", "optimizer.safetensors", "state.json", "config.toml"];

/// What a run leaves that nothing happened to.
fn undisturbed() -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    run(&config(folder.path(), &[]), 1, &mut Watcher::default()).unwrap();
    results(folder.path())
}

/// Ends a run at a stage of the save of a step.
///
/// No destructor on the way out writes or removes a file of the record or of a checkpoint, so the
/// folder is left as a kill leaves it.
fn kill(config: &TrainConfig, stage: Stage, step: u64) {
    let mut watcher = Watcher::default();
    let present = Arc::clone(&watcher.step);
    let on_stage = move |reached| {
        if reached == stage && present.load(Ordering::Relaxed) == step {
            resume_unwind(Box::new("killed"));
        }
    };
    let ended =
        catch_unwind(AssertUnwindSafe(|| run_hearing(config, 2, &mut watcher, Some(Box::new(on_stage)))));
    assert!(ended.is_err(), "killed at {stage:?} of step {step}");
}

#[test]
fn a_run_killed_at_any_stage_of_its_saves_ends_in_the_same_bytes() {
    let want = undisturbed();
    for stage in STAGES {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &["watch.keep=1"]);
        let checkpoints = folder.path().join("run/checkpoints");
        for step in SAVES {
            kill(&config, stage, step);
            let is_named = matches!(stage, Stage::Renamed | Stage::Pruned);
            let exists = |name: String| checkpoints.join(name).exists();
            assert_eq!(exists(format!("step-{step:08}")), is_named, "{stage:?} of step {step}");
            assert_eq!(exists(format!(".partial-step-{step:08}")), !is_named, "{stage:?} of step {step}");
        }
        let mut watcher = Watcher::default();
        assert!(run(&config, 1, &mut watcher).unwrap().is_finished);
        assert!(watcher.warnings.is_empty(), "{stage:?}: {:?}", watcher.warnings);
        assert_same(&want, &results(folder.path()));
    }
}

/// Makes the save of step 16 fail at each of a checkpoint's files in turn, then goes on.
#[track_caller]
fn check_failed_saves(obstruct: fn(&Path), want: &str, hint: &str) {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &[]);
    let checkpoints = folder.path().join("run/checkpoints");
    let partial = checkpoints.join(".partial-step-00000016");
    for file in FILES {
        let place = partial.clone();
        let on_stage = move |stage| {
            if stage == Stage::Created && place.exists() {
                obstruct(&place.join(file));
            }
        };
        let failed = run_hearing(&config, 1, &mut Watcher::default(), Some(Box::new(on_stage)));
        let error = failed.unwrap_err();
        let message = error.to_string();
        assert!(message.contains("the checkpoint of step 16 cannot be written"), "{file}: {message}");
        assert!(message.contains(want), "{file}: {message}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{file}: {:?}", error.hint());

        assert!(!partial.exists(), "{file}: nothing is left of it");
        let found = Store::open(&checkpoints, 2).unwrap().latest().unwrap();
        assert!(found.damaged.is_empty(), "{file}: {:?}", found.damaged);
        assert_eq!(found.checkpoint.unwrap().step, 8, "{file}");
    }
    let mut watcher = Watcher::default();
    assert!(run(&config, 1, &mut watcher).unwrap().is_finished);
    assert_eq!(watcher.losses.len(), 16, "it goes on from step 8");
    assert_same(&undisturbed(), &results(folder.path()));
}

#[test]
fn a_file_that_cannot_be_made_costs_one_checkpoint_and_no_bytes() {
    check_failed_saves(|place| fs::create_dir(place).unwrap(), "those before it are intact", "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_one_checkpoint_and_no_bytes() {
    let full = |place: &Path| std::os::unix::fs::symlink("/dev/full", place).unwrap();
    check_failed_saves(full, "No space left on device", "free some space");
}

#[test]
fn a_place_that_takes_no_checkpoints_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &[]);
    let place = folder.path().join("run/checkpoints");
    fs::create_dir(folder.path().join("run")).unwrap();
    fs::write(&place, "").unwrap();
    let message = run(&config, 1, &mut Watcher::default()).unwrap_err().to_string();
    assert!(message.contains("checkpoints: cannot be made"), "{message}");
    fs::remove_file(&place).unwrap();
    assert!(run(&config, 1, &mut Watcher::default()).unwrap().is_finished);
}
