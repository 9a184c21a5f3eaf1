//! What can go wrong between a name of the Hub and a file in its cache.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no file, or no answer.
///
/// No message holds a token, nor an address to which one was redirected: those can be secrets.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A text is no name of a repository.
    #[error("`{found}`: found no name of the Hub, expected `org/name` or `org/name@revision`")]
    Id {
        /// The text.
        found: String,
    },
    /// A text is no name of a revision.
    #[error("{id}: found `{found}`, expected a branch, a tag or a commit after `@`")]
    Revision {
        /// The repository.
        id: String,
        /// The text.
        found: String,
    },
    /// The variable does not hold an address.
    #[error("HF_ENDPOINT: expected an address that begins with `https://` or `http://` and names a host")]
    Endpoint,
    /// A variable does not hold a number of seconds.
    #[error("{variable}: found `{found}`, expected a number of seconds")]
    Seconds {
        /// The variable.
        variable: &'static str,
        /// Its value.
        found: String,
    },
    /// No home folder, so no cache.
    #[error("no folder for the cache of the Hub: neither `HF_HOME` nor a home folder is known")]
    NoHome,
    /// A token has characters that none has.
    #[error("{origin}: expected a token, found characters that no token has")]
    Token {
        /// The variable or file.
        origin: String,
    },
    /// The token would be sent unencrypted.
    #[error("HF_ENDPOINT: the token would be sent to {host} unencrypted, expected an `https://` address")]
    PlainToken {
        /// Host and port.
        host: String,
    },
    /// No connection could be made at all.
    #[error("{host} cannot be reached: {reason}")]
    NoConnection {
        /// Host and port.
        host: String,
        /// What the network said.
        reason: String,
    },
    /// There is a server, but nothing proves that it is the one that is meant.
    #[error("{host}: no secure connection: {reason}")]
    NotSecure {
        /// Host and port.
        host: String,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// A connection broke or fell silent.
    #[error("{host}: the connection broke: {reason}")]
    Broken {
        /// Host and port.
        host: String,
        /// What the network said.
        reason: String,
    },
    /// The server is overloaded, under repair or failing.
    #[error("{host}: found status {status}, which asks to try later")]
    Busy {
        /// Host and port.
        host: String,
        /// The status.
        status: u16,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The server refused for a reason without a variant of its own.
    #[error("{host}: found status {status} for {what}")]
    Status {
        /// Host and port.
        host: String,
        /// The status.
        status: u16,
        /// What was asked for.
        what: String,
    },
    /// There is no such repository, or the token does not open it.
    #[error("{id}: the Hub has no such model or data set, or none that may be seen {}", with_token(*has_token))]
    NoRepository {
        /// The repository.
        id: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The repository exists and its terms have to be agreed to.
    #[error("{id}: the repository is gated, and may not be downloaded {}", with_token(*has_token))]
    Gated {
        /// The repository.
        id: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The token is none.
    #[error("{id}: the Hub does not accept the token that was sent")]
    TokenRefused {
        /// The repository.
        id: String,
    },
    /// The repository has no such revision.
    #[error("{id}: the repository has no revision `{revision}`")]
    NoRevision {
        /// The repository.
        id: String,
        /// The revision.
        revision: String,
    },
    /// The repository has no such file.
    #[error("{id}: the repository has no file `{file}`")]
    NoFile {
        /// The repository.
        id: String,
        /// The file.
        file: String,
    },
    /// An answer is not what the Hub's interface says.
    #[error("{id}: found {found} in the Hub's answer, expected {expected}")]
    Answer {
        /// The repository.
        id: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A file's name would leave the folder of the repository, or is none on some systems.
    #[error("{id}: found a file named {found:?}, expected a plain path inside the repository")]
    FileName {
        /// The repository.
        id: String,
        /// The name.
        found: String,
    },
    /// A file is larger than any of a repository.
    #[error("{id}: file `{file}` has {found} bytes, expected at most {limit}")]
    TooLarge {
        /// The repository.
        id: String,
        /// The file.
        file: String,
        /// Its size.
        found: u64,
        /// The greatest size.
        limit: u64,
    },
    /// There are more files than a repository has.
    #[error("{id}: found {found} files, expected at most {limit}")]
    TooMany {
        /// The repository.
        id: String,
        /// How many.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A redirect leads where none may.
    #[error("{id}: the Hub redirects {what}")]
    Redirect {
        /// The repository.
        id: String,
        /// Where to.
        what: &'static str,
    },
    /// A file that is sent has another size or digest than the one that was listed.
    #[error("{id}: file `{file}`: found {found} in the answer, expected {expected} as the Hub lists it")]
    Changed {
        /// The repository.
        id: String,
        /// The file.
        file: String,
        /// What was found.
        found: String,
        /// What was listed.
        expected: String,
    },
    /// The bytes that came are not those of the file.
    #[error("{id}: file `{file}`: the bytes that came have digest {found}, expected {expected}")]
    Damaged {
        /// The repository.
        id: String,
        /// The file.
        file: String,
        /// The digest of what came.
        found: String,
        /// The file's digest.
        expected: String,
    },
    /// A download would not fit on the disk.
    #[error("{folder}: the download needs {needed} bytes more, found {free} free on the disk")]
    NoSpace {
        /// The folder of the cache.
        folder: PathBuf,
        /// Bytes that are still to come.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Something in the cache is not what a cache holds.
    #[error("{path}: found {found}, expected {expected}")]
    Cache {
        /// What was looked at.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The caller wanted no more of it.
    #[error("stopped")]
    Stopped,
    /// The system failed.
    #[error("{path}: cannot {attempt}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was attempted, as in “cannot be read”.
        attempt: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl HubError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Token { .. } => "a token is one word, as the Hub's page of tokens shows it",
            Self::PlainToken { .. } => "`HF_HUB_DISABLE_IMPLICIT_TOKEN=1` sends no token",
            Self::NoConnection { .. } => {
                "is there a network? `HF_ENDPOINT` names a mirror, `HTTPS_PROXY` a proxy"
            }
            Self::NotSecure { .. } => {
                "the system's authorities may be missing (`ca-certificates`) or not know a proxy: \
                 `SSL_CERT_FILE` names a file of others"
            }
            Self::Broken { .. } | Self::Busy { .. } => "try again later; what has come is kept",
            Self::NoRepository { has_token: false, .. } => {
                "look at the spelling; for a private model set `HF_TOKEN`, or log in with `hf auth login`"
            }
            Self::NoRepository { has_token: true, .. } => {
                "look at the spelling, and at what the token may read"
            }
            Self::Gated { has_token: false, .. } => {
                "agree to its terms on its page, then set `HF_TOKEN`, or log in with `hf auth login`"
            }
            Self::Gated { has_token: true, .. } => {
                "agree to its terms on its page with the account of the token, which must be allowed to read \
                 gated models"
            }
            Self::TokenRefused { .. } => {
                "it may have expired: set `HF_TOKEN` anew, or `HF_HUB_DISABLE_IMPLICIT_TOKEN=1` for none"
            }
            Self::NoRevision { .. } => {
                "its page lists branches, tags and commits; without one, `main` is meant"
            }
            Self::Changed { .. } => "a mirror may be out of date; try again, or without `HF_ENDPOINT`",
            Self::Damaged { .. } => "it was thrown away; try again",
            Self::NoSpace { .. } => "make room, or set `HF_HOME` to a folder on another disk",
            _ => return None,
        })
    }

    /// Whether a new attempt may succeed, once there has been a connection at all.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::NoConnection { .. } | Self::Broken { .. } | Self::Busy { .. })
    }
}

fn with_token(has_token: bool) -> &'static str {
    if has_token { "with the token that was sent" } else { "without a token" }
}
