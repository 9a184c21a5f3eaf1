//! Text to token ids and back, as the model's `tokenizer.json` says.
//!
//! | module | holds |
//! |---|---|
//! | `chat_templates` | the templates of chats, unrun |
//! | `check` | what a file may contain |
//! | `pre_tokenize` | splitting by patterns, within limits |
//! | `special_tokens` | the tokens that begin and end a text, and others that files name |
//! | `stream` | text from tokens one at a time |
//! | `token_bytes` | the bytes that single tokens stand for |
//!
//! The work is done by the `tokenizers` library. It runs no template and knows no weights.

mod chat_templates;
mod check;
mod error;
mod pre_tokenize;
mod special_tokens;
mod stream;
mod token_bytes;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, TokenizerImpl};

pub use chat_templates::{
    CHAT_TEMPLATE_FILE, ChatTemplates, DEFAULT_TEMPLATE, TOOL_USE_TEMPLATE_FILE, named_template,
    named_template_files,
};
pub use error::{PatternError, TokenizerError};
pub use special_tokens::{NamedTokens, SPECIAL_TOKENS_MAP_FILE, TextEnds};
pub use stream::TokenStream;
pub(crate) use token_bytes::byte_named;

use crate::config::Config;
use crate::json::parse_object;
use crate::source::Source;
use pre_tokenize::CheckedPreTokenizer;

/// The file that holds a model's tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// The file with the tokens that begin and end a text, and the chat template.
pub const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";

type Inner =
    TokenizerImpl<ModelWrapper, NormalizerWrapper, CheckedPreTokenizer, PostProcessorWrapper, DecoderWrapper>;

/// The tokenizer of a model.
#[derive(Debug)]
pub struct Tokenizer {
    inner: Inner,
}

impl Tokenizer {
    /// Reads the tokenizer of a model and checks it against the model's configuration.
    ///
    /// # Errors
    /// [`TokenizerError`] if there is none, or if it is damaged, unbounded, of an unknown kind or
    /// has tokens that the model has not.
    pub fn read(source: &Source, config: &Config) -> Result<Self, TokenizerError> {
        let bytes = source.read(TOKENIZER_FILE)?;
        Self::from_bytes(&source.file_name(TOKENIZER_FILE), &bytes, config.vocab_size)
    }

    /// Reads a tokenizer whose ids are all less than `vocab_size`; messages call it `file`.
    ///
    /// # Errors
    /// [`TokenizerError`] as of [`Tokenizer::read`].
    pub fn from_bytes(file: &str, bytes: &[u8], vocab_size: usize) -> Result<Self, TokenizerError> {
        let file = file.to_owned();
        let object = parse_object(bytes)
            .map_err(|error| TokenizerError::Json { file: file.clone(), detail: error.to_string() })?;
        let added = check::check(&file, &object, vocab_size)?;
        drop(object);

        let refused = |detail| TokenizerError::Refused { file: file.clone(), detail };
        let mut inner = guarded(|| serde_json::from_slice::<Inner>(bytes))
            .map_err(&refused)?
            .map_err(|error| refused(error.to_string()))?;
        // A file that was saved after training may ask to cut and pad texts.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| refused(error.to_string()))?;

        // The library gives added tokens the next free ids, whatever the file says.
        for token in added {
            let found = inner.token_to_id(&token.content);
            if found != Some(token.id) {
                return Err(TokenizerError::AddedTokenId {
                    file,
                    token: crate::json::shown(&token.content),
                    found,
                    expected: token.id,
                });
            }
        }
        Ok(Self { inner })
    }

    /// The tokens of a text; special tokens written out in it become those tokens.
    ///
    /// With `add_special`, the tokens that the model expects around a text are added, such as
    /// the one that begins it.
    ///
    /// # Errors
    /// [`TokenizerError::Pattern`] if the tokenizer's pattern cannot cope with the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        let failed = |detail| TokenizerError::Encode { text_bytes: text.len(), detail };
        let encoded = guarded(|| self.inner.encode_fast(text, add_special)).map_err(failed)?;
        match encoded {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(match error.downcast::<PatternError>() {
                Ok(error) => TokenizerError::Pattern(*error),
                Err(error) => failed(error.to_string()),
            }),
        }
    }

    /// The text of tokens, without special tokens and ids that no token has.
    ///
    /// Bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let text = self.inner.decode(ids, true);
        text.expect("decode: the decoders that `check` lets through cannot fail")
    }

    /// A stream that turns tokens into text one at a time.
    pub fn stream(&self) -> TokenStream<'_> {
        TokenStream::new(self)
    }

    /// The id of a token, given as the vocabulary writes it.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A token as the vocabulary writes it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The number of tokens, which may be smaller than the model's `vocab_size`.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether an id is that of a special token, which has no text.
    pub fn is_special(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        added.get(&id).is_some_and(|token| token.special)
    }
}

