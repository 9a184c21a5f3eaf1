//! The tokenizer of a run: one that is given, that of `model.from`, or one trained on the data.
//!
//! It also knows the files that belong to it, which go into every saved model as they are. It does
//! not know what the text is cut into, and renders no templates.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::sync_channel;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tercet::digest::hex;
use tercet::source::{MemoryFolder, SIDE_FILE_MAX_BYTES, Source};
use tercet::tokenizer::{
    ChatTemplates, SPECIAL_TOKENS_MAP_FILE, TOKENIZER_FILE, TextEnds, Tokenizer, named_template_files,
};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, OffsetReferential, OffsetType,
    PostProcessorWrapper, PreTokenizedString, PreTokenizer, PreTokenizerWrapper, SplitDelimiterBehavior,
    TokenizerImpl, Trainer,
};

use super::cache::{self, ContentHashes};
use super::error::DataError;
use super::files::{self, InputFile};
use super::read::{Content, Reader, Wanted, without_long_words};
use super::work::{Stage, Work};
use crate::config::{DataConfig, TokenizerConfig, VOCAB_MAX, VOCAB_MIN};
pub use tercet::tokenizer::{CHAT_TEMPLATE_FILE, TOKENIZER_CONFIG_FILE};

/// Files that go with a tokenizer where they exist.
const SIDE_FILES: [&str; 3] = [TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_MAP_FILE, CHAT_TEMPLATE_FILE];

/// The one special token of a trained tokenizer, which begins and so also ends documents.
const END_OF_TEXT: &str = "<|endoftext|>";

/// LLaMA 3's pattern: words with the character before them, up to three digits, signs, white space.
const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How much text a tokenizer is trained on at most, from the start of the data. More changes few
/// merges, and the library counts pairs in i32.
const TRAINING_TEXT_MAX_BYTES: usize = 1 << 28;

/// How often a pair must occur to be merged.
const MERGED_FREQUENCY_MIN: u64 = 2;

/// Changes whenever the same text would give another trained tokenizer.
const TRAINED_VERSION: u32 = 1;

/// A tokenizer with the files and tokens that belong to it.
#[derive(Debug)]
pub struct TextTokenizer {
    /// The tokenizer itself.
    pub tokenizer: Tokenizer,
    /// The files of a saved model by their names, `tokenizer.json` among them.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The least `vocab_size` of a model: the greatest id and one.
    pub vocab_size: usize,
    /// The token that begins a document, if there is one.
    pub bos: Option<u32>,
    /// The tokens that end one; the first is written. There may be none.
    pub eos: Vec<u32>,
    /// The chat template, if there is one.
    pub chat_template: Option<String>,
    /// SHA-256 over what decides the tokens of a text, in hexadecimal.
    pub digest: String,
}

impl TextTokenizer {
    /// The token that begins a document, as templates write it.
    pub fn bos_token(&self) -> Option<String> {
        self.bos.and_then(|id| self.tokenizer.id_to_token(id))
    }

    /// The token that ends one, as templates write it.
    pub fn eos_token(&self) -> Option<String> {
        self.eos.first().and_then(|id| self.tokenizer.id_to_token(*id))
    }

    /// Sets the chat template that goes into saved models.
    pub fn set_chat_template(&mut self, template: &str) {
        self.chat_template = Some(template.to_owned());
        if self.files.contains_key(CHAT_TEMPLATE_FILE) {
            self.files.insert(CHAT_TEMPLATE_FILE.to_owned(), template.as_bytes().to_vec());
        }
        let config = self.files.get(TOKENIZER_CONFIG_FILE);
        let object = config.and_then(|bytes| serde_json::from_slice::<Map<String, Value>>(bytes).ok());
        let mut object = object.unwrap_or_default();
        object.insert("chat_template".to_owned(), template.into());
        self.files.insert(TOKENIZER_CONFIG_FILE.to_owned(), pretty(&Value::Object(object)));
    }

    /// How many bytes of text each token stands for, by id; none for special ones.
    pub(super) fn bytes_of_tokens(&self) -> Vec<u32> {
        let json = self.files.get(TOKENIZER_FILE).and_then(|file| serde_json::from_slice(file).ok());
        let json: Value = json.unwrap_or_default();
        let is_byte_level = json["decoder"].to_string().contains("\"ByteLevel\"");
        let bytes = |id: u32| {
            let token = self.tokenizer.id_to_token(id).filter(|_| !self.tokenizer.is_special(id));
            let token = token.unwrap_or_default();
            let is_byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
            match is_byte_level {
                // One character stands for one byte.
                true => token.chars().count() as u32,
                false if is_byte => 1,
                false => token.replace('▁', " ").len() as u32,
            }
        };
        (0..self.vocab_size as u32).map(bytes).collect()
    }
}

