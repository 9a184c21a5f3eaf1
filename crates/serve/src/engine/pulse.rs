//! Whether the engine goes on: when it last began a pass, and whether it has ended.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Health;

/// A pass takes less on any machine that is of use.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// When the engine's heart last beat.
#[derive(Default)]
pub(super) struct Pulse(Mutex<State>);

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Resting,
    Working {
        since: Instant,
    },
    Ended,
}

impl Pulse {
    /// A pass begins.
    pub(super) fn beat(&self) {
        self.set(State::Working { since: Instant::now() });
    }

    /// There is nothing to do.
    pub(super) fn rest(&self) {
        self.set(State::Resting);
    }

    /// When what is returned is dropped, also by a panic, the engine has ended.
    pub(super) fn until_dropped(&self) -> impl Drop {
        End(self)
    }

    pub(super) fn health(&self) -> Health {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Ended => Health::Dead,
            State::Working { since } if since.elapsed() > STUCK_AFTER => Health::Stuck(since.elapsed()),
            State::Working { .. } | State::Resting => Health::Alive,
        }
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

struct End<'a>(&'a Pulse);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.set(State::Ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_tells_rest_from_death() {
        let pulse = Pulse::default();
        assert_eq!(pulse.health(), Health::Alive);
        let end = pulse.until_dropped();
        pulse.beat();
        assert_eq!(pulse.health(), Health::Alive);
        pulse.set(State::Working { since: Instant::now() - STUCK_AFTER * 2 });
        assert!(matches!(pulse.health(), Health::Stuck(_)));
        pulse.rest();
        assert_eq!(pulse.health(), Health::Alive);
        drop(end);
        assert_eq!(pulse.health(), Health::Dead);
    }
}
