//! Rotary embedding, the cache, and softmax attention with grouped heads.

use half::f16;

use crate::aligned::Element;
use crate::buffer::{Buffer, Writer};
use crate::dispatch;
use crate::kv::{KvLayer, Sequence, locate};
use crate::ops::rows::for_rows;
use crate::pool::Worker;
use crate::rotary::RotaryTable;
use crate::scalar::{BlockSoftmax, KV_BLOCK, Stored};

/// Largest head dimension: a head's output is kept on the stack.
const MAX_HEAD_DIM: usize = 1024;

/// Rotates every head of every row by the angles of its position (rotate-half, as in LLaMA).
///
/// # Shapes
/// `x`: `[rows of the pass, heads, head_dim]`, in place
pub fn rotate(
    worker: &Worker<'_>,
    table: &RotaryTable,
    sequences: &[Sequence<'_>],
    heads: usize,
    x: &Buffer<f32>,
) {
    let width = heads * 2 * table.half();
    let operation = worker.begin_operation();
    let mut rows = x.write(worker, operation);
    for_rows(worker, operation, rows_of(sequences), |row| {
        let (cos, sin) = table.position(locate(sequences, row).1);
        for head in rows.slice(row * width, width).chunks_exact_mut(2 * cos.len()) {
            dispatch::rotate(worker.isa(), head, cos, sin);
        }
    });
}

/// The rows of a pass.
pub(super) fn rows_of(sequences: &[Sequence<'_>]) -> usize {
    sequences.iter().map(|sequence| sequence.tokens.len()).sum()
}

/// Stores the keys and values of the pass in one layer of each sequence's cache.
///
/// # Shapes
/// `keys`, `values`: `[rows of the pass, kv heads, head_dim]`
///
/// # Panics
/// If a cache has no room for its sequence's tokens.
pub fn append(
    worker: &Worker<'_>,
    sequences: &[Sequence<'_>],
    layer: usize,
    keys: &Buffer<f32>,
    values: &Buffer<f32>,
) {
    let (keys, values) = (keys.read(worker), values.read(worker));
    let mut first_row = 0;
    for sequence in sequences {
        let rows = first_row..first_row + sequence.tokens.len();
        first_row = rows.end;
        let operation = worker.begin_operation();
        match sequence.cache.layer(layer) {
            KvLayer::F32 { keys: key_cache, values: value_cache } => {
                let mut out = CacheWriter {
                    keys: key_cache.write(worker, operation),
                    values: value_cache.write(worker, operation),
                };
                append_heads(worker, operation, sequence, rows, keys, values, &mut out, |x| x);
            }
            KvLayer::F16 { keys: key_cache, values: value_cache } => {
                let mut out = CacheWriter {
                    keys: key_cache.write(worker, operation),
                    values: value_cache.write(worker, operation),
                };
                append_heads(worker, operation, sequence, rows, keys, values, &mut out, f16::from_f32);
            }
        }
    }
}

struct CacheWriter<'a, T: Element> {
    keys: Writer<'a, T>,
    values: Writer<'a, T>,
}

#[expect(clippy::too_many_arguments, reason = "one loop over what `append` was given")]
fn append_heads<T: Element>(
    worker: &Worker<'_>,
    operation: u32,
    sequence: &Sequence<'_>,
    rows: std::ops::Range<usize>,
    keys: &[f32],
    values: &[f32],
    out: &mut CacheWriter<'_, T>,
    store: impl Fn(f32) -> T,
) {
    let cache = &sequence.cache;
    let (heads, head_dim) = (cache.num_key_value_heads, cache.head_dim);
    assert!(rows.len() <= cache.capacity() - cache.len(), "append: the cache has room");
    for_rows(worker, operation, heads, |head| {
        for (position, row) in (cache.len()..).zip(rows.clone()) {
            let (block, lane) = (position / KV_BLOCK, position % KV_BLOCK);
            let area = (block * heads + head) * head_dim * KV_BLOCK;
            let source = (row * heads + head) * head_dim;
            for (d, key) in keys[source..source + head_dim].iter().enumerate() {
                out.keys.slice(area + d * KV_BLOCK + lane, 1)[0] = store(*key);
            }
            let stored = out.values.slice(area + lane * head_dim, head_dim);
            for (stored, value) in stored.iter_mut().zip(&values[source..source + head_dim]) {
                *stored = store(*value);
            }
        }
    });
}

/// Causal softmax attention of every row of the pass over its own sequence.
///
/// `out = softmax(q · Kᵀ / sqrt(head_dim)) · V`, each query head reading the key and value head
/// `head / (heads / kv heads)`. Blocks of 64 positions are merged in ascending order, so that the
/// result depends on no chunking.
///
/// # Shapes
/// `q`, `out`: `[rows of the pass, heads, head_dim]`
pub fn attention(
    worker: &Worker<'_>,
    sequences: &[Sequence<'_>],
    layer: usize,
    heads: usize,
    q: &Buffer<f32>,
    out: &Buffer<f32>,
) {
    let operation = worker.begin_operation();
    let q = q.read(worker);
    let mut out = out.write(worker, operation);
    for_rows(worker, operation, rows_of(sequences) * heads, |index| {
        let (row, head) = (index / heads, index % heads);
        let (sequence, position) = locate(sequences, row);
        let cache = &sequences[sequence].cache;
        let head_dim = cache.head_dim;
        let q = &q[index * head_dim..][..head_dim];
        let out = out.slice(index * head_dim, head_dim);
        let groups = KvHead {
            heads: cache.num_key_value_heads,
            head: head / (heads / cache.num_key_value_heads),
            positions: position + 1,
        };
        match cache.layer(layer) {
            KvLayer::F32 { keys, values } => {
                attend(worker, q, keys.read(worker), values.read(worker), &groups, out)
            }
            KvLayer::F16 { keys, values } => {
                attend(worker, q, keys.read(worker), values.read(worker), &groups, out)
            }
        }
    });
}

struct KvHead {
    heads: usize,
    head: usize,
    positions: usize,
}

fn attend<T: Stored>(worker: &Worker<'_>, q: &[f32], keys: &[T], values: &[T], kv: &KvHead, out: &mut [f32]) {
    let head_dim = q.len();
    assert!(head_dim <= MAX_HEAD_DIM, "attention: the head dimension is at most {MAX_HEAD_DIM}");
    let scale = 1.0 / (head_dim as f32).sqrt();
    let area = head_dim * KV_BLOCK;
    let mut block_out = [0.0; MAX_HEAD_DIM];
    let block_out = &mut block_out[..head_dim];
    let mut total: Option<BlockSoftmax> = None;
    for block in 0..kv.positions.div_ceil(KV_BLOCK) {
        let valid = KV_BLOCK.min(kv.positions - block * KV_BLOCK);
        let first = (block * kv.heads + kv.head) * area;
        let (keys, values) = (&keys[first..][..area], &values[first..][..area]);
        match &mut total {
            None => total = Some(dispatch::attend_block(worker.isa(), q, keys, values, valid, scale, out)),
            Some(total) => {
                let part = dispatch::attend_block(worker.isa(), q, keys, values, valid, scale, block_out);
                dispatch::merge_blocks(worker.isa(), total, out, part, block_out);
            }
        }
    }
    let sum = total.expect("attention: a row sees at least itself").sum;
    for out in out {
        *out /= sum;
    }
}
