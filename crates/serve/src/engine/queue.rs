//! What waits for the engine: a bounded mailbox that wakes it.
//!
//! It knows nothing of what waits, and nothing of the order in which it is taken up. Who puts something in wakes who
//! waits; nothing is lost between (`tests/schedules`).

use std::sync::PoisonError;

use super::sync::{Condvar, Mutex, MutexGuard};

/// Groups of requests on their way to the engine.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    capacity: usize,
}

struct State<T> {
    new: Vec<Vec<T>>,
    /// Requests that were put in and have not left: those that the engine has seen and not begun too.
    waiting: usize,
    is_draining: bool,
    is_stopped: bool,
}

/// Why a group was not put in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PushError {
    /// So many wait.
    Full(usize),
    /// Nothing new is taken.
    Draining,
    /// Nothing is taken any more.
    Stopped,
}

impl<T> Queue<T> {
    /// Room for `capacity` requests; a group beyond it is taken where nothing waits.
    pub(super) fn new(capacity: usize) -> Self {
        let state = State { new: Vec::new(), waiting: 0, is_draining: false, is_stopped: false };
        Queue { state: Mutex::new(state), changed: Condvar::new(), capacity }
    }

    /// Puts in a group, whole or not at all.
    pub(super) fn push(&self, group: Vec<T>) -> Result<(), PushError> {
        self.put_in(group, true)
    }

    /// Puts in a further group of what was begun, whole or not at all: it is not new.
    pub(super) fn push_more(&self, group: Vec<T>) -> Result<(), PushError> {
        self.put_in(group, false)
    }

    fn put_in(&self, group: Vec<T>, is_new: bool) -> Result<(), PushError> {
        let mut state = self.lock();
        if state.is_stopped {
            return Err(PushError::Stopped);
        }
        if is_new && state.is_draining {
            return Err(PushError::Draining);
        }
        if state.waiting > 0 && state.waiting + group.len() > self.capacity {
            return Err(PushError::Full(state.waiting));
        }
        state.waiting += group.len();
        state.new.push(group);
        self.changed.notify_all();
        Ok(())
    }

    /// What was put in since the last call. With `is_idle` it waits until there is something; none, when the queue was
    /// stopped.
    pub(super) fn take(&self, is_idle: bool) -> Option<Vec<Vec<T>>> {
        let mut state = self.lock();
        while is_idle && state.new.is_empty() && !state.is_stopped {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (!state.is_stopped).then(|| std::mem::take(&mut state.new))
    }

    /// So many of those that were taken wait no longer.
    pub(super) fn leave(&self, count: usize) {
        self.lock().waiting -= count;
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Takes nothing new from now on.
    pub(super) fn drain(&self) {
        self.lock().is_draining = true;
    }

    /// Takes and gives nothing from now on, and wakes who waits. Returns what nobody had taken.
    pub(super) fn stop(&self) -> Vec<Vec<T>> {
        let mut state = self.lock();
        state.is_stopped = true;
        self.changed.notify_all();
        std::mem::take(&mut state.new)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
