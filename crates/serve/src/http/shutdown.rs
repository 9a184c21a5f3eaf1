//! How a server ends: by a signal, after what is in work; by a second one, at once; or because its engine has.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;

use super::front::{Front, State};
use crate::engine::Engine;

/// How often the engine is asked whether it lives.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// How long those who wait still hear that the engine has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A signal that ends a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// `kill`, or a supervisor.
    Terminate,
    /// The terminal was closed.
    HangUp,
}

/// Listens to signals, from when it is made.
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
}

impl Signals {
    /// Listens from now on. It is called inside a runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen() -> io::Result<Self> {
        Ok(Signals {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hang_up.recv() => Signal::HangUp,
        }
    }
}

/// How a server has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By a signal, and every request was answered to its end.
    Drained,
    /// By a signal, and so many requests were not done in time.
    Cut(usize),
    /// By a second signal.
    AtOnce(Signal),
    /// The engine has ended by itself.
    EngineDied,
}

impl Ended {
    /// Whether answers were given to their end.
    pub(super) fn is_orderly(self) -> bool {
        !matches!(self, Ended::AtOnce(_))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Drained => write!(f, "every request was answered"),
            Ended::Cut(1) => write!(f, "1 request was not done in time and was cut off"),
            Ended::Cut(requests) => write!(f, "{requests} requests were not done in time and were cut off"),
            Ended::AtOnce(_) => write!(f, "a second signal ended the server at once"),
            Ended::EngineDied => write!(f, "the engine has stopped"),
        }
    }
}

/// Waits for the end. With the first signal nothing new is taken, and connections hear of it by `drain`.
pub(super) async fn until_end(
    front: &Arc<Front>,
    signals: &mut Signals,
    drain: &watch::Sender<bool>,
) -> Ended {
    tokio::select! {
        signal = signals.next() => tracing::info!(?signal, in_work = front.in_work(), "draining"),
        () = engine_death(front) => return Ended::EngineDied,
    }
    front.drain();
    drain.send_replace(true);
    let drain_time = front.limits.drain_time;
    let ended = tokio::select! {
        () = front.none_in_work() => Ended::Drained,
        () = tokio::time::sleep(drain_time) => Ended::Cut(front.in_work()),
        signal = signals.next() => return Ended::AtOnce(signal),
        () = engine_death(front) => return Ended::EngineDied,
    };
    front.engine().into_iter().for_each(Engine::stop);
    if let Ended::Cut(_) = ended {
        // Streams still say why they end.
        let _ = tokio::time::timeout(LAST_WORDS, front.none_in_work()).await;
    }
    ended
}

/// Waits until the engine has ended, and then until those who wait for it have heard.
async fn engine_death(front: &Front) {
    while front.state() != State::Dead {
        tokio::time::sleep(HEARTBEAT).await;
    }
    tracing::error!("the engine has stopped");
    tokio::time::sleep(LAST_WORDS).await;
}
