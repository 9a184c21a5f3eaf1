//! The training and validation data of a run: prepared once, then batches by their number.
//!
//! It knows which files are which split and keeps their tokens in the cache. It does not know
//! what a step is.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha2::{Digest, Sha256};
use tercet::digest::hex;
use tercet::random::mix;

use super::Batch;
use super::cache::{self, ContentHashes, TokenFile, TokenWriter, key_bytes};
use super::chat::Chat;
use super::encode::{Encoder, encode_files};
use super::error::DataError;
use super::files::{self, InputFile};
use super::order::{Order, Packing, Sequences, Split};
use super::read::Wanted;
use super::tokenizer::TextTokenizer;
use super::work::{Stage, Work};
use crate::config::{DataConfig, SEQUENCE_LENGTH_MAX};

/// The share of documents that is kept for validation unless the configuration says otherwise.
const VALIDATION_FRACTION: f64 = 0.01;

/// Tokens that the mean length of validation tokens is taken over, at most.
const MEASURED_TOKENS_MAX: u64 = 1 << 24;

/// Changes whenever a template would make another text of the same conversation.
const RENDERED_VERSION: u32 = 2;

/// The data of a run.
#[derive(Debug)]
pub struct Dataset {
    pub(super) train: Sequences,
    pub(super) validation: Sequences,
    seed: u64,
    /// The orders of the epochs used last: a micro-batch may lie in two.
    epochs: Mutex<Vec<(u64, Arc<Order>)>>,
    validation_bytes_per_token: f64,
    description: String,
    digest: String,
}

impl Dataset {
    /// Finds the files of a run, makes or finds their tokens, and splits them.
    ///
    /// # Errors
    /// [`DataError`] if a file is missing, damaged or of another kind, if there are too few tokens,
    /// or if the work was stopped.
    pub fn prepare(
        config: &DataConfig,
        tokenizer: &TextTokenizer,
        cache_folder: &Path,
        seed: u64,
        work: &mut Work,
    ) -> Result<Self, DataError> {
        let length = config.sequence_length;
        if !(1..=SEQUENCE_LENGTH_MAX).contains(&length) {
            return Err(DataError::SequenceLength { found: length, min: 1, max: SEQUENCE_LENGTH_MAX });
        }
        let mut hashes = ContentHashes::open(cache_folder)?;
        let chat = config.chat.as_ref().map(|chat| Chat::new(tokenizer, &chat.messages_field)).transpose()?;
        let encoder = Encoder::new(tokenizer, chat)?;
        let template = config.chat.as_ref().and(tokenizer.chat_template.as_ref());
        let template = template.map(|template| hex(&Sha256::digest(template)));
        let options = match template {
            Some(template) => json!([tokenizer.digest, template, RENDERED_VERSION]),
            None => text_options(&tokenizer.digest),
        };
        let mut tokens = |files: &[InputFile], stage, split| {
            let made = Made { config, encoder: &encoder, cache_folder, options: &options };
            made.tokens(files, stage, split, &mut hashes, work)
        };

        let train_files = files::find("data.train", &config.train, config.format)?;
        let train_file = tokens(&train_files, Stage::TokeniseTraining, "training")?;
        let (train, validation, how) = if config.validation.is_empty() {
            let fraction = config.validation_fraction.unwrap_or(VALIDATION_FRACTION);
            hold_out(&train_file, fraction, length, config.chat.is_some())?
        } else {
            let files = files::find("data.validation", &config.validation, config.format)?;
            let file = tokens(&files, Stage::TokeniseValidation, "validation")?;
            for both in files.iter().filter(|file| train_files.iter().any(|other| other.path == file.path)) {
                work.warn(format!(
                    "{}: the file is used for training and for validation",
                    both.path.display()
                ));
            }
            let how = match files.len() {
                1 => "validation on 1 file of its own".to_owned(),
                files => format!("validation on {files} files of their own"),
            };
            (Split::all(&train_file), Split::all(&file), how)
        };
        Self::new(config, tokenizer, train, validation, &how, seed)
    }

