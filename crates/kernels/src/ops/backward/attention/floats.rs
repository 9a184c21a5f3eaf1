//! The products of attention's gradients in f32, by the `gemm` crate.

use super::{BLOCK_ROWS, Block, Head};
use crate::gemm::{Destination, MatrixMut, MatrixRef, multiply};

/// Room of one worker, as long as the longest sequence it has met.
#[derive(Default)]
pub(super) struct FloatRoom {
    probabilities: Vec<f32>,  // [64, rows]
    d_scores: Vec<f32>,       // [64, rows]
    d_q: Vec<f32>,            // [64, head_dim]
    pub(super) d_k: Vec<f32>, // [rows, head_dim]
    pub(super) d_v: Vec<f32>, // [rows, head_dim]
}

impl FloatRoom {
    pub(super) fn start(&mut self, head: &Head<'_>) {
        self.probabilities.resize(BLOCK_ROWS * head.rows, 0.0);
        self.d_scores.resize(BLOCK_ROWS * head.rows, 0.0);
        self.d_q.resize(BLOCK_ROWS * head.head_dim, 0.0);
        for gradient in [&mut self.d_k, &mut self.d_v] {
            gradient.clear();
            gradient.resize(head.rows * head.head_dim, 0.0);
        }
    }

    pub(super) fn block(&mut self, head: &Head<'_>, block: &Block<'_>) -> &[f32] {
        let Head { head_dim, kv_width, q_width, .. } = *head;
        let (rows, seen) = (block.rows, block.seen());
        let q = MatrixRef::new(block.q, [rows, head_dim], q_width);
        let d_out = MatrixRef::new(block.d_out, [rows, head_dim], q_width);
        let keys = MatrixRef::new(head.k, [seen, head_dim], kv_width);
        let values = MatrixRef::new(head.v, [seen, head_dim], kv_width);
        let shape = [rows, seen];
        let (p, d_s) = (&mut self.probabilities[..rows * seen], &mut self.d_scores[..rows * seen]);
        multiply(q, keys.transposed(), head.scale(), Destination::Replace, MatrixMut::new(p, shape, seen));
        multiply(d_out, values.transposed(), 1.0, Destination::Replace, MatrixMut::new(d_s, shape, seen));
        block.softmax(head, seen, p, d_s);
        let (p, d_s) = (MatrixRef::new(p, shape, seen), MatrixRef::new(d_s, shape, seen));
        let seen_shape = [seen, head_dim];
        let d_v = MatrixMut::new(&mut self.d_v, seen_shape, head_dim);
        multiply(p.transposed(), d_out, 1.0, Destination::Add, d_v);
        let d_k = MatrixMut::new(&mut self.d_k, seen_shape, head_dim);
        multiply(d_s.transposed(), q, 1.0, Destination::Add, d_k);
        let d_q = &mut self.d_q[..rows * head_dim];
        multiply(d_s, keys, 1.0, Destination::Replace, MatrixMut::new(d_q, [rows, head_dim], head_dim));
        &self.d_q[..rows * head_dim]
    }
}
