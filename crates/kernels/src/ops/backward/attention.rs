//! Gradients of causal softmax attention, without a matrix of all scores.
//!
//! One worker computes one key and value head of one sequence, all its query heads after each
//! other. Blocks of 64 query rows see their keys again: with `S = scale · Q Kᵀ`, `P = softmax(S)`,
//!
//! ```text
//! d_V += Pᵀ d_O      d_P = d_O Vᵀ      d_S = P · (d_P - Σ P · d_P) · scale
//! d_Q  = d_S K       d_K += d_Sᵀ Q
//! ```

use crate::buffer::Buffer;
use crate::dispatch;
use crate::gemm::{Destination, MatrixMut, MatrixRef, multiply};
use crate::ops::rows::for_rows;
use crate::pool::Worker;

/// Query rows whose scores are there at a time.
const BLOCK_ROWS: usize = 64;

/// Gradients of [`attention`](crate::ops::attention) where every sequence began in this pass.
///
/// # Shapes
/// - `sequences`: the lengths of the sequences, which add up to the rows of the pass
/// - `heads`: query heads, key and value heads, head dimension
/// - `q`, `d_out`, `d_q`: `[rows, heads, head_dim]`; `k`, `v`, `d_k`, `d_v`: `[rows, kv heads, head_dim]`
pub fn attention_backward(
    worker: &Worker<'_>,
    sequences: &[usize],
    [heads, kv_heads, head_dim]: [usize; 3],
    [q, k, v, d_out]: [&Buffer<f32>; 4],
    [d_q, d_k, d_v]: [&Buffer<f32>; 3],
) {
    assert!(heads.is_multiple_of(kv_heads), "attention_backward: the query heads share key heads evenly");
    let operation = worker.begin_operation();
    let [q, k, v, d_out] = [q, k, v, d_out].map(|buffer| buffer.read(worker));
    let [mut d_q, mut d_k, mut d_v] = [d_q, d_k, d_v].map(|buffer| buffer.write(worker, operation));
    let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    let mut room = Room::default();
    for_rows(worker, operation, sequences.len() * kv_heads, |unit| {
        let (sequence, kv_head) = (unit / kv_heads, unit % kv_heads);
        let first_row: usize = sequences[..sequence].iter().sum();
        let rows = sequences[sequence];
        room.start(rows, head_dim);
        let at_kv = first_row * kv_width + kv_head * head_dim;
        let head = Head { worker, k: &k[at_kv..], v: &v[at_kv..], kv_width, head_dim };
        let group = heads / kv_heads;
        for q_head in kv_head * group..(kv_head + 1) * group {
            let at_q = |row: usize| (first_row + row) * q_width + q_head * head_dim;
            for first in (0..rows).step_by(BLOCK_ROWS) {
                let block = BLOCK_ROWS.min(rows - first);
                let q = MatrixRef::new(&q[at_q(first)..], [block, head_dim], q_width);
                let d_out = MatrixRef::new(&d_out[at_q(first)..], [block, head_dim], q_width);
                head.block(first, block, q, d_out, &mut room);
                for (row, d) in room.d_q.chunks_exact(head_dim).take(block).enumerate() {
                    d_q.slice(at_q(first + row), head_dim).copy_from_slice(d);
                }
            }
        }
        let gradients = room.d_k.chunks_exact(head_dim).zip(room.d_v.chunks_exact(head_dim));
        for (row, (own_k, own_v)) in gradients.enumerate() {
            d_k.slice(at_kv + row * kv_width, head_dim).copy_from_slice(own_k);
            d_v.slice(at_kv + row * kv_width, head_dim).copy_from_slice(own_v);
        }
    });
}

/// Room of one worker, as long as the longest sequence it has met.
#[derive(Default)]
struct Room {
    probabilities: Vec<f32>, // [64, rows]
    d_scores: Vec<f32>,      // [64, rows]
    d_q: Vec<f32>,           // [64, head_dim]
    d_k: Vec<f32>,           // [rows, head_dim]
    d_v: Vec<f32>,           // [rows, head_dim]
}

impl Room {
    fn start(&mut self, rows: usize, head_dim: usize) {
        self.probabilities.resize(BLOCK_ROWS * rows, 0.0);
        self.d_scores.resize(BLOCK_ROWS * rows, 0.0);
        self.d_q.resize(BLOCK_ROWS * head_dim, 0.0);
        for gradient in [&mut self.d_k, &mut self.d_v] {
            gradient.clear();
            gradient.resize(rows * head_dim, 0.0);
        }
    }
}

/// Keys and values of one head of one sequence.
struct Head<'a> {
    worker: &'a Worker<'a>,
    k: &'a [f32],
    v: &'a [f32],
    kv_width: usize,
    head_dim: usize,
}

impl Head<'_> {
    /// The rows `first .. first + block` of one query head: adds to `d_k` and `d_v`, sets `d_q`.
    fn block(&self, first: usize, block: usize, q: MatrixRef<'_>, d_out: MatrixRef<'_>, room: &mut Room) {
        let (isa, head_dim) = (self.worker.isa(), self.head_dim);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let seen = first + block;
        let keys = MatrixRef::new(self.k, [seen, head_dim], self.kv_width);
        let values = MatrixRef::new(self.v, [seen, head_dim], self.kv_width);
        let shape = [block, seen];
        let (p, d_s) = (&mut room.probabilities[..block * seen], &mut room.d_scores[..block * seen]);
        multiply(q, keys.transposed(), scale, Destination::Replace, MatrixMut::new(p, shape, seen));
        multiply(d_out, values.transposed(), 1.0, Destination::Replace, MatrixMut::new(d_s, shape, seen));
        for (row, (p, d)) in p.chunks_exact_mut(seen).zip(d_s.chunks_exact_mut(seen)).enumerate() {
            dispatch::softmax(isa, p, first + row + 1);
            dispatch::softmax_backward(isa, p, d, scale);
        }
        let (p, d_s) = (MatrixRef::new(p, shape, seen), MatrixRef::new(d_s, shape, seen));
        let seen_shape = [seen, head_dim];
        let d_v = MatrixMut::new(&mut room.d_v, seen_shape, head_dim);
        multiply(p.transposed(), d_out, 1.0, Destination::Add, d_v);
        let d_k = MatrixMut::new(&mut room.d_k, seen_shape, head_dim);
        multiply(d_s.transposed(), q, 1.0, Destination::Add, d_k);
        let d_q = MatrixMut::new(&mut room.d_q, [block, head_dim], head_dim);
        multiply(d_s, keys, 1.0, Destination::Replace, d_q);
    }
}
