//! The worker pool: a team of threads runs one function together and meets at barriers.
//!
//! ```text
//! run(f):  publish f ─► every worker calls f(&mut Worker) ─► all have returned
//!          f:  operation · operation ─ barrier ─ operation ─ barrier …
//! ```
//!
//! A *phase* is what lies between two barriers. Inside an operation each worker claims the tiles of
//! its own share, then what others have left. How many take part is for `team.rs`. Waiting spins for a bounded time
//! and then parks. A pool of one spawns nothing. What the workers share are [`Buffer`]s
//! (`buffer.rs`). It knows no operation.
#![expect(unsafe_code, reason = "the function that all workers run is borrowed from the caller's stack")]

use std::cell::{Cell, UnsafeCell};
use std::hint::{black_box, spin_loop};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use crate::isa::Isa;
use crate::team::{Account, Team};

/// Turns of the spin loop before a waiting worker parks: 50 to 70 µs at 2.6 to 4 GHz, where one
/// takes some 65 cycles (AMD Zen 5). On an idle machine phases of a decode step wait for less.
const SPINS_BEFORE_PARK: u32 = 4_000;

/// Operations of one run; a buffer's tag has so many bits for the number of one.
const MAX_OPERATIONS: u32 = u16::MAX as u32;

/// Bits for the number of workers that take part in a job.
const TEAM_BITS: u32 = 16;
/// All workers, however many there are.
const EVERYONE: u64 = (1 << TEAM_BITS) - 1;