    /// The [`digest`](Self::digest) of a run's texts with the tokenizer of this digest, before any tokens are made;
    /// none of conversations, in which a template has a part.
    ///
    /// # Errors
    /// [`DataError`] if a file is missing or cannot be read, or if the work was stopped.
    pub(crate) fn digest_before(
        config: &DataConfig,
        tokenizer_digest: &str,
        cache_folder: &Path,
        work: &mut Work,
    ) -> Result<Option<String>, DataError> {
        if config.chat.is_some() {
            return Ok(None);
        }
        let mut hashes = ContentHashes::open(cache_folder)?;
        let options = text_options(tokenizer_digest);
        let mut key = |field, names: &[String]| {
            let files = files::find(field, names, config.format)?;
            Ok::<_, DataError>(key_bytes(&cache::key(&files, config, &options, &mut hashes, work)?))
        };
        let train = key("data.train", &config.train)?;
        let validation = match config.validation.as_slice() {
            [] => train,
            names => key("data.validation", names)?,
        };
        Ok(Some(digest_of(&train, &validation)))
    }

    fn new(
        config: &DataConfig,
        tokenizer: &TextTokenizer,
        train: Split,
        validation: Split,
        how: &str,
        seed: u64,
    ) -> Result<Self, DataError> {
        let length = config.sequence_length;
        let eos = tokenizer.eos.first().copied();
        let respects = config.respect_boundaries || config.chat.is_some();
        let mut notes = String::new();
        let (train, validation) = if config.chat.is_some() {
            let padding = eos.or(tokenizer.bos).unwrap_or(0);
            let (train, packing) = Sequences::packed(train, length, padding);
            note_packing(&mut notes, "training", &packing, length)?;
            let (validation, packing) = Sequences::packed(validation, length, padding);
            note_packing(&mut notes, "validation", &packing, length)?;
            (train, validation)
        } else {
            let train = Sequences::ring(train, length, respects, eos);
            let validation = Sequences::line(validation, length, respects, eos);
            for (split, sequences) in [("training", &train), ("validation", &validation)] {
                check_size(split, sequences.tokens, length)?;
            }
            (train, validation)
        };
        let validation_bytes_per_token = bytes_per_token(&validation.split, tokenizer, respects);
        let description = format!(
            "{} training tokens in {}, {} validation tokens in {}; {how}; {}{notes}",
            train.tokens,
            counted(train.split.documents(), "document"),
            validation.tokens,
            validation.split.documents(),
            match (config.chat.is_some(), respects) {
                (true, _) => "whole conversations packed into sequences",
                (false, true) => "documents packed into sequences, each attending to itself alone",
                (false, false) => "documents packed into sequences",
            },
        );
        let epochs = Mutex::default();
        let digest = digest_of(train.split.file.key(), validation.split.file.key());
        Ok(Self { train, validation, seed, epochs, validation_bytes_per_token, description, digest })
    }

    /// SHA-256 over what the tokens were made from: texts, tokenizer and options.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// How the data was split and packed, for a person.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Tokens to train on.
    pub fn train_tokens(&self) -> u64 {
        self.train.tokens
    }

    /// Tokens to validate on.
    pub fn validation_tokens(&self) -> u64 {
        self.validation.tokens
    }

    /// Tokens of a sequence.
    pub fn sequence_length(&self) -> usize {
        self.train.length
    }

    /// Sequences of every epoch.
    pub fn sequences_per_epoch(&self) -> u64 {
        self.train.count
    }

    /// Sequences that there are to validate on.
    pub fn validation_sequences(&self) -> u64 {
        self.validation.count
    }

    /// Bytes of text for each validation token that counts, so that nats a token become bits a byte.
    pub fn validation_bytes_per_token(&self) -> f64 {
        self.validation_bytes_per_token
    }

    /// The first tokens of the training data, at most so many.
    pub fn opening(&self, tokens: usize) -> Vec<u32> {
        let document = self.train.split.document(0);
        let end = document.end.min(document.start + tokens as u64);
        (document.start..end).map(|token| self.train.split.file.token(token).0).collect()
    }

    /// The micro-batch of this number since the start of training.
    ///
    /// # Panics
    /// If `micro_batch` is 0.
    pub fn batch(&self, micro_batch: usize, index: u64) -> Batch {
        assert!(micro_batch > 0, "Dataset::batch: a micro-batch has sequences");
        let mut batch = with_room(micro_batch * self.train.length);
        for i in 0..micro_batch as u64 {
            let number = u128::from(index) * micro_batch as u128 + u128::from(i);
            let count = u128::from(self.train.count);
            let order = self.epoch((number / count) as u64);
            self.train.push(&order, (number % count) as u64, &mut batch);
        }
        batch
    }

