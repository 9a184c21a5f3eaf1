//! All connections: how many there may be, and which has to go when there are too many.
//!
//! ```text
//! opening ──head──> working ──last answer done──> idle ──bytes──> reading ──head──> working
//! ```
//!
//! Where there are as many as may be, a new one displaces the one that has shown no request for longest, and waits
//! while all are working. So connections that are opened and say nothing, however many, keep nobody out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::Limits;

/// A connection that has shown no request for so long may be displaced; before, its first bytes may be on their way.
const GRACE: Duration = Duration::from_millis(500);
/// How often a newcomer looks whether there is one.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// An open connection without a request is closed after this; clients keep theirs for less.
const IDLE_TIME: Duration = Duration::from_secs(90);

/// The connections that there are.
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    limit: usize,
    header_time: Duration,
    closed: Notify,
}

/// One of them.
pub(super) struct Connection {
    number: u64,
    phase: Mutex<Phase>,
    header_time: Duration,
    displaced: Notify,
}

/// What a connection does, and since when.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Its first request has not come yet.
    Opening(Instant),
    /// Requests are answered, so many.
    Working(usize),
    /// Nothing is asked.
    Idle(Instant),
    /// Another request has begun to come.
    Reading(Instant),
}

/// A place among the connections, free again when it is dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    pub(super) connection: Arc<Connection>,
}

/// A request of a connection, until its answer is done.
pub(super) struct Working {
    connection: Arc<Connection>,
}

impl Connections {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Connections {
            open: Mutex::default(),
            limit: limits.connections.max(1),
            header_time: limits.header_time,
            closed: Notify::new(),
        })
    }

    /// Makes place for a new connection, and waits for as long as there is none. Only one may wait.
    pub(super) async fn admit(self: &Arc<Self>, number: u64) -> Place {
        loop {
            let closed = self.closed.notified();
            if let Some(place) = self.try_admit(number, Instant::now()) {
                return place;
            }
            // Whether a connection has closed or only time has passed, the next look tells.
            let _ = tokio::time::timeout(LOOK_EVERY, closed).await;
        }
    }

    fn try_admit(self: &Arc<Self>, number: u64, now: Instant) -> Option<Place> {
        let mut open = lock(&self.open);
        if open.len() >= self.limit {
            let longest =
                open.values().filter_map(|connection| Some((connection.without_request()?, connection)));
            let (since, longest) = longest.min_by_key(|(since, connection)| (*since, connection.number))?;
            if now.saturating_duration_since(since) < GRACE {
                return None;
            }
            longest.displaced.notify_one();
            let number = longest.number;
            open.remove(&number);
        }
        let connection = Arc::new(Connection {
            number,
            phase: Mutex::new(Phase::Opening(now)),
            header_time: self.header_time,
            displaced: Notify::new(),
        });
        open.insert(number, Arc::clone(&connection));
        Some(Place { connections: Arc::clone(self), connection })
    }

    /// Waits until there is no connection.
    pub(super) async fn none_open(&self) {
        loop {
            let closed = self.closed.notified();
            if lock(&self.open).is_empty() {
                return;
            }
            closed.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.connections.open).remove(&self.connection.number);
        self.connections.closed.notify_waiters();
    }
}

impl Connection {
    /// Bytes have come from the client.
    pub(super) fn bytes_came(&self) {
        let mut phase = lock(&self.phase);
        if let Phase::Idle(_) = *phase {
            *phase = Phase::Reading(Instant::now());
        }
    }

    /// A request's head is whole.
    pub(super) fn request(self: &Arc<Self>) -> Working {
        let mut phase = lock(&self.phase);
        *phase = match *phase {
            Phase::Working(requests) => Phase::Working(requests + 1),
            Phase::Opening(_) | Phase::Idle(_) | Phase::Reading(_) => Phase::Working(1),
        };
        Working { connection: Arc::clone(self) }
    }

