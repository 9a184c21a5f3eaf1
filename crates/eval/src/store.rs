//! Answers that were given before, so that an interrupted evaluation goes on and a repeated one is done.
//!
//! ```text
//! FOLDER/<what computes>.jsonl      {"key":"9f…","log_likelihood":-3.25,"sum_of_squares":4.5,"is_greedy":true,"crc":7}
//! ```
//!
//! A file belongs to one function of tokens: the weights, the numbers of head and cache. A key is a digest of
//! the tokens. Lines are appended as answers come; one that is damaged, as the last when a process was
//! killed, is left out and computed again. It knows no tasks.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tercet::digest::hex;

use crate::score::{Score, ScoredTokens};

/// Why answers cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file or its folder cannot be read or written.
    #[error("{path}: cannot be {action}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

/// A line longer than this is damaged.
const LINE_MAX_BYTES: u64 = 1 << 20;

/// What is known of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Answer {
    Score { log_likelihood: f64, sum_of_squares: f64, is_greedy: bool },
    Text { text: String },
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(flatten)]
    answer: Answer,
    /// CRC-32C of key and answer, so that a changed digit is not believed.
    crc: u32,
}

impl Line {
    fn new(key: String, answer: Answer) -> Self {
        let crc = Self::crc(&key, &answer);
        Line { key, answer, crc }
    }

    fn crc(key: &str, answer: &Answer) -> u32 {
        let text = serde_json::to_vec(&(key, answer)).expect("Line: strings and finite numbers");
        crc32c::crc32c(&text)
    }

    fn is_whole(&self) -> bool {
        self.crc == Self::crc(&self.key, &self.answer)
    }
}

/// Answers of one model, in memory and in a file if there is one.
pub struct Store {
    answers: HashMap<String, Answer>,
    file: Option<(PathBuf, File)>,
}

impl Store {
    /// A store that keeps nothing when it is gone.
    pub fn in_memory() -> Self {
        Store { answers: HashMap::new(), file: None }
    }

    /// Opens the store of what `name` computes, such as a digest of weights and settings.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file cannot be read, or its folder not be made.
    pub fn open(folder: &Path, name: &str) -> Result<Self, StoreError> {
        let path = folder.join(format!("{name}.jsonl"));
        let failed = |action| {
            let path = path.clone();
            move |error| StoreError::Io { path, action, error }
        };
        fs::create_dir_all(folder).map_err(failed("made"))?;
        let mut file =
            OpenOptions::new().create(true).append(true).read(true).open(&path).map_err(failed("opened"))?;
        let mut answers = HashMap::new();
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        let mut is_whole = true;
        loop {
            line.clear();
            let read =
                reader.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line).map_err(failed("read"))?;
            if read == 0 {
                break;
            }
            is_whole = line.ends_with(b"\n");
            if let Some(line) = serde_json::from_slice::<Line>(&line).ok().filter(Line::is_whole) {
                answers.insert(line.key, line.answer);
            }
        }
        if !is_whole {
            file.write_all(b"\n").map_err(failed("written"))?;
        }
        Ok(Store { answers, file: Some((path, file)) })
    }

    /// The score of tokens, if it is known.
    pub(crate) fn score(&self, tokens: &ScoredTokens) -> Option<Score> {
        match self.answers.get(&tokens_key(tokens))? {
            Answer::Score { log_likelihood, sum_of_squares, is_greedy } => Some(Score {
                log_likelihood: *log_likelihood,
                sum_of_squares: *sum_of_squares,
                is_greedy: *is_greedy,
            }),
            Answer::Text { .. } => None,
        }
    }

    /// Keeps a score.
    ///
    /// # Errors
    /// [`StoreError::Io`] if it cannot be written.
    pub(crate) fn keep_score(&mut self, tokens: &ScoredTokens, score: Score) -> Result<(), StoreError> {
        let Score { log_likelihood, sum_of_squares, is_greedy } = score;
        self.keep(tokens_key(tokens), Answer::Score { log_likelihood, sum_of_squares, is_greedy })
    }

    /// What was generated after tokens, if it is known.
    pub(crate) fn text(&self, prompt: &[u32], until: &[String], max_tokens: usize) -> Option<&str> {
        match self.answers.get(&text_key(prompt, until, max_tokens))? {
            Answer::Text { text } => Some(text),
            Answer::Score { .. } => None,
        }
    }

    /// Keeps what was generated.
    ///
    /// # Errors
    /// [`StoreError::Io`] if it cannot be written.
    pub(crate) fn keep_text(
        &mut self,
        prompt: &[u32],
        until: &[String],
        max_tokens: usize,
        text: &str,
    ) -> Result<(), StoreError> {
        self.keep(text_key(prompt, until, max_tokens), Answer::Text { text: text.to_owned() })
    }

    fn keep(&mut self, key: String, answer: Answer) -> Result<(), StoreError> {
        let line = Line::new(key, answer);
        if let Some((path, file)) = &mut self.file {
            // At once, for the next answer may take long; in one piece, for others may append to the file.
            let bytes = serde_json::to_vec(&line).map_err(io::Error::from);
            let written = bytes.and_then(|bytes| file.write_all(&[&bytes, b"\n".as_slice()].concat()));
            written.map_err(|error| StoreError::Io { path: path.clone(), action: "written", error })?;
        }
        self.answers.insert(line.key, line.answer);
        Ok(())
    }
}

