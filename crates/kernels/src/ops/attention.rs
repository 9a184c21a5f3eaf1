//! Rotary embedding, the cache, and softmax attention with grouped heads.

use crate::buffer::{Buffer, Writer};
use crate::dispatch;
use crate::kv::{KvArrays, KvNumber, KvNumbers, KvShape, Sequence, locate};
use crate::ops::rows::for_rows;
use crate::pool::Worker;
use crate::rotary::RotaryTable;
use crate::scalar::{BlockSoftmax, KV_BLOCK, KvBlock};

/// Largest head dimension: what a block gives to a few heads is kept on the stack.
pub const MAX_HEAD_DIM: usize = 1024;
/// Queries of one key and value head for which a block is read and converted once.
const TOGETHER: usize = 4;
/// Queries of one key and value head that are claimed together and find its blocks in the cache of
/// their core.
const CLAIM_QUERIES: usize = 4 * TOGETHER;

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

/// Stores the keys and values of the pass in one layer of each sequence's cache, the keys
/// [rotated](rotate) by `table` where they are not yet.
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
    table: Option<&RotaryTable>,
    keys: &Buffer<f32>,
    values: &Buffer<f32>,
) {
    let operation = worker.begin_operation();
    let (keys, values) = (keys.read(worker), values.read(worker));
    let blocks = |sequence: &Sequence<'_>| {
        let (first, end) = (sequence.cache.len(), sequence.cache.len() + sequence.tokens.len());
        assert!(end <= sequence.cache.capacity(), "append: the cache has room");
        first / KV_BLOCK..end.div_ceil(KV_BLOCK)
    };
    for_parts(
        worker,
        operation,
        sequences,
        |sequence| blocks(sequence).len(),
        |part| {
            let block = blocks(part.sequence).start + part.index;
            let append = Append { worker, operation, table, layer, keys, values };
            match part.sequence.cache.numbers() {
                KvNumbers::F32(arrays) => append.block(arrays, &part, block),
                KvNumbers::F16(arrays) => append.block(arrays, &part, block),
                KvNumbers::Int8(arrays) => append.block(arrays, &part, block),
            }
        },
    );
}

/// A share of the work on one key and value head of one sequence.
struct Part<'a> {
    sequence: &'a Sequence<'a>,
    /// Row of the pass where the sequence begins.
    first_row: usize,
    kv_head: usize,
    /// Its number among the shares of this head.
    index: usize,
}

/// Calls `f` with each part that this worker claims, where each head of a sequence has `parts` of it.
fn for_parts<'a>(
    worker: &Worker<'_>,
    operation: u32,
    sequences: &'a [Sequence<'a>],
    parts: impl Fn(&Sequence<'_>) -> usize,
    mut f: impl FnMut(Part<'a>),
) {
    let parts_of = |sequence: &Sequence<'_>| sequence.cache.shape().num_key_value_heads * parts(sequence);
    for_rows(worker, operation, sequences.iter().map(parts_of).sum(), |mut claim| {
        let mut first_row = 0;
        for sequence in sequences {
            if claim < parts_of(sequence) {
                let (kv_head, index) = (claim / parts(sequence), claim % parts(sequence));
                return f(Part { sequence, first_row, kv_head, index });
            }
            claim -= parts_of(sequence);
            first_row += sequence.tokens.len();
        }
    });
}

/// Keys and values on their way into one layer of the caches.
struct Append<'a> {
    worker: &'a Worker<'a>,
    operation: u32,
    table: Option<&'a RotaryTable>,
    layer: usize,
    keys: &'a [f32],
    values: &'a [f32],
}

