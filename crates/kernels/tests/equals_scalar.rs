//! Every operation gives the same bits on every instruction set of this machine and for any
//! thread count as the definition on one thread.

use half::{bf16, f16};
use proptest::prelude::*;
use tercet_kernels::ops::{self, Int8Rows};
use tercet_kernels::{
    Buffer, DenseBuilder, DenseMatrix, DenseType, Isa, KV_BLOCK, KvCache, KvType, Layout, Pool, RotaryTable,
    Sequence, TernaryMatrix,
};

/// A small, fast generator: the numbers only have to be varied and repeatable.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Values of many magnitudes, zeros among them.
    fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len)
            .map(|_| {
                let value = (self.next() as f32 / (1u64 << 30) as f32) - 1.0;
                match self.next() % 16 {
                    0 => 0.0,
                    1 => value * 1e3,
                    2 => value * 1e-6,
                    _ => value,
                }
            })
            .collect()
    }

    fn codes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() % 3) as u8).collect()
    }
}

/// Runs `f` on one scalar thread and on every other pool, and wants the same bits.
fn check(f: impl Fn(&Pool) -> Vec<f32>) {
    let bits = |pool: &Pool| f(pool).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let want = bits(&Pool::new(Isa::scalar(), 1));
    for isa in Isa::available() {
        for threads in [1, 2, 3] {
            assert!(bits(&Pool::new(isa, threads)) == want, "{isa:?} with {threads} threads");
        }
    }
}

fn ternary(pool: &Pool, w: &TernaryMatrix, x: &[f32], m: usize) -> Vec<f32> {
    let x = Buffer::from_slice(pool, x);
    let rows = Int8Rows::new(pool, m, w.cols());
    let mut y = Buffer::zeroed(pool, m * w.rows());
    pool.run(|worker| {
        ops::quantize_rows(worker, &x, m, w.cols(), &rows);
        worker.barrier();
        ops::ternary_product(worker, w, 0.37, &rows, m, &y);
    });
    y.as_mut_slice().to_vec()
}