type Job = *const (dyn Fn(&mut Worker<'_>) + Sync);

/// One worker's share of the tiles of the operation that it was last claimed in: the number of the
/// operation, and how many tiles are taken from the front (by the worker) and from the back (by
/// others), in 16, 24 and 24 bits. A cache line of its own.
#[repr(align(128))]
struct Share(AtomicU64);

/// Tiles of one share: what its counters hold.
const MAX_SHARE: usize = (1 << 24) - 1;

impl Share {
    const fn new() -> Self {
        Share(AtomicU64::new(0))
    }

    /// Takes one of `len` tiles of `operation`, the first or the last that is left.
    ///
    /// No reset and no barrier lie between operations: a worker that still claims from an earlier
    /// operation sees a later number, and knows that its tiles are all taken.
    fn take(&self, operation: u32, len: usize, is_own: bool) -> Option<usize> {
        let mut current = self.0.load(Ordering::Relaxed);
        loop {
            let [front, back] = match ((current >> 48) as u32).cmp(&operation) {
                std::cmp::Ordering::Greater => return None,
                std::cmp::Ordering::Equal => [current >> 24, current].map(|n| n as usize & MAX_SHARE),
                std::cmp::Ordering::Less => [0, 0],
            };
            if front + back >= len {
                return None;
            }
            let (tile, [front, back]) =
                if is_own { (front, [front + 1, back]) } else { (len - 1 - back, [front, back + 1]) };
            let taken = u64::from(operation) << 48 | (front as u64) << 24 | back as u64;
            match self.0.compare_exchange_weak(current, taken, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(tile),
                Err(now) => current = now,
            }
        }
    }
}

/// What the workers of one pool share.
pub(crate) struct Shared {
    isa: Isa,
    threads: usize,
    /// How many jobs there were, and how many workers take part in the last, in the low
    /// [`TEAM_BITS`]. A change starts those who wait. The job is written before the change.
    start: AtomicU64,
    job: UnsafeCell<Option<Job>>,
    finished: AtomicUsize,
    /// Counts phases over the life of the pool; never reused, so that buffers can remember one.
    phase: AtomicU64,
    arrived: AtomicUsize,
    /// What is claimed of each worker's share of the tiles.
    claims: Box<[Share]>,
    panicked: AtomicBool,
    shutdown: AtomicBool,
    lock: Mutex<()>,
    /// Where those sleep who take part in a run.
    inside: Sleepers,
    /// Where those sleep who wait for a run: no barrier wakes them.
    outside: Sleepers,
}

/// Threads that have parked.
#[derive(Default)]
struct Sleepers {
    count: AtomicU32,
    wake: Condvar,
}

// SAFETY: all fields but `job` are `Sync`; `job` is written only while every worker waits, and
// read only by those who take part, after the `start` that published it was seen.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is used only while the caller of `run` keeps the job alive.
unsafe impl Send for Shared {}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits among `sleepers`, and does something small as long as it spins.
    fn wait_until(&self, sleepers: &Sleepers, is_done: impl Fn() -> bool, mut meanwhile: impl FnMut()) {
        for _ in 0..SPINS_BEFORE_PARK {
            if is_done() {
                return;
            }
            meanwhile();
        }
        sleepers.count.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock();
        while !is_done() {
            guard = sleepers.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        sleepers.count.fetch_sub(1, Ordering::SeqCst);
    }

    /// Publishes a job, or the end, for workers `0 .. team`.
    fn start(&self, team: u64) {
        let jobs = self.start.load(Ordering::SeqCst) >> TEAM_BITS;
        self.start.store((jobs + 1) << TEAM_BITS | team, Ordering::SeqCst);
        if team > 1 {
            self.notify(&self.outside);
        }
    }

    /// Wakes whoever parked. Call it after the change that they wait for.
    fn notify(&self, sleepers: &Sleepers) {
        if sleepers.count.load(Ordering::SeqCst) > 0 {
            drop(self.lock());
            sleepers.wake.notify_all();
        }
    }

    /// Runs the published job as worker `index`, keeping a panic until all have finished.
    fn take_part(
        &self,
        index: usize,
        team: usize,
        job: &(dyn Fn(&mut Worker<'_>) + Sync),
    ) -> std::thread::Result<()> {
        let phase = self.phase.load(Ordering::SeqCst);
        let mut worker = Worker { shared: self, index, team, phase, operation: Cell::new(0) };
        let result = catch_unwind(AssertUnwindSafe(|| {
            assert_float_environment();
            job(&mut worker);
        }));
        if result.is_err() {
            self.panicked.store(true, Ordering::SeqCst);
        }
        self.finished.fetch_add(1, Ordering::SeqCst);
        self.notify(&self.inside);
        result
    }
}

/// A fixed set of threads that run one function together.
///
/// # Examples
/// ```
/// use tercet_kernels::{Buffer, Isa, Pool, ops};
///
/// let pool = Pool::new(Isa::best(), 2);
/// let mut x = Buffer::from_slice(&pool, &[1.0, 2.0]);
/// let y = Buffer::from_slice(&pool, &[10.0, 20.0]);
/// pool.run(|worker| ops::add_assign(worker, &x, &y, 1, 2));
/// assert_eq!(x.as_mut_slice(), [11.0, 22.0]);
/// ```
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    accounts: Vec<Account>,
    /// Held by a run.
    team: Mutex<Team>,
}

impl Pool {
    /// Starts a pool: the caller's thread and `threads - 1` others.
    ///
    /// # Panics
    /// If `threads` is 0, or the system cannot start a thread.
    pub fn new(isa: Isa, threads: usize) -> Pool {
        assert!(threads > 0 && threads as u64 <= EVERYONE, "Pool::new: 1 to {EVERYONE} threads");
        let shared = Arc::new(Shared {
            isa,
            threads,
            start: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            finished: AtomicUsize::new(0),
            phase: AtomicU64::new(1),
            arrived: AtomicUsize::new(0),
            claims: (0..threads).map(|_| Share::new()).collect(),
            panicked: AtomicBool::new(false),
            shutdown: AtomicBool::new(false),
            lock: Mutex::new(()),
            inside: Sleepers::default(),
            outside: Sleepers::default(),
        });
        let (sender, accounts) = mpsc::channel();
        let handles = (1..threads)
            .map(|index| {
                let (shared, sender) = (Arc::clone(&shared), sender.clone());
                std::thread::Builder::new()
                    .name(format!("tercet-{index}"))
                    .spawn(move || {
                        // Nobody listens only where the pool could not be made.
                        let _ = sender.send(Account::of_this_thread());
                        serve_jobs(&shared, index);
                    })
                    .expect("Pool::new: the system starts a thread")
            })
            .collect();
        let accounts = accounts.iter().take(threads - 1).collect();
        let team = Mutex::new(Team::new(threads));
        Pool { shared, threads: handles, accounts, team }
    }

    /// Has all threads take part in every run from now on, for measuring what so many can do.
    pub fn keep_whole_team(mut self) -> Pool {
        *self.team.get_mut().unwrap_or_else(PoisonError::into_inner) = Team::whole(self.shared.threads);
        self
    }

    /// The threads this process may use: its affinity and cgroup quota are respected.
    pub fn default_threads() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// How many workers take part in a run at most.
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// The instruction set that the workers use.
    pub fn isa(&self) -> Isa {
        self.shared.isa
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Calls `f` on the workers at once and returns when all have returned.
    ///
    /// While other processes take processors away, fewer than [`threads`](Self::threads) take part,
    /// see `team.rs`. Every worker must call the same operations in the same order with the same arguments, and
    /// pass the same barriers.
    ///
    /// # Panics
    /// If `f` panics on any worker; the others are freed from their barriers first. A job must not
    /// start another on the same pool: it would wait for itself.
    pub fn run<F: Fn(&mut Worker<'_>) + Sync>(&self, f: F) {
        let mut team = self.team.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = team.review(&self.accounts);
        let shared = &*self.shared;
        let job: &(dyn Fn(&mut Worker<'_>) + Sync) = &f;
        shared.arrived.store(0, Ordering::SeqCst);
        shared.finished.store(0, Ordering::SeqCst);
        shared.claims.iter().for_each(|share| share.0.store(0, Ordering::SeqCst));
        shared.panicked.store(false, Ordering::SeqCst);
        shared.phase.fetch_add(1, Ordering::SeqCst);
        // SAFETY: only the lifetime is changed; `f` outlives every use, because this function
        // returns only when all workers have finished with it.
        let erased = unsafe {
            std::mem::transmute::<&(dyn Fn(&mut Worker<'_>) + Sync), &'static (dyn Fn(&mut Worker<'_>) + Sync)>(
                job,
            )
        };
        // SAFETY: every other thread waits for the next `start`, so nobody reads it now.
        unsafe { *shared.job.get() = Some(std::ptr::from_ref(erased)) };
        shared.start(workers as u64);
        let own = shared.take_part(0, workers, job);
        shared.wait_until(&shared.inside, || shared.finished.load(Ordering::SeqCst) == workers, spin_loop);
        match own {
            Err(panic) => resume_unwind(panic),
            Ok(()) => assert!(!shared.panicked.load(Ordering::SeqCst), "Pool::run: a worker panicked"),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, Ordering::SeqCst);
        self.shared.start(EVERYONE);
        for thread in self.threads.drain(..) {
            // A worker's panic was already reported by the `run` it happened in.
            let _ = thread.join();
        }
    }
}

fn serve_jobs(shared: &Shared, index: usize) {
    let mut seen = 0;
    loop {
        let start = || shared.start.load(Ordering::SeqCst);
        let is_called = |start: u64| start >> TEAM_BITS != seen && (start & EVERYONE) > index as u64;
        shared.wait_until(&shared.outside, || is_called(start()), spin_loop);
        // It does not change before this worker has finished.
        let start = start();
        seen = start >> TEAM_BITS;
        if shared.shutdown.load(Ordering::SeqCst) {
            return;
        }
        // SAFETY: the caller of `run` wrote it before the `start` just seen, and writes the next
        // one only after this worker, which takes part, has counted itself as finished.
        let job = unsafe { *shared.job.get() }.expect("a start comes with a job");
        // SAFETY: the caller of `run` keeps the function alive until all have finished.
        let job = unsafe { &*job };
        // The panic itself is passed on by `run`, which sees the flag.
        let _ = shared.take_part(index, (start & EVERYONE) as usize, job);
    }
}

/// Bit-identity rests on the default rounding and on subnormal numbers being kept.
fn assert_float_environment() {
    let smallest_normal = black_box(f32::MIN_POSITIVE);
    assert!(smallest_normal * 0.5 > 0.0, "this thread flushes subnormal numbers to zero");
    let half_an_ulp = black_box(f32::EPSILON / 2.0);
    assert!(
        1.0 + half_an_ulp == 1.0 && -1.0 - half_an_ulp == -1.0,
        "this thread does not round to the nearest even number"
    );
}

/// One thread's part in a [`Pool::run`].
pub struct Worker<'pool> {
    shared: &'pool Shared,
    index: usize,
    team: usize,
    phase: u64,
    operation: Cell<u32>,
}

impl Worker<'_> {
    /// Its number, from 0 (the caller's thread) up to [`Worker::threads`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many workers run together.
    pub fn threads(&self) -> usize {
        self.team
    }

    /// The instruction set of the pool.
    pub fn isa(&self) -> Isa {
        self.shared.isa
    }

    pub(crate) fn phase(&self) -> u64 {
        self.phase
    }

    pub(crate) fn shared(&self) -> &Shared {
        self.shared
    }

    /// Waits until every worker has come here. What they wrote before is then visible to all.
    ///
    /// It takes `&mut self`, so that no reference into a [`Buffer`](crate::Buffer) outlives the
    /// phase in which it was read.
    ///
    /// # Panics
    /// If another worker has panicked, so that nobody waits for ever.
    pub fn barrier(&mut self) {
        self.barrier_while(spin_loop);
    }

    /// A [`barrier`](Self::barrier) that does something small, again and again, as long as it spins.
    pub(crate) fn barrier_while(&mut self, meanwhile: impl FnMut()) {
        let shared = self.shared;
        let phase = self.phase;
        if shared.arrived.fetch_add(1, Ordering::SeqCst) + 1 == self.team {
            shared.arrived.store(0, Ordering::SeqCst);
            shared.phase.store(phase + 1, Ordering::SeqCst);
            shared.notify(&shared.inside);
        } else {
            let has_passed = || shared.phase.load(Ordering::SeqCst) != phase;
            shared.wait_until(
                &shared.inside,
                || has_passed() || shared.panicked.load(Ordering::SeqCst),
                meanwhile,
            );
            assert!(has_passed(), "Worker::barrier: another worker panicked");
        }
        self.phase = phase + 1;
    }

    /// Begins an operation and returns its number: the same on every worker.
    pub(crate) fn begin_operation(&self) -> u32 {
        let operation = self.operation.get() + 1;
        assert!(operation <= MAX_OPERATIONS, "Worker: a run has at most {MAX_OPERATIONS} operations");
        self.operation.set(operation);
        operation
    }

    /// The next of `tiles` tiles of `operation` that nobody has claimed, or `None` when all are.
    ///
    /// First the worker's own [share](Self::share), ascending; then what others have left, from
    /// the back of theirs.
    pub(crate) fn claim(&self, operation: u32, tiles: usize) -> Option<usize> {
        let threads = self.threads();
        for owner in (self.index..threads).chain(0..self.index) {
            let share = self.share(owner, tiles);
            assert!(share.len() <= MAX_SHARE, "Worker::claim: at most {MAX_SHARE} tiles a worker");
            let is_own = owner == self.index;
            if let Some(tile) = self.shared.claims[owner].take(operation, share.len(), is_own) {
                return Some(share.start + tile);
            }
        }
        None
    }

    /// The tiles that worker `owner` claims first: as many as every other, side by side.
    pub(crate) fn share(&self, owner: usize, tiles: usize) -> Range<usize> {
        let first = |owner: usize| (tiles * owner).div_ceil(self.threads());
        first(owner)..first(owner + 1)
    }

    /// The worker whose share tile `tile` of `tiles` belongs to.
    pub(crate) fn owner(&self, tile: usize, tiles: usize) -> usize {
        tile * self.threads() / tiles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(threads: usize) -> Vec<u32> {
        let pool = Pool::new(Isa::scalar(), threads);
        let taken: Vec<AtomicU32> = (0..1000).map(|_| AtomicU32::new(0)).collect();
        for _ in 0..20 {
            pool.run(|worker| {
                for _ in 0..5 {
                    let operation = worker.begin_operation();
                    while let Some(tile) = worker.claim(operation, 1000) {
                        taken[tile].fetch_add(1, Ordering::Relaxed);
                    }
                }
                worker.barrier();
            });
        }
        taken.iter().map(|n| n.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn every_tile_is_claimed_once_an_operation() {
        for threads in [1, 2, 3, 7] {
            assert!(counts(threads).iter().all(|n| *n == 100), "{threads} threads");
        }
    }

    #[test]
    fn a_panic_on_one_worker_frees_the_others_and_reaches_the_caller() {
        let pool = Pool::new(Isa::scalar(), 3);
        for bad in 0..3 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(|worker| {
                    worker.barrier();
                    assert!(worker.index() != bad.min(worker.threads() - 1), "on purpose");
                    worker.barrier();
                });
            }));
            assert!(result.is_err());
        }
        let reached = AtomicU32::new(0);
        let expected = AtomicUsize::new(0);
        pool.run(|worker| {
            worker.barrier();
            expected.store(worker.threads(), Ordering::SeqCst);
            reached.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(reached.into_inner() as usize, expected.into_inner());
    }

    #[test]
    fn a_smaller_team_does_all_the_work() {
        let mut pool = Pool::new(Isa::scalar(), 3);
        for round in 0..300 {
            let size = [3, 1, 2, 2, 1, 3, 1][round % 7];
            *pool.team.get_mut().unwrap() = Team::new(size);
            let (workers, tiles) = (AtomicU32::new(0), AtomicU32::new(0));
            pool.run(|worker| {
                assert_eq!(worker.threads(), size);
                workers.fetch_add(1, Ordering::Relaxed);
                for _ in 0..2 {
                    let operation = worker.begin_operation();
                    while worker.claim(operation, 10).is_some() {
                        tiles.fetch_add(1, Ordering::Relaxed);
                    }
                    worker.barrier();
                }
            });
            assert_eq!((workers.into_inner() as usize, tiles.into_inner()), (size, 20));
        }
    }

    #[test]
    fn a_share_is_claimed_from_the_front_and_by_others_from_the_back() {
        let pool = Pool::new(Isa::scalar(), 2);
        *pool.team.lock().unwrap() = Team::new(1);
        pool.run(|worker| {
            let [mine, other] =
                [0, 1].map(|index| Worker { team: 2, index, operation: Cell::new(0), ..*worker });
            assert_eq!([0, 1].map(|owner| mine.share(owner, 5)), [0..3, 3..5]);
            let operation = mine.begin_operation();
            let claims =
                [&mine, &mine, &other, &other, &other, &mine].map(|worker| worker.claim(operation, 5));
            assert_eq!(claims, [Some(0), Some(1), Some(3), Some(4), Some(2), None]);
            assert_eq!(other.claim(operation - 1, 5), None, "an earlier operation has nothing left");
        });
    }

    #[test]
    fn a_parked_pool_wakes_up() {
        let pool = Pool::new(Isa::scalar(), 2);
        let (reached, expected) = (AtomicU32::new(0), AtomicUsize::new(0));
        for _ in 0..3 {
            let started = std::time::Instant::now();
            while started.elapsed().as_millis() < 5 {
                std::thread::yield_now();
            }
            pool.run(|worker| {
                expected.fetch_add(usize::from(worker.index() == 0) * worker.threads(), Ordering::SeqCst);
                reached.fetch_add(1, Ordering::SeqCst);
            });
        }
        assert_eq!(reached.into_inner() as usize, expected.into_inner());
    }
}
