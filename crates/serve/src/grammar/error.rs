//! Why a grammar is refused, or gave up.

/// Why a grammar is refused, or gave up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// What the client sent is wrong, or holds what is not supported.
    #[error("{detail}")]
    Refused {
        /// What, and where.
        detail: String,
    },
    /// It came to its limits.
    #[error("{0}")]
    Limit(String),
    /// The system gave no thread to compile it on; another time it may.
    #[error("no thread to compile the grammar: {0}")]
    NoThread(String),
    /// No token of the vocabulary fits what must come next.
    #[error("no token of the vocabulary fits what must come next")]
    NoToken,
}

/// Words by which the library's messages tell that a limit was met.
const LIMIT_WORDS: [&str; 9] = [
    "fuel",
    "too large",
    "too big",
    "too many",
    "too complex",
    "limit",
    "exceeded",
    "unable to determine",
    "can't determine",
];

/// The longest detail of a message.
const DETAIL_MAX_CHARS: usize = 200;

impl GrammarError {
    pub(super) fn refused(detail: impl Into<String>) -> Self {
        Self::Refused { detail: detail.into() }
    }

    /// The error that a message of the library tells; what follows its first line is mostly of no use to a client.
    pub(super) fn of_library(message: &str) -> Self {
        if let Some((_, after)) = message.split_once("regex parse error:") {
            let why = after.lines().find_map(|line| line.trim_start().strip_prefix("error: "));
            return Self::refused(format!("a pattern cannot be read: {}", why.unwrap_or("it is malformed")));
        }
        // The library's name of the schema's root.
        let line = message.lines().next().unwrap_or_default().replace("json-schema:///", "");
        let line: String = line.chars().take(DETAIL_MAX_CHARS).collect();
        let lower = line.to_lowercase();
        if lower.contains("noextension") {
            return Self::NoToken;
        }
        if line.starts_with("panic: ") {
            return Self::Limit("the grammar library gave up".to_owned());
        }
        if lower.starts_with("oneof constraints") {
            return Self::refused(
                "`oneOf` with branches that may overlap is not supported, expected `anyOf`",
            );
        }
        if LIMIT_WORDS.iter().any(|word| lower.contains(word)) {
            return Self::Limit(format!("the grammar is too large: {line}"));
        }
        Self::refused(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_library_are_told_apart() {
        let of = GrammarError::of_library;
        assert_eq!(of("NoExtensionBias"), GrammarError::NoToken);
        assert!(matches!(of("initial lexer configuration too big (limit 5)"), GrammarError::Limit(_)));
        assert!(matches!(of("LexerTooComplex: no more fuel"), GrammarError::Limit(_)));
        let GrammarError::Limit(message) = of("panic: at 7\n<backtrace>\n/secret") else {
            panic!("no limit")
        };
        assert!(!message.contains("secret"));
        let pattern = "regex parse error:\n    (?=a)\n    ^^^\nerror: look-around is not supported";
        assert_eq!(
            of(pattern),
            GrammarError::refused("a pattern cannot be read: look-around is not supported")
        );
        assert_eq!(of("bad pattern\n<state>"), GrammarError::refused("bad pattern"));
    }
}
