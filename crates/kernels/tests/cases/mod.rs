//! What every public operation gives on a pool: seeded inputs of a given shape, and the comparison
//! with the definition.
//!
//! It chooses no shapes: `equals_scalar.rs` draws them (with several threads), `battery.rs` lists
//! them (on the main thread alone).

use half::{bf16, f16};
use tercet_kernels::ops::{self, Activation, Int8Rows, TernaryProduct};
use tercet_kernels::{
    Buffer, DenseBuilder, DenseMatrix, DenseType, Isa, KvCache, KvShape, KvType, Layout, Pool,
    QuantizedMatrix, QuantizedType, RotaryTable, Sequence, TernaryMatrix,
};

pub(crate) const LAYOUTS: [Layout; 2] = [Layout::TwoBit, Layout::BaseThree];
pub(crate) const DENSE_TYPES: [DenseType; 3] = [DenseType::F32, DenseType::F16, DenseType::Bf16];
pub(crate) const KV_TYPES: [KvType; 3] = [KvType::F32, KvType::F16, KvType::Int8];

/// A small, fast generator: the numbers only have to be varied and repeatable.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Values of many magnitudes, zeros among them.
    pub(crate) fn floats(&mut self, len: usize) -> Vec<f32> {
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

    pub(crate) fn codes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() % 3) as u8).collect()
    }
}

/// Runs `case` on one scalar thread and on pools of every instruction set and of `threads`
/// threads, and wants the same bits.
pub(crate) fn assert_equals_scalar(threads: &[usize], case: impl Fn(&Pool) -> Vec<f32>) {
    assert_gives(&case(&Pool::new(Isa::scalar(), 1)), threads, case);
}

/// Runs `case` on pools of every instruction set and of `threads` threads, and wants these bits.
pub(crate) fn assert_gives(want: &[f32], threads: &[usize], case: impl Fn(&Pool) -> Vec<f32>) {
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let want = bits(want);
    for isa in Isa::available() {
        for &threads in threads {
            assert!(bits(&case(&Pool::new(isa, threads))) == want, "{isa:?} with {threads} threads");
        }
    }
}

/// Codes of a matrix `[n, k]` and the values of `m` tokens, `[m, k]`.
pub(crate) struct TernaryCase {
    m: usize,
    n: usize,
    k: usize,
    codes: Vec<u8>,
    x: Vec<f32>,
}

impl TernaryCase {
    pub(crate) fn random([m, n, k]: [usize; 3], seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        TernaryCase { m, n, k, codes: numbers.codes(n * k), x: numbers.floats(m * k) }
    }

    /// Tiles and blocks filled exactly, one less and one more, with the extreme sums of both signs.
    pub(crate) fn edges() -> impl Iterator<Item = TernaryCase> {
        let shapes =
            [[1, 1], [15, 15], [16, 16], [17, 17], [16, 20], [33, 79], [16, 80], [16, 81], [48, 4096]];
        let tokens = [0, 1, 2, 7, 8, 9];
        shapes.into_iter().flat_map(move |[n, k]| {
            tokens.into_iter().flat_map(move |m| {
                [(0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0), (2, 1.0), (2, -1.0)].map(|(code, x)| TernaryCase {
                    m,
                    n,
                    k,
                    codes: vec![code; n * k],
                    x: vec![x; m * k],
                })
            })
        })
    }

    /// The product of each third of the rows, all in one operation.
    pub(crate) fn products_of_thirds(&self, pool: &Pool, layout: Layout) -> Vec<f32> {
        let cuts = [0, self.n / 3, self.n * 2 / 3, self.n];
        let parts: [_; 3] = std::array::from_fn(|i| {
            let rows = cuts[i + 1] - cuts[i];
            let codes = &self.codes[cuts[i] * self.k..cuts[i + 1] * self.k];
            let w = TernaryMatrix::from_codes(codes, [rows, self.k], layout).unwrap();
            (w, Buffer::zeroed(pool, self.m * rows))
        });
        let products = parts.each_ref().map(|(w, y)| TernaryProduct { w, w_scale: 0.37, y });
        let x = Buffer::from_slice(pool, &self.x);
        let rows = Int8Rows::new(pool, self.m, self.k);
        pool.run(|worker| {
            ops::quantize_rows(worker, &x, self.m, self.k, &rows);
            ops::barrier_before(worker, products, self.m);
            ops::ternary_products(worker, products, &rows, self.m);
        });
        let mut parts = parts.map(|(w, y)| (w.rows(), y));
        let mut all = Vec::new();
        for t in 0..self.m {
            for (rows, y) in &mut parts {
                all.extend_from_slice(&y.as_mut_slice()[t * *rows..(t + 1) * *rows]);
            }
        }
        all
    }

    pub(crate) fn product(&self, pool: &Pool, layout: Layout) -> Vec<f32> {
        let w = TernaryMatrix::from_codes(&self.codes, [self.n, self.k], layout).unwrap();
        ternary_product(pool, &w, 0.37, &self.x, self.m)
    }
}