/// The tokenizer of a run.
///
/// A trained one is kept in the cache folder, under a name made from the text and options it
/// was trained with.
///
/// # Errors
/// [`DataError`] if there is none, or if it or the data to train it on cannot be read.
pub fn load_tokenizer(
    config: &TokenizerConfig,
    data: &DataConfig,
    from_folder: Option<&Path>,
    cache_folder: &Path,
    work: &mut Work,
) -> Result<TextTokenizer, DataError> {
    let mut tokenizer = match (&config.path, config.vocab_size, from_folder) {
        (Some(_), Some(_), _) => return Err(DataError::TwoTokenizers),
        (Some(path), None, _) if !path.exists() => {
            return Err(DataError::NoTokenizerThere { path: path.clone() });
        }
        (Some(path), None, _) => given(path, from_folder)?,
        (None, Some(vocab_size), _) => trained(vocab_size, data, cache_folder, work)?,
        (None, None, Some(folder)) => given(folder, from_folder)?,
        (None, None, None) => return Err(DataError::NoTokenizer),
    };
    if let Some(path) = data.chat.as_ref().and_then(|chat| chat.template.as_ref()) {
        tokenizer.set_chat_template(&super::chat::read_template(path)?);
    }
    Ok(tokenizer)
}

/// A tokenizer that exists: a file, or a folder that holds one.
fn given(path: &Path, from_folder: Option<&Path>) -> Result<TextTokenizer, DataError> {
    let (folder, file) = if path.is_file() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        (folder.unwrap_or(Path::new(".")), path.file_name().and_then(|name| name.to_str()))
    } else {
        (path, Some(TOKENIZER_FILE))
    };
    let source = Source::folder(folder).map_err(tercet::tokenizer::TokenizerError::from)?;
    let file = file.unwrap_or(TOKENIZER_FILE);
    let read = |name: &str| source.read(name).map_err(tercet::tokenizer::TokenizerError::from);

    let mut files = BTreeMap::new();
    files.insert(TOKENIZER_FILE.to_owned(), read(file)?.into_owned());
    let templates = named_template_files(&source).map_err(tercet::tokenizer::TokenizerError::from)?;
    let side_files = SIDE_FILES.into_iter().filter(|name| source.has(name));
    for name in side_files.chain(templates.iter().map(String::as_str)) {
        files.insert(name.to_owned(), read(name)?.into_owned());
    }
    let mut models = Vec::new();
    for folder in from_folder.into_iter().chain([folder]) {
        for name in ["generation_config.json", "config.json"] {
            let path = folder.join(name);
            if path.is_file() {
                models.push(object(&path.display().to_string(), &read_side_file(&path)?)?);
            }
        }
    }
    assemble(&source.file_name(file), &folder.display().to_string(), files, &models)
}

/// Puts a tokenizer together from its files, and the configurations of models that go with it.
fn assemble(
    file: &str,
    folder: &str,
    mut files: BTreeMap<String, Vec<u8>>,
    models: &[Map<String, Value>],
) -> Result<TextTokenizer, DataError> {
    let bytes = &files[TOKENIZER_FILE];
    let vocab_size = greatest_id(file, bytes)? + 1;
    let tokenizer = Tokenizer::from_bytes(file, bytes, vocab_size)?;

    let in_memory = files.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice().into())).collect();
    let source = Source::Memory(MemoryFolder { name: folder.to_owned(), files: in_memory });
    let named = TextEnds::read(&source, &tokenizer)?;
    let from_models = |field: &str| -> Vec<u32> {
        let is_known = |id: &u32| (*id as usize) < vocab_size;
        let ids = |value: &Value| -> Vec<u32> {
            let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            list.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).filter(is_known).collect()
        };
        let found = models.iter().filter_map(|model| model.get(field)).map(ids);
        found.into_iter().find(|ids| !ids.is_empty()).unwrap_or_default()
    };
    let bos = named.bos.or_else(|| from_models("bos_token_id").first().copied());
    let mut eos: Vec<u32> = named.eos.into_iter().collect();
    for id in from_models("eos_token_id") {
        if !eos.contains(&id) {
            eos.push(id);
        }
    }

    let chat_template = ChatTemplates::read(&source)?.default;
    let mut hasher = Sha256::new();
    hasher.update((bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
    hasher.update(format!("{bos:?} {eos:?}"));
    let digest = hex(&hasher.finalize());
    let mut made =
        TextTokenizer { tokenizer, files: BTreeMap::new(), vocab_size, bos, eos, chat_template, digest };
    if !files.contains_key(TOKENIZER_CONFIG_FILE) {
        let config = tokenizer_config(made.bos_token(), made.eos_token(), None);
        files.insert(TOKENIZER_CONFIG_FILE.to_owned(), config);
    }
    made.files = files;
    Ok(made)
}

/// The greatest id of a `tokenizer.json`, within bounds.
fn greatest_id(file: &str, bytes: &[u8]) -> Result<usize, DataError> {
    let object = object(file, bytes)?;
    let model = object.get("model").and_then(|model| model.get("vocab")).and_then(Value::as_object);
    let added = object.get("added_tokens").and_then(Value::as_array);
    let ids = model.into_iter().flat_map(Map::values);
    let ids = ids.chain(added.into_iter().flatten().filter_map(|token| token.get("id")));
    // What is no number is named by the reader of the tokenizer.
    let greatest = ids.filter_map(Value::as_u64).max().unwrap_or(0);
    if greatest < VOCAB_MAX as u64 {
        return Ok(greatest as usize);
    }
    Err(DataError::TokenizerField {
        file: file.to_owned(),
        field: "id".to_owned(),
        found: greatest.to_string(),
        expected: format!("less than {VOCAB_MAX}"),
    })
}

fn object(file: &str, bytes: &[u8]) -> Result<Map<String, Value>, DataError> {
    serde_json::from_slice(bytes)
        .map_err(|error| DataError::TokenizerFile { file: file.to_owned(), detail: error.to_string() })
}

/// Reads a small file whole.
pub(super) fn read_side_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let failed = |source| DataError::Io { path: path.to_path_buf(), action: "read", source };
    let metadata = path.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(DataError::NotAFile { path: path.to_path_buf() });
    }
    if metadata.len() > SIDE_FILE_MAX_BYTES {
        return Err(DataError::TokenizerFile {
            file: path.display().to_string(),
            detail: format!("found {} bytes, expected at most {SIDE_FILE_MAX_BYTES}", metadata.len()),
        });
    }
    std::fs::read(path).map_err(failed)
}

