//! Ctrl-C: a generation ends with a clean last line, anything else at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a shell reports for a process that SIGINT ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// Whether the user has asked to stop.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    /// Whether somebody looks at `is_pending` often.
    is_awaited: Arc<AtomicBool>,
    is_pending: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens from now on. Until [`Interrupt::expect`] is called, and at the second time, Ctrl-C
    /// ends the process at once.
    pub(crate) fn listen() -> Self {
        let interrupt = Interrupt::default();
        let heard = interrupt.clone();
        let handler = move || {
            let was_pending = heard.is_pending.swap(true, Ordering::SeqCst);
            if was_pending || !heard.is_awaited.load(Ordering::SeqCst) {
                std::process::exit(INTERRUPTED.into());
            }
        };
        // Where no handler can be set, Ctrl-C ends the process as it does by default.
        let _ = ctrlc::set_handler(handler);
        interrupt
    }

    /// From now on [`Interrupt::is_pending`] is asked often.
    pub(crate) fn expect(&self) {
        self.is_awaited.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.is_pending.load(Ordering::SeqCst)
    }
}
