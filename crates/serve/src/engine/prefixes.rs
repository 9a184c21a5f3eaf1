//! Beginnings that were computed before: a tree of full pages, by the tokens that they hold.
//!
//! ```text
//! root ── 64 tokens ── 64 tokens ── …       a node is a page; the way to it is all tokens before it
//!      └─ 64 tokens
//! ```
//!
//! A page that no sequence holds may be dropped, the one that was used longest ago first, and none before those that
//! go on from it. Who holds a place holds the way to it; so what is held is counted as it changes, and nobody walks
//! the tree. It knows tokens and pages, no requests.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tercet_kernels::{KV_BLOCK, KvPage};

/// The tokens of a page.
pub(super) type Block = [u32; KV_BLOCK];

/// A place in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(u64);

/// Where every sequence begins.
pub(super) const ROOT: Place = Place(0);

/// What may be shared.
#[derive(Default)]
pub(super) struct Prefixes {
    places: HashMap<(Place, Block), Place>,
    nodes: HashMap<Place, Node>,
    /// Nodes that are held.
    held: usize,
    /// Nodes that may be dropped next, by when they were used: no one holds them or goes on from them.
    bare: BTreeSet<(u64, Place)>,
    /// Counts uses, for which was longest ago.
    clock: u64,
    last: u64,
}

struct Node {
    parent: Place,
    block: Block,
    page: Arc<KvPage>,
    children: usize,
    /// Sequences whose place this is, and children that are held.
    holders: usize,
    used: u64,
}

impl Prefixes {
    /// The page that holds `block` after `place`, if there is one.
    pub(super) fn find(&mut self, place: Place, block: &Block) -> Option<(Place, Arc<KvPage>)> {
        let next = *self.places.get(&(place, *block))?;
        self.clock += 1;
        let node = self.nodes.get_mut(&next)?;
        if self.bare.remove(&(node.used, next)) {
            self.bare.insert((self.clock, next));
        }
        node.used = self.clock;
        Some((next, Arc::clone(&node.page)))
    }

    /// Keeps a page that holds `block` after `place`; where there is one already, returns that in its place.
    pub(super) fn insert(&mut self, place: Place, block: &Block, page: &Arc<KvPage>) -> (Place, Arc<KvPage>) {
        if let Some(found) = self.find(place, block) {
            return found;
        }
        self.last += 1;
        self.clock += 1;
        let new = Place(self.last);
        let node = Node {
            parent: place,
            block: *block,
            page: Arc::clone(page),
            children: 0,
            holders: 0,
            used: self.clock,
        };
        self.places.insert((place, *block), new);
        self.nodes.insert(new, node);
        self.bare.insert((self.clock, new));
        if let Some(parent) = self.nodes.get_mut(&place) {
            parent.children += 1;
            self.bare.remove(&(parent.used, place));
        }
        (new, Arc::clone(page))
    }

    /// A sequence goes on from `place`, with the pages on the way to it. It says so before anything may be dropped.
    pub(super) fn hold(&mut self, mut place: Place) {
        while let Some(node) = self.nodes.get_mut(&place) {
            node.holders += 1;
            if node.holders > 1 {
                return;
            }
            self.held += 1;
            self.bare.remove(&(node.used, place));
            place = node.parent;
        }
    }

    /// A sequence that held `place` does so no longer.
    pub(super) fn release(&mut self, mut place: Place) {
        while let Some(node) = self.nodes.get_mut(&place) {
            node.holders -= 1;
            if node.holders > 0 {
                return;
            }
            self.held -= 1;
            if node.children == 0 {
                self.bare.insert((node.used, place));
            }
            place = node.parent;
        }
    }

    /// Pages that are kept here and held by nobody else. All of them may be dropped.
    pub(super) fn unheld(&self) -> usize {
        self.nodes.len() - self.held
    }

    /// Drops up to `count` pages that nobody else holds; how many it were.
    pub(super) fn drop_oldest(&mut self, count: usize) -> usize {
        let mut dropped = 0;
        while dropped < count
            && let Some((_, place)) = self.bare.pop_first()
        {
            self.remove(place);
            dropped += 1;
        }
        dropped
    }

