//! Gradients of causal softmax attention, without a matrix of all scores.
//!
//! One worker computes one key and value head of one sequence, all its query heads after each
//! other. Blocks of 64 query rows see their keys again: with `S = scale · Q Kᵀ`, `P = softmax(S)`,
//!
//! ```text
//! d_V += Pᵀ d_O      d_P = d_O Vᵀ      d_S = P · (d_P - Σ P · d_P) · scale,  Σ P · d_P = Σ O · d_O
//! d_Q  = d_S K       d_K += d_Sᵀ Q
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `pairs` | the products in bf16, with f32 sums |
//! | `floats` | the products in f32 |

mod floats;
mod pairs;

use std::sync::{Mutex, PoisonError};

use super::GradientPrecision;
use crate::buffer::{Buffer, Writer};
use crate::dispatch;
use crate::isa::Isa;
use crate::ops::rows::for_rows;
use crate::pool::{Pool, Worker};
use floats::FloatRoom;
use pairs::PairRoom;

/// Query rows whose scores are there at a time.
const BLOCK_ROWS: usize = 64;

/// Gradients of [`attention`](crate::ops::attention) where every sequence began in this pass.
///
/// In bf16 every product is known to the rounding of its operands. That of the scores multiplies
/// probabilities: by about 1 ± 2⁻⁹ for scores of a few units.
///
/// # Shapes
/// - `sequences`: the lengths of the sequences, which add up to the rows of the pass
/// - `heads`: query heads, key and value heads, head dimension
/// - `q`, `out`, `d_out`, `d_q`: `[rows, heads, head_dim]`; `k`, `v`, `d_k`, `d_v`: `[rows, kv heads, head_dim]`
///
/// # Panics
/// If key heads do not divide the query heads, or two gradients are to be in one buffer.
pub fn attention_backward(
    worker: &Worker<'_>,
    rooms: &AttentionRooms,
    sequences: &[usize],
    [heads, kv_heads, head_dim]: [usize; 3],
    [q, k, v, out, d_out]: [&Buffer<f32>; 5],
    [d_q, d_k, d_v]: [&Buffer<f32>; 3],
) {
    assert!(heads.is_multiple_of(kv_heads), "attention_backward: the query heads share key heads evenly");
    let operation = worker.begin_operation();
    let [q, k, v, out, d_out] = [q, k, v, out, d_out].map(|buffer| buffer.read(worker));
    let [mut d_q, mut d_k, mut d_v] = Buffer::write_each([d_q, d_k, d_v], worker, operation);
    let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    let isa = worker.isa();
    let mut room = rooms.0[worker.index()].lock().unwrap_or_else(PoisonError::into_inner);
    for_rows(worker, operation, sequences.len() * kv_heads, |unit| {
        let (sequence, kv_head) = (unit / kv_heads, unit % kv_heads);
        let first_row: usize = sequences[..sequence].iter().sum();
        let rows = sequences[sequence];
        let at_kv = first_row * kv_width + kv_head * head_dim;
        let head = Head { isa, rows, head_dim, k: &k[at_kv..], v: &v[at_kv..], kv_width, q_width };
        room.start(&head);
        let group = heads / kv_heads;
        for q_head in kv_head * group..(kv_head + 1) * group {
            let at_q = |row: usize| (first_row + row) * q_width + q_head * head_dim;
            for first in (0..rows).step_by(BLOCK_ROWS) {
                let block = Block {
                    first,
                    rows: BLOCK_ROWS.min(rows - first),
                    q: &q[at_q(first)..],
                    out: &out[at_q(first)..],
                    d_out: &d_out[at_q(first)..],
                };
                let own_d_q = room.block(&head, &block);
                copy_rows(own_d_q, head_dim, &mut d_q, at_q(first), q_width);
            }
        }
        let [own_d_k, own_d_v] = room.d_kv();
        copy_rows(own_d_k, head_dim, &mut d_k, at_kv, kv_width);
        copy_rows(own_d_v, head_dim, &mut d_v, at_kv, kv_width);
    });
}

/// One key and value head of one sequence.
struct Head<'a> {
    isa: Isa,
    /// Rows of the sequence.
    rows: usize,
    head_dim: usize,
    /// From its first element on; rows lie `kv_width` apart.
    k: &'a [f32],
    v: &'a [f32],
    kv_width: usize,
    /// How far rows of `q` and `d_out` lie apart.
    q_width: usize,
}

impl Head<'_> {
    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// Some rows of a query head.
struct Block<'a> {
    first: usize,
    rows: usize,
    /// From the first row on.
    q: &'a [f32],
    out: &'a [f32],
    d_out: &'a [f32],
}

impl Block<'_> {
    /// Keys that its last row sees.
    fn seen(&self) -> usize {
        self.first + self.rows
    }

    /// Scores become probabilities, and `d_P` becomes `d_S`, in rows that lie `stride` apart.
    fn softmax(&self, head: &Head<'_>, stride: usize, scores: &mut [f32], d_scores: &mut [f32]) {
        // Σ P · d_P is the same sum in another order.
        let mut along = [0.0; BLOCK_ROWS];
        let along = &mut along[..self.rows];
        dispatch::row_dots(head.isa, self.out, self.d_out, head.q_width, head.head_dim, along);
        let rows = scores.chunks_mut(stride).zip(d_scores.chunks_mut(stride)).take(self.rows);
        for (row, (p, d)) in rows.enumerate() {
            let (p, d) = (&mut p[..self.seen()], &mut d[..self.seen()]);
            dispatch::softmax_gradient(head.isa, p, d, self.first + row + 1, along[row], head.scale());
        }
    }
}

/// Room of each worker, which lasts from one call to the next.
pub struct AttentionRooms(Vec<Mutex<Room>>);

impl AttentionRooms {
    /// Rooms that grow with the sequences they see.
    pub fn new(pool: &Pool, precision: GradientPrecision) -> Self {
        let room = || match precision {
            GradientPrecision::F32 => Room::Floats(FloatRoom::default()),
            GradientPrecision::Bf16 => Room::Pairs(Box::default()),
        };
        AttentionRooms((0..pool.threads()).map(|_| Mutex::new(room())).collect())
    }
}

/// Room of one worker.
enum Room {
    Floats(FloatRoom),
    Pairs(Box<PairRoom>),
}

impl Room {
    /// Begins a head.
    fn start(&mut self, head: &Head<'_>) {
        match self {
            Room::Floats(room) => room.start(head),
            Room::Pairs(room) => room.start(head),
        }
    }

    /// Adds to the gradients of keys and values, and gives `d_Q` of the block, `[rows, head_dim]`.
    fn block(&mut self, head: &Head<'_>, block: &Block<'_>) -> &[f32] {
        match self {
            Room::Floats(room) => room.block(head, block),
            Room::Pairs(room) => room.block(head, block),
        }
    }

    /// The gradients of keys and values, `[rows, head_dim]` each.
    fn d_kv(&self) -> [&[f32]; 2] {
        match self {
            Room::Floats(room) => [&room.d_k, &room.d_v],
            Room::Pairs(room) => [&room.d_k, &room.d_v],
        }
    }
}

fn copy_rows(from: &[f32], width: usize, to: &mut Writer<'_, f32>, first: usize, stride: usize) {
    for (row, values) in from.chunks_exact(width).enumerate() {
        to.slice(first + row * stride, width).copy_from_slice(values);
    }
}
