//! Tokens are made once, found again, and made anew where they must be.

use super::*;

fn token_files(run: &Run) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(run.path("cache")).unwrap().map(|entry| entry.unwrap().path());
    let is_tokens = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("tokens-");
    entries.filter(is_tokens).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn threads_change_no_byte_of_the_cache() {
    let tokenizer = words();
    let files = [1, 3].map(|threads| {
        let mut run = run_on_stories(3000, json!({}));
        run.threads = threads;
        run.prepare(&tokenizer).unwrap();
        token_files(&run).remove(0).1
    });
    assert!(files[0] == files[1]);
}

#[test]
fn tokens_are_made_once_and_anew_for_other_content_or_options() {
    let tokenizer = words();
    let mut run = run_on_stories(50, json!({}));
    let first = ids(&run.prepare(&tokenizer).unwrap().train.split);
    assert!(run.did(Stage::TokeniseTraining));
    assert_eq!(ids(&run.prepare(&tokenizer).unwrap().train.split), first);
    assert!(!run.did(Stage::TokeniseTraining));
    // The same content under another name is the same.
    run.train_on("b.jsonl", lines(&stories(50)));
    run.prepare(&tokenizer).unwrap();
    assert!(!run.did(Stage::TokeniseTraining));
    run.train_on("b.jsonl", lines(&stories(51)));
    run.prepare(&tokenizer).unwrap();
    assert!(run.did(Stage::TokeniseTraining));
    run.config.format = Some(crate::config::DataFormat::Text);
    run.prepare(&tokenizer).unwrap();
    assert!(run.did(Stage::TokeniseTraining));
}

#[test]
fn a_damaged_cache_is_told_and_made_again() {
    let tokenizer = words();
    let mut run = run_on_stories(50, json!({}));
    run.prepare(&tokenizer).unwrap();
    let (path, good) = token_files(&run).remove(0);
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let end = good.len();
    for damaged in [
        Vec::new(),
        good[..47].to_vec(),
        good[..end - 8].to_vec(),
        [&good[..], &[0; 8]].concat(),
        flipped(0),
        flipped(9),
        flipped(20),
        flipped(100),
        flipped(end - 40),
        flipped(end - 32),
        flipped(end - 25),
        flipped(end - 10),
        flipped(end - 8),
    ] {
        std::fs::write(&path, damaged).unwrap();
        run.prepare(&tokenizer).unwrap();
        let warnings = run.warnings();
        assert!(warnings[0].contains("the token cache is damaged"), "{warnings:?}");
        assert!(std::fs::read(&path).unwrap() == good);
    }
}

#[test]
fn a_file_that_changes_meanwhile_is_not_cached() {
    let tokenizer = words();
    let mut run = run_on_stories(50, json!({}));
    let path = run.path("a.jsonl");
    let stop = AtomicBool::new(false);
    let error = run.work(|data, cache, work| {
        let mut progress = |progress| {
            if matches!(progress, Progress::Bytes { stage: Stage::TokeniseTraining, .. }) {
                std::fs::write(&path, lines(&stories(51))).unwrap();
            }
        };
        let mut work = Work { threads: work.threads, stop: &stop, progress: &mut progress };
        Dataset::prepare(data, &tokenizer, cache, 7, &mut work).unwrap_err()
    });
    assert!(error.to_string().ends_with("a.jsonl: the file changed while it was read"), "{error}");
    assert_eq!(token_files(&run), []);
}

#[test]
fn work_that_is_stopped_leaves_nothing() {
    let tokenizer = words();
    let mut run = run_on_stories(50, json!({}));
    let stop = AtomicBool::new(true);
    let error = run.work(|data, cache, work| {
        let mut work = Work { threads: 1, stop: &stop, progress: work.progress };
        Dataset::prepare(data, &tokenizer, cache, 7, &mut work).unwrap_err()
    });
    assert!(matches!(error, DataError::Stopped));
    assert_eq!(token_files(&run), []);
}
