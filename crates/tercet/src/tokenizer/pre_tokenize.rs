//! Splitting text into pieces before the vocabulary is applied, without hanging or giving up
//! silently.
//!
//! The `tokenizers` library does this with regular expressions that may backtrack. When one
//! exceeds its limit, the library leaves the rest of the text in one piece, which encodes it to
//! other ids than the model was trained with. Here that is an error, and so is a pattern that
//! takes too long. Everything but the search itself is the library's own.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer};
use tokenizers::pattern::{Invert, Pattern};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::Offsets;
use tokenizers::utils::SysRegex;
use tokenizers::{PreTokenizedString, PreTokenizer, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::error::PatternError;
use crate::json::shown;

/// What `ByteLevel` splits by unless told otherwise: GPT-2's pattern.
const GPT2_PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Time allowed for splitting a text of any length. The known patterns need a thousandth.
const TIME_BASE: Duration = Duration::from_secs(10);

/// Time allowed for each byte beyond that: 10 s a megabyte.
const TIME_A_BYTE: Duration = Duration::from_micros(10);

/// The pre-tokenizer of a `tokenizer.json`, as a list of steps.
#[derive(Debug)]
pub(super) struct CheckedPreTokenizer {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    /// A split by a regular expression.
    Split { pattern: CheckedPattern, behavior: SplitDelimiterBehavior, invert: bool },
    /// A space before each piece that has none.
    PrefixSpace,
    /// A step of the library that cannot fail.
    Plain(PreTokenizerWrapper),
}

impl<'de> Deserialize<'de> for CheckedPreTokenizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrapper = PreTokenizerWrapper::deserialize(deserializer)?;
        let mut steps = Vec::new();
        push_steps(&mut steps, wrapper).map_err(serde::de::Error::custom)?;
        Ok(Self { steps })
    }
}

impl PreTokenizer for CheckedPreTokenizer {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        let budget = Budget::new(TIME_BASE, TIME_A_BYTE);
        self.steps.iter().try_for_each(|step| step.apply(text, &budget))
    }
}

/// Takes a pre-tokenizer of the library apart into steps that mean the same.
fn push_steps(steps: &mut Vec<Step>, wrapper: PreTokenizerWrapper) -> tokenizers::Result<()> {
    match wrapper {
        PreTokenizerWrapper::Sequence(sequence) => {
            for inner in sequence {
                push_steps(steps, inner)?;
            }
        }
        PreTokenizerWrapper::Split(split) => match split.pattern {
            SplitPattern::Regex(regex) => steps.push(Step::Split {
                pattern: CheckedPattern::new(&regex)?,
                behavior: split.behavior,
                invert: split.invert,
            }),
            SplitPattern::String(_) => {
                steps.push(Step::Plain(PreTokenizerWrapper::Split(split)));
            }
        },
        PreTokenizerWrapper::ByteLevel(byte_level) => {
            if byte_level.add_prefix_space {
                steps.push(Step::PrefixSpace);
            }
            if byte_level.use_regex {
                steps.push(Step::Split {
                    pattern: CheckedPattern::new(GPT2_PATTERN)?,
                    behavior: SplitDelimiterBehavior::Isolated,
                    invert: false,
                });
            }
            let bytes_only = ByteLevel::new(false, byte_level.trim_offsets, false);
            steps.push(Step::Plain(PreTokenizerWrapper::ByteLevel(bytes_only)));
        }
        plain => steps.push(Step::Plain(plain)),
    }
    Ok(())
}

impl Step {
    fn apply(&self, text: &mut PreTokenizedString, budget: &Budget) -> tokenizers::Result<()> {
        match self {
            Self::Split { pattern, behavior, invert } => text.split(|_, piece| {
                budget.add_bytes(piece.get().len());
                let search = Search { pattern, budget };
                if *invert { piece.split(Invert(search), *behavior) } else { piece.split(search, *behavior) }
            }),
            Self::PrefixSpace => text.split(|_, mut piece| {
                if !piece.get().starts_with(' ') {
                    piece.prepend(" ");
                }
                Ok([piece])
            }),
            Self::Plain(wrapper) => wrapper.pre_tokenize(text),
        }
    }
}

/// A regular expression whose search says whether it reached the end.
#[derive(Debug)]
struct CheckedPattern {
    text: String,
    /// The pattern, or else the end of the text.
    ///
    /// The library's search ends alike when nothing more is found and when it gives up. With the
    /// end as an alternative, a search that was completed has its last match end there.
    regex_or_end: SysRegex,
}

impl CheckedPattern {
    fn new(text: &str) -> tokenizers::Result<Self> {
        Ok(Self { text: text.to_owned(), regex_or_end: SysRegex::new(&format!(r"(?:{text})|\z"))? })
    }
}

/// One search with a pattern, within a budget of time.
struct Search<'a> {
    pattern: &'a CheckedPattern,
    budget: &'a Budget,
}

