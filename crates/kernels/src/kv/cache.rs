//! The key and value cache of one sequence: its pages, in the order of their positions.
//!
//! ```text
//! shared  shared  own  own  own
//! |------ len -------|           whole pages are shared, so only own ones are written
//! ```

use std::sync::Arc;

use super::{KvNumbers, KvPage, KvPages, KvShape, KvType};
use crate::pool::Pool;
use crate::scalar::KV_BLOCK;

/// Keys and values of one sequence, for every layer.
pub struct KvCache {
    pages: Arc<KvPages>,
    /// Where each block lies: the numbers of the shared pages, then of the own ones.
    table: Vec<usize>,
    /// Full pages that others may read.
    shared: Vec<Arc<KvPage>>,
    /// Pages that this sequence alone reads and writes.
    own: Vec<KvPage>,
    len: usize,
}

impl KvCache {
    /// An empty cache for at least `capacity` positions, with pages of its own.
    pub fn new(pool: &Pool, kv_type: KvType, shape: KvShape, capacity: usize) -> Self {
        let count = capacity.div_ceil(KV_BLOCK);
        let pages = KvPages::new(pool, kv_type, shape, count);
        pages.cache(Vec::new(), count).expect("KvCache::new: all pages are free")
    }

    /// A cache of these pages, the shared ones full and the own ones empty.
    pub(super) fn of(pages: Arc<KvPages>, shared: Vec<Arc<KvPage>>, own: Vec<KvPage>) -> Self {
        assert!(shared.iter().all(|page| Arc::ptr_eq(&page.pages, &pages)), "KvCache: pages of one kind");
        let numbers = shared.iter().map(|page| page.number).chain(own.iter().map(|page| page.number));
        KvCache { table: numbers.collect(), len: shared.len() * KV_BLOCK, shared, own, pages }
    }

    /// Positions that are filled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position is filled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Positions that fit.
    pub fn capacity(&self) -> usize {
        self.table.len() * KV_BLOCK
    }

    /// Declares the next `positions` filled, after a pass has written them in every layer.
    pub fn advance(&mut self, positions: usize) {
        assert!(positions <= self.capacity() - self.len, "KvCache::advance: the positions fit");
        self.len += positions;
    }

    /// Forgets all positions from `len` on.
    ///
    /// # Panics
    /// If one of them lies in a page that is shared.
    pub fn truncate(&mut self, len: usize) {
        assert!(len >= self.shared.len() * KV_BLOCK, "KvCache::truncate: what is shared stays");
        self.len = self.len.min(len);
    }

    /// Pages that are full and shared.
    pub fn shared_pages(&self) -> &[Arc<KvPage>] {
        &self.shared
    }

    /// Lets others read the pages that have become full.
    pub fn share_full_pages(&mut self) {
        let full = self.len / KV_BLOCK - self.shared.len();
        self.shared.extend(self.own.drain(..full).map(Arc::new));
    }

    /// Goes on with a page that holds the keys and values of the next 64 positions; an own one becomes free.
    ///
    /// # Panics
    /// If the page is of other pages, or the cache is full or does not end with a whole shared page.
    pub fn adopt(&mut self, page: Arc<KvPage>) {
        assert_eq!(self.len, self.shared.len() * KV_BLOCK, "KvCache::adopt: all before it is shared");
        assert!(!self.own.is_empty(), "KvCache::adopt: there is room");
        drop(self.own.remove(0));
        self.shared.push(Arc::clone(&page));
        self.len += KV_BLOCK;
        self.replace_shared_page(self.shared.len() - 1, page);
    }

    /// Holds `page`, which has the same keys and values, in place of the shared page of block `block`.
    ///
    /// # Panics
    /// If the page is of other pages, or there is no such shared page.
    pub fn replace_shared_page(&mut self, block: usize, page: Arc<KvPage>) {
        assert!(Arc::ptr_eq(&page.pages, &self.pages), "KvCache: pages of one kind");
        self.table[block] = page.number;
        self.shared[block] = page;
    }

