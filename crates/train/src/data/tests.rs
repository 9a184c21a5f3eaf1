//! The whole way from files to batches, on data that the tests make.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::{DataConfig, TokenizerConfig};

/// A folder with files, and what a run makes of them.
struct Run {
    folder: TempDir,
    config: DataConfig,
    threads: usize,
    news: Vec<Progress>,
}

impl Run {
    fn new(config: Value) -> Self {
        let mut config = config;
        config["sequence_length"] = config.get("sequence_length").cloned().unwrap_or(json!(16));
        config["train"] = config.get("train").cloned().unwrap_or(json!([]));
        let config = serde_json::from_value(config).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), config, threads: 2, news: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Writes a file and trains on it alone.
    fn train_on(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        self.write(name, bytes);
        self.config.train = vec![self.path(name).display().to_string()];
    }

    fn work<T>(&mut self, run: impl FnOnce(&DataConfig, &Path, &mut Work) -> T) -> T {
        let cache = self.folder.path().join("cache");
        self.news.clear();
        let news = &mut self.news;
        let mut progress = |progress| news.push(progress);
        let stop = AtomicBool::new(false);
        run(&self.config, &cache, &mut Work { threads: self.threads, stop: &stop, progress: &mut progress })
    }

    fn tokenizer(&mut self, config: &TokenizerConfig) -> Result<TextTokenizer, DataError> {
        self.work(|data, cache, work| load_tokenizer(config, data, None, cache, work))
    }

    fn prepare(&mut self, tokenizer: &TextTokenizer) -> Result<Dataset, DataError> {
        self.work(|data, cache, work| Dataset::prepare(data, tokenizer, cache, 7, work))
    }

    #[track_caller]
    fn check_refused(&mut self, want: &str) {
        let error = self.prepare(&words()).unwrap_err().to_string();
        assert!(error.contains(want), "found `{error}`, expected `{want}`");
    }

    fn warnings(&self) -> Vec<&str> {
        let mut warnings = Vec::new();
        for news in &self.news {
            if let Progress::Warning(warning) = news {
                warnings.push(warning.as_str());
            }
        }
        warnings
    }

    fn did(&self, wanted: Stage) -> bool {
        self.news.iter().any(|news| matches!(news, Progress::Bytes { stage, .. } if *stage == wanted))
    }
}

fn trained(vocab_size: usize) -> TokenizerConfig {
    TokenizerConfig { path: None, vocab_size: Some(vocab_size) }
}

/// A small tokenizer, trained on the text of [`story`].
fn words() -> TextTokenizer {
    let mut run = Run::new(json!({}));
    run.train_on("a.txt", (0..50).map(story).collect::<String>());
    run.tokenizer(&trained(400)).unwrap()
}

/// A text of some lines, always the same for a number.
fn story(number: u64) -> String {
    const WORDS: [&str; 12] =
        ["the", "fox", "saw", "a", "naïve", "river", "and", "ran", "home", "quickly", "42", "日本"];
    let mut state = number;
    let mut text = String::new();
    for i in 0..20 + number % 30 {
        state = order::mixed(state.wrapping_add(i + 1));
        text.push_str(WORDS[(state % 12) as usize]);
        text.push_str(if state.is_multiple_of(11) { ".\n\n" } else { " " });
    }
    text + "end\n"
}

fn stories(count: u64) -> Vec<String> {
    (0..count).map(story).collect()
}

