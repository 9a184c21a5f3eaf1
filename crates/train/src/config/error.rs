//! What can be wrong with a run's configuration.

use std::io;
use std::path::PathBuf;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum ConfigError {
    #[error("{path}: cannot be read: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: found more than {limit_bytes} bytes, expected at most that many")]
    TooLarge { path: PathBuf, limit_bytes: u64 },
    #[error("{place}: cannot be parsed: {detail}")]
    Toml { place: String, detail: String },
    #[error("command line: `{found}` is no override, expected `key=value`")]
    Override { found: String },
    #[error("{place}: key `{key}` is unknown{}", meant(nearest.as_deref()))]
    Unknown { place: String, key: String, nearest: Option<String> },
    #[error("{place}: `{key}` is missing, expected {expected}")]
    Missing { place: String, key: String, expected: String },
    #[error("{place}: `{key}` is {found}, expected {expected}")]
    Value { place: String, key: String, found: String, expected: String },
    #[error("{place}: `{key}` is {found}, but {reason}")]
    Conflict { place: String, key: String, found: String, reason: String },
    #[error("configuration: cannot be written as TOML: {detail}")]
    NotToml { detail: String },
    #[error("{}", joined(problems))]
    Several { problems: Vec<ConfigError> },
}

impl ConfigError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Override { .. } => Some("for example `train.steps=1000` or `model.preset=m`"),
            Self::Missing { key, .. } if key == "train.steps" => {
                Some("one of `steps`, `tokens` and `epochs` says how long the run is")
            }
            Self::Missing { key, .. } if key == "tokenizer" => Some(
                "`tokenizer.path` names one, `tokenizer.vocab_size` trains one on the data, and \
                 `model.from` brings one along",
            ),
            Self::Several { problems } => problems.iter().find_map(Self::hint),
            _ => None,
        }
    }

    /// One error of several problems.
    ///
    /// # Errors
    /// The problem itself if it is one; nothing if there is none.
    pub(super) fn of(mut problems: Vec<ConfigError>) -> Result<(), ConfigError> {
        match problems.len() {
            0 => Ok(()),
            1 => Err(problems.remove(0)),
            _ => Err(Self::Several { problems }),
        }
    }
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; the nearest known one is `{nearest}`"))
}

fn joined(problems: &[ConfigError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
