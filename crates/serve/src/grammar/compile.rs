//! Grammars made from what a client sent, in bounded time and memory.
//!
//! ```text
//! schema -> checked (keywords, limits) -> Draft -> known? -> compiled, in its turn, on a large stack -> Grammar
//! ```
//!
//! A draft is made in milliseconds; compiling one may take a second. So few are compiled at once, and who waits for
//! a turn holds no thread.
//!
//! A client may send anything. What is checked beforehand keeps the work small; the library's own limits are the
//! second line; a panic in it is caught, and is the request's error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use llguidance::api::{GrammarWithLexer, ParserLimits, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tercet::tokenizer::Tokenizer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use toktrie::TokEnv;

use super::cache::{Cache, CacheSize, Key};
use super::calls;
use super::constraint::Grammar;
use super::error::GrammarError;
use super::schema::{self, SchemaLimits, Unsupported};
use super::vocabulary::Vocabulary;
use crate::limits::Limits;
use crate::tools::{Tool, ToolChoice, ToolSyntax};

/// What is kept of grammars that were compiled before.
const CACHE: CacheSize = CacheSize { grammars: 64, bytes: 64 << 20 };

/// About how many bytes the parser's tables take for each of a grammar's text.
const PARSER_BYTES_A_BYTE: usize = 64;

/// Grammars that are compiled at once: each takes a thread of those that tokenize too, and memory.
const COMPILED_AT_ONCE: usize = 2;

/// Stack of the thread that compiles: the library recurses over properties and references.
const STACK_BYTES: usize = 64 << 20;

/// White space between the parts of JSON: one blank, or a line's end and the next one's indentation. Without a tight
/// bound a model may fill its answer with blanks.
const WHITESPACE: &str = r"[\x20\x09]|\r?\n[\x20\x09]{0,24}";

/// The library's limits; a state of its lexer takes 1 to 2 KB.
fn parser_limits() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        max_lexer_states: 25_000,
        max_grammar_size: 500_000,
        // It walks the whole vocabulary for each long string before the first token.
        precompute_large_lexemes: false,
        // Errors would hold the whole text.
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// Makes grammars over the vocabulary of one model.
pub struct Grammars {
    tokenizer: Arc<Tokenizer>,
    vocab_size: usize,
    eos: Arc<[u32]>,
    limits: SchemaLimits,
    /// Made on first use: it takes time and memory.
    factory: OnceLock<Result<ParserFactory, GrammarError>>,
    cache: Mutex<Cache>,
    turns: Arc<Semaphore>,
}

/// What a client asked for, checked and not compiled yet.
pub struct Draft {
    grammar: TopLevelGrammar,
    key: Key,
    text_bytes: usize,
}