fn lines(texts: &[String]) -> String {
    texts.iter().map(|text| json!({"id": 1, "text": text}).to_string() + "\r\n").collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn parquet_of(texts: &[String], column: &str, compression: Compression) -> Vec<u8> {
    let schema = format!("message m {{ required int32 id; required binary {column} (UTF8); }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
    for texts in texts.chunks(7) {
        let mut group = writer.next_row_group().unwrap();
        let ids: Vec<i32> = (0..texts.len() as i32).collect();
        let mut ids_column = group.next_column().unwrap().unwrap();
        ids_column.typed::<parquet::data_type::Int32Type>().write_batch(&ids, None, None).unwrap();
        ids_column.close().unwrap();
        let texts: Vec<ByteArray> = texts.iter().map(|text| text.as_str().into()).collect();
        let mut text_column = group.next_column().unwrap().unwrap();
        text_column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        text_column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

/// All tokens of a split with whether they count, document by document.
fn documents(split: &order::Split) -> Vec<Vec<(u32, bool)>> {
    let document = |index| split.document(index).map(|token| split.file.token(token)).collect();
    (0..split.documents()).map(document).collect()
}

fn ids(split: &order::Split) -> Vec<Vec<u32>> {
    let plain = |document: Vec<(u32, bool)>| document.into_iter().map(|(id, _)| id).collect();
    documents(split).into_iter().map(plain).collect()
}

#[test]
fn every_format_and_compression_gives_the_same_tokens() {
    let texts = stories(40);
    let separated = texts.join("<|sep|>\n");
    let bom = format!("\u{feff}{separated}");
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("a.txt", separated.clone().into_bytes()),
        ("bom.md", bom.clone().into_bytes()),
        ("a.txt.gz", gzip(bom.as_bytes())),
        ("two.txt.gz", [gzip(&separated.as_bytes()[..500]), gzip(&separated.as_bytes()[500..])].concat()),
        ("a.txt.zst", zstd::encode_all(separated.as_bytes(), 1).unwrap()),
        ("a.jsonl", lines(&texts).into_bytes()),
        ("a.ndjson", format!("\n{}  \n", lines(&texts)).into_bytes()),
        ("a.json.gz", gzip(lines(&texts).as_bytes())),
        ("a.jsonl.zstd", zstd::encode_all(lines(&texts).as_bytes(), 1).unwrap()),
        ("a.parquet", parquet_of(&texts, "text", Compression::UNCOMPRESSED)),
        ("snappy", parquet_of(&texts, "text", Compression::SNAPPY)),
        ("zstd.parquet", parquet_of(&texts, "text", Compression::ZSTD(Default::default()))),
    ];
    let tokenizer = words();
    let want: Vec<Vec<u32>> =
        texts.iter().map(|text| tokenizer.tokenizer.encode(text, true).unwrap()).collect();
    for (name, bytes) in files {
        let mut run = Run::new(json!({"document_separator": "<|sep|>"}));
        run.train_on(name, bytes);
        run.write("v.txt", story(100));
        run.config.validation = vec![run.path("v.txt").display().to_string()];
        let data = run.prepare(&tokenizer).unwrap();
        assert_eq!(ids(&data.train.split), want, "{name}");
        assert_eq!(data.train.split.file.text_bytes(), texts.concat().len() as u64, "{name}");
        assert_eq!(run.warnings(), [""; 0]);
    }
}

#[test]
fn a_format_that_is_given_wins_over_the_name() {
    let mut run = Run::new(json!({"format": "jsonl", "text_field": "body"}));
    run.train_on("a.txt", lines(&stories(40)).replace("\"text\"", "\"body\""));
    assert_eq!(run.prepare(&words()).unwrap().train.split.file.documents(), 40);
}

#[test]
fn bad_files_are_named() {
    let texts = lines(&stories(20));
    let packed = gzip(texts.as_bytes());
    let zstd = zstd::encode_all(texts.as_bytes(), 1).unwrap();
    let parquet = parquet_of(&stories(20), "text", Compression::SNAPPY);
    let mut damaged = parquet.clone();
    for byte in &mut damaged[parquet.len() / 3..parquet.len() / 2] {
        *byte ^= 0x5a;
    }
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a.txt.gz", packed[..packed.len() / 2].to_vec(), "a.txt.gz: the gzip data is damaged or cut off"),
        ("a.jsonl.gz", packed[..packed.len() - 4].to_vec(), "the gzip data is damaged or cut off"),
        ("a.txt.zst", zstd[..zstd.len() / 2].to_vec(), "the zstd data is damaged or cut off"),
        ("a.txt", b"good\n\xffbad".to_vec(), "a.txt: byte 5 of the text is not UTF-8"),
        ("a.txt", b"cut \xe6\x97".to_vec(), "byte 4 of the text is not UTF-8"),
        ("a.txt", b"".to_vec(), "the training files hold no text"),
        ("a.jsonl", b"\n\n".to_vec(), "the training files hold no text"),
        ("a.jsonl", b"{\"text\":\"\"}".to_vec(), "the training files hold no text"),
        (
            "a.jsonl",
            b"{\"text\":\"a\"}\n{\"b\":1}".to_vec(),
            "line 2: field `text` is absent, expected a string",
        ),
        ("a.jsonl", b"{\"text\":3}".to_vec(), "line 1: field `text` is a number, expected a string"),
        ("a.jsonl", b"{\"text\":null}".to_vec(), "field `text` is null"),
        ("a.jsonl", b"{\"text\":\"a\"}\n{\"text\":".to_vec(), "a.jsonl: line 2 is not JSON"),
        ("a.json", b"[{\"text\":\"a\"}]".to_vec(), "line 1 is not JSON"),
        ("a.jsonl", b"{\"text\":\"a\"}\n{\"text\":\"\xff\"}".to_vec(), "byte 22 of the text is not UTF-8"),
        (
            "a.parquet",
            parquet_of(&stories(9), "body", Compression::SNAPPY),
            "found no column `text`, only `id`, `body`",
        ),
        ("a.parquet", parquet[..parquet.len() - 9].to_vec(), "the parquet file cannot be read"),
        ("a.parquet", damaged, "the parquet file cannot be read"),
        ("a.parquet", b"PAR1".to_vec(), "the parquet file cannot be read"),
        ("a.parquet", b"".to_vec(), "not parquet"),
        ("a.txt", b"too small".to_vec(), "expected at least 34: one sequence and a token for training and"),
    ];
    for (name, bytes, want) in cases {
        let mut run = Run::new(json!({}));
        run.train_on(name, bytes);
        run.check_refused(want);
        let left = std::fs::read_dir(run.path("cache")).unwrap();
        let is_temporary = |name: &str| name.ends_with(".tmp");
        assert!(!left.into_iter().any(|entry| is_temporary(entry.unwrap().file_name().to_str().unwrap())));
    }
    let mut run = Run::new(json!({"text_field": "id"}));
    run.train_on("a.parquet", parquet);
    run.check_refused("column `id` holds INT32, expected a string");
    run.config.train = vec![run.path("*.txt").display().to_string()];
    run.check_refused("matches no file");
    run.config.sequence_length = 0;
    run.check_refused("`sequence_length` is 0");
}

/// A run on stories in JSON lines.
fn run_on_stories(count: u64, config: Value) -> Run {
    let mut run = Run::new(config);
    run.train_on("a.jsonl", lines(&stories(count)));
    run
}

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

#[test]
fn a_long_document_is_one_document_and_its_pieces_change_no_token() {
    let text = stories(12_000).concat();
    assert!(text.len() > 3 * read::PIECE_MAX_BYTES);
    let tokenizer = words();
    let want = tokenizer.tokenizer.encode(&text, true).unwrap();
    for (name, bytes) in [("a.txt", text.clone()), ("a.jsonl", lines(std::slice::from_ref(&text)))] {
        let mut run = Run::new(json!({}));
        run.train_on(name, bytes);
        let data = run.prepare(&tokenizer).unwrap();
        let file = &data.train.split.file;
        assert_eq!(file.documents(), 1);
        assert!((0..file.tokens()).map(|token| file.token(token).0).eq(want.iter().copied()), "{name}");
        assert!(data.description().contains("validation on the last"), "{}", data.description());
    }
}

#[test]
fn a_text_without_spaces_is_cut_anywhere() {
    let text = "日".repeat(read::PIECE_MAX_BYTES / 2);
    let mut run = Run::new(json!({}));
    run.train_on("a.txt", &text);
    let tokenizer = words();
    let data = run.prepare(&tokenizer).unwrap();
    let file = &data.train.split.file;
    let all: Vec<u32> = (0..file.tokens()).map(|token| file.token(token).0).collect();
    assert!(tokenizer.tokenizer.decode(&all) == text);
}

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

const TEMPLATE: &str = "{% for message in messages %}
{% if message['role'] == 'system' and loop.first %}
{{ '<|sys|>' + message['content'].strip() }}
{% elif message['role'] in ['user', 'assistant'] %}
{{ '<|' + message['role'] + '|>' }}{{ message.content }}{{ '<|end|>' }}
{% else %}
{{ raise_exception('role ' + message.role) }}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

fn conversation(messages: &[(&str, &str)]) -> Value {
    let messages = messages.iter().map(|(role, content)| json!({"role": role, "content": content}));
    json!({ "messages": messages.collect::<Vec<_>>() })
}

fn chat_run(rows: &[Value], template: &str) -> Run {
    let mut run = Run::new(json!({"chat": {}, "sequence_length": 64, "validation_fraction": 0.3}));
    run.write("template.jinja", template);
    run.config.chat.as_mut().unwrap().template = Some(run.path("template.jinja"));
    run.train_on("a.jsonl", rows.iter().map(|row| format!("{row}\n")).collect::<String>());
    run
}

fn prepare_chat(run: &mut Run) -> Result<(TextTokenizer, Dataset), DataError> {
    let mut tokenizer = words();
    let template = chat::read_template(run.config.chat.as_ref().unwrap().template.as_ref().unwrap())?;
    tokenizer.set_chat_template(&template);
    let data = run.prepare(&tokenizer)?;
    Ok((tokenizer, data))
}

#[test]
fn only_the_assistants_tokens_count() {
    let rows: Vec<Value> = (0..20)
        .map(|i| {
            let question = format!("the fox {i}?");
            let turns = [
                ("user", question.as_str()),
                ("assistant", "a river"),
                ("user", "and"),
                ("assistant", "home"),
            ];
            conversation(&[&[("system", " saw ")], &turns[..]].concat())
        })
        .collect();
    let mut run = chat_run(&rows, TEMPLATE);
    run.config.sequence_length = 128;
    let (tokenizer, data) = prepare_chat(&mut run).unwrap();
    let index = 3;
    let file = order::Split::all(&data.train.split.file);
    let tokens = documents(&file).swap_remove(index);
    let all: Vec<u32> = tokens.iter().map(|(id, _)| *id).collect();
    let counted: Vec<u32> = tokens.iter().filter(|(_, counts)| *counts).map(|(id, _)| *id).collect();
    let decode = |ids: &[u32]| tokenizer.tokenizer.decode(ids);
    assert_eq!(all[0], tokenizer.bos.unwrap());
    let want = "<|sys|>saw
<|user|>the fox 3?<|end|>
<|assistant|>a river<|end|>
<|user|>and<|end|>
<|assistant|>home<|end|>
";
    assert_eq!(decode(&all), want);
    let answers = "a river<|end|>\nhome<|end|>\n";
    assert_eq!(decode(&counted), answers);

    // In batches, conversations are whole, and the targets that count are those tokens.
    for index in 0..data.sequences_per_epoch() {
        let batch = data.batch(1, index);
        assert_eq!(batch.tokens.len(), 128);
        let mut row = 0;
        for segment in batch.segments {
            let targets = batch.targets[row..row + segment].iter().zip(&batch.counts[row..row + segment]);
            let counted: Vec<u32> = targets.filter(|(_, counts)| **counts).map(|(id, _)| *id).collect();
            assert!(decode(&counted) == answers || counted.is_empty() && row + segment == 128);
            row += segment;
        }
    }
    assert!(tokenizer.files[TOKENIZER_CONFIG_FILE].windows(12).any(|text| text == b"'<|sys|>' + "));
}

#[test]
fn a_beginning_that_the_template_writes_is_not_doubled() {
    let template = format!("{{{{ bos_token }}}}{TEMPLATE}");
    let row = conversation(&[("user", "the fox"), ("assistant", "ran")]);
    let mut run = chat_run(&[row.clone(), row], &template);
    let (tokenizer, data) = prepare_chat(&mut run).unwrap();
    let file = order::Split::all(&data.train.split.file);
    let bos = tokenizer.bos.unwrap();
    assert_eq!(ids(&file)[0].iter().filter(|id| **id == bos).count(), 1);
}

#[test]
fn conversations_are_packed_whole_and_long_ones_cut() {
    let long = "naïve river ".repeat(60);
    let mut rows: Vec<Value> =
        (0..30).map(|i| conversation(&[("user", "the"), ("assistant", &"fox ".repeat(i % 5 + 1))])).collect();
    rows.push(conversation(&[("user", "the"), ("assistant", &long)]));
    rows.push(conversation(&[("user", &long), ("assistant", "the")]));
    let mut run = chat_run(&rows, TEMPLATE);
    run.config.validation = run.config.train.clone();
    let (_, data) = prepare_chat(&mut run).unwrap();
    assert!(data.description().contains("1 training conversations cut after 64 tokens"));
    assert!(data.description().contains("1 training conversations left out"), "{}", data.description());
    let split = &data.train.split;
    let mut want: Vec<usize> = documents(split).iter().map(|document| (document.len() - 1).min(64)).collect();
    want.pop();
    want.sort_unstable();
    let mut found = Vec::new();
    for index in 0..data.sequences_per_epoch() {
        let batch = data.batch(1, index);
        let mut row = 0;
        for segment in &batch.segments {
            if batch.counts[row..row + segment].contains(&true) {
                found.push(*segment);
            }
            row += segment;
        }
        assert_eq!(row, 64);
    }
    found.sort_unstable();
    assert_eq!(found, want);
}

#[test]
fn messages_come_from_parquet_too() {
    let schema = "message m { required group messages (LIST) { repeated group list {
        required group element { required binary role (UTF8); required binary content (UTF8); } } } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for values in [["user", "assistant", "user", "assistant"], ["the", "fox", "a", "river"]] {
        let values: Vec<ByteArray> = values.into_iter().map(ByteArray::from).collect();
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, Some(&[1; 4]), Some(&[0, 1, 0, 1])).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    let rows = [[("user", "the"), ("assistant", "fox")], [("user", "a"), ("assistant", "river")]];
    let mut lines = chat_run(&rows.map(|row| conversation(&row)), TEMPLATE);
    let (_, from_lines) = prepare_chat(&mut lines).unwrap();
    let mut run = chat_run(&[], TEMPLATE);
    run.train_on("a.parquet", bytes);
    let (_, from_parquet) = prepare_chat(&mut run).unwrap();
    let all = |data: &Dataset| documents(&order::Split::all(&data.train.split.file));
    assert_eq!(all(&from_parquet), all(&from_lines));
}