/// Quantizes `x` and multiplies it by `w`.
pub(crate) fn ternary_product(pool: &Pool, w: &TernaryMatrix, w_scale: f32, x: &[f32], m: usize) -> Vec<f32> {
    let x = Buffer::from_slice(pool, x);
    let rows = Int8Rows::new(pool, m, w.cols());
    let mut y = Buffer::zeroed(pool, m * w.rows());
    pool.run(|worker| {
        ops::quantize_rows(worker, &x, m, w.cols(), &rows);
        worker.barrier();
        ops::ternary_products(worker, [TernaryProduct { w, w_scale, y: &y }], &rows, m);
    });
    y.as_mut_slice().to_vec()
}

/// Quantized rows, as [`unit_product`] shows them.
pub(crate) fn quantize_rows(pool: &Pool, [m, width]: [usize; 2], seed: u64) -> Vec<f32> {
    unit_product(pool, &Numbers(seed).floats(m * width), [m, width])
}

/// The quantized rows of `x`, times their scales: the product with the unit matrix.
pub(crate) fn unit_product(pool: &Pool, x: &[f32], [m, width]: [usize; 2]) -> Vec<f32> {
    let unit: Vec<u8> = (0..width * width).map(|i| 1 + u8::from(i / width == i % width)).collect();
    let unit = TernaryMatrix::from_codes(&unit, [width, width], Layout::TwoBit).unwrap();
    ternary_product(pool, &unit, 1.0, x, m)
}

pub(crate) fn dense_product(
    pool: &Pool,
    dense_type: DenseType,
    [m, n, k]: [usize; 3],
    seed: u64,
) -> Vec<f32> {
    let mut numbers = Numbers(seed);
    let w = dense(pool, dense_type, &numbers.floats(n * k), [n, k]);
    let x = Buffer::from_slice(pool, &numbers.floats(m * k));
    let mut y = Buffer::zeroed(pool, m * n);
    pool.run(|worker| ops::dense_product(worker, w.view(), &x, m, &y));
    y.as_mut_slice().to_vec()
}

/// What [`dense_product`] gives, each element by itself: element `c` of a row goes to lane `c mod 16`, the
/// tail is padded with +0, and lanes are added 8-4-2-1.
pub(crate) fn dense_product_by_definition(
    dense_type: DenseType,
    [m, n, k]: [usize; 3],
    seed: u64,
) -> Vec<f32> {
    let mut numbers = Numbers(seed);
    let w: Vec<f32> = numbers.floats(n * k).iter().map(|w| rounded(dense_type, *w)).collect();
    let x = numbers.floats(m * k);
    let element = |t: usize, r: usize| {
        let mut lanes = [0.0f32; 16];
        for c in 0..(k / 16 + 1) * 16 {
            let (w, x) = if c < k { (w[r * k + c], x[t * k + c]) } else { (0.0, 0.0) };
            lanes[c % 16] = w.mul_add(x, lanes[c % 16]);
        }
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
        }
        lanes[0]
    };
    let element = &element;
    (0..m).flat_map(|t| (0..n).map(move |r| element(t, r))).collect()
}

fn rounded(dense_type: DenseType, value: f32) -> f32 {
    match dense_type {
        DenseType::F32 => value,
        DenseType::F16 => f16::from_f32(value).to_f32(),
        DenseType::Bf16 => bf16::from_f32(value).to_f32(),
    }
}

/// The product with `w`, quantized.
pub(crate) fn quantized_product(
    pool: &Pool,
    quantized_type: QuantizedType,
    [m, n, k]: [usize; 3],
    seed: u64,
) -> Vec<f32> {
    let mut numbers = Numbers(seed);
    let w = numbers.floats(n * k);
    let fill = |first: usize, out: &mut [f32]| out.copy_from_slice(&w[first * k..][..out.len()]);
    let w = QuantizedMatrix::quantize(pool, quantized_type, [n, k], fill);
    let x = Buffer::from_slice(pool, &numbers.floats(m * k));
    let rows = Int8Rows::new(pool, m, k);
    let mut y = Buffer::zeroed(pool, m * n);
    pool.run(|worker| {
        ops::quantize_rows(worker, &x, m, k, &rows);
        worker.barrier();
        ops::quantized_product(worker, &w, &rows, m, &y);
    });
    y.as_mut_slice().to_vec()
}

