//! What can be wrong with a tokenizer, or with a text given to it.

use crate::source::SourceError;

/// Why a tokenizer was refused, or a text could not be encoded.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum TokenizerError {
    #[error(transparent)]
    Source(#[from] SourceError),

    // The file.
    #[error("{file}: cannot be parsed: {detail}")]
    Json { file: String, detail: String },
    #[error("{file}: found bytes that are not UTF-8 at {at_byte}")]
    Utf8 { file: String, at_byte: usize },
    #[error("{folder}: found {found} chat templates, expected at most {limit}")]
    Templates { folder: String, found: usize, limit: usize },
    #[error("{file}: field `{field}` is {found}, expected {expected}")]
    Value { file: String, field: String, found: String, expected: String },
    #[error(
        "{file}: token `{token}` has id {found}, expected less than `vocab_size` of `config.json`, {vocab_size}"
    )]
    TokenId { file: String, token: String, found: String, vocab_size: usize },
    #[error("{file}: token `{token}` has id {id}, which another token has too")]
    SharedId { file: String, token: String, id: u32 },
    #[error(
        "{file}: merge {rank} of `{left}` and `{right}` needs token `{missing}`, which is not in `model.vocab`"
    )]
    Merge { file: String, rank: usize, left: String, right: String, missing: String },
    #[error("{file}: `post_processor` inserts token `{token}`, which its `special_tokens` do not define")]
    Template { file: String, token: String },
    #[error("{file}: added token `{token}` is to have id {expected}, but would get {found:?}")]
    AddedTokenId { file: String, token: String, found: Option<u32>, expected: u32 },
    #[error("{file}: refused by the tokenizer library: {detail}")]
    Refused { file: String, detail: String },

    // A text.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("text of {text_bytes} bytes cannot be encoded: {detail}")]
    Encode { text_bytes: usize, detail: String },
}

impl TokenizerError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Source(SourceError::Missing { .. }) => Some(
                "text needs `tokenizer.json`; where a model has only `tokenizer.model`, load it in \
                 Python with `AutoTokenizer.from_pretrained` and use `save_pretrained`",
            ),
            Self::Source(error) => error.hint(),
            Self::TokenId { .. } => Some("the tokenizer and the weights probably belong to different models"),
            _ => None,
        }
    }
}

/// Why a text could not be split by a tokenizer's regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum PatternError {
    #[error(
        "the tokenizer's pattern `{pattern}` gave up at byte {at_byte} of a piece of {piece_bytes} bytes, expected to split all of it"
    )]
    GaveUp { pattern: String, at_byte: usize, piece_bytes: usize },
    #[error(
        "the tokenizer's pattern `{pattern}` was stopped after {limit_s} seconds at byte {at_byte} of a piece of {piece_bytes} bytes"
    )]
    TooSlow { pattern: String, limit_s: u64, at_byte: usize, piece_bytes: usize },
}
