//! The whole way from files to batches, on data that the tests make.

mod batches;
mod cache;
mod chat;
mod formats;
mod pieces;
mod tokenizer;

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
use tercet::random::finalize;

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
        state = finalize(state.wrapping_add(i + 1));
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

/// A run on stories in JSON lines.
fn run_on_stories(count: u64, config: Value) -> Run {
    let mut run = Run::new(config);
    run.train_on("a.jsonl", lines(&stories(count)));
    run
}