    fn remove(&mut self, place: Place) {
        let Some(node) = self.nodes.remove(&place) else { return };
        debug_assert_eq!(Arc::strong_count(&node.page), 1, "Prefixes::remove: nobody holds what is dropped");
        self.places.remove(&(node.parent, node.block));
        if let Some(parent) = self.nodes.get_mut(&node.parent) {
            parent.children -= 1;
            if parent.children == 0 && parent.holders == 0 {
                self.bare.insert((parent.used, node.parent));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tercet_kernels::{Isa, KvPages, KvShape, KvType, Pool};

    use super::*;

    fn pages(count: usize) -> Arc<KvPages> {
        let shape = KvShape { num_hidden_layers: 1, num_key_value_heads: 1, head_dim: 2 };
        KvPages::new(&Pool::new(Isa::scalar(), 1), KvType::F32, shape, count)
    }

    /// A full page, whatever is in it.
    fn page(pages: &Arc<KvPages>) -> Arc<KvPage> {
        let mut cache = pages.cache(Vec::new(), 1).unwrap();
        cache.advance(KV_BLOCK);
        cache.share_full_pages();
        Arc::clone(&cache.shared_pages()[0])
    }

    #[test]
    fn a_page_is_found_by_all_tokens_before_it() {
        let pages = pages(3);
        let mut prefixes = Prefixes::default();
        let (a, _) = prefixes.insert(ROOT, &[1; KV_BLOCK], &page(&pages));
        let (b, _) = prefixes.insert(a, &[2; KV_BLOCK], &page(&pages));
        assert_eq!(prefixes.find(ROOT, &[1; KV_BLOCK]).map(|found| found.0), Some(a));
        assert_eq!(prefixes.find(a, &[2; KV_BLOCK]).map(|found| found.0), Some(b));
        assert!(prefixes.find(ROOT, &[2; KV_BLOCK]).is_none());
        let again = page(&pages);
        let (place, kept) = prefixes.insert(ROOT, &[1; KV_BLOCK], &again);
        assert_eq!(place, a);
        assert!(!Arc::ptr_eq(&kept, &again), "the first page stays");
        drop((kept, again));
        assert_eq!(pages.free(), 1);
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_leaves_before_what_they_grew_from() {
        let pages = pages(4);
        let mut prefixes = Prefixes::default();
        let (a, _) = prefixes.insert(ROOT, &[1; KV_BLOCK], &page(&pages));
        let (b, _) = prefixes.insert(a, &[2; KV_BLOCK], &page(&pages));
        prefixes.insert(a, &[3; KV_BLOCK], &page(&pages));
        prefixes.insert(ROOT, &[4; KV_BLOCK], &page(&pages));
        prefixes.hold(b);
        assert!(prefixes.find(a, &[3; KV_BLOCK]).is_some());
        assert_eq!(prefixes.unheld(), 2, "2 is held, and so is 1");
        assert_eq!(prefixes.drop_oldest(1), 1);
        assert!(prefixes.find(ROOT, &[4; KV_BLOCK]).is_none(), "3 was used after it");
        assert_eq!(prefixes.drop_oldest(9), 1);
        assert!(prefixes.find(ROOT, &[1; KV_BLOCK]).is_some());
        prefixes.release(b);
        assert_eq!(prefixes.drop_oldest(9), 2);
        assert_eq!((pages.free(), prefixes.unheld()), (4, 0));
    }

    /// A source of choices: xorshift64.
    struct Choices(u64);

    impl Choices {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 33) as usize % end
        }
    }

    #[test]
    fn what_is_counted_is_what_a_walk_over_the_tree_would_find() {
        const PAGES: usize = 24;
        let pages = pages(PAGES);
        let mut prefixes = Prefixes::default();
        let mut choices = Choices(8);
        // Sequences with their places, and the pages on the way there.
        let mut sequences: Vec<(Place, Vec<Arc<KvPage>>)> = Vec::new();
        for _ in 0..3000 {
            match choices.below(4) {
                0 => sequences.push((ROOT, Vec::new())),
                1 if !sequences.is_empty() => {
                    let (place, held) = sequences.swap_remove(choices.below(sequences.len()));
                    prefixes.release(place);
                    drop(held);
                }
                2 => {
                    let (free, unheld) = (pages.free(), prefixes.unheld());
                    let wanted = choices.below(4);
                    assert_eq!(prefixes.drop_oldest(wanted), wanted.min(unheld));
                    assert_eq!(pages.free(), free + wanted.min(unheld), "what is dropped is free");
                }
                _ if !sequences.is_empty() && pages.free() > 0 => {
                    let number = choices.below(sequences.len());
                    let (place, held) = &mut sequences[number];
                    let block = [choices.below(3) as u32; KV_BLOCK];
                    let (next, page) = prefixes.insert(*place, &block, &page(&pages));
                    prefixes.hold(next);
                    prefixes.release(*place);
                    *place = next;
                    held.push(page);
                }
                _ => {}
            }
            let is_unheld = |node: &&Node| Arc::strong_count(&node.page) == 1;
            assert_eq!(prefixes.unheld(), prefixes.nodes.values().filter(is_unheld).count());
            assert_eq!(pages.free() + prefixes.nodes.len(), PAGES);
        }
    }
}
