//! Where the time of a session's passes goes, by kind of work, as the first worker sees it.
//!
//! A phase ends for all workers together, so the first one's clock is that of the pass. Without a
//! profile no clock is read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tercet_kernels::Worker;

/// Kinds of work that are told apart.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// Products with weights, and the quantization of their input.
    Products,
    /// Attention over the cache.
    Attention,
}

/// Time of a session's passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkTimes {
    /// Products with weights, and the quantization of their input.
    pub products: Duration,
    /// Attention over the cache.
    pub attention: Duration,
    /// All of the passes.
    pub all: Duration,
}

/// Clocks of a session, in nanoseconds.
#[derive(Default)]
pub(super) struct Profile {
    work: [AtomicU64; 2],
    all: AtomicU64,
}

impl Profile {
    pub(super) fn add_pass(&self, time: Duration) {
        add(&self.all, time);
    }

    pub(super) fn times(&self) -> WorkTimes {
        let time = |clock: &AtomicU64| Duration::from_nanos(clock.load(Ordering::Relaxed));
        WorkTimes {
            products: time(&self.work[Work::Products as usize]),
            attention: time(&self.work[Work::Attention as usize]),
            all: time(&self.all),
        }
    }
}

/// Does some work, and adds its time where there is a profile.
pub(super) fn timed(
    profile: Option<&Profile>,
    work: Work,
    worker: &mut Worker<'_>,
    f: impl FnOnce(&mut Worker<'_>),
) {
    let Some(profile) = profile.filter(|_| worker.index() == 0) else { return f(worker) };
    let started = Instant::now();
    f(worker);
    add(&profile.work[work as usize], started.elapsed());
}

fn add(clock: &AtomicU64, time: Duration) {
    clock.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}
