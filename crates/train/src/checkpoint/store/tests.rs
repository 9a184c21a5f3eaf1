//! Checkpoints that are saved, damaged, killed, pruned and found again.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::manifest::MANIFEST_FILE;
use super::folder::LOCK_FILE;
use super::*;

fn open(folder: &TempDir, keep: usize) -> Store {
    Store::open(folder.path(), keep).unwrap()
}

fn scheduled(step: u64, metric: Option<f64>) -> Moment {
    Moment { step, metric, is_scheduled: true }
}

fn stop(step: u64) -> Moment {
    Moment { step, metric: None, is_scheduled: false }
}

fn save(store: &mut Store, step: u64, metric: Option<f64>) -> Checkpoint {
    save_at(store, scheduled(step, metric))
}

/// Saves a checkpoint with two files, one in a folder inside.
fn save_at(store: &mut Store, moment: Moment) -> Checkpoint {
    let step = moment.step;
    let write = |folder: &Path| {
        fs::write(folder.join("masters"), format!("weights of step {step}"))?;
        fs::create_dir(folder.join("state"))?;
        fs::write(folder.join("state/optimizer"), [step as u8; 9])
    };
    store.save(moment, write).unwrap()
}

fn steps(store: &Store) -> Vec<u64> {
    store.list().unwrap().iter().map(|checkpoint| checkpoint.step).collect()
}

fn latest_step(store: &Store) -> Option<u64> {
    store.latest().unwrap().checkpoint.map(|checkpoint| checkpoint.step)
}

/// Damages the newer of two checkpoints and checks that it is passed over aloud.
#[track_caller]
fn check_damage(damage: impl FnOnce(&Path), want: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 2);
    save(&mut store, 1, None);
    let newer = save(&mut store, 2, None);
    damage(&newer.path);
    let found = store.latest().unwrap();
    assert_eq!(found.checkpoint.unwrap().step, 1);
    let message = found.damaged[0].to_string();
    assert!(
        message.contains("step-00000002") && message.contains(want),
        "found `{message}`, expected `{want}`"
    );
    assert_eq!(found.damaged.len(), 1);
}

#[test]
fn what_is_saved_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 2);
    assert_eq!(latest_step(&store), None);
    let saved = save(&mut store, 100, Some(2.5));
    assert_eq!(saved.path, folder.path().join("step-00000100"));
    assert_eq!(store.latest().unwrap().checkpoint, Some(saved.clone()));
    assert_eq!(store.best().unwrap().checkpoint, Some(saved));
    drop(store);
    assert_eq!(latest_step(&open(&folder, 2)), Some(100));
}

#[test]
fn the_last_and_the_best_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 2);
    let metrics = [Some(3.0), Some(1.0), None, Some(2.0), Some(f64::NAN), Some(1.5)];
    let want: [&[u64]; 6] = [&[1], &[1, 2], &[2, 3], &[2, 3, 4], &[2, 4, 5], &[2, 5, 6]];
    for ((step, metric), want) in (1..).zip(metrics).zip(want) {
        save(&mut store, step, metric);
        assert_eq!(steps(&store), want);
    }
    assert_eq!(store.best().unwrap().checkpoint.unwrap().step, 2);
}

#[test]
fn a_stop_takes_no_place_of_a_scheduled_one_and_is_none_to_go_back_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 1);
    let scheduled_step =
        |store: &Store| store.latest_scheduled().unwrap().checkpoint.map(|checkpoint| checkpoint.step);
    save_at(&mut store, stop(1));
    assert_eq!((latest_step(&store), scheduled_step(&store)), (Some(1), None));
    save(&mut store, 2, None);
    assert_eq!(steps(&store), [2]);
    save_at(&mut store, stop(3));
    save_at(&mut store, stop(4));
    assert_eq!(steps(&store), [2, 4], "the last stop alone is kept beside the scheduled one");
    assert_eq!((latest_step(&store), scheduled_step(&store)), (Some(4), Some(2)));
    drop(store);
    assert_eq!(scheduled_step(&open(&folder, 1)), Some(2));
}

#[test]
fn a_damaged_checkpoint_counts_for_nothing_when_others_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 2);
    save(&mut store, 1, None);
    let damaged = save(&mut store, 2, None);
    fs::remove_file(damaged.path.join(MANIFEST_FILE)).unwrap();
    save(&mut store, 3, None);
    assert_eq!(steps(&store), [1, 3]);
}

#[test]
fn a_save_that_goes_back_in_time_is_not_removed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 1);
    save(&mut store, 5, Some(1.0));
    save(&mut store, 3, Some(2.0));
    assert_eq!(steps(&store), [3, 5]);
}

