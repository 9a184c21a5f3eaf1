//! The tokens of a model, as the grammars see them: a tree of their bytes.

use tercet::tokenizer::Tokenizer;
use toktrie::{TokRxInfo, TokTrie, TokenizerEnv};

/// What no text has: it begins the names of special tokens, so that no text is taken for one.
const MARKER: u8 = TokTrie::SPECIAL_TOKEN_MARKER;

/// All tokens by their bytes.
pub(super) struct Vocabulary {
    trie: TokTrie,
}

impl Vocabulary {
    /// The tokens of a model whose logits are `vocab_size`; ids that the tokenizer has not are in no text.
    pub(super) fn new(tokenizer: &Tokenizer, vocab_size: usize, eos: &[u32]) -> Self {
        let ids = 0..u32::try_from(vocab_size).expect("vocab_size fits an id");
        let words: Vec<Vec<u8>> = ids.map(|id| word(tokenizer, id)).collect();
        let info = TokRxInfo::new(words.len() as u32, eos.first().copied().unwrap_or(toktrie::INVALID_TOKEN));
        let trie = TokTrie::from(&info, &words);
        Self { trie: if eos.is_empty() { trie } else { trie.with_eos_tokens(eos) } }
    }
}

/// The bytes that a token adds to a text, or its name behind the marker; nothing for what is in no text.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    if tokenizer.is_special(id) {
        return [&[MARKER], &bytes[..]].concat();
    }
    if bytes.contains(&MARKER) { Vec::new() } else { bytes }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie.greedy_tokenize(bytes)
    }

    /// Where a text is forced, the model chooses among all ways to write it in tokens.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