pub(crate) fn embed(
    pool: &Pool,
    dense_type: DenseType,
    [m, vocab, width]: [usize; 3],
    seed: u64,
) -> Vec<f32> {
    let mut numbers = Numbers(seed);
    let table = dense(pool, dense_type, &numbers.floats(vocab * width), [vocab, width]);
    let tokens: Vec<u32> = (0..m).map(|_| (numbers.next() % vocab as u64) as u32).collect();
    let mut out = Buffer::zeroed(pool, m * width);
    pool.run(|worker| ops::embed(worker, table.view(), tokens.iter().copied(), &out));
    out.as_mut_slice().to_vec()
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

/// Every second row of `x`, the last one first.
pub(crate) fn gather_rows(pool: &Pool, [m, width]: [usize; 2], seed: u64) -> Vec<f32> {
    let x = Buffer::from_slice(pool, &Numbers(seed).floats(m * width));
    let mut out = Buffer::zeroed(pool, m.div_ceil(2) * width);
    pool.run(|worker| ops::gather_rows(worker, &x, (0..m).rev().step_by(2), width, &out));
    out.as_mut_slice().to_vec()
}

pub(crate) fn rms_norm(pool: &Pool, [m, width]: [usize; 2], eps: f32, seed: u64) -> Vec<f32> {
    let mut numbers = Numbers(seed);
    let (x, gain) = (numbers.floats(m * width), numbers.floats(width));
    let x = Buffer::from_slice(pool, &x);
    let mut out = Buffer::zeroed(pool, m * width);
    pool.run(|worker| ops::rms_norm(worker, &x, m, &gain, eps, &out));
    out.as_mut_slice().to_vec()
}

pub(crate) fn add_assign(pool: &Pool, [m, width]: [usize; 2], seed: u64) -> Vec<f32> {
    let [mut x, y] = two_buffers(pool, m * width, seed);
    pool.run(|worker| ops::add_assign(worker, &x, &y, m, width));
    x.as_mut_slice().to_vec()
}

pub(crate) fn silu_gate(pool: &Pool, [m, width]: [usize; 2], seed: u64) -> Vec<f32> {
    let [gate, up] = two_buffers(pool, m * width, seed);
    let mut out = Buffer::zeroed(pool, m * width);
    pool.run(|worker| ops::gate(worker, Activation::Silu, [&gate, &up], [m, width], &out));
    out.as_mut_slice().to_vec()
}

pub(crate) fn relu2_gate(pool: &Pool, [m, width]: [usize; 2], seed: u64) -> Vec<f32> {
    let [gate, up] = two_buffers(pool, m * width, seed);
    let mut out = Buffer::zeroed(pool, m * width);
    pool.run(|worker| ops::gate(worker, Activation::Relu2, [&gate, &up], [m, width], &out));
    out.as_mut_slice().to_vec()
}

fn two_buffers(pool: &Pool, len: usize, seed: u64) -> [Buffer<f32>; 2] {
    let mut numbers = Numbers(seed);
    [0; 2].map(|_| Buffer::from_slice(pool, &numbers.floats(len)))
}

/// Attention of the last `len` positions of a sequence to themselves and the `before` earlier ones.
#[derive(Clone, Copy)]
pub(crate) struct AttentionShape {
    pub(crate) before: usize,
    pub(crate) len: usize,
    pub(crate) kv_heads: usize,
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
}

impl AttentionShape {
    fn kv_shape(&self, num_hidden_layers: usize) -> KvShape {
        KvShape { num_hidden_layers, num_key_value_heads: self.kv_heads, head_dim: self.head_dim }
    }

    /// Rotates the queries of all positions at once.
    pub(crate) fn rotate(&self, pool: &Pool, seed: u64) -> Vec<f32> {
        let total = self.before + self.len;
        let table = RotaryTable::new(self.head_dim, 10_000.0, total);
        let mut q = Buffer::from_slice(pool, &Numbers(seed).floats(total * self.heads * self.head_dim));
        let mut cache = KvCache::new(pool, KvType::F32, self.kv_shape(0), total);
        let tokens = vec![0; total];
        let sequences = [Sequence { tokens: &tokens, cache: &mut cache }];
        pool.run(|worker| ops::rotate(worker, &table, &sequences, self.heads, &q));
        q.as_mut_slice().to_vec()
    }

    /// Rotates, appends and attends `before + len` positions in chunks; returns the last `len`
    /// outputs. Odd chunks rotate their keys on the way into the cache.
    pub(crate) fn attend(&self, pool: &Pool, kv_type: KvType, chunk: usize, seed: u64) -> Vec<f32> {
        let total = self.before + self.len;
        let (q_width, kv_width) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut numbers = Numbers(seed);
        let q = numbers.floats(total * q_width);
        let (k, v) = (numbers.floats(total * kv_width), numbers.floats(total * kv_width));
        let table = RotaryTable::new(self.head_dim, 10_000.0, total);
        let mut cache = KvCache::new(pool, kv_type, self.kv_shape(1), total);
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
                if chunk.is_multiple_of(2) {
                    ops::rotate(worker, &table, &sequences, self.kv_heads, &k);
                    worker.barrier();
                    ops::append(worker, &sequences, 0, None, &k, &v);
                } else {
                    ops::append(worker, &sequences, 0, Some(&table), &k, &v);
                }
                worker.barrier();
                ops::attention(worker, &sequences, 0, self.heads, &q, &out);
            });
            cache.advance(rows);
            outputs.extend_from_slice(out.as_mut_slice());
        }
        outputs.split_off(self.before * q_width)
    }
}
