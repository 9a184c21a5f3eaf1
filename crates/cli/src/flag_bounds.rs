//! What the numbers of flags are at most, so that a mistyped one is an error and not a long wait.

/// Positions: more than any model has.
pub(crate) const CONTEXT_MAX: i64 = 1 << 27;
/// Threads.
pub(crate) const THREADS_MAX: i64 = 1024;
/// Tokens that are computed together.
pub(crate) const BATCH_MAX: i64 = 1 << 16;

/// A whole number that has no greatest.
///
/// # Errors
/// What was expected.
pub(crate) fn from_one(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a whole number from 1".to_owned())
}