fn check_ternary(rows: usize, cols: usize, m: usize, codes: &[u8], x: &[f32]) {
    for layout in [Layout::TwoBit, Layout::BaseThree] {
        let w = TernaryMatrix::from_codes(codes, [rows, cols], layout).unwrap();
        check(|pool| ternary(pool, &w, x, m));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn ternary_product(rows in 1usize..70, cols in 1usize..700, m in 1usize..20, seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        let (codes, x) = (numbers.codes(rows * cols), numbers.floats(m * cols));
        check_ternary(rows, cols, m, &codes, &x);
    }

    #[test]
    fn ternary_product_is_the_sum(rows in 1usize..40, cols in 1usize..200, seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        let (codes, x) = (numbers.codes(rows * cols), numbers.floats(cols));
        let largest = x.iter().fold(1e-5f32, |a, x| a.max(x.abs()));
        let q: Vec<i32> = x.iter().map(|x| (x * (127.0 / largest)).round_ties_even() as i32).collect();
        let w = TernaryMatrix::from_codes(&codes, [rows, cols], Layout::TwoBit).unwrap();
        let y = ternary(&Pool::new(Isa::best(), 2), &w, &x, 1);
        for (codes, y) in codes.chunks(cols).zip(y) {
            let sum: i32 = codes.iter().zip(&q).map(|(code, q)| (i32::from(*code) - 1) * q).sum();
            prop_assert_eq!(y, sum as f32 * (0.37 * (largest / 127.0)));
        }
    }

    #[test]
    fn dense_product(n in 1usize..40, k in 1usize..300, m in 1usize..10, seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        let (w, x) = (numbers.floats(n * k), numbers.floats(m * k));
        for dense_type in [DenseType::F32, DenseType::F16, DenseType::Bf16] {
            check(|pool| {
                let matrix = dense(pool, dense_type, &w, [n, k]);
                let x = Buffer::from_slice(pool, &x);
                let mut y = Buffer::zeroed(pool, m * n);
                pool.run(|worker| ops::dense_product(worker, &matrix, &x, m, &y));
                y.as_mut_slice().to_vec()
            });
        }
    }

    #[test]
    fn rows(m in 1usize..6, width in 1usize..200, seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        let (x, y, gain) = (numbers.floats(m * width), numbers.floats(m * width), numbers.floats(width));
        for eps in [0.0, 1e-5] {
            check(|pool| {
                let x = Buffer::from_slice(pool, &x);
                let mut out = Buffer::zeroed(pool, m * width);
                pool.run(|worker| ops::rms_norm(worker, &x, m, &gain, eps, &out));
                out.as_mut_slice().to_vec()
            });
        }
        check(|pool| {
            let (mut x, y) = (Buffer::from_slice(pool, &x), Buffer::from_slice(pool, &y));
            let (mut silu, mut relu2) = (Buffer::zeroed(pool, x.len()), Buffer::zeroed(pool, x.len()));
            pool.run(|worker| {
                ops::silu_gate(worker, &x, &y, m, width, &silu);
                ops::relu2_gate(worker, &x, &y, m, width, &relu2);
                worker.barrier();
                ops::add_assign(worker, &x, &y, m, width);
            });
            [x.as_mut_slice(), silu.as_mut_slice(), relu2.as_mut_slice()].concat()
        });
    }

    #[test]
    fn attention(
        before in 0usize..150, len in 1usize..20, kv_heads in 1usize..4, group in 1usize..4,
        half in 1usize..20, seed in any::<u64>(),
    ) {
        let shape = AttentionShape { before, len, kv_heads, heads: kv_heads * group, head_dim: 2 * half };
        for kv_type in [KvType::F32, KvType::F16] {
            check(|pool| shape.attend(pool, kv_type, before + len, seed));
        }
    }

    #[test]
    fn attention_does_not_depend_on_chunks(before in 0usize..150, len in 1usize..90, chunk in 1usize..90) {
        let shape = AttentionShape { before, len, kv_heads: 2, heads: 4, head_dim: 6 };
        let pool = Pool::new(Isa::best(), 2);
        prop_assert_eq!(
            shape.attend(&pool, KvType::F16, chunk, 7),
            shape.attend(&pool, KvType::F16, before + len, 7)
        );
    }
}

fn dense(pool: &Pool, dense_type: DenseType, values: &[f32], shape: [usize; 2]) -> DenseMatrix {
    let bytes: Vec<u8> = match dense_type {
        DenseType::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DenseType::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        DenseType::Bf16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
    };
    let builder = DenseBuilder::new(pool, dense_type, shape);
    pool.run(|worker| builder.copy(worker, &bytes, |_| (), |element| panic!("element {element} is finite")));
    builder.finish()
}

struct AttentionShape {
    before: usize,
    len: usize,
    kv_heads: usize,
    heads: usize,
    head_dim: usize,
}

impl AttentionShape {
    /// Rotates, appends and attends `before + len` positions in chunks; returns the last `len` outputs.
    fn attend(&self, pool: &Pool, kv_type: KvType, chunk: usize, seed: u64) -> Vec<f32> {
        let total = self.before + self.len;
        let (q_width, kv_width) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut numbers = Numbers(seed);
        let q = numbers.floats(total * q_width);
        let (k, v) = (numbers.floats(total * kv_width), numbers.floats(total * kv_width));
        let table = RotaryTable::new(self.head_dim, 10_000.0, total);
        let mut cache = KvCache::new(pool, kv_type, 1, self.kv_heads, self.head_dim, total);
        let mut outputs = Vec::new();
        let tokens = vec![0; total];
        for first in (0..total).step_by(chunk) {
            let rows = chunk.min(total - first);
            let part = |x: &[f32], width| Buffer::from_slice(pool, &x[first * width..(first + rows) * width]);
            let (q, k, v) = (part(&q, q_width), part(&k, kv_width), part(&v, kv_width));
            let mut out = Buffer::zeroed(pool, rows * q_width);
            let sequences = [Sequence { tokens: &tokens[..rows], cache: &mut cache }];
            pool.run(|worker| {
                ops::rotate(worker, &table, &sequences, self.heads, &q);
                ops::rotate(worker, &table, &sequences, self.kv_heads, &k);
                worker.barrier();
                ops::append(worker, &sequences, 0, &k, &v);
                worker.barrier();
                ops::attention(worker, &sequences, 0, self.heads, &q, &out);
            });
            cache.advance(rows);
            outputs.extend_from_slice(out.as_mut_slice());
        }
        outputs.split_off(self.before * q_width)
    }
}

#[test]
fn attention_is_softmax_of_scaled_scores() {
    let shape = AttentionShape { before: 0, len: 3 * KV_BLOCK + 5, kv_heads: 1, heads: 1, head_dim: 2 };
    let pool = Pool::new(Isa::best(), 2);
    let got = shape.attend(&pool, KvType::F32, 64, 11);
    let mut numbers = Numbers(11);
    let [q, k, v] = [0; 3].map(|_| numbers.floats(shape.len * 2));
    let rotate = |x: &[f32], position: usize| {
        let (sin, cos) = (position as f64).sin_cos();
        let (a, b) = (f64::from(x[0]), f64::from(x[1]));
        [a * cos - b * sin, b * cos + a * sin]
    };
    for t in 0..shape.len {
        let q = rotate(&q[2 * t..], t);
        let score = |p: usize| {
            let k = rotate(&k[2 * p..], p);
            (q[0] * k[0] + q[1] * k[1]) / 2f64.sqrt()
        };
        let max = (0..=t).map(score).fold(f64::MIN, f64::max);
        let weights: Vec<f64> = (0..=t).map(|p| (score(p) - max).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for d in 0..2 {
            let want: f64 = weights.iter().enumerate().map(|(p, w)| w / sum * f64::from(v[2 * p + d])).sum();
            let error = (f64::from(got[2 * t + d]) - want).abs();
            assert!(error < 1e-4 * want.abs().max(1.0), "position {t}: {} {want}", got[2 * t + d]);
        }
    }
}

#[test]
fn edges_of_the_ternary_product() {
    for (rows, cols) in
        [(1, 1), (15, 15), (16, 16), (17, 17), (16, 20), (33, 79), (16, 80), (16, 81), (48, 4096)]
    {
        for m in [1, 2, 7, 8, 9] {
            for code in [0, 1, 2] {
                for x in [1.0, -1.0] {
                    check_ternary(rows, cols, m, &vec![code; rows * cols], &vec![x; m * cols]);
                }
            }
        }
    }
}

#[test]
fn an_empty_pass_writes_nothing() {
    let w = TernaryMatrix::from_codes(&[2; 16], [1, 16], Layout::TwoBit).unwrap();
    check(|pool| ternary(pool, &w, &[], 0));
}
