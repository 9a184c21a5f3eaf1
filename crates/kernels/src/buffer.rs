//! Memory that all workers of a pool share: read by all, or written in disjoint tiles by one
//! operation, never both in one phase.
//!
//! ```text
//! tag = phase << 17 | is_write << 16 | operation     the last use of the buffer
//! ```
//!
//! Each use is checked against the tag, so a missing barrier is a panic and not a race. What was
//! read cannot be kept over a barrier, because [`Worker::barrier`] borrows the worker exclusively.
#![expect(unsafe_code, reason = "workers write disjoint tiles of one allocation")]

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::aligned::{AlignedVec, Element};
use crate::pool::{Pool, Shared, Worker};

const WRITE: u64 = 1 << 16;
const OPERATION: u64 = WRITE - 1;

/// An array that the workers of one [`Pool`] share.
pub struct Buffer<T: Element> {
    values: AlignedVec<T>,
    tag: AtomicU64,
    pool: Arc<Shared>,
}

// SAFETY: inside a run the tag admits either readers or one operation's tile writers to a phase,
// and the tiles of an operation are disjoint; outside a run access needs `&mut self`.
unsafe impl<T: Element> Sync for Buffer<T> {}

impl<T: Element> Buffer<T> {
    /// `len` zeros, for the workers of `pool`.
    pub fn zeroed(pool: &Pool, len: usize) -> Self {
        Self::holding(pool, AlignedVec::zeroed(len))
    }

    /// `len` zeros for weights, which lie in huge pages where the system has them.
    pub(crate) fn zeroed_weights(pool: &Pool, len: usize) -> Self {
        Self::holding(pool, AlignedVec::zeroed_weights(len))
    }

    /// `len` zeros for a cache, which lies in huge pages where the system has them.
    pub(crate) fn zeroed_cache(pool: &Pool, len: usize) -> Self {
        Self::holding(pool, AlignedVec::zeroed_cache(len))
    }

    /// A copy of `values`, for the workers of `pool`.
    pub fn from_slice(pool: &Pool, values: &[T]) -> Self {
        Self::holding(pool, values.into())
    }

    pub(crate) fn holding(pool: &Pool, values: AlignedVec<T>) -> Self {
        Buffer { values, tag: AtomicU64::new(0), pool: Arc::clone(pool.shared()) }
    }

    /// `len` elements, element `i` being `f(i)`, for the workers of `pool`.
    pub fn from_fn(pool: &Pool, len: usize, f: impl Fn(usize) -> T) -> Self {
        let mut buffer = Self::zeroed(pool, len);
        for (i, value) in buffer.as_mut_slice().iter_mut().enumerate() {
            *value = f(i);
        }
        buffer
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The elements, outside a run.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// Gives the memory back for other uses.
    pub(crate) fn into_values(self) -> AlignedVec<T> {
        self.values
    }

    /// The elements, to read until the next barrier.
    ///
    /// # Panics
    /// If an operation writes the buffer in this phase: a barrier is missing.
    pub fn read<'a>(&'a self, worker: &'a Worker<'_>) -> &'a [T] {
        self.enter(worker, 0);
        &self.values
    }

    /// Begins writing in `operation`, in tiles that are claimed.
    ///
    /// A worker calls this once an operation and buffer, so that it holds one [`Writer`] of it: see
    /// [`write_each`](Self::write_each).
    ///
    /// # Panics
    /// If anything else uses the buffer in this phase: a barrier is missing.
    pub(crate) fn write<'a>(&'a self, worker: &'a Worker<'_>, operation: u32) -> Writer<'a, T> {
        self.enter(worker, WRITE | u64::from(operation) & OPERATION);
        Writer { start: self.values.as_ptr(), len: self.values.len(), _buffer: PhantomData }
    }

    /// Begins writing several buffers in `operation`, all of which are others.
    ///
    /// # Panics
    /// As [`write`](Self::write), and if one of them is another.
    pub(crate) fn write_each<'a, const N: usize>(
        buffers: [&'a Self; N],
        worker: &'a Worker<'_>,
        operation: u32,
    ) -> [Writer<'a, T>; N] {
        for (i, buffer) in buffers.iter().enumerate() {
            let is_other = |earlier: &&Self| !std::ptr::eq(*earlier, *buffer);
            assert!(buffers[..i].iter().all(is_other), "Buffer: what an operation writes is written once");
        }
        buffers.map(|buffer| buffer.write(worker, operation))
    }

    fn enter(&self, worker: &Worker<'_>, usage: u64) {
        assert!(
            std::ptr::eq(Arc::as_ptr(&self.pool), worker.shared()),
            "Buffer: it is used by the pool it was made for"
        );
        let wanted = worker.phase() << 17 | usage;
        let mut current = self.tag.load(Ordering::Acquire);
        while current != wanted {
            assert!(current >> 17 < worker.phase(), "Buffer: a barrier is missing before this use");
            match self.tag.compare_exchange_weak(current, wanted, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => current = now,
            }
        }
    }
}