    /// Bytes that attending to `positions` positions reads, in all layers.
    pub fn read_bytes(&self, positions: usize) -> usize {
        positions * self.shape().position_bytes(self.pages.kv_type)
    }

    pub(crate) fn shape(&self) -> KvShape {
        self.pages.shape
    }

    pub(crate) fn numbers(&self) -> &KvNumbers {
        &self.pages.numbers
    }

    /// Where block `block` of a layer and head lies, counted in blocks of one.
    pub(crate) fn area(&self, block: usize, layer: usize, kv_head: usize) -> usize {
        self.table[block] * self.shape().areas_a_page() + layer * self.shape().num_key_value_heads + kv_head
    }

    /// How many areas after block `block` of a head its next block lies; where there is none, as if it were beside it.
    pub(crate) fn areas_to_next(&self, block: usize) -> isize {
        let pages = self.table.get(block + 1).map_or(1, |next| *next as isize - self.table[block] as isize);
        pages * self.shape().areas_a_page() as isize
    }

    /// Whether block `block` may be written.
    pub(crate) fn is_own(&self, block: usize) -> bool {
        block >= self.shared.len()
    }
}

/// One sequence's part of a pass: its new tokens, and the cache they are appended to.
pub struct Sequence<'a> {
    /// The new tokens, at positions `cache.len()` and on.
    pub tokens: &'a [u32],
    /// What came before; the caller advances it when the pass is done.
    pub cache: &'a mut KvCache,
}

/// Which sequence row `row` of a pass belongs to, and its absolute position there.
pub(crate) fn locate(sequences: &[Sequence<'_>], mut row: usize) -> (usize, usize) {
    for (index, sequence) in sequences.iter().enumerate() {
        if row < sequence.tokens.len() {
            return (index, sequence.cache.len() + row);
        }
        row -= sequence.tokens.len();
    }
    unreachable!("locate: the row belongs to a sequence of the pass")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    fn pages(count: usize) -> Arc<KvPages> {
        let shape = KvShape { num_hidden_layers: 2, num_key_value_heads: 1, head_dim: 8 };
        KvPages::new(&Pool::new(Isa::scalar(), 1), KvType::F16, shape, count)
    }

    #[test]
    fn pages_are_free_again_when_nobody_holds_them() {
        let pages = pages(5);
        let mut first = pages.cache(Vec::new(), 3).unwrap();
        assert!(pages.cache(Vec::new(), 3).is_none(), "nothing is taken where too few are free");
        assert_eq!(pages.free(), 2);
        first.advance(2 * KV_BLOCK + 7);
        first.share_full_pages();
        let kept = Arc::clone(&first.shared_pages()[1]);
        assert_eq!(first.shared_pages().len(), 2);
        drop(first);
        assert_eq!(pages.free(), 4);
        drop(kept);
        assert_eq!(pages.free(), 5);
    }

    #[test]
    fn an_adopted_page_takes_the_place_of_an_own_one() {
        let pages = pages(5);
        let mut first = pages.cache(Vec::new(), 2).unwrap();
        first.advance(KV_BLOCK);
        first.share_full_pages();
        let mut second = pages.cache(Vec::new(), 2).unwrap();
        second.adopt(Arc::clone(&first.shared_pages()[0]));
        assert_eq!((second.len(), second.capacity(), pages.free()), (KV_BLOCK, 2 * KV_BLOCK, 2));
        assert_eq!(second.area(0, 1, 0), first.area(0, 1, 0));
        assert!(!second.is_own(0) && second.is_own(1));
        second.advance(3);
        second.truncate(KV_BLOCK);
        assert_eq!(second.len(), KV_BLOCK);
        assert_eq!(second.areas_to_next(0), second.area(1, 0, 0) as isize - second.area(0, 0, 0) as isize);
    }

    #[test]
    #[should_panic(expected = "what is shared stays")]
    fn a_shared_page_is_not_forgotten() {
        let mut cache = pages(1).cache(Vec::new(), 1).unwrap();
        cache.advance(KV_BLOCK);
        cache.share_full_pages();
        cache.truncate(3);
    }
}
