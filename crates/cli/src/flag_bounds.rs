//! What the numbers of flags are at most, so that a mistyped one is an error and not a long wait.

/// Positions: more than any model has.
pub(crate) const CONTEXT_MAX: i64 = 1 << 27;
/// Threads.
pub(crate) const THREADS_MAX: i64 = 1024;
/// Tokens that are computed together.
pub(crate) const BATCH_MAX: i64 = 1 << 16;