impl Append<'_> {
    /// Stores those positions of the pass that lie in block `block`.
    fn block<T: KvNumber>(&self, arrays: &KvArrays<T>, part: &Part<'_>, block: usize) {
        let (isa, cache) = (self.worker.isa(), &part.sequence.cache);
        let KvShape { num_key_value_heads: heads, head_dim, .. } = cache.shape();
        assert!(head_dim <= MAX_HEAD_DIM, "append: the head dimension is at most {MAX_HEAD_DIM}");
        assert!(cache.is_own(block), "append: a shared page is not written");
        let (area, len) = (cache.area(block, self.layer, part.kv_head), head_dim * KV_BLOCK);
        let mut key_writer = arrays.keys.write(self.worker, self.operation);
        let mut value_writer = arrays.values.write(self.worker, self.operation);
        let mut scale_writer = arrays.scales.write(self.worker, self.operation);
        let columns = key_writer.slice(area * len, len);
        let rows = value_writer.slice(area * len, len);
        let (mut rotated, mut key) = ([0.0; MAX_HEAD_DIM], [T::default(); MAX_HEAD_DIM]);
        let (rotated, key) = (&mut rotated[..head_dim], &mut key[..head_dim]);
        let end = (cache.len() + part.sequence.tokens.len()).min((block + 1) * KV_BLOCK);
        for position in cache.len().max(block * KV_BLOCK)..end {
            let lane = position % KV_BLOCK;
            let row = part.first_row + position - cache.len();
            let source = (row * heads + part.kv_head) * head_dim;
            rotated.copy_from_slice(&self.keys[source..][..head_dim]);
            if let Some(table) = self.table {
                let (cos, sin) = table.position(position);
                dispatch::rotate(isa, rotated, cos, sin);
            }
            let key_scale = T::store(isa, rotated, key);
            for (column, key) in columns.as_chunks_mut::<KV_BLOCK>().0.iter_mut().zip(&*key) {
                column[lane] = *key;
            }
            let row = &mut rows[lane * head_dim..][..head_dim];
            let value_scale = T::store(isa, &self.values[source..][..head_dim], row);
            if T::HAS_SCALES {
                let scales = scale_writer.slice(area * 2 * KV_BLOCK, 2 * KV_BLOCK);
                (scales[lane], scales[KV_BLOCK + lane]) = (key_scale, value_scale);
            }
        }
    }
}

/// Causal softmax attention of every row of the pass over its own sequence.
///
/// `out = softmax(q · Kᵀ / sqrt(head_dim)) · V`, each query head reading the key and value head
/// `head / (heads / kv heads)`. Blocks of 64 positions are merged in ascending order, so that the
/// result depends on no chunking.
///
/// # Shapes
/// `q`, `out`: `[rows of the pass, heads, head_dim]`
///
/// # Panics
/// If the query heads do not share those of keys and values evenly.
pub fn attention(
    worker: &Worker<'_>,
    sequences: &[Sequence<'_>],
    layer: usize,
    heads: usize,
    q: &Buffer<f32>,
    out: &Buffer<f32>,
) {
    let is_shared =
        |sequence: &Sequence<'_>| heads.is_multiple_of(sequence.cache.shape().num_key_value_heads);
    assert!(sequences.iter().all(is_shared), "attention: the query heads share key heads evenly");
    let operation = worker.begin_operation();
    let q = q.read(worker);
    let mut out = out.write(worker, operation);
    let queries = |sequence: &Sequence<'_>| {
        sequence.tokens.len() * (heads / sequence.cache.shape().num_key_value_heads)
    };
    let claims = |sequence: &Sequence<'_>| queries(sequence).div_ceil(CLAIM_QUERIES);
    for_parts(worker, operation, sequences, claims, |part| {
        let first = part.index * CLAIM_QUERIES;
        let head = Head { worker, layer, heads, q, part: &part };
        let range = first..queries(part.sequence).min(first + CLAIM_QUERIES);
        match part.sequence.cache.numbers() {
            KvNumbers::F32(arrays) => head.attend(arrays, range, &mut out),
            KvNumbers::F16(arrays) => head.attend(arrays, range, &mut out),
            KvNumbers::Int8(arrays) => head.attend(arrays, range, &mut out),
        }
    });
}