/// The right to compile a grammar, until it is dropped.
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Grammars {
    /// Grammars for a model with so many logits, whose texts these tokens end.
    pub fn new(tokenizer: &Arc<Tokenizer>, vocab_size: usize, eos: &[u32], limits: &Limits) -> Self {
        Self {
            tokenizer: Arc::clone(tokenizer),
            vocab_size,
            eos: eos.iter().copied().filter(|token| (*token as usize) < vocab_size).collect(),
            limits: SchemaLimits { bytes: limits.schema_bytes, depth: limits.schema_depth },
            factory: OnceLock::new(),
            cache: Mutex::new(Cache::new(CACHE)),
            turns: Arc::new(Semaphore::new(COMPILED_AT_ONCE)),
        }
    }

    /// Any JSON object.
    ///
    /// # Errors
    /// As of [`Grammars::json_schema`].
    pub fn json_object(&self) -> Result<Draft, GrammarError> {
        self.json_schema(&json!({"type": "object"}), Unsupported::Refused)
    }

    /// JSON that obeys a schema.
    ///
    /// # Errors
    /// [`GrammarError`] if the schema is wrong, beyond the limits, or holds a keyword that is not supported and is to
    /// be refused.
    pub fn json_schema(&self, schema: &Value, unsupported: Unsupported) -> Result<Draft, GrammarError> {
        let schema = schema::checked(schema, self.limits, unsupported)?.schema;
        Ok(Draft::new(TopLevelGrammar::from_json_schema(with_options(schema, unsupported))))
    }

    /// Tool calls, or text as well, as the choice and the syntax of the model's template say; nothing where the text
    /// is free. The tools are checked ones.
    ///
    /// # Errors
    /// [`GrammarError`] as of [`Grammars::json_schema`]; if the named tool is not among them.
    pub fn tool_calls(
        &self,
        syntax: &ToolSyntax,
        tools: &[Tool],
        choice: &ToolChoice,
        parallel: bool,
    ) -> Result<Option<Draft>, GrammarError> {
        let chosen: Vec<&Tool> = match choice {
            ToolChoice::None => return Ok(None),
            ToolChoice::Auto | ToolChoice::Required => tools.iter().collect(),
            ToolChoice::Named(name) => tools.iter().filter(|tool| tool.name == *name).collect(),
        };
        if chosen.is_empty() {
            return match choice {
                ToolChoice::Named(name) => Err(GrammarError::refused(format!(
                    "`tool_choice` names `{name}`, which is not among `tools`"
                ))),
                _ => Err(GrammarError::refused("`tool_choice` asks for a call, but there are no `tools`")),
            };
        }
        let bytes: usize = chosen.iter().map(|tool| tool.parameters.to_string().len()).sum();
        if bytes > self.limits.bytes {
            return Err(GrammarError::Limit(format!(
                "the schemas of `tools` have {bytes} bytes, expected at most {}",
                self.limits.bytes
            )));
        }
        let is_free = *choice == ToolChoice::Auto;
        let mut grammars = vec![GrammarWithLexer::from_lark(calls::lark(syntax, &chosen, is_free, parallel))];
        let mut size: u64 = 0;
        for (i, tool) in chosen.iter().enumerate() {
            let unsupported = if tool.strict { Unsupported::Refused } else { Unsupported::Ignored };
            let checked = schema::checked(&calls::arguments_schema(tool)?, self.limits, unsupported)
                .map_err(|error| of_tool(&tool.name, error))?;
            size = size.saturating_add(checked.size);
            let mut grammar = GrammarWithLexer::from_json_schema(with_options(checked.schema, unsupported));
            grammar.name = Some(calls::grammar_name(i));
            grammars.push(grammar);
        }
        // Each is within the limit; they are compiled as one.
        if size > schema::SIZE_MAX {
            return Err(GrammarError::Limit(format!(
                "the schemas of `tools` have {size} parts when multiplied out, expected at most {} together",
                schema::SIZE_MAX
            )));
        }
        Ok(Some(Draft::new(TopLevelGrammar { grammars, max_tokens: None })))
    }

    /// The grammar of a draft, if one like it was compiled lately.
    pub fn known(&self, draft: &Draft) -> Option<Grammar> {
        lock(&self.cache).get(&draft.key)
    }

    /// Waits for a turn to compile: at most two have one. It is taken from those who wait in order.
    pub async fn turn(&self) -> Turn {
        let permit = Arc::clone(&self.turns).acquire_owned().await;
        Turn { _permit: permit.expect("Grammars::turn: turns are always given out") }
    }

    /// Compiles a draft, unless one like it is known. It takes up to a second, so it is for a thread that nobody waits
    /// for, and for who has a [`Turn`] where others compile too.
    ///
    /// # Errors
    /// [`GrammarError`] if the grammar allows nothing, comes to the limits of the library, or there is no thread.
    pub fn compile(&self, draft: Draft) -> Result<Grammar, GrammarError> {
        if let Some(grammar) = self.known(&draft) {
            return Ok(grammar);
        }
        let Draft { grammar, key, text_bytes } = draft;
        let (matcher, bytes) = on_large_stack(|| compile(self.factory()?, grammar))?;
        let grammar = Grammar::new(matcher, Arc::clone(&self.eos));
        lock(&self.cache).put(key, grammar.clone(), bytes + text_bytes * PARSER_BYTES_A_BYTE);
        Ok(grammar)
    }

    fn factory(&self) -> Result<&ParserFactory, GrammarError> {
        let made = self.factory.get_or_init(|| {
            let vocabulary: TokEnv = Arc::new(Vocabulary::new(&self.tokenizer, self.vocab_size, &self.eos));
            let mut factory = ParserFactory::new_simple(&vocabulary)
                .map_err(|error| GrammarError::of_library(&error.to_string()))?;
            *factory.limits_mut() = parser_limits();
            factory.quiet();
            Ok(factory)
        });
        made.as_ref().map_err(Clone::clone)
    }

    #[cfg(test)]
    pub(super) fn cached(&self) -> (usize, usize) {
        lock(&self.cache).held()
    }
}