/// Runs code of the `tokenizers` library, turning a panic into an error.
///
/// The last resort: the library panics on files and texts that it does not foresee. `check` keeps
/// those known from it; one that is not known must cost a request, not the process. The closure's
/// state is dropped after a panic or only read, so that none of it is seen half changed.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|panic| format!("the tokenizer library panicked: {}", panic_message(panic.as_ref())))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;
    use crate::tiny_model::{Kind, TinyModel, config_of};

    fn read(tokenizer: Value) -> Result<Tokenizer, TokenizerError> {
        let mut model = TinyModel::new(Kind::Bitnet);
        model.tokenizer = tokenizer;
        Tokenizer::read(&model.source(), &config())
    }

    fn config() -> Config {
        config_of(Kind::Bitnet)
    }

    /// The tiny model's own tokenizer, in the manner of GPT-2 and LLaMA 3.
    pub(super) fn byte_level() -> Tokenizer {
        read(TinyModel::new(Kind::Bitnet).tokenizer).unwrap()
    }

    /// A tokenizer in the manner of LLaMA 2: a few letters, and a token for each byte.
    pub(super) fn byte_fallback() -> Tokenizer {
        let mut vocab: serde_json::Map<String, Value> =
            (0..=255u8).map(|b| (format!("<0x{b:02X}>"), (b as usize + 3).into())).collect();
        for (id, token) in ["<unk>", "<s>", "</s>"].iter().enumerate() {
            vocab.insert((*token).to_owned(), id.into());
        }
        for (i, token) in ["▁", "a", "b", "x", "e", "n", "d", "t", "h", "▁a"].iter().enumerate() {
            vocab.insert((*token).to_owned(), (259 + i).into());
        }
        read(json!({
            "version": "1.0",
            "added_tokens": [],
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "pre_tokenizer": null,
            "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
                "vocab": vocab, "merges": ["▁ a"]},
        }))
        .unwrap()
    }

    #[test]
    fn merges_apply_and_special_tokens_are_added_on_request() {
        let tokenizer = byte_level();
        assert_eq!(tokenizer.encode("the and", false).unwrap(), [257, 263]);
        assert_eq!(tokenizer.encode("the and", true).unwrap(), [264, 257, 263]);
        assert_eq!(tokenizer.encode("<eos>", false).unwrap(), [265]);
        assert_eq!(tokenizer.decode(&[264, 257, 263, 265, 299]), "the and");
        assert_eq!(tokenizer.token_to_id("the"), Some(257));
        assert_eq!(tokenizer.id_to_token(264).as_deref(), Some("<bos>"));
        assert_eq!(tokenizer.vocab_size(), 266);
        assert!(tokenizer.is_special(264) && !tokenizer.is_special(257));
    }

    #[test]
    fn sentencepiece_tokens_fall_back_to_bytes() {
        let tokenizer = byte_fallback();
        assert_eq!(tokenizer.encode("a b", false).unwrap(), [268, 259, 261]);
        assert_eq!(tokenizer.encode("é", false).unwrap(), [259, 3 + 0xc3, 3 + 0xa9]);
        assert_eq!(tokenizer.decode(&[268, 259, 261]), "a b");
    }

    #[test]
    fn cutting_and_padding_that_a_file_asks_for_are_not_done() {
        let mut file = TinyModel::new(Kind::Bitnet).tokenizer;
        file["truncation"] = json!({"direction": "Right", "max_length": 1,
            "strategy": "LongestFirst", "stride": 0});
        file["padding"] = json!({"strategy": {"Fixed": 1_000_000_000_000u64}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "!"});
        assert_eq!(read(file).unwrap().encode("the and", false).unwrap().len(), 2);
    }

    #[test]
    fn long_runs_take_linear_time() {
        let tokenizer = byte_level();
        for text in ["a", "^", " ", "-", "\u{1F600}\u{200D}", "\n", "7"] {
            let text = text.repeat(200_000);
            assert_eq!(tokenizer.decode(&tokenizer.encode(&text, false).unwrap()), text);
        }
    }

    #[test]
    fn a_text_beyond_the_patterns_limits_is_an_error() {
        let text = format!("{}x", " ".repeat(1_100_000));
        let error = byte_level().encode(&text, false).unwrap_err();
        assert!(matches!(error, TokenizerError::Pattern(PatternError::GaveUp { .. })), "{error}");
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_text(text in ".*") {
            let tokenizer = byte_level();
            // Written out, these two are special tokens, which have no text.
            prop_assume!(!text.contains("<bos>") && !text.contains("<eos>"));
            let ids = tokenizer.encode(&text, true).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids), text);
        }

        #[test]
        fn a_stream_gives_what_decoding_gives(ids in proptest::collection::vec(0u32..266, 0..40)) {
            let tokenizer = byte_level();
            let mut stream = tokenizer.stream();
            let mut text: String = ids.iter().filter_map(|id| stream.push(*id)).collect();
            text.push_str(&stream.finish());
            prop_assert_eq!(text, tokenizer.decode(&ids));
        }
    }
}