fn tokens_key(tokens: &ScoredTokens) -> String {
    let mut digest = Sha256::new();
    digest.update(b"score");
    digest.update((tokens.input.len() as u64).to_le_bytes());
    tokens.input.iter().chain(&tokens.targets).for_each(|token| digest.update(token.to_le_bytes()));
    key(digest)
}

fn text_key(prompt: &[u32], until: &[String], max_tokens: usize) -> String {
    let mut digest = Sha256::new();
    digest.update(b"text");
    digest.update((prompt.len() as u64).to_le_bytes());
    prompt.iter().for_each(|token| digest.update(token.to_le_bytes()));
    digest.update((max_tokens as u64).to_le_bytes());
    for stop in until {
        digest.update((stop.len() as u64).to_le_bytes());
        digest.update(stop);
    }
    key(digest)
}

/// The first half of a digest is enough to tell requests apart.
fn key(digest: Sha256) -> String {
    hex(&digest.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(input: &[u32], targets: &[u32]) -> ScoredTokens {
        ScoredTokens { input: input.to_vec(), targets: targets.to_vec() }
    }

    const SCORE: Score = Score { log_likelihood: -0.1 - 0.2, sum_of_squares: 1e-300, is_greedy: true };

    #[test]
    fn answers_come_back_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), "m").unwrap();
        store.keep_score(&tokens(&[1, 2], &[3]), SCORE).unwrap();
        store.keep_text(&[1, 2], &["\n".to_owned()], 7, "é\n").unwrap();
        // As after a kill: what keeps them is not closed.
        std::mem::forget(store);
        let store = Store::open(folder.path(), "m").unwrap();
        assert_eq!(store.score(&tokens(&[1, 2], &[3])), Some(SCORE));
        assert_eq!(store.score(&tokens(&[1], &[2, 3])), None, "the same numbers, split otherwise");
        assert_eq!(store.text(&[1, 2], &["\n".to_owned()], 7), Some("é\n"));
        assert_eq!(store.text(&[1, 2], &["\n".to_owned()], 8), None);
        assert_eq!(Store::open(folder.path(), "other").unwrap().score(&tokens(&[1, 2], &[3])), None);
    }

    #[test]
    fn lines_of_two_processes_are_not_mixed() {
        const EACH: u32 = 500;
        let folder = tempfile::tempdir().unwrap();
        let mut stores = [0, 1].map(|_| Store::open(folder.path(), "m").unwrap());
        for number in 0..EACH {
            for (process, store) in (0..).zip(&mut stores) {
                store.keep_score(&tokens(&[process, number], &[number]), SCORE).unwrap();
            }
        }
        drop(stores);
        let store = Store::open(folder.path(), "m").unwrap();
        for (process, number) in (0..2).flat_map(|process| (0..EACH).map(move |number| (process, number))) {
            assert_eq!(
                store.score(&tokens(&[process, number], &[number])),
                Some(SCORE),
                "{process} {number}"
            );
        }
    }

    #[test]
    fn a_changed_digit_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        Store::open(folder.path(), "m").unwrap().keep_score(&tokens(&[1], &[1]), SCORE).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("-0.30", "-0.40")).unwrap();
        assert_eq!(Store::open(folder.path(), "m").unwrap().score(&tokens(&[1], &[1])), None);
    }

    #[test]
    fn a_line_that_was_cut_off_is_left_out_and_nothing_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        let mut store = Store::open(folder.path(), "m").unwrap();
        store.keep_score(&tokens(&[1], &[1]), SCORE).unwrap();
        store.keep_score(&tokens(&[2], &[2]), SCORE).unwrap();
        drop(store);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        let mut store = Store::open(folder.path(), "m").unwrap();
        assert_eq!(store.score(&tokens(&[2], &[2])), None);
        store.keep_score(&tokens(&[3], &[3]), SCORE).unwrap();
        drop(store);
        let store = Store::open(folder.path(), "m").unwrap();
        for known in [1, 3] {
            assert_eq!(store.score(&tokens(&[known], &[known])), Some(SCORE), "{known}");
        }
    }
}
