//! What a `tokenizer.json` may contain, checked before the library reads it.
//!
//! | module | checks |
//! |---|---|
//! | `pipelines` | the components before and after the vocabulary, and the texts in them |
//! | `vocabulary` | tokens, ids and merges |
//!
//! The `tokenizers` library trusts its files: it panics on some, and loops or allocates without
//! bound on others. So only the components that language models use are let through, with
//! bounded contents, whole merges and ids that the model has.

mod pipelines;
mod vocabulary;

use serde_json::{Map, Value};

use super::error::TokenizerError;
use crate::json::{kind, shown};
pub(super) use vocabulary::AddedToken;

/// Checks a whole file and returns its added tokens.
pub(super) fn check(
    file: &str,
    object: &Map<String, Value>,
    vocab_size: usize,
) -> Result<Vec<AddedToken>, TokenizerError> {
    let checker = Checker { file, vocab_size };
    checker.pipelines(object)?;
    checker.model(object)?;
    checker.added_tokens(object)
}

struct Checker<'a> {
    file: &'a str,
    vocab_size: usize,
}

impl Checker<'_> {
    /// An id that the model has.
    fn token_id(&self, token: &str, id: &Value) -> Result<u32, TokenizerError> {
        let known = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let known = known.filter(|id| (*id as usize) < self.vocab_size);
        known.ok_or_else(|| TokenizerError::TokenId {
            file: self.file.to_owned(),
            token: shown(token),
            found: found(Some(id)),
            vocab_size: self.vocab_size,
        })
    }

    fn value(&self, field: &str, found: &str, expected: &str) -> TokenizerError {
        TokenizerError::Value {
            file: self.file.to_owned(),
            field: field.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        }
    }
}

/// A value as messages show it; of lists and objects only the kind.
fn found(value: Option<&Value>) -> String {
    match value {
        None => "absent".to_owned(),
        Some(value @ (Value::Array(_) | Value::Object(_))) => kind(value).to_owned(),
        Some(value) => shown(&value.to_string()),
    }
}