/// The queries that read one key and value head: its query heads in one row, then those in the next.
struct Head<'a> {
    worker: &'a Worker<'a>,
    layer: usize,
    heads: usize,
    /// Of all rows and heads.
    q: &'a [f32],
    part: &'a Part<'a>,
}

impl Head<'_> {
    /// Queries of one row.
    fn group(&self) -> usize {
        self.heads / self.part.sequence.cache.shape().num_key_value_heads
    }

    /// Positions that a query sees.
    fn positions(&self, query: usize) -> usize {
        self.part.sequence.cache.len() + query / self.group() + 1
    }

    /// Where the numbers of a query and of its output lie among all.
    fn range(&self, query: usize) -> std::ops::Range<usize> {
        let row = self.part.first_row + query / self.group();
        let head = self.part.kv_head * self.group() + query % self.group();
        let head_dim = self.part.sequence.cache.shape().head_dim;
        let first = (row * self.heads + head) * head_dim;
        first..first + head_dim
    }

    /// At most [`CLAIM_QUERIES`] queries, block by block.
    fn attend<T: KvNumber>(
        &self,
        arrays: &KvArrays<T>,
        queries: std::ops::Range<usize>,
        out: &mut Writer<'_, f32>,
    ) {
        let cache = &self.part.sequence.cache;
        assert!(
            cache.shape().head_dim <= MAX_HEAD_DIM,
            "attention: the head dimension is at most {MAX_HEAD_DIM}"
        );
        let slices = arrays.read(self.worker);
        let mut totals = [BlockSoftmax::default(); CLAIM_QUERIES];
        let mut block_out = [0.0; TOGETHER * MAX_HEAD_DIM];
        for block in 0..self.positions(queries.end - 1).div_ceil(KV_BLOCK) {
            let area = cache.area(block, self.layer, self.part.kv_head);
            let kv = slices.block(cache.shape().head_dim, area, cache.areas_to_next(block));
            let mut query = queries.start;
            while query < queries.end {
                let totals = &mut totals[query - queries.start..];
                query += if queries.end - query >= TOGETHER {
                    self.attend_block::<T, TOGETHER>(query, block, &kv, &mut block_out, totals, out)
                } else {
                    self.attend_block::<T, 1>(query, block, &kv, &mut block_out, totals, out)
                };
            }
        }
        for (query, total) in queries.zip(totals) {
            let range = self.range(query);
            for out in out.slice(range.start, range.len()) {
                *out /= total.sum;
            }
        }
    }

    /// Adds what block `block` gives to the `G` queries from `first` on; returns `G`.
    fn attend_block<T: KvNumber, const G: usize>(
        &self,
        first: usize,
        block: usize,
        kv: &KvBlock<'_, T>,
        block_out: &mut [f32],
        totals: &mut [BlockSoftmax],
        out: &mut Writer<'_, f32>,
    ) -> usize {
        let isa = self.worker.isa();
        let head_dim = self.part.sequence.cache.shape().head_dim;
        let seen = |query| self.positions(query).saturating_sub(block * KV_BLOCK).min(KV_BLOCK);
        let valid = std::array::from_fn(|g| seen(first + g));
        if valid[G - 1] == 0 {
            return G;
        }
        let q = std::array::from_fn(|g| &self.q[self.range(first + g)]);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let block_out = &mut block_out[..G * head_dim];
        let parts = dispatch::attend_block::<T, G>(isa, q, kv, valid, scale, block_out);
        for (g, block_out) in block_out.chunks_exact(head_dim).enumerate() {
            let out = out.slice(self.range(first + g).start, head_dim);
            if block == 0 {
                totals[g] = parts[g];
                out.copy_from_slice(block_out);
            } else if valid[g] > 0 {
                dispatch::merge_blocks(isa, &mut totals[g], out, parts[g], block_out);
            }
        }
        G
    }
}