/// A `tokenizer_config.json` with which transformers loads the tokenizer.
fn tokenizer_config(bos: Option<String>, eos: Option<String>, model_max_length: Option<usize>) -> Vec<u8> {
    let mut config =
        json!({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false});
    for (field, token) in [("bos_token", bos), ("eos_token", eos)] {
        if let Some(token) = token {
            config[field] = token.into();
        }
    }
    if let Some(tokens) = model_max_length {
        config["model_max_length"] = tokens.into();
    }
    pretty(&config)
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = format!("{value:#}").into_bytes();
    text.push(b'\n');
    text
}

/// A byte-level BPE trained on the data, or found in the cache.
fn trained(
    vocab_size: usize,
    data: &DataConfig,
    cache_folder: &Path,
    work: &mut Work,
) -> Result<TextTokenizer, DataError> {
    if !(VOCAB_MIN..=VOCAB_MAX).contains(&vocab_size) {
        return Err(DataError::VocabSize { found: vocab_size, min: VOCAB_MIN, max: VOCAB_MAX });
    }
    let files = files::find("data.train", &data.train, data.format)?;
    let mut hashes = ContentHashes::open(cache_folder)?;
    let options = json!([TRAINED_VERSION, vocab_size, TRAINING_TEXT_MAX_BYTES]);
    let key = cache::key(&files, data, &options, &mut hashes, work)?;
    let path = cache_folder.join(format!("tokenizer-{key}.bin"));

    let assembled = |bytes: Vec<u8>| {
        let token = Some(END_OF_TEXT.to_owned());
        let mut files = BTreeMap::new();
        files.insert(TOKENIZER_FILE.to_owned(), bytes);
        let config = tokenizer_config(token.clone(), token, Some(data.sequence_length));
        files.insert(TOKENIZER_CONFIG_FILE.to_owned(), config);
        assemble("the trained tokenizer", "the trained tokenizer", files, &[])
    };
    match read_kept(&path) {
        Some(Ok(bytes)) => return assembled(bytes),
        Some(Err(())) => {
            work.warn(format!(
                "{}: the trained tokenizer kept there is damaged; it is trained again",
                path.display()
            ));
        }
        None => {}
    }
    let json = train(vocab_size, &files, &Wanted::new(data), work)?;
    hashes.check_unchanged(&files)?;
    let tokenizer = assembled(json.clone())?;
    if tokenizer.vocab_size < vocab_size {
        let found = tokenizer.vocab_size;
        work.warn(format!(
            "the text has no more pairs to merge: the trained tokenizer has {found} tokens, not {vocab_size}"
        ));
    }
    let digest = hex(&Sha256::digest(&json));
    cache::write_whole(&path, &[digest.as_bytes(), b"\n", &json])?;
    Ok(tokenizer)
}

