//! Which tokens come in which batch, and what is learnt of them.

use super::*;

/// Every (token, target) of an epoch.
fn pairs(data: &Dataset, micro_batch: usize, epoch: u64) -> Vec<(u32, u32)> {
    let count = data.sequences_per_epoch();
    assert_eq!(count % micro_batch as u64, 0);
    let batches = count / micro_batch as u64;
    let batches = (epoch * batches..(epoch + 1) * batches).map(|index| data.batch(micro_batch, index));
    batches.flat_map(|batch| batch.tokens.into_iter().zip(batch.targets)).collect()
}

#[test]
fn an_epoch_has_every_token_as_target_once_up_to_what_is_cut() {
    let tokenizer = words();
    for (config, count) in [(json!({}), 50), (json!({"respect_boundaries": true}), 50), (json!({}), 3)] {
        let mut run = run_on_stories(count, config);
        let data = run.prepare(&tokenizer).unwrap();
        let mut all: Vec<u32> = ids(&data.train.split).concat();
        assert_eq!(all.len() as u64, data.train_tokens());
        all.sort_unstable();
        let mut epochs = Vec::new();
        for epoch in 0..3 {
            let epoch = pairs(&data, 1, epoch);
            assert!(all.len() - epoch.len() < data.sequence_length());
            let mut targets: Vec<u32> = epoch.iter().map(|pair| pair.1).collect();
            targets.sort_unstable();
            // What is left over of all targets is what was cut.
            let mut left = targets.as_slice();
            let cut = all.iter().filter(|token| match left.split_first() {
                Some((first, rest)) if first == *token => {
                    left = rest;
                    false
                }
                _ => true,
            });
            assert_eq!(cut.count(), all.len() - targets.len());
            assert!(left.is_empty());
            epochs.push(epoch);
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
    }
}

#[test]
fn a_batch_depends_on_its_number_alone() {
    let tokenizer = words();
    let mut run = run_on_stories(50, json!({}));
    let data = run.prepare(&tokenizer).unwrap();
    let batches: Vec<Batch> = (0..200).map(|index| data.batch(3, index)).collect();
    assert!(batches.len() as u64 * 3 > 2 * data.sequences_per_epoch());
    let resumed = run.prepare(&tokenizer).unwrap();
    for index in [150, 20, 199, 0] {
        assert_eq!(resumed.batch(3, index), batches[index as usize]);
    }
    let mut single = resumed.batch(1, 3);
    for other in [resumed.batch(1, 4), resumed.batch(1, 5)] {
        single.tokens.extend(other.tokens);
    }
    assert_eq!(single.tokens, batches[1].tokens);
    let batch = &batches[0];
    let rows = 3 * data.sequence_length();
    let lengths = (batch.tokens.len(), batch.targets.len(), batch.counts.len(), batch.segments.iter().sum());
    assert_eq!(lengths, (rows, rows, rows, rows));
    assert_eq!(batch.segments, [16; 3]);
    assert!(batch.counts.iter().all(|counts| *counts));
    // Inside a sequence, a target is the next token.
    for row in (0..rows - 1).filter(|row| (row + 1) % 16 != 0) {
        assert_eq!(batch.targets[row], batch.tokens[row + 1]);
    }
    let other = run.work(|config, cache, work| Dataset::prepare(config, &tokenizer, cache, 8, work)).unwrap();
    assert!(other.batch(3, 0) != batches[0]);
}

#[test]
fn segments_are_parts_of_documents_whose_ends_are_learnt() {
    let tokenizer = words();
    let mut run = run_on_stories(50, json!({"respect_boundaries": true, "sequence_length": 40}));
    let data = run.prepare(&tokenizer).unwrap();
    let bos = tokenizer.bos.unwrap();
    let mut parts = 0;
    for index in 0..data.sequences_per_epoch() {
        let batch = data.batch(1, index);
        let mut row = 0;
        for (i, segment) in batch.segments.iter().enumerate() {
            // A document begins with its first token and nowhere else.
            let begins = batch.tokens[row..row + segment].iter().position(|token| *token == bos);
            assert!(begins == Some(0) || begins.is_none() && i == 0);
            row += segment;
            parts += 1;
        }
        assert_eq!(row, 40);
        // The one special token also ends the document before.
        assert!(batch.counts.iter().all(|counts| *counts));
    }
    assert!(parts > data.sequences_per_epoch());
}

#[test]
fn another_documents_first_token_is_no_target_unless_it_ends_this_one() {
    let mut run = run_on_stories(50, json!({"respect_boundaries": true}));
    let mut tokenizer = words();
    // Two tokens for two purposes.
    tokenizer.eos = vec![300];
    let data = run.prepare(&tokenizer).unwrap();
    for index in 0..data.sequences_per_epoch() {
        let batch = data.batch(1, index);
        for (target, counts) in batch.targets.iter().zip(&batch.counts) {
            assert_eq!(*counts, Some(*target) != tokenizer.bos);
        }
    }
}

#[test]
fn validation_shares_no_document_with_training() {
    let tokenizer = words();
    for (count, want) in [(200, "documents, chosen by"), (2, "validation on the last")] {
        let mut run = run_on_stories(count, json!({"validation_fraction": 0.1}));
        let data = run.prepare(&tokenizer).unwrap();
        assert!(data.description().contains(want), "{}", data.description());
        let range = |split: &order::Split| -> Vec<u64> {
            (0..split.documents()).flat_map(|index| split.document(index)).collect()
        };
        let (train, validation) = (range(&data.train.split), range(&data.validation.split));
        let mut all = [train, validation.clone()].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..data.train.split.file.tokens()));
        assert!(validation.len() > 16 && validation.len() as u64 <= data.train_tokens());
    }
}

#[test]
fn validation_is_the_same_every_time_and_spread() {
    let tokenizer = words();
    let mut run = run_on_stories(400, json!({"validation_fraction": 0.2}));
    let data = run.prepare(&tokenizer).unwrap();
    let count = data.validation_sequences() as usize;
    let all: Vec<Batch> = data.validation_batches(1, usize::MAX).collect();
    assert_eq!(all.len(), count);
    let few: Vec<Batch> = data.validation_batches(2, 5).collect();
    assert_eq!(few.iter().map(|batch| batch.segments.len()).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(few[2].tokens, all[4 * count / 5].tokens);
    assert_eq!(few, data.validation_batches(2, 5).collect::<Vec<_>>());
    // Every token is either text or the special one.
    let validation = &data.validation.split;
    let text: usize = ids(validation).iter().map(|ids| tokenizer.tokenizer.decode(ids).len()).sum();
    let want = text as f64 / data.validation_tokens() as f64;
    assert!((data.validation_bytes_per_token() - want).abs() < 1e-9);
}

#[test]
fn a_validation_file_is_its_own_split() {
    let mut run = run_on_stories(30, json!({}));
    run.write("v.jsonl", lines(&stories(4)));
    run.config.validation = vec![run.path("v.jsonl").display().to_string()];
    let data = run.prepare(&words()).unwrap();
    assert_eq!((data.train.split.documents(), data.validation.split.documents()), (30, 4));
    run.config.validation = run.config.train.clone();
    run.prepare(&words()).unwrap();
    assert!(run.warnings()[0].contains("for training and for validation"));
    assert!(!data.opening(5).is_empty() && data.opening(5).len() <= 5);
}