impl Pattern for Search<'_> {
    fn find_matches(&self, piece: &str) -> tokenizers::Result<Vec<(Offsets, bool)>> {
        let mut pieces = Vec::new();
        let mut at_byte = 0;
        for (start, end) in self.pattern.regex_or_end.find_iter(piece) {
            if let Some(limit) = self.budget.exceeded() {
                return Err(PatternError::TooSlow {
                    pattern: shown(&self.pattern.text),
                    limit_s: limit.as_secs(),
                    at_byte,
                    piece_bytes: piece.len(),
                }
                .into());
            }
            if at_byte < start {
                pieces.push(((at_byte, start), false));
            }
            // An empty match at the end may be that of the end itself.
            if start < end || end < piece.len() {
                pieces.push(((start, end), true));
            }
            at_byte = end;
        }
        if at_byte < piece.len() {
            return Err(PatternError::GaveUp {
                pattern: shown(&self.pattern.text),
                at_byte,
                piece_bytes: piece.len(),
            }
            .into());
        }
        Ok(pieces)
    }
}

/// The time that splitting one text may take, which grows with its length.
struct Budget {
    started: Instant,
    base: Duration,
    a_byte: Duration,
    bytes: Cell<usize>,
}

impl Budget {
    fn new(base: Duration, a_byte: Duration) -> Self {
        Self { started: Instant::now(), base, a_byte, bytes: Cell::new(0) }
    }

    fn add_bytes(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
    }

    /// The limit, if it has passed.
    fn exceeded(&self) -> Option<Duration> {
        let bytes = u32::try_from(self.bytes.get()).unwrap_or(u32::MAX);
        let limit = self.base.saturating_add(self.a_byte.saturating_mul(bytes));
        (self.started.elapsed() > limit).then_some(limit)
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType};

    use super::*;

    fn pieces(pre_tokenizer: &impl PreTokenizer, text: &str) -> tokenizers::Result<Vec<String>> {
        let mut pieces = PreTokenizedString::from(text);
        pre_tokenizer.pre_tokenize(&mut pieces)?;
        let splits = pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        Ok(splits.into_iter().map(|(piece, _, _)| piece.to_owned()).collect())
    }

    fn split(pattern: &str, behavior: &str, invert: bool) -> String {
        let pattern = serde_json::to_string(pattern).unwrap();
        format!(
            r#"{{"type":"Split","pattern":{{"Regex":{pattern}}},"behavior":"{behavior}","invert":{invert}}}"#
        )
    }

    /// Splits a text with our steps and with the library's, which must agree.
    #[track_caller]
    fn check(json: &str, text: &str) {
        let ours: CheckedPreTokenizer = serde_json::from_str(json).unwrap();
        let theirs: PreTokenizerWrapper = serde_json::from_str(json).unwrap();
        let want = pieces(&theirs, text).unwrap();
        assert_eq!(pieces(&ours, text).unwrap(), want, "{json} of {text:?}");
    }

    const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    const TEXTS: [&str; 7] = [
        "",
        " ",
        "It's 12345 o'clock,\n\n  isn't it?   ",
        "日本語 и кириллица\u{1F600}\u{200D}\u{1F600}",
        "   \t\r\n x",
        "aaa",
        "a b",
    ];

    #[test]
    fn pieces_are_those_of_the_library() {
        let byte_level = |prefix, regex| {
            format!(
                r#"{{"type":"ByteLevel","add_prefix_space":{prefix},"trim_offsets":true,"use_regex":{regex}}}"#
            )
        };
        let mut cases = vec![
            byte_level(true, true),
            byte_level(false, true),
            byte_level(true, false),
            r#"{"type":"Split","pattern":{"String":" "},"behavior":"Removed","invert":false}"#.to_owned(),
            format!(
                r#"{{"type":"Sequence","pretokenizers":[{},{},{{"type":"Digits","individual_digits":true}}]}}"#,
                split(LLAMA3_PATTERN, "Isolated", false),
                byte_level(false, false)
            ),
        ];
        for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] {
            for pattern in [LLAMA3_PATTERN, r"\s+", "a", r"a*", r"(a)\1", "(?=a)", r"\s+(?!\S)"] {
                cases.push(split(pattern, behavior, false));
                cases.push(split(pattern, behavior, true));
            }
        }
        for case in &cases {
            for text in TEXTS {
                check(case, text);
            }
        }
    }

    #[test]
    fn a_pattern_that_gives_up_is_an_error() {
        let json = split(r"(?:a+)+(?!a)b", "Isolated", false);
        let ours: CheckedPreTokenizer = serde_json::from_str(&json).unwrap();
        let error = pieces(&ours, &"a".repeat(64)).unwrap_err();
        let error = error.downcast::<PatternError>().unwrap();
        assert!(matches!(*error, PatternError::GaveUp { at_byte: 0, piece_bytes: 64, .. }), "{error}");
    }

    #[test]
    fn a_pattern_out_of_time_is_an_error() {
        let pattern = CheckedPattern::new("a").unwrap();
        let budget = Budget::new(Duration::ZERO, Duration::ZERO);
        let search = Search { pattern: &pattern, budget: &budget };
        let error = search.find_matches("aaa").unwrap_err();
        assert!(error.to_string().contains("was stopped after 0 seconds"), "{error}");
    }

    #[test]
    fn a_budget_grows_with_the_text() {
        let budget = Budget::new(Duration::ZERO, Duration::from_secs(1));
        assert_eq!(budget.exceeded(), Some(Duration::ZERO));
        budget.add_bytes(1000);
        assert_eq!(budget.exceeded(), None);
    }
}
