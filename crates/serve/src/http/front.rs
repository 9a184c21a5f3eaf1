//! What all requests share: keys, names, limits, and how the server is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::{Hosts, Keys, Origins};
use crate::engine::{Engine, Health};
use crate::limits::Limits;
use crate::metrics::Metrics;

/// What stands before the API.
pub struct Front {
    /// Who may come in.
    pub keys: Keys,
    /// The names that are ours.
    pub hosts: Hosts,
    /// The pages that may ask.
    pub origins: Origins,
    /// Limits of requests and connections.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    engine: OnceLock<Engine>,
    is_draining: AtomicBool,
    in_work: AtomicUsize,
    none_in_work: Notify,
}

/// How the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The model is not there yet.
    Loading,
    /// It works.
    Ready,
    /// It works, and takes nothing new.
    Draining,
    /// The engine stands still.
    Stuck,
    /// The engine has ended.
    Dead,
}

impl Front {
    /// A server whose model is not loaded yet.
    pub fn new(keys: Keys, hosts: Hosts, origins: Origins, limits: Limits, metrics: Arc<Metrics>) -> Self {
        Front {
            keys,
            hosts,
            origins,
            limits,
            metrics,
            engine: OnceLock::new(),
            is_draining: AtomicBool::new(false),
            in_work: AtomicUsize::new(0),
            none_in_work: Notify::new(),
        }
    }

    /// The model is loaded.
    pub fn loaded(&self, engine: Engine) {
        assert!(self.engine.set(engine).is_ok(), "Front::loaded: a model is loaded once");
        // A signal that came before found no engine to tell.
        if self.is_draining.load(Ordering::SeqCst) {
            self.drain();
        }
    }

    /// The engine, once it is there.
    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.engine.get()
    }

    /// How the server is.
    pub(crate) fn state(&self) -> State {
        let is_draining = self.is_draining.load(Ordering::SeqCst);
        match self.engine().map(Engine::health) {
            None if is_draining => State::Draining,
            None => State::Loading,
            Some(Health::Dead) => State::Dead,
            Some(Health::Stuck(_)) => State::Stuck,
            Some(Health::Alive) if is_draining => State::Draining,
            Some(Health::Alive) => State::Ready,
        }
    }

    /// Nothing new is taken from now on.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        if let Some(engine) = self.engine() {
            engine.drain();
        }
    }

    /// A request has come; it is in work until what is returned is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> InWork {
        self.in_work.fetch_add(1, Ordering::SeqCst);
        InWork { front: Arc::clone(self) }
    }

    /// Requests in work.
    pub(crate) fn in_work(&self) -> usize {
        self.in_work.load(Ordering::SeqCst)
    }

    /// Waits until no request is in work.
    pub(crate) async fn none_in_work(&self) {
        loop {
            // Asked for before the count is read, so that no end in between is missed.
            let none = self.none_in_work.notified();
            if self.in_work() == 0 {
                return;
            }
            none.await;
        }
    }
}

/// A request in work.
pub(crate) struct InWork {
    front: Arc<Front>,
}

impl Drop for InWork {
    fn drop(&mut self) {
        if self.front.in_work.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.front.none_in_work.notify_waiters();
        }
    }
}