    /// The validation data, the same in every validation: at most so many sequences, evenly
    /// spread. The last batch may have fewer sequences than the others.
    ///
    /// # Panics
    /// If `micro_batch` is 0.
    pub fn validation_batches(
        &self,
        micro_batch: usize,
        max_sequences: usize,
    ) -> impl Iterator<Item = Batch> + '_ {
        assert!(micro_batch > 0, "Dataset::validation_batches: a micro-batch has sequences");
        let count = self.validation.count;
        let wanted = count.min(max_sequences as u64);
        let order = Order::fixed(&self.validation);
        (0..wanted).step_by(micro_batch).map(move |first| {
            let end = wanted.min(first + micro_batch as u64);
            let mut batch = with_room((end - first) as usize * self.validation.length);
            for i in first..end {
                let place = u128::from(i) * u128::from(count) / u128::from(wanted);
                self.validation.push(&order, place as u64, &mut batch);
            }
            batch
        })
    }

    fn epoch(&self, epoch: u64) -> Arc<Order> {
        // A panic leaves the list of orders whole, so a poisoned lock is as good as any.
        let mut epochs = self.epochs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, order)) = epochs.iter().find(|(number, _)| *number == epoch) {
            return Arc::clone(order);
        }
        let order = Arc::new(Order::shuffled(&self.train, self.seed, epoch));
        if epochs.len() == 2 {
            epochs.remove(0);
        }
        epochs.push((epoch, Arc::clone(&order)));
        order
    }
}

/// What besides the files decides the tokens of texts.
fn text_options(tokenizer_digest: &str) -> serde_json::Value {
    json!([tokenizer_digest, null])
}

/// SHA-256 over the keys of both splits' tokens.
fn digest_of(train: &[u8], validation: &[u8]) -> String {
    hex(&Sha256::digest([train, validation].concat()))
}

/// `1 document`, `2 documents`.
fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn with_room(rows: usize) -> Batch {
    Batch {
        tokens: Vec::with_capacity(rows),
        targets: Vec::with_capacity(rows),
        counts: Vec::with_capacity(rows),
        segments: Vec::new(),
    }
}

fn check_size(split: &'static str, found: u64, sequence_length: usize) -> Result<(), DataError> {
    let expected = sequence_length as u64 + 1;
    if found >= expected {
        return Ok(());
    }
    Err(DataError::TooSmall { split, found, expected, what: "one sequence and a token", sequence_length })
}

fn note_packing(
    notes: &mut String,
    split: &'static str,
    packing: &Packing,
    length: usize,
) -> Result<(), DataError> {
    if packing.kept == 0 {
        return Err(DataError::Conversations { split, found: 0, expected: 1 });
    }
    let conversations = |number| counted(number, &format!("{split} conversation"));
    if packing.cut > 0 {
        notes.push_str(&format!("; {} cut after {length} tokens", conversations(packing.cut)));
    }
    if packing.left_out > 0 {
        let left_out = conversations(packing.left_out);
        notes.push_str(&format!("; {left_out} left out, without an answer that fits"));
    }
    Ok(())
}

/// How the tokens of files are made.
struct Made<'a> {
    config: &'a DataConfig,
    encoder: &'a Encoder<'a>,
    cache_folder: &'a Path,
    options: &'a serde_json::Value,
}