#[test]
fn every_kind_of_damage_is_told_and_the_one_before_is_taken() {
    check_damage(|path| fs::write(path.join("masters"), "Weights of step 2").unwrap(), "found SHA-256");
    check_damage(|path| fs::write(path.join("masters"), "weights").unwrap(), "found 7 bytes, expected 17");
    check_damage(
        |path| fs::remove_file(path.join("state/optimizer")).unwrap(),
        "optimizer: the file is missing",
    );
    check_damage(
        |path| fs::remove_file(path.join(MANIFEST_FILE)).unwrap(),
        "manifest.json: the file is missing",
    );
    check_damage(|path| fs::write(path.join(MANIFEST_FILE), "{}").unwrap(), "the manifest is damaged");
    check_damage(|path| fs::write(path.join(MANIFEST_FILE), [0xff; 9]).unwrap(), "the manifest is damaged");
    check_damage(|path| fs::write(path.join("extra"), "").unwrap(), "extra: found a file that the manifest");
    check_damage(
        |path| {
            fs::copy(path.with_file_name("step-00000001").join(MANIFEST_FILE), path.join(MANIFEST_FILE))
                .map(|_| ())
                .unwrap()
        },
        "found a checkpoint of step 1, expected step 2",
    );
    #[cfg(unix)]
    check_damage(
        |path| std::os::unix::fs::symlink("masters", path.join("link")).unwrap(),
        "other than a file",
    );
}

#[test]
fn all_damaged_is_an_error_and_no_new_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 2);
    let saved = save(&mut store, 1, None);
    fs::write(saved.path.join("masters"), "").unwrap();
    let error = store.latest().unwrap_err();
    assert!(error.to_string().contains("found no intact checkpoint among 1"), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn a_failed_write_leaves_the_last_state_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 1);
    save(&mut store, 1, None);
    let error = store
        .save(scheduled(2, None), |partial| {
            fs::write(partial.join("masters"), "half")?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
    let message = error.to_string();
    assert!(message.contains("the checkpoint of step 2 cannot be written"), "{message}");
    assert!(message.contains("those before it are intact"), "{message}");
    assert!(error.hint().unwrap().contains("free some space"));
    assert_eq!(latest_step(&store), Some(1));
    let mut names = store.entries().unwrap();
    names.sort_unstable();
    assert_eq!(names, [".lock", "step-00000001"]);
}

#[test]
fn a_run_killed_at_any_stage_has_a_whole_checkpoint() {
    for (stage, want) in [
        (Stage::Created, 1),
        (Stage::Written, 1),
        (Stage::Synced, 1),
        (Stage::Manifest, 1),
        (Stage::Renamed, 2),
        (Stage::Pruned, 2),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let killed = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 1);
        save(&mut store, 1, None);
        // The folder as it is at that stage, copied: what a kill would leave.
        let (from, to) = (folder.path().to_owned(), killed.path().to_owned());
        store.on_stage = Some(Box::new(move |reached| {
            if reached == stage {
                copy(&from, &to);
            }
        }));
        save(&mut store, 2, None);
        let store = open(&killed, 1);
        assert_eq!(latest_step(&store), Some(want), "{stage:?}");
        let names = store.entries().unwrap();
        assert!(names.iter().all(|name| name == LOCK_FILE || step_of(name).is_some()), "{names:?}");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn stages_come_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 1);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    store.on_stage = Some(Box::new(move |stage| hears.lock().unwrap().push(stage)));
    save(&mut store, 1, None);
    let want =
        [Stage::Created, Stage::Written, Stage::Synced, Stage::Manifest, Stage::Renamed, Stage::Pruned];
    assert_eq!(*heard.lock().unwrap(), want);
}

#[test]
fn a_step_that_is_saved_again_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 2);
    save(&mut store, 1, Some(2.0));
    save(&mut store, 1, Some(1.0));
    assert_eq!(store.latest().unwrap().checkpoint.unwrap().metric, Some(1.0));
    // Killed between the two renames, the replaced one is moved back.
    fs::rename(folder.path().join("step-00000001"), folder.path().join(".replaced-step-00000001")).unwrap();
    drop(store);
    assert_eq!(latest_step(&open(&folder, 2)), Some(1));
    // Killed after them, it is removed.
    fs::create_dir(folder.path().join(".replaced-step-00000001")).unwrap();
    let store = open(&folder, 2);
    assert_eq!(latest_step(&store), Some(1));
    assert!(!folder.path().join(".replaced-step-00000001").exists());
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 1);
    let error = Store::open(folder.path(), 1).unwrap_err();
    assert!(error.to_string().contains(&format!("process {},", std::process::id())), "{error}");
    assert!(error.hint().is_some());
    drop(store);
    open(&folder, 1);
}

#[test]
fn other_folders_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["step-1", "step-x", "notes", "step-00000001x"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let mut store = open(&folder, 1);
    save(&mut store, 7, None);
    save(&mut store, 8, None);
    assert_eq!(steps(&store), [8]);
    assert_eq!(store.entries().unwrap().len(), 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn one_bit_flipped_in_any_file_is_found(
        file in 0usize..3,
        place in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 2);
        let saved = save(&mut store, 1, Some(0.5));
        let path = saved.path.join([MANIFEST_FILE, "masters", "state/optimizer"][file]);
        let mut bytes = fs::read(&path).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        fs::write(&path, bytes).unwrap();
        prop_assert!(store.latest().is_err());
    }

    #[test]
    fn a_file_cut_anywhere_is_found(file in 0usize..3, place in any::<prop::sample::Index>()) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 2);
        let saved = save(&mut store, 1, Some(0.5));
        let path = saved.path.join([MANIFEST_FILE, "masters", "state/optimizer"][file]);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..place.index(bytes.len())]).unwrap();
        prop_assert!(store.latest().is_err());
    }
}
