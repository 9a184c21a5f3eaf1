//! What can be wrong with the data of a run.

use std::io;
use std::path::{Path, PathBuf};

use tercet::mapped_file::MappedFileError;
use tercet::tokenizer::TokenizerError;
use tercet_chat::TemplateError;

use super::chat::Parting;

/// Why data was refused, or could not be prepared.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum DataError {
    // Finding files.
    #[error(
        "`{field}`: pattern `{pattern}` matches no file{}, expected at least one{}",
        in_folder(current.as_deref()), or_nearest(nearest)
    )]
    NoFile { field: &'static str, pattern: String, current: Option<PathBuf>, nearest: Option<String> },
    #[error("`{field}`: pattern `{pattern}` cannot be read: {detail}")]
    Pattern { field: &'static str, pattern: String, detail: String },
    #[error("`{field}`: {path} is a folder, expected a file or a pattern such as `{path}/*.txt`")]
    Folder { field: &'static str, path: PathBuf },
    #[error("{path}: found something other than a file, expected a regular file")]
    NotAFile { path: PathBuf },
    #[error("{path}: cannot be {action}: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("{path}: the file changed while it was read")]
    Changed { path: PathBuf },

    // Reading files.
    #[error("{path}: found a file that is not {expected}, as its name says")]
    Magic { path: PathBuf, expected: &'static str },
    #[error("{path}: found a compressed parquet file, expected one that is compressed inside")]
    CompressedParquet { path: PathBuf },
    #[error("{path}: the {kind} data is damaged or cut off: {source}")]
    Compressed { path: PathBuf, kind: &'static str, source: io::Error },
    #[error("{path}: byte {at_byte} of the text is not UTF-8")]
    Utf8 { path: PathBuf, at_byte: u64 },
    #[error("{path}: line {line} has more than {limit_bytes} bytes, expected at most that many")]
    LongLine { path: PathBuf, line: u64, limit_bytes: usize },
    #[error("{path}: line {line} is not JSON: {detail}")]
    Json { path: PathBuf, line: u64, detail: String },
    #[error("{path}: {place}: field `{field}` is {found}, expected {expected}")]
    Field { path: PathBuf, place: String, field: String, found: String, expected: &'static str },
    #[error("{path}: the parquet file cannot be read: {detail}")]
    Parquet { path: PathBuf, detail: String },
    #[error("{path}: found no column `{column}`, only `{}`", found.join("`, `"))]
    NoColumn { path: PathBuf, column: String, found: Vec<String> },
    #[error("{path}: column `{column}` holds {found}, expected {expected}")]
    ColumnKind { path: PathBuf, column: String, found: String, expected: &'static str },

    // The tokenizer.
    #[error("found no tokenizer: expected `tokenizer.path`, `tokenizer.vocab_size` or `model.from`")]
    NoTokenizer,
    #[error("`tokenizer.path`: {path}: found nothing, expected a `tokenizer.json` or a folder with one")]
    NoTokenizerThere { path: PathBuf },
    #[error("found both `tokenizer.path` and `tokenizer.vocab_size`, expected one of them")]
    TwoTokenizers,
    #[error("`tokenizer.vocab_size` is {found}, expected {min} to {max}")]
    VocabSize { found: usize, min: usize, max: usize },
    #[error(transparent)]
    Tokenizer(Box<TokenizerError>),
    #[error("{file}: {detail}")]
    TokenizerFile { file: String, detail: String },
    #[error("{file}: `{field}` is {found}, expected {expected}")]
    TokenizerField { file: String, field: String, found: String, expected: String },
    #[error("the tokenizer cannot be trained: {detail}")]
    TrainTokenizer { detail: String },
    #[error("{path}: {place}: {source}")]
    Encode { path: PathBuf, place: String, source: Box<TokenizerError> },

    // Conversations.
    #[error("found no chat template: expected `data.chat.template`, or one in the folder of the tokenizer")]
    NoTemplate,
    #[error("`data.chat.template`: {path}: found nothing, expected a file with a chat template")]
    NoTemplateThere { path: PathBuf },
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("{path}: {place}: the chat template fails{}: {detail}", at_line(*.line))]
    Render { path: PathBuf, place: String, line: Option<usize>, detail: String },
    #[error("{path}: {place}: message {message} changes how those before it are rendered: {parting}")]
    NotAPrefix { path: PathBuf, place: String, message: usize, parting: Box<Parting> },
    #[error(
        "{path}: {place}: message {message} does not begin as the chat template has it with \
         `add_generation_prompt`: {parting}"
    )]
    GenerationPrompt { path: PathBuf, place: String, message: usize, parting: Box<Parting> },

    // The corpus.
    #[error("the {split} files hold no text")]
    Empty { split: &'static str },
    #[error(
        "the {split} data has {found} tokens, expected at least {expected}: {what} of \
         `sequence_length` {sequence_length}"
    )]
    TooSmall { split: &'static str, found: u64, expected: u64, what: &'static str, sequence_length: usize },
    #[error("the {split} data has {found} documents, expected at most {expected}")]
    TooMany { split: &'static str, found: u64, expected: u64 },
    #[error(
        "the {split} data has {found} conversations with an answer within `sequence_length`, expected at least {expected}"
    )]
    Conversations { split: &'static str, found: usize, expected: usize },
    #[error("`sequence_length` is {found}, expected {min} to {max}")]
    SequenceLength { found: usize, min: usize, max: usize },

    // The cache.
    #[error(transparent)]
    Map(#[from] MappedFileError),
    #[error("{path}: the token cache is damaged: {detail}")]
    Cache { path: PathBuf, detail: &'static str },

    #[error("stopped")]
    Stopped,
}

impl From<TokenizerError> for DataError {
    fn from(error: TokenizerError) -> Self {
        Self::Tokenizer(Box::new(error))
    }
}

impl DataError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Tokenizer(error) => error.hint(),
            Self::Utf8 { .. } => Some("convert the file to UTF-8, for instance with `iconv -t UTF-8`"),
            Self::CompressedParquet { .. } => Some("unpack the file; parquet is compressed inside"),
            Self::Json { .. } => Some("a JSON lines file has one whole JSON object on each line"),
            Self::NoFile { current: Some(_), nearest: None, .. } => Some(
                "patterns are relative to the folder in which the command is given, not to that of the configuration",
            ),
            Self::TooSmall { .. } => Some("give more text or a smaller `sequence_length`"),
            Self::NoTemplate => Some("write the template to a file and name it in `data.chat.template`"),
            Self::NotAPrefix { .. } => Some(
                "take a template that writes a message the same whatever follows it, so that the text only grows",
            ),
            Self::GenerationPrompt { .. } => Some(
                "what the template writes for `add_generation_prompt` must be what it writes before the \
                 assistant's words, to the last space and line end",
            ),
            _ => None,
        }
    }
}

fn in_folder(current: Option<&Path>) -> String {
    current.map_or_else(String::new, |current| format!(" in the current folder, {}", current.display()))
}

fn or_nearest(name: &Option<String>) -> String {
    name.as_ref().map_or_else(String::new, |name| format!("; the nearest name there is `{name}`"))
}

fn at_line(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" at line {line}"))
}

/// What kind of JSON value this is, in the words of messages.
pub(super) fn kind(value: Option<&serde_json::Value>) -> &'static str {
    value.map_or("absent", tercet::json::kind)
}