impl Made<'_> {
    /// The tokens of some files, from the cache or made now.
    fn tokens(
        &self,
        files: &[InputFile],
        stage: Stage,
        split: &'static str,
        hashes: &mut ContentHashes,
        work: &mut Work,
    ) -> Result<Arc<TokenFile>, DataError> {
        let name = cache::key(files, self.config, self.options, hashes, work)?;
        let key = key_bytes(&name);
        let path = self.cache_folder.join(format!("tokens-{name}.bin"));
        let kept = if path.exists() {
            TokenFile::open(&path, &key)
        } else {
            self.make(files, stage, &path, &key, hashes, work)
        };
        let file = match kept {
            Err(error @ DataError::Cache { .. }) => {
                work.warn(format!("{error}; it is made again"));
                self.make(files, stage, &path, &key, hashes, work)?
            }
            other => other?,
        };
        let found = file.documents();
        if found == 0 {
            return Err(DataError::Empty { split });
        }
        if u32::try_from(found).is_err() {
            let expected = u64::from(u32::MAX);
            return Err(DataError::TooMany { split, found: found as u64, expected });
        }
        Ok(Arc::new(file))
    }

    fn make(
        &self,
        files: &[InputFile],
        stage: Stage,
        path: &Path,
        key: &[u8; 32],
        hashes: &ContentHashes,
        work: &mut Work,
    ) -> Result<TokenFile, DataError> {
        let mut writer = TokenWriter::new(path, key)?;
        encode_files(files, &Wanted::new(self.config), self.encoder, stage, work, &mut writer)?;
        hashes.check_unchanged(files)?;
        writer.finish()?;
        TokenFile::open(path, key)
    }
}

/// Parts the documents of one file into training and validation, and says how.
///
/// Documents are ranked by a hash of their index alone, so that seeds share their validation data.
/// Where that would take more than half of the tokens or leave too few, as with one long document,
/// the end of the text is held out instead.
fn hold_out(
    file: &Arc<TokenFile>,
    fraction: f64,
    length: usize,
    is_chat: bool,
) -> Result<(Split, Split, String), DataError> {
    let fraction = if fraction.is_finite() { fraction.clamp(0.0, 0.5) } else { VALIDATION_FRACTION };
    let (documents, tokens) = (file.documents(), file.tokens());
    let wanted = ((documents as f64 * fraction).ceil() as usize).max(1);
    // A conversation is a sequence, however short.
    let needed = if is_chat { 0 } else { length as u64 + 1 };
    let mut ranked: Vec<u32> = (0..documents as u32).collect();
    ranked.sort_unstable_by_key(|index| (mix(u64::from(*index)), *index));
    let mut held_tokens = 0;
    let mut held = 0;
    while held < documents && (held < wanted || held_tokens < needed) {
        let document = file.document(ranked[held] as usize);
        held_tokens += document.end - document.start;
        held += 1;
    }
    let is_fair = if is_chat {
        held * 2 <= documents
    } else {
        held_tokens >= needed && held_tokens <= tokens / 2 && tokens - held_tokens >= needed
    };
    if is_fair {
        let mut train = ranked.split_off(held);
        ranked.sort_unstable();
        train.sort_unstable();
        let how = format!("validation on {held} of {documents} documents, chosen by their number");
        return Ok((Split::chosen(file, train), Split::chosen(file, ranked), how));
    }
    if is_chat {
        return Err(DataError::Conversations { split: "training", found: documents, expected: 2 });
    }
    let held = ((tokens as f64 * fraction).ceil() as u64).max(needed);
    if tokens < 2 * needed {
        return Err(DataError::TooSmall {
            split: "training",
            found: tokens,
            expected: 2 * needed,
            what: "one sequence and a token for training and for validation",
            sequence_length: length,
        });
    }
    let at = tokens - held.min(tokens / 2);
    let how = format!("validation on the last {} tokens", tokens - at);
    Ok((Split::within(file, 0..at), Split::within(file, at..tokens), how))
}

/// The mean length, in bytes of text, of the tokens of a split whose prediction counts.
fn bytes_per_token(split: &Split, tokenizer: &TextTokenizer, respects_boundaries: bool) -> f64 {
    let bytes_of = tokenizer.bytes_of_tokens();
    let eos = tokenizer.eos.first().copied();
    let (mut bytes, mut tokens) = (0u64, 0u64);
    let all = (0..split.documents()).flat_map(|index| {
        let document = split.document(index);
        (document.start..document.end).map(move |token| (token, token == document.start))
    });
    for (token, is_first) in all.take(MEASURED_TOKENS_MAX as usize) {
        let (id, counts) = split.file.token(token);
        if counts && (!is_first || !respects_boundaries || eos == Some(id)) {
            bytes += u64::from(bytes_of.get(id as usize).copied().unwrap_or(0));
            tokens += 1;
        }
    }
    bytes as f64 / tokens.max(1) as f64
}
