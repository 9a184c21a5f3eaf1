//! Ctrl-C, SIGTERM and a closed terminal: what is awaited ends cleanly, anything else at once.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// The signals that are listened to, and what a shell reports for a process that one ended.
const SIGNALS: [(i32, u8); 3] = [(SIGINT, 130), (SIGTERM, 143), (SIGHUP, 129)];

/// Whether the user or the system has asked to stop.
pub(crate) struct Interrupt {
    /// Whether the next of each of [`SIGNALS`] ends the process at once.
    ends_at_once: [Arc<AtomicBool>; 3],
    /// Whether each of [`SIGNALS`] has come.
    has_come: [Arc<AtomicBool>; 3],
}

impl Interrupt {
    /// Listens from now on. Until [`Interrupt::expect`] is called, and at the second time, a signal
    /// ends the process at once.
    pub(crate) fn listen() -> Self {
        let interrupt = Interrupt { ends_at_once: Default::default(), has_come: Default::default() };
        interrupt.no_longer_expect();
        for (index, (signal, exit_code)) in SIGNALS.iter().enumerate() {
            // In this order: the second signal finds what the first has set. Where no handler can
            // be set, the signal ends the process as it does by default.
            let ends_at_once = Arc::clone(&interrupt.ends_at_once[index]);
            let _ = flag::register_conditional_shutdown(*signal, i32::from(*exit_code), ends_at_once);
            for flag in [&interrupt.has_come[index]].into_iter().chain(&interrupt.ends_at_once) {
                let _ = flag::register(*signal, Arc::clone(flag));
            }
        }
        interrupt
    }

    /// From now on [`Interrupt::exit_code`] is asked often.
    pub(crate) fn expect(&self) {
        self.set_ends_at_once([false; 3]);
    }

    /// From now on nobody asks: the next signal ends the process at once.
    pub(crate) fn no_longer_expect(&self) {
        self.set_ends_at_once([true; 3]);
    }

    /// From now on somebody types, and a Ctrl-C is a key among others. One that comes before the keys
    /// are read was meant for what ended just now, and changes nothing.
    pub(crate) fn expect_keys(&self) {
        self.take_ctrl_c();
        self.set_ends_at_once([false, true, true]);
    }

    fn set_ends_at_once(&self, values: [bool; 3]) {
        for (flag, value) in self.ends_at_once.iter().zip(values) {
            flag.store(value, Ordering::SeqCst);
        }
    }

    /// The exit code of the signal that has come, if one has.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        let mut signals = SIGNALS.iter().zip(&self.has_come);
        signals.find(|(_, has_come)| has_come.load(Ordering::SeqCst)).map(|((_, exit_code), _)| *exit_code)
    }

    /// Whether Ctrl-C has come. What it was to stop has stopped, so from now on it has not.
    pub(crate) fn take_ctrl_c(&self) -> bool {
        let [ctrl_c, ..] = &self.has_come;
        let has_come = ctrl_c.swap(false, Ordering::SeqCst);
        if has_come {
            self.expect();
        }
        has_come
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.exit_code().is_some()
    }

    /// What a listener answers: to go on, until a signal has come.
    pub(crate) fn flow(&self) -> ControlFlow<()> {
        if self.is_pending() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