    /// Waits until the connection was displaced, or has taken too long for a request's head or for another request.
    pub(super) async fn overdue(&self) {
        const LONGEST_LOOK: Duration = Duration::from_secs(1);
        loop {
            let left = self.end().map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return;
            }
            // What the connection does may change meanwhile, so it is looked at again.
            let look = left.map_or(LONGEST_LOOK, |left| left.min(LONGEST_LOOK));
            if tokio::time::timeout(look, self.displaced.notified()).await.is_ok() {
                return;
            }
        }
    }

    /// When it is closed, if nothing changes; none while it works.
    fn end(&self) -> Option<Instant> {
        match *lock(&self.phase) {
            Phase::Opening(since) | Phase::Reading(since) => Some(since + self.header_time),
            Phase::Idle(since) => Some(since + IDLE_TIME),
            Phase::Working(_) => None,
        }
    }

    /// Since when it has had no whole request; none where it works on one.
    fn without_request(&self) -> Option<Instant> {
        match *lock(&self.phase) {
            Phase::Opening(since) | Phase::Idle(since) | Phase::Reading(since) => Some(since),
            Phase::Working(_) => None,
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut phase = lock(&self.connection.phase);
        *phase = match *phase {
            Phase::Working(requests @ 2..) => Phase::Working(requests - 1),
            _ => Phase::Idle(Instant::now()),
        };
    }
}

/// Nothing here panics while it holds a lock, so what it guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(limit: usize) -> Arc<Connections> {
        Connections::new(&Limits { connections: limit, ..Limits::default() })
    }

    #[test]
    fn a_newcomer_displaces_the_one_that_says_nothing_for_longest() {
        let connections = connections(3);
        let now = Instant::now();
        let at = |number: u64| now + number as u32 * Duration::from_millis(10);
        let places: Vec<_> =
            (0..3).map(|number| connections.try_admit(number, at(number)).unwrap()).collect();
        let working = places[0].connection.request();
        let _newcomer = connections.try_admit(3, at(2) + GRACE).unwrap();
        let open: Vec<bool> = (0..4).map(|number| lock(&connections.open).contains_key(&number)).collect();
        assert_eq!(open, [true, false, true, true], "0 works; 1 is the oldest of those that do not");
        drop(working);
    }

    #[test]
    fn a_newcomer_waits_while_all_are_working_or_fresh() {
        let connections = connections(1);
        let now = Instant::now();
        let place = connections.try_admit(0, now).unwrap();
        assert!(connections.try_admit(1, now + GRACE / 2).is_none(), "its first bytes may be on their way");
        let working = place.connection.request();
        assert!(connections.try_admit(1, now + 100 * GRACE).is_none(), "the only place is at work");
        drop(working);
        let newcomer = connections.try_admit(1, now + 100 * GRACE);
        // The one that was displaced takes no other's place with it when it ends.
        drop(place);
        assert_eq!(lock(&connections.open).len(), 1);
        assert!(newcomer.is_some());
    }

    #[test]
    fn a_head_that_does_not_end_and_long_silence_are_overdue() {
        let connections = connections(8);
        let now = Instant::now();
        let header_time = connections.header_time;
        let place = connections.try_admit(0, now).unwrap();
        let connection = &place.connection;
        assert_eq!(connection.end(), Some(now + header_time));
        let (first, second) = (connection.request(), connection.request());
        drop(first);
        assert_eq!(connection.end(), None, "the second is not answered yet");
        drop(second);
        assert!(connection.end().unwrap() >= now + IDLE_TIME, "it is idle, which it may be for longer");
        connection.bytes_came();
        let end = connection.end().unwrap();
        assert!((now + header_time..now + IDLE_TIME).contains(&end), "the next request has begun to come");
        connection.bytes_came();
        assert_eq!(connection.end().unwrap(), end, "a head has its time however it trickles in");
    }

    #[tokio::test]
    async fn a_place_that_is_left_is_free() {
        let connections = connections(1);
        drop(connections.admit(0).await);
        let now = Instant::now();
        assert!(connections.try_admit(1, now).is_some());
        connections.none_open().await;
    }
}
