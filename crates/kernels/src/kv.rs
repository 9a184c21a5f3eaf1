//! The key and value cache of one sequence.
//!
//! ```text
//! block  = 64 absolute positions from the start of the sequence
//! keys   = [block, kv head, head_dim, 64]     one position a lane: a score is a chain over rows
//! values = [block, kv head, 64, head_dim]     an output is a chain over rows
//! ```
//!
//! Keys and values are stored in f32 or f16 and always read back from here, also for the tokens
//! of the current pass. It knows no attention: that is `ops/attention.rs`.

use half::f16;

use crate::buffer::Buffer;
use crate::pool::Pool;
use crate::scalar::KV_BLOCK;

/// The number type of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// IEEE single: nothing is rounded.
    F32,
    /// IEEE half: half the bytes.
    F16,
}

impl KvType {
    /// Bytes of one number.
    pub const fn size_bytes(self) -> usize {
        match self {
            KvType::F32 => 4,
            KvType::F16 => 2,
        }
    }
}

pub(crate) enum KvLayer {
    F32 { keys: Buffer<f32>, values: Buffer<f32> },
    F16 { keys: Buffer<f16>, values: Buffer<f16> },
}

/// Keys and values of one sequence, for every layer.
pub struct KvCache {
    layers: Vec<KvLayer>,
    pub(crate) num_key_value_heads: usize,
    pub(crate) head_dim: usize,
    kv_type: KvType,
    capacity: usize,
    len: usize,
}

impl KvCache {
    /// An empty cache for at least `capacity` positions.
    pub fn new(
        pool: &Pool,
        kv_type: KvType,
        num_layers: usize,
        num_key_value_heads: usize,
        head_dim: usize,
        capacity: usize,
    ) -> Self {
        let capacity = capacity.next_multiple_of(KV_BLOCK);
        let len = capacity * num_key_value_heads * head_dim;
        let layer = |_| match kv_type {
            KvType::F32 => {
                KvLayer::F32 { keys: Buffer::zeroed(pool, len), values: Buffer::zeroed(pool, len) }
            }
            KvType::F16 => {
                KvLayer::F16 { keys: Buffer::zeroed(pool, len), values: Buffer::zeroed(pool, len) }
            }
        };
        KvCache {
            layers: (0..num_layers).map(layer).collect(),
            num_key_value_heads,
            head_dim,
            kv_type,
            capacity,
            len: 0,
        }
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
        self.capacity
    }

    /// Declares the next `positions` filled, after a pass has written them in every layer.
    pub fn advance(&mut self, positions: usize) {
        assert!(positions <= self.capacity - self.len, "KvCache::advance: the positions fit");
        self.len += positions;
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Bytes that attending to `positions` positions reads, in all layers.
    pub fn read_bytes(&self, positions: usize) -> usize {
        let row_bytes = self.num_key_value_heads * self.head_dim * self.kv_type.size_bytes();
        2 * self.layers.len() * positions * row_bytes
    }

    pub(crate) fn layer(&self, layer: usize) -> &KvLayer {
        &self.layers[layer]
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
