//! Grammars that were compiled before, the least lately used dropped first.

use std::collections::HashMap;

use super::constraint::Grammar;

/// What a grammar was made from, digested.
pub(super) type Key = [u8; 32];

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheSize {
    pub(super) grammars: usize,
    pub(super) bytes: usize,
}

struct Entry {
    grammar: Grammar,
    bytes: usize,
    used: u64,
}

/// Compiled grammars.
pub(super) struct Cache {
    size: CacheSize,
    entries: HashMap<Key, Entry>,
    bytes: usize,
    /// Counts uses.
    clock: u64,
}

impl Cache {
    pub(super) fn new(size: CacheSize) -> Self {
        Self { size, entries: HashMap::new(), bytes: 0, clock: 0 }
    }

    pub(super) fn get(&mut self, key: &Key) -> Option<Grammar> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(entry.grammar.clone())
    }

    /// Keeps a grammar of about so many bytes, unless it is larger than the whole cache.
    pub(super) fn put(&mut self, key: Key, grammar: Grammar, bytes: usize) {
        if bytes > self.size.bytes || self.size.grammars == 0 {
            return;
        }
        self.remove(&key);
        while self.entries.len() >= self.size.grammars || self.bytes + bytes > self.size.bytes {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            let Some(oldest) = oldest else { break };
            self.remove(&oldest);
        }
        self.clock += 1;
        self.bytes += bytes;
        self.entries.insert(key, Entry { grammar, bytes, used: self.clock });
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes;
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}
