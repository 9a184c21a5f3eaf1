//! The key and value cache of one sequence.
//!
//! ```text
//! block  = 64 absolute positions from the start of the sequence
//! keys   = [block, layer, kv head, head_dim, 64]     one position a lane: a score is a chain over rows
//! values = [block, layer, kv head, 64, head_dim]     an output is a chain over rows
//! scales = [block, layer, kv head, 2, 64]            int8 only: of the keys, then of the values
//! ```
//!
//! Blocks of all layers lie together, so that in huge pages only what is filled takes memory.
//!
//! Keys and values are always read back from here, also for the tokens of the current pass. It
//! knows no attention: that is `ops/attention.rs`.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::aligned::Element;
use crate::buffer::Buffer;
use crate::dispatch;
use crate::isa::Isa;
use crate::pool::{Pool, Worker};
use crate::scalar::{KV_BLOCK, KvBlock, Stored};

/// The number type of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// IEEE single: nothing is rounded.
    F32,
    /// IEEE half: half the bytes.
    F16,
    /// Codes of 8 bits, quantized by `absmax` as activations are: a scale for the key and one for
    /// the value of each position and head.
    Int8,
}

impl KvType {
    /// Bytes of the key, or of the value, of one position in one head.
    pub const fn head_bytes(self, head_dim: usize) -> usize {
        match self {
            KvType::F32 => 4 * head_dim,
            KvType::F16 => 2 * head_dim,
            KvType::Int8 => head_dim + size_of::<f32>(),
        }
    }
}

/// A number that a cache holds.
pub(crate) trait KvNumber: Stored {
    const HAS_SCALES: bool;

    /// Stores a key or a value; returns its scale.
    fn store(isa: Isa, x: &[f32], stored: &mut [Self]) -> f32;
}

impl KvNumber for f32 {
    const HAS_SCALES: bool = false;

    fn store(_: Isa, x: &[f32], stored: &mut [f32]) -> f32 {
        stored.copy_from_slice(x);
        1.0
    }
}

impl KvNumber for f16 {
    const HAS_SCALES: bool = false;

    fn store(_: Isa, x: &[f32], stored: &mut [f16]) -> f32 {
        stored.convert_from_f32_slice(x);
        1.0
    }
}

impl KvNumber for i8 {
    const HAS_SCALES: bool = true;

    fn store(isa: Isa, x: &[f32], stored: &mut [i8]) -> f32 {
        dispatch::absmax(isa, x, stored).0
    }
}

/// The arrays of a cache, by their type.
pub(crate) enum KvNumbers {
    F32(KvArrays<f32>),
    F16(KvArrays<f16>),
    Int8(KvArrays<i8>),
}

pub(crate) struct KvArrays<T: Element> {
    pub(crate) keys: Buffer<T>,
    pub(crate) values: Buffer<T>,
    /// Empty where all scales are 1.
    pub(crate) scales: Buffer<f32>,
}

impl<T: KvNumber> KvArrays<T> {
    /// Room for so many blocks, one of each layer and head.
    fn zeroed(pool: &Pool, areas: usize, head_dim: usize) -> Self {
        let len = areas * head_dim * KV_BLOCK;
        KvArrays {
            keys: Buffer::zeroed_cache(pool, len),
            values: Buffer::zeroed_cache(pool, len),
            scales: Buffer::zeroed_cache(pool, if T::HAS_SCALES { areas * 2 * KV_BLOCK } else { 0 }),
        }
    }

    pub(crate) fn read<'a>(&'a self, worker: &'a Worker<'_>) -> KvSlices<'a, T> {
        KvSlices {
            keys: self.keys.read(worker),
            values: self.values.read(worker),
            scales: self.scales.read(worker).as_chunks().0,
        }
    }
}

/// The arrays of a cache that are being read.
#[derive(Clone, Copy)]
pub(crate) struct KvSlices<'a, T> {
    keys: &'a [T],
    values: &'a [T],
    scales: &'a [[f32; KV_BLOCK]],
}

impl<'a, T> KvSlices<'a, T> {
    /// What lies in area `area` of `cache`.
    pub(crate) fn block(&self, cache: &KvCache, area: usize) -> KvBlock<'a, T> {
        const ONES: &[f32; KV_BLOCK] = &[1.0; KV_BLOCK];
        let len = cache.head_dim * KV_BLOCK;
        KvBlock {
            keys: &self.keys[area * len..][..len],
            values: &self.values[area * len..][..len],
            scales: [2 * area, 2 * area + 1].map(|i| self.scales.get(i).unwrap_or(ONES)),
            stride: cache.areas_a_block() * len,
        }
    }
}

/// Keys and values of one sequence, for every layer.
pub struct KvCache {
    numbers: KvNumbers,
    num_layers: usize,
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
        let areas = capacity / KV_BLOCK * num_layers * num_key_value_heads;
        let numbers = match kv_type {
            KvType::F32 => KvNumbers::F32(KvArrays::zeroed(pool, areas, head_dim)),
            KvType::F16 => KvNumbers::F16(KvArrays::zeroed(pool, areas, head_dim)),
            KvType::Int8 => KvNumbers::Int8(KvArrays::zeroed(pool, areas, head_dim)),
        };
        KvCache { numbers, num_layers, num_key_value_heads, head_dim, kv_type, capacity, len: 0 }
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
        let row_bytes = self.num_key_value_heads * self.kv_type.head_bytes(self.head_dim);
        2 * self.num_layers * positions * row_bytes
    }

    pub(crate) fn numbers(&self) -> &KvNumbers {
        &self.numbers
    }

    /// Where block `block` of a layer and head lies, counted in blocks of one.
    pub(crate) fn area(&self, block: usize, layer: usize, kv_head: usize) -> usize {
        block * self.areas_a_block() + layer * self.num_key_value_heads + kv_head
    }

    fn areas_a_block(&self) -> usize {
        self.num_layers * self.num_key_value_heads
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
