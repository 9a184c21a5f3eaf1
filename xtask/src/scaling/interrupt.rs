//! Ctrl-C, SIGTERM and a closed terminal: the first is heeded, the second ends the program at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Listens from now on; what is given back becomes true with the first signal.
pub(super) fn listen() -> Result<Arc<AtomicBool>> {
    let has_come = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the second signal finds what the first has set.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&has_come))
            .and_then(|_| flag::register(signal, Arc::clone(&has_come)))
            .context("cannot listen to signals")?;
    }
    Ok(has_come)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use signal_hook::low_level::raise;

    use super::*;

    #[test]
    fn the_first_signal_is_heeded_and_ends_nothing() {
        let has_come = listen().unwrap();
        assert!(!has_come.load(Ordering::SeqCst));
        raise(SIGHUP).unwrap();
        assert!(has_come.load(Ordering::SeqCst));
    }
}
