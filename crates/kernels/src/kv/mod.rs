//! Keys and values: their numbers, the pages that hold them, and the cache of one sequence.
//!
//! ```text
//! block  = 64 absolute positions from the start of the sequence; it lies in one page
//! keys   = [page, layer, kv head, head_dim, 64]     one position a lane: a score is a chain over rows
//! values = [page, layer, kv head, 64, head_dim]     an output is a chain over rows
//! scales = [page, layer, kv head, 2, 64]            int8 only: of the keys, then of the values
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `pages` | who holds which page |
//! | `cache` | the pages of one sequence, in order |
//!
//! All layers of a page lie together, so that in huge pages of the system only what is filled takes memory.
//! Keys and values are always read back from here, also for the tokens of the current pass. It
//! knows no attention: that is `ops/attention.rs`.

mod cache;
mod pages;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::aligned::Element;
use crate::buffer::Buffer;
use crate::dispatch;
use crate::isa::Isa;
use crate::pool::{Pool, Worker};
use crate::scalar::{KV_BLOCK, KvBlock, Stored};

pub(crate) use cache::locate;
pub use cache::{KvCache, Sequence};
pub use pages::{KvPage, KvPages};

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

/// What of a model its keys and values depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of `config.json`")]
pub struct KvShape {
    pub num_hidden_layers: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
}

impl KvShape {
    /// Bytes of the keys and values of one position, in all layers.
    pub const fn position_bytes(self, kv_type: KvType) -> usize {
        2 * self.areas_a_page() * kv_type.head_bytes(self.head_dim)
    }

    /// Areas of a page: one of each layer and head.
    const fn areas_a_page(self) -> usize {
        self.num_hidden_layers * self.num_key_value_heads
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
    /// What lies in area `area`, where the head's next block lies `to_next` areas further on.
    pub(crate) fn block(&self, head_dim: usize, area: usize, to_next: isize) -> KvBlock<'a, T> {
        const ONES: &[f32; KV_BLOCK] = &[1.0; KV_BLOCK];
        let len = head_dim * KV_BLOCK;
        KvBlock {
            keys: &self.keys[area * len..][..len],
            values: &self.values[area * len..][..len],
            scales: [2 * area, 2 * area + 1].map(|i| self.scales.get(i).unwrap_or(ONES)),
            to_next: to_next * len as isize,
        }
    }
}