#[test]
fn bad_conversations_and_templates_are_named() {
    let good = || conversation(&[("user", "the"), ("assistant", "fox")]);
    let check = |row: Value, template: &str, want: &str| {
        let mut run = chat_run(&[good(), row], template);
        let error = prepare_chat(&mut run).unwrap_err().to_string();
        assert!(error.contains(want), "found `{error}`, expected `{want}`");
    };
    check(json!({"messages": []}), TEMPLATE, "line 2: field `messages` is an empty list");
    check(json!({"messages": "a"}), TEMPLATE, "field `messages` is a string, expected a list of messages");
    check(json!({"messages": [3]}), TEMPLATE, "field `messages[0]` is a number, expected an object");
    check(json!({"messages": [{"content": "a"}]}), TEMPLATE, "field `messages[0].role` is absent");
    check(conversation(&[("user", "a")]), TEMPLATE, "without the role `assistant`");
    let tool = conversation(&[("tool", "a"), ("assistant", "b")]);
    check(tool, TEMPLATE, "line 2: the chat template fails at line 7: invalid operation: role tool");
    check(good(), "a\n{% for %}", "the chat template is wrong at line 2");
    check(good(), "{{ strftime_now('%d') }}", "`strftime_now` is not to be had");
    check(good(), "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "fuel");
    let large = "{% for i in range(5000) %}{{ 'x' * 1000 }}{% endfor %}";
    check(good(), large, "more than 4194304 bytes of text");
    check(good(), &"x".repeat((1 << 20) + 1), "1048577 bytes, expected at most 1048576");
    check(good(), "{{ (1)", "the chat template is wrong");
    check(good(), &format!("{{{{ {} }}}}", "(".repeat(100_000)), "the chat template is wrong");
    check(
        good(),
        "a\n\n{{ messages[9].content }}",
        "line 1: the chat template fails at line 3: undefined value",
    );
    let last_differs = "{% for m in messages %}{{ m.content }}{% if loop.last %}!{% endif %}{% endfor %}";
    let long = conversation(&[("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]);
    check(long, last_differs, "message 1 changes how those before it are rendered");

    let mut run = chat_run(&[good()], TEMPLATE);
    run.config.chat.as_mut().unwrap().template = None;
    run.check_refused("found no chat template");
    let mut run = chat_run(&[good()], TEMPLATE);
    let error = prepare_chat(&mut run).unwrap_err().to_string();
    assert!(error.contains("1 conversations with an answer"), "{error}");
}

#[test]
fn json_in_templates_is_that_of_python() {
    let mut tokenizer = words();
    tokenizer.set_chat_template("{{ messages[0]|tojson }}{% if messages|length > 1 %}!{% endif %}");
    let chat = chat::Chat::new(&tokenizer, "messages").unwrap();
    let messages = [json!({"role": "user", "a": [1, "<é'&\\u003c>"]}), json!({"role": "assistant"})];
    let parts = chat.parts(&messages).unwrap();
    assert_eq!(parts[0].text, r#"{"a": [1, "<é'&\\u003c>"], "role": "user"}"#);
    assert_eq!(parts[1].text, "!");
}

const SYLLABLES: [&str; 40] = [
    "ka", "ke", "ki", "ko", "ku", "ra", "re", "ri", "ro", "ru", "sa", "se", "si", "so", "su", "ta", "te",
    "ti", "to", "tu", "na", "ne", "ni", "no", "nu", "ma", "me", "mi", "mo", "mu", "la", "le", "li", "lo",
    "lu", "aaa", "ana", "nan", "é", "日本",
];

#[test]
fn a_tokenizer_trained_twice_or_on_other_chunks_is_the_same() {
    // Words of syllables, so that there is much to merge and many pairs are as frequent as others.
    let word = |i: u64| {
        (0..1 + i % 4).map(|j| SYLLABLES[(order::mixed(i * 7 + j) % 40) as usize]).collect::<String>()
    };
    let text =
        |i: u64| (0..30).map(|j| word(order::mixed(i * 31 + j) % 2000) + " ").collect::<String>() + "end\n";
    let texts: Vec<String> = (0..3000).map(text).collect();
    let tokenizers = [
        ("a.txt", texts.concat()),
        ("a.txt", texts.concat()),
        ("a.jsonl", lines(&texts)),
        ("a.jsonl", lines(&texts.chunks(100).map(|texts| texts.concat()).collect::<Vec<_>>())),
    ]
    .map(|(name, text)| {
        let mut run = Run::new(json!({}));
        run.train_on(name, text);
        run.tokenizer(&trained(600)).unwrap()
    });
    for other in &tokenizers[1..] {
        assert!(other.files == tokenizers[0].files);
        assert_eq!(other.digest, tokenizers[0].digest);
    }
    let tokenizer = &tokenizers[0];
    assert_eq!((tokenizer.bos, tokenizer.eos.as_slice(), tokenizer.vocab_size), (Some(0), &[0][..], 600));
    assert_eq!(tokenizer.tokenizer.encode(" ka", true).unwrap().len(), 2);
    let config: Value = serde_json::from_slice(&tokenizer.files[TOKENIZER_CONFIG_FILE]).unwrap();
    assert_eq!(config["tokenizer_class"], "PreTrainedTokenizerFast");
    assert_eq!(config["eos_token"], "<|endoftext|>");
    assert_eq!(config["model_max_length"], 16);
}

#[test]
fn a_trained_tokenizer_is_kept_and_trained_again_if_damaged() {
    let mut run = run_on_stories(200, json!({}));
    let first = run.tokenizer(&trained(300)).unwrap();
    assert!(run.did(Stage::TrainTokenizer));
    let second = run.tokenizer(&trained(300)).unwrap();
    assert!(!run.did(Stage::TrainTokenizer));
    assert!(first.files == second.files && first.digest == second.digest);
    let kept = std::fs::read_dir(run.path("cache")).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.into_iter().find(|path| path.display().to_string().contains("tokenizer-")).unwrap();
    let mut bytes = std::fs::read(&kept).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    let third = run.tokenizer(&trained(300)).unwrap();
    assert!(run.warnings()[0].contains("is damaged"));
    assert_eq!(first.digest, third.digest);
}

#[test]
fn a_vocabulary_that_cannot_be_had_is_told() {
    let mut run = run_on_stories(5, json!({}));
    let error = run.tokenizer(&trained(256)).unwrap_err().to_string();
    assert_eq!(error, "`tokenizer.vocab_size` is 256, expected 257 to 1048576");
    run.tokenizer(&trained(50_000)).unwrap();
    assert!(run.warnings()[0].contains("has no more pairs to merge"));
    assert!(matches!(run.tokenizer(&TokenizerConfig::default()), Err(DataError::NoTokenizer)));
    let both = TokenizerConfig { path: Some("a".into()), ..trained(300) };
    assert!(matches!(run.tokenizer(&both), Err(DataError::TwoTokenizers)));
    let mut run = Run::new(json!({}));
    run.train_on("a.txt", "");
    let error = run.tokenizer(&trained(300)).unwrap_err().to_string();
    assert_eq!(error, "the training files hold no text");
}

#[test]
fn a_given_tokenizer_brings_its_files_and_tokens() {
    let made = words();
    let mut run = Run::new(json!({}));
    let given = TokenizerConfig { path: Some(run.folder.path().to_path_buf()), vocab_size: None };
    let missing = run.tokenizer(&given).unwrap_err();
    assert!(missing.to_string().contains("`tokenizer.json` is missing") && missing.hint().is_some());
    run.write("tokenizer.json", &made.files["tokenizer.json"]);

    // No more than the file: no special token, and a configuration that loads.
    let bare = run.tokenizer(&given).unwrap();
    assert_eq!((bare.bos, bare.eos.as_slice()), (None, &[][..]));
    assert!(bare.files.contains_key(TOKENIZER_CONFIG_FILE));

    run.write("config.json", json!({"bos_token_id": 0, "eos_token_id": [300, 301, 99_999_999]}).to_string());
    let of_model = run.tokenizer(&given).unwrap();
    assert_eq!((of_model.bos, of_model.eos.as_slice()), (Some(0), &[300, 301][..]));

    let config = json!({"eos_token": {"content": "<|endoftext|>", "special": true}, "bos_token": null,
        "chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]});
    run.write(TOKENIZER_CONFIG_FILE, config.to_string());
    let path = TokenizerConfig { path: Some(run.path("tokenizer.json")), vocab_size: None };
    let tokenizer = run.tokenizer(&path).unwrap();
    assert_eq!((tokenizer.bos, tokenizer.eos.as_slice()), (Some(0), &[0, 300, 301][..]));
    assert_eq!(tokenizer.chat_template.as_deref(), Some("d"));
    run.write(CHAT_TEMPLATE_FILE, "j");
    let tokenizer = run.tokenizer(&path).unwrap();
    assert_eq!(tokenizer.chat_template.as_deref(), Some("j"));
    assert_eq!(tokenizer.files[CHAT_TEMPLATE_FILE], b"j");

    for (config, want) in [
        (json!({"eos_token": "<|nothing|>"}), "`eos_token` is `<|nothing|>`, expected a token of"),
        (json!({"eos_token": 3}), "`eos_token` is a number, expected a token"),
        (json!({"chat_template": 3}), "`chat_template` is a string"),
    ] {
        run.write(TOKENIZER_CONFIG_FILE, config.to_string());
        std::fs::remove_file(run.path(CHAT_TEMPLATE_FILE)).unwrap_or(());
        let error = run.tokenizer(&path).unwrap_err().to_string();
        assert!(error.contains(&want.replace("a string", "a number")), "{error}");
    }
}

#[test]
fn documents_end_as_the_tokenizer_has_it() {
    let check = |bos, eos: &[u32], before: &[u32], after: &[u32]| {
        let mut tokenizer = words();
        (tokenizer.bos, tokenizer.eos) = (bos, eos.to_vec());
        let mut run = run_on_stories(20, json!({}));
        let data = run.prepare(&tokenizer).unwrap();
        let file = order::Split::all(&data.train.split.file);
        let text = tokenizer.tokenizer.encode(&story(0), false).unwrap();
        assert_eq!(ids(&file)[0], [before, &text, after].concat());
    };
    // The tokenizer's own template writes 0 before a text.
    check(Some(0), &[0], &[0], &[]);
    check(Some(0), &[300, 301], &[0], &[300]);
    check(None, &[], &[0], &[]);
    check(Some(301), &[], &[301, 0], &[]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn decoding_what_a_trained_tokenizer_encoded_gives_the_text(text in any::<String>()) {
        use std::sync::LazyLock;
        static TOKENIZER: LazyLock<TextTokenizer> = LazyLock::new(words);
        let tokenizer = &TOKENIZER.tokenizer;
        let ids = tokenizer.encode(&text, true).unwrap();
        let bytes_of = TOKENIZER.bytes_of_tokens();
        let bytes: u32 = ids.iter().map(|id| bytes_of[*id as usize]).sum();
        prop_assert_eq!(bytes as usize, text.len());
        prop_assert_eq!(tokenizer.decode(&ids), text);
    }
}

#[test]
fn only_words_beyond_all_measure_are_cut() {
    let text = format!("one two, three {} {}\u{e9}", "4".repeat(4096), "a".repeat(10_000));
    let parts = read::without_long_words(&text);
    assert_eq!(parts.concat(), text);
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [4096 + 16 + 4096, 4096, 1810]);
    assert_eq!(read::without_long_words(""), [""]);
}