/// The right of one worker to write its claimed tiles of a [`Buffer`] in one operation.
///
/// All workers must cut the buffer into the same tiles, and each may ask only for tiles it has
/// claimed: the operations in `ops` keep this.
pub(crate) struct Writer<'a, T: Element> {
    start: *mut T,
    len: usize,
    _buffer: PhantomData<&'a Buffer<T>>,
}

impl<T: Element> Writer<'_, T> {
    /// Elements `first .. first + len` of the buffer, which belong to a tile this worker claimed.
    pub(crate) fn slice(&mut self, first: usize, len: usize) -> &mut [T] {
        assert!(first <= self.len && len <= self.len - first, "Writer: the tile lies in the buffer");
        // SAFETY: the range lies in the buffer, as just checked.
        let start = unsafe { self.start.add(first) };
        // SAFETY: the elements are initialised and alive; no other worker touches them in this
        // phase, because the tag admits one operation and each of its tiles is claimed once, and
        // `&mut self` keeps this worker from asking for two at a time.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

impl<T: Element> Writer<'_, T> {
    /// At most `N` parts of `len` elements, each `stride` after the one before, all of tiles that this
    /// worker claimed; those from `count` on are empty.
    pub(crate) fn rows<const N: usize>(
        &mut self,
        first: usize,
        len: usize,
        stride: usize,
        count: usize,
    ) -> [&mut [T]; N] {
        let count = count.min(N);
        assert!(len <= stride || count <= 1, "Writer: the parts do not overlap");
        let last = first + count.saturating_sub(1) * stride;
        assert!(last <= self.len && len <= self.len - last, "Writer: the parts lie in the buffer");
        std::array::from_fn(|row| {
            if row >= count {
                return &mut [][..];
            }
            // SAFETY: the part lies in the buffer, as just checked, and is apart from the others.
            let start = unsafe { self.start.add(first + row * stride) };
            // SAFETY: as in `slice`; the parts do not overlap each other.
            unsafe { std::slice::from_raw_parts_mut(start, len) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn panics(f: impl Fn(&mut Worker<'_>, &Buffer<f32>) + Sync) -> bool {
        let pool = Pool::new(Isa::scalar(), 1);
        let buffer = Buffer::zeroed(&pool, 8);
        catch_unwind(AssertUnwindSafe(|| pool.run(|worker| f(worker, &buffer)))).is_err()
    }

    #[test]
    fn reading_what_was_written_needs_a_barrier() {
        assert!(panics(|worker, buffer| {
            let operation = worker.begin_operation();
            buffer.write(worker, operation).slice(0, 4)[0] = 1.0;
            assert!(!buffer.read(worker).is_empty());
        }));
        assert!(!panics(|worker, buffer| {
            let operation = worker.begin_operation();
            buffer.write(worker, operation).slice(0, 4)[0] = 1.0;
            worker.barrier();
            assert_eq!(buffer.read(worker)[0], 1.0);
        }));
    }

    #[test]
    fn two_operations_do_not_write_in_one_phase() {
        assert!(panics(|worker, buffer| {
            for _ in 0..2 {
                let operation = worker.begin_operation();
                buffer.write(worker, operation).slice(0, 4)[0] = 1.0;
            }
        }));
    }

    #[test]
    fn one_buffer_is_not_written_twice_in_an_operation() {
        assert!(panics(|worker, buffer| {
            let operation = worker.begin_operation();
            let _writers = Buffer::write_each([buffer, buffer], worker, operation);
        }));
        let pool = Pool::new(Isa::scalar(), 1);
        let [mut a, b] = [0; 2].map(|_| Buffer::<f32>::zeroed(&pool, 8));
        pool.run(|worker| {
            let operation = worker.begin_operation();
            let [mut a, mut b] = Buffer::write_each([&a, &b], worker, operation);
            (a.slice(0, 4)[0], b.slice(0, 4)[0]) = (1.0, 2.0);
        });
        assert_eq!(a.as_mut_slice()[0], 1.0);
    }

    #[test]
    fn a_tile_outside_the_buffer_is_refused() {
        assert!(panics(|worker, buffer| {
            let operation = worker.begin_operation();
            buffer.write(worker, operation).slice(6, 4)[0] = 1.0;
        }));
    }

    #[test]
    fn another_pool_is_refused() {
        let mine = Pool::new(Isa::scalar(), 1);
        let other = Pool::new(Isa::scalar(), 1);
        let buffer = Buffer::<f32>::zeroed(&mine, 4);
        let result =
            catch_unwind(AssertUnwindSafe(|| other.run(|worker| assert!(!buffer.read(worker).is_empty()))));
        assert!(result.is_err());
    }
}
