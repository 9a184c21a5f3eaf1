//! The pages of keys and values that sequences share among them: who holds which.
//!
//! A page is written by one cache until it is full; then it may be shared, and nobody writes it. It is free again
//! when the last who holds it lets it go. So no two sequences ever write one page.

use std::sync::{Arc, Mutex, PoisonError};

use super::{KvArrays, KvCache, KvNumbers, KvShape, KvType};
use crate::pool::Pool;

/// Memory for keys and values, in pages of 64 positions of all layers.
pub struct KvPages {
    pub(super) numbers: KvNumbers,
    pub(super) kv_type: KvType,
    pub(super) shape: KvShape,
    total: usize,
    /// The pages that nobody holds, the next to be taken last: those used before come first, so that no more memory
    /// is touched than was needed at once.
    free: Mutex<Vec<usize>>,
}

impl KvPages {
    /// So many empty pages.
    pub fn new(pool: &Pool, kv_type: KvType, shape: KvShape, pages: usize) -> Arc<Self> {
        let (areas, head_dim) = (pages * shape.areas_a_page(), shape.head_dim);
        let numbers = match kv_type {
            KvType::F32 => KvNumbers::F32(KvArrays::zeroed(pool, areas, head_dim)),
            KvType::F16 => KvNumbers::F16(KvArrays::zeroed(pool, areas, head_dim)),
            KvType::Int8 => KvNumbers::Int8(KvArrays::zeroed(pool, areas, head_dim)),
        };
        let free = Mutex::new((0..pages).rev().collect());
        Arc::new(KvPages { numbers, kv_type, shape, total: pages, free })
    }

    /// All pages, held or not.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Pages that nobody holds.
    pub fn free(&self) -> usize {
        self.lock_free().len()
    }

    /// A cache that begins with full pages of a sequence that began alike, with `own` empty ones to go on with; none,
    /// if fewer are free.
    ///
    /// # Panics
    /// If a shared page is of other pages.
    pub fn cache(self: &Arc<Self>, shared: Vec<Arc<KvPage>>, own: usize) -> Option<KvCache> {
        let mut free = self.lock_free();
        let left = free.len().checked_sub(own)?;
        let own = free.drain(left..).rev().map(|number| KvPage { number, pages: Arc::clone(self) }).collect();
        drop(free);
        Some(KvCache::of(Arc::clone(self), shared, own))
    }

    fn lock_free(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to a page, which is free again when this is dropped.
pub struct KvPage {
    pub(super) number: usize,
    pub(super) pages: Arc<KvPages>,
}

impl Drop for KvPage {
    fn drop(&mut self) {
        self.pages.lock_free().push(self.number);
    }
}
