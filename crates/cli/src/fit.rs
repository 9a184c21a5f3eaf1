//! Whether a model fits into this machine's memory, asked before it is loaded.

use tercet::model::MemoryNeed;

use crate::failure::{Exit, Failure};
use crate::{figures, machine};

/// Whether a model would fit now; where the system does not say, it is taken to.
pub(crate) fn fits(need: &MemoryNeed) -> bool {
    machine::memory().is_none_or(|memory| need.total_bytes() <= memory.available_bytes)
}

/// Refuses what would not fit, before any of it is loaded. `others` are flags that make it smaller, and what it takes
/// with each; the first that fits is suggested.
pub(crate) fn check(need: &MemoryNeed, name: &str, others: &[(String, MemoryNeed)]) -> Result<(), Failure> {
    let Some(memory) = machine::memory().filter(|_| !fits(need)) else { return Ok(()) };
    let message = format!(
        "{name}: needs {} of memory ({} weights, {} cache, {} buffers), but {} of {} are available",
        figures::bytes(need.total_bytes()),
        figures::bytes(need.weight_bytes),
        figures::bytes(need.cache_bytes),
        figures::bytes(need.scratch_bytes),
        figures::bytes(memory.available_bytes),
        figures::bytes(memory.total_bytes),
    );
    let hint = match others.iter().find(|(_, need)| fits(need)) {
        Some((flags, need)) => {
            format!("with `{flags}` it needs {}, which fits", figures::bytes(need.total_bytes()))
        }
        None => "free memory, or take a smaller model; `tercet inspect` shows what one takes".to_owned(),
    };
    Err(Failure::message(Exit::Memory, message).with_hint(hint))
}
