//! The worker pool: all threads run one function together and meet at barriers.
//!
//! ```text
//! run(f):  publish f ─► every worker calls f(&mut Worker) ─► all have returned
//!          f:  operation · operation ─ barrier ─ operation ─ barrier …
//! ```
//!
//! A *phase* is what lies between two barriers. Inside an operation the workers share its tiles
//! out by an atomic counter, so a busy core slows nobody else. Waiting spins for a bounded time
//! and then parks. A pool of one spawns nothing. What the workers share are [`Buffer`]s
//! (`buffer.rs`). It knows no operation.
#![expect(unsafe_code, reason = "the function that all workers run is borrowed from the caller's stack")]

use std::cell::{Cell, UnsafeCell};
use std::hint::{black_box, spin_loop};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::isa::Isa;

/// Turns of the spin loop before a waiting worker parks: 50 to 70 µs at 2.6 to 4 GHz, where one
/// takes some 65 cycles (AMD Zen 5). On an idle machine phases of a decode step wait for less.
const SPINS_BEFORE_PARK: u32 = 4_000;

/// Operations of one run; a buffer's tag has so many bits for the number of one.
const MAX_OPERATIONS: u32 = u16::MAX as u32;

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
    /// Counts jobs; a change starts the waiting threads. The job is written before the change.
    generation: AtomicU64,
    job: UnsafeCell<Option<Job>>,
    finished: AtomicUsize,
    /// Counts phases over the life of the pool; never reused, so that buffers can remember one.
    phase: AtomicU64,
    arrived: AtomicUsize,
    /// What is claimed of each worker's share of the tiles.
    claims: Box<[Share]>,
    panicked: AtomicBool,
    shutdown: AtomicBool,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
}

// SAFETY: all fields but `job` are `Sync`; `job` is written only while every worker waits, and
// read only after the `generation` that published it was seen.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is used only while the caller of `run` keeps the job alive.
unsafe impl Send for Shared {}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, and does something small as long as it spins.
    fn wait_until(&self, is_done: impl Fn() -> bool, mut meanwhile: impl FnMut()) {
        for _ in 0..SPINS_BEFORE_PARK {
            if is_done() {
                return;
            }
            meanwhile();
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock();
        while !is_done() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes whoever parked. Call it after the change that they wait for.
    fn notify(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock());
            self.wake.notify_all();
        }
    }

    /// Runs the published job as worker `index`, keeping a panic until all have finished.
    fn take_part(&self, index: usize, job: &(dyn Fn(&mut Worker<'_>) + Sync)) -> std::thread::Result<()> {
        let mut worker =
            Worker { shared: self, index, phase: self.phase.load(Ordering::SeqCst), operation: Cell::new(0) };
        let result = catch_unwind(AssertUnwindSafe(|| {
            assert_float_environment();
            job(&mut worker);
        }));
        if result.is_err() {
            self.panicked.store(true, Ordering::SeqCst);
        }
        self.finished.fetch_add(1, Ordering::SeqCst);
        self.notify();
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
    running: Mutex<()>,
}

impl Pool {
    /// Starts a pool: the caller's thread and `threads - 1` others.
    ///
    /// # Panics
    /// If `threads` is 0, or the system cannot start a thread.
    pub fn new(isa: Isa, threads: usize) -> Pool {
        assert!(threads > 0, "Pool::new: at least one thread");
        let shared = Arc::new(Shared {
            isa,
            threads,
            generation: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            finished: AtomicUsize::new(0),
            phase: AtomicU64::new(1),
            arrived: AtomicUsize::new(0),
            claims: (0..threads).map(|_| Share::new()).collect(),
            panicked: AtomicBool::new(false),
            shutdown: AtomicBool::new(false),
            sleepers: AtomicU32::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let threads = (1..threads)
            .map(|index| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("tercet-{index}"))
                    .spawn(move || serve_jobs(&shared, index))
                    .expect("Pool::new: the system starts a thread")
            })
            .collect();
        Pool { shared, threads, running: Mutex::new(()) }
    }

    /// The threads this process may use: its affinity and cgroup quota are respected.
    pub fn default_threads() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// How many workers take part in a run.
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

    /// Calls `f` on every worker at once and returns when all have returned.
    ///
    /// Every worker must call the same operations in the same order with the same arguments, and
    /// pass the same barriers.
    ///
    /// # Panics
    /// If `f` panics on any worker; the others are freed from their barriers first. A job must not
    /// start another on the same pool: it would wait for itself.
    pub fn run<F: Fn(&mut Worker<'_>) + Sync>(&self, f: F) {
        let _one_at_a_time = self.running.lock().unwrap_or_else(PoisonError::into_inner);
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
        // SAFETY: every other thread waits for the next `generation`, so nobody reads it now.
        unsafe { *shared.job.get() = Some(std::ptr::from_ref(erased)) };
        shared.generation.fetch_add(1, Ordering::SeqCst);
        shared.notify();
        let own = shared.take_part(0, job);
        shared.wait_until(|| shared.finished.load(Ordering::SeqCst) == shared.threads, spin_loop);
        match own {
            Err(panic) => resume_unwind(panic),
            Ok(()) => assert!(!shared.panicked.load(Ordering::SeqCst), "Pool::run: a worker panicked"),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, Ordering::SeqCst);
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
        self.shared.notify();
        for thread in self.threads.drain(..) {
            // A worker's panic was already reported by the `run` it happened in.
            let _ = thread.join();
        }
    }
}

fn serve_jobs(shared: &Shared, index: usize) {
    let mut seen = 0;
    loop {
        shared.wait_until(|| shared.generation.load(Ordering::SeqCst) != seen, spin_loop);
        seen += 1;
        if shared.shutdown.load(Ordering::SeqCst) {
            return;
        }
        // SAFETY: the caller of `run` wrote it before the `generation` just seen, and writes the
        // next one only after this worker has counted itself as finished.
        let job = unsafe { *shared.job.get() }.expect("a generation comes with a job");
        // SAFETY: the caller of `run` keeps the function alive until all have finished.
        let job = unsafe { &*job };
        // The panic itself is passed on by `run`, which sees the flag.
        let _ = shared.take_part(index, job);
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
        self.shared.threads
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
        if shared.arrived.fetch_add(1, Ordering::SeqCst) + 1 == shared.threads {
            shared.arrived.store(0, Ordering::SeqCst);
            shared.phase.store(phase + 1, Ordering::SeqCst);
            shared.notify();
        } else {
            let has_passed = || shared.phase.load(Ordering::SeqCst) != phase;
            shared.wait_until(|| has_passed() || shared.panicked.load(Ordering::SeqCst), meanwhile);
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
                    assert!(worker.index() != bad, "on purpose");
                    worker.barrier();
                });
            }));
            assert!(result.is_err());
        }
        let reached = AtomicU32::new(0);
        pool.run(|worker| {
            worker.barrier();
            reached.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(reached.into_inner(), 3);
    }

    #[test]
    fn a_parked_pool_wakes_up() {
        let pool = Pool::new(Isa::scalar(), 2);
        let reached = AtomicU32::new(0);
        for _ in 0..3 {
            let started = std::time::Instant::now();
            while started.elapsed().as_millis() < 5 {
                std::thread::yield_now();
            }
            pool.run(|_| {
                reached.fetch_add(1, Ordering::SeqCst);
            });
        }
        assert_eq!(reached.into_inner(), 6);
    }
}
