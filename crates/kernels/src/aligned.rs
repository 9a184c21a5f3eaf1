//! Zeroed memory whose first byte lies on a cache line.
//!
//! It knows sizes and alignment, nothing of what the elements mean.
#![expect(unsafe_code, reason = "memory of a chosen alignment comes from the global allocator")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::slab::{self, ALONE_FROM_BYTES, SLAB_FROM_BYTES, SlabPart};

/// Alignment of every allocation: one cache line, and one AVX-512 register.
const ALIGNMENT_BYTES: usize = 64;

mod sealed {
    pub trait Sealed {}
}

/// A number that is valid when all its bytes are zero.
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {}

macro_rules! elements {
    ($($t:ty),*) => { $(impl sealed::Sealed for $t {} impl Element for $t {})* };
}
elements!(u8, i8, i32, u32, f32, half::f16, half::bf16);

/// A fixed-length array of zeroed, cache-line aligned elements.
pub struct AlignedVec<T: Element> {
    start: NonNull<T>,
    len: usize,
    /// What holds them, where they have no allocation of their own.
    slab: Option<SlabPart>,
}

impl<T: Element> AlignedVec<T> {
    /// Allocates `len` zeros.
    ///
    /// # Panics
    /// If the size in bytes overflows `isize`.
    pub fn zeroed(len: usize) -> Self {
        if len == 0 {
            return AlignedVec { start: NonNull::dangling(), len, slab: None };
        }
        let layout = Self::layout(len);
        // SAFETY: `len` is not 0 and no element type is empty, so the layout has a size.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start.cast::<T>()) else { handle_alloc_error(layout) };
        AlignedVec { start, len, slab: None }
    }

    /// As [`zeroed`](Self::zeroed), for weights: large arrays lie in huge pages where the system
    /// has them.
    pub(crate) fn zeroed_weights(len: usize) -> Self {
        let bytes = Self::layout(len).size();
        Self::in_slab(len, if bytes < SLAB_FROM_BYTES { None } else { slab::zeroed(bytes) })
    }

    /// As [`zeroed`](Self::zeroed), for a cache: a large one lies in huge pages where the system has them,
    /// and goes back to it when it is dropped.
    pub(crate) fn zeroed_cache(len: usize) -> Self {
        let bytes = Self::layout(len).size();
        Self::in_slab(len, if bytes < ALONE_FROM_BYTES { None } else { slab::zeroed_alone(bytes) })
    }

    fn in_slab(len: usize, part: Option<SlabPart>) -> Self {
        match part.and_then(|part| Some((NonNull::new(part.start.cast::<T>())?, part))) {
            Some((start, part)) => AlignedVec { start, len, slab: Some(part) },
            None => Self::zeroed(len),
        }
    }

    fn layout(len: usize) -> Layout {
        let bytes = len.checked_mul(size_of::<T>());
        bytes
            .and_then(|bytes| Layout::from_size_align(bytes, ALIGNMENT_BYTES).ok())
            .expect("AlignedVec: the size fits into the address space")
    }

    /// Where the elements lie. Writing through it needs the exclusivity that `&mut` would give.
    pub(crate) fn as_ptr(&self) -> *mut T {
        self.start.as_ptr()
    }
}

impl<T: Element> From<&[T]> for AlignedVec<T> {
    fn from(values: &[T]) -> Self {
        let mut copy = Self::zeroed(values.len());
        copy.copy_from_slice(values);
        copy
    }
}

impl<T: Element> Deref for AlignedVec<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `start` and `len` describe one live allocation (or none) of initialised
        // elements: zero bytes are a value of every `Element`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Element> DerefMut for AlignedVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Element> Drop for AlignedVec<T> {
    fn drop(&mut self) {
        if self.len > 0 && self.slab.is_none() {
            // SAFETY: it was allocated in `zeroed` with this very layout.
            unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.len)) }
        }
    }
}

// SAFETY: it owns its elements, as a `Vec` does, and they are plain numbers.
unsafe impl<T: Element> Send for AlignedVec<T> {}
// SAFETY: a shared reference gives nothing but shared references to plain numbers.
unsafe impl<T: Element> Sync for AlignedVec<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_zero_and_aligned_at_every_length() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let v = AlignedVec::<f32>::zeroed(len);
            assert_eq!(v.len(), len);
            assert!(v.iter().all(|x| *x == 0.0));
            assert!(len == 0 || v.as_ptr().addr().is_multiple_of(ALIGNMENT_BYTES));
        }
    }
}