/// A kept tokenizer: its SHA-256 in hexadecimal, a new line, and `tokenizer.json`.
fn read_kept(path: &Path) -> Option<Result<Vec<u8>, ()>> {
    let bytes = path.is_file().then(|| read_side_file(path).ok())??;
    let kept = bytes.split_at_checked(64).and_then(|(digest, rest)| {
        let json = rest.strip_prefix(b"\n")?;
        (hex(&Sha256::digest(json)).as_bytes() == digest).then(|| json.to_vec())
    });
    Some(kept.ok_or(()))
}

/// Trains a tokenizer on the first text of the files and returns its `tokenizer.json`.
///
/// Counts of words and merges are sums, so neither the order of the text nor threads change them.
fn train(
    vocab_size: usize,
    files: &[InputFile],
    wanted: &Wanted,
    work: &mut Work,
) -> Result<Vec<u8>, DataError> {
    let failed = |detail: String| DataError::TrainTokenizer { detail };
    let special = AddedToken::from(END_OF_TEXT, true);
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocab_size)
        .min_frequency(MERGED_FREQUENCY_MIN)
        .special_tokens(vec![special.clone()])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<char>>())
        .build();
    let pre_tokenizer = pre_tokenizer().map_err(|error| failed(error.to_string()))?;

    let (send, receive) = sync_channel::<String>(8);
    let (trainer, pre_tokenizer) = std::thread::scope(|scope| {
        let counting = scope.spawn(move || {
            let fed = trainer.feed(receive.into_iter(), |text| words(&pre_tokenizer, text));
            fed.map(|()| (trainer, pre_tokenizer))
        });
        let sent = send_text(files, wanted, work, |text| send.send(text).is_ok());
        drop(send);
        let counted = counting.join().map_err(|_| failed("the tokenizer library panicked".to_owned()))?;
        sent?;
        counted.map_err(|error| failed(error.to_string()))
    })?;
    work.check_stop()?;

    let build = || -> tokenizers::Result<String> {
        let mut model = BPE::default();
        trainer.train(&mut model)?;
        let mut tokenizer: TokenizerImpl<
            ModelWrapper,
            NormalizerWrapper,
            PreTokenizerWrapper,
            PostProcessorWrapper,
            DecoderWrapper,
        > = TokenizerImpl::new(model.into());
        tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
        tokenizer.with_decoder(Some(ByteLevel::new(false, true, false)));
        let id = 0;
        let template = TemplateProcessing::builder()
            .try_single(format!("{END_OF_TEXT} $A"))?
            .try_pair(format!("{END_OF_TEXT} $A {END_OF_TEXT}:1 $B:1"))?
            .special_tokens(vec![(END_OF_TEXT, id)])
            .build()?;
        tokenizer.with_post_processor(Some(template));
        tokenizer.add_special_tokens([special])?;
        tokenizer.to_string(true)
    };
    match catch_unwind(AssertUnwindSafe(build)) {
        Ok(Ok(json)) => Ok(json.into_bytes()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("the tokenizer library panicked".to_owned())),
    }
}

/// Reads text until there is enough of it or nobody wants more.
fn send_text(
    files: &[InputFile],
    wanted: &Wanted,
    work: &mut Work,
    mut send: impl FnMut(String) -> bool,
) -> Result<(), DataError> {
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let mut reader = Reader::new(files, wanted);
    let mut sent_bytes = 0;
    while let Some(piece) = reader.next()? {
        work.check_stop()?;
        let texts = match piece.content {
            Content::Text(text) => vec![text],
            Content::Messages(messages) => {
                let texts = messages.iter().filter_map(|message| message["content"].as_str());
                texts.map(str::to_owned).collect()
            }
        };
        for text in texts {
            sent_bytes += text.len();
            if !send(text) {
                return Ok(());
            }
        }
        work.bytes(Stage::TrainTokenizer, reader.bytes_done(), total);
        if sent_bytes >= TRAINING_TEXT_MAX_BYTES {
            break;
        }
    }
    match sent_bytes {
        0 => Err(DataError::Empty { split: "training" }),
        _ => Ok(()),
    }
}

fn pre_tokenizer() -> tokenizers::Result<PreTokenizerWrapper> {
    let pattern = SplitPattern::Regex(PATTERN.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
    let byte_level = ByteLevel::new(false, true, false);
    Ok(Sequence::new(vec![split.into(), byte_level.into()]).into())
}

/// The words of a text, between which nothing is merged. [`END_OF_TEXT`] is none.
fn words(pre_tokenizer: &PreTokenizerWrapper, text: &str) -> tokenizers::Result<Vec<String>> {
    let mut words = Vec::new();
    for text in text.split(END_OF_TEXT).flat_map(without_long_words) {
        let mut pieces = PreTokenizedString::from(text);
        pre_tokenizer.pre_tokenize(&mut pieces)?;
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        words.extend(splits.into_iter().map(|(word, _, _)| word.to_owned()));
    }
    Ok(words)
}