impl Draft {
    fn new(grammar: TopLevelGrammar) -> Self {
        let text = serde_json::to_string(&grammar).expect("a grammar is texts, which are JSON");
        Draft { key: Sha256::digest(text.as_bytes()).into(), text_bytes: text.len(), grammar }
    }
}

/// The grammar at its start, and about how many bytes its tables take.
fn compile(factory: &ParserFactory, grammar: TopLevelGrammar) -> Result<(Matcher, usize), GrammarError> {
    let mut parser =
        factory.create_parser(grammar).map_err(|error| GrammarError::of_library(&error.to_string()))?;
    parser.start_without_prompt();
    // What allows nothing at all, or costs too much from the start, is told now.
    parser.compute_mask().map_err(|error| match GrammarError::of_library(&error.to_string()) {
        GrammarError::NoToken => GrammarError::refused("the schema allows no text"),
        error => error,
    })?;
    let bytes = parser.parser.lexer_stats().num_bytes;
    Ok((Matcher::new(Ok(parser)), bytes))
}

/// Runs the library on a thread with a large stack, and makes a panic an error.
fn on_large_stack<T: Send>(run: impl FnOnce() -> Result<T, GrammarError> + Send) -> Result<T, GrammarError> {
    let gave_up = || GrammarError::Limit("the grammar library gave up".to_owned());
    std::thread::scope(|scope| {
        let guarded = || catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(gave_up()));
        let builder = std::thread::Builder::new().name("grammar".to_owned()).stack_size(STACK_BYTES);
        match builder.spawn_scoped(scope, guarded) {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(gave_up())),
            Err(error) => Err(GrammarError::NoThread(error.to_string())),
        }
    })
}

/// A checked schema with how the library is to read it.
fn with_options(mut schema: Value, unsupported: Unsupported) -> Value {
    let options = json!({
        "whitespace_pattern": WHITESPACE,
        "coerce_one_of": unsupported == Unsupported::Ignored,
    });
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("x-guidance".to_owned(), options);
    }
    schema
}

fn of_tool(name: &str, error: GrammarError) -> GrammarError {
    let named = |detail: String| format!("tool `{name}`: {detail}");
    match error {
        GrammarError::Refused { detail } => GrammarError::Refused { detail: named(detail) },
        GrammarError::Limit(detail) => GrammarError::Limit(named(detail)),
        error @ (GrammarError::NoThread(_) | GrammarError::NoToken) => error,
    }
}

/// What a panic elsewhere left behind is whole: each holder changes it in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use tercet::checkpoint::Checkpoint;
    use tercet::config::Config;
    use tercet::embedded;

    use super::super::schema::tests::any_schema;
    use super::*;

    static GRAMMARS: LazyLock<Grammars> = LazyLock::new(grammars);

    fn grammars() -> Grammars {
        let source = embedded::stories();
        let config = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
        let tokenizer = Arc::new(Tokenizer::read(&source, &config).unwrap());
        Grammars::new(&tokenizer, config.vocab_size, &[0], &Limits::default())
    }

    #[test]
    fn a_grammar_is_compiled_once_and_the_oldest_are_dropped() {
        let grammars = grammars();
        for i in (0..CACHE.grammars + 5).chain([CACHE.grammars, CACHE.grammars + 4]) {
            let draft = || grammars.json_schema(&json!({"const": i}), Unsupported::Refused).unwrap();
            grammars.compile(draft()).unwrap();
            assert!(grammars.known(&draft()).is_some());
            let (count, bytes) = grammars.cached();
            assert_eq!(count, (i + 1).min(CACHE.grammars));
            assert!(bytes > 0 && bytes <= CACHE.bytes);
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        let made: Result<(), _> = on_large_stack(|| panic!("at large"));
        assert_eq!(made, Err(GrammarError::Limit("the grammar library gave up".to_owned())));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_json_as_a_schema_is_a_grammar_or_an_error(schema in any_schema(), ignores in any::<bool>()) {
            let unsupported = if ignores { Unsupported::Ignored } else { Unsupported::Refused };
            let made = GRAMMARS.json_schema(&schema, unsupported).and_then(|draft| GRAMMARS.compile(draft));
            if let Ok(grammar) = made {
                let mut constraint = grammar.begin();
                let mut logits = vec![0.0; GRAMMARS.vocab_size];
                constraint.mask(&mut logits).unwrap();
                prop_assert!(logits.contains(&0.0));
            }
        }
    }
}
