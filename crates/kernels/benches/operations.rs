//! The operations of a forward pass on one thread, at the shapes of the 700m and 2b4t models.
//!
//! One group an operation, ids `isa/shape`; throughput is in bytes read, of weights or of the cache
//! where there are any. Without `--bench` each runs once, as a test.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tercet_kernels::ops::{self, Activation, Int8Rows, TernaryProduct};
use tercet_kernels::{
    Buffer, DenseBuilder, DenseMatrix, DenseType, Isa, KvCache, KvShape, KvType, Layout, Pool, RotaryTable,
    Sequence, TernaryBuilder, TernaryMatrix, Worker,
};

/// The sizes of a model.
struct Model {
    name: &'static str,
    hidden: usize,
    intermediate: usize,
    heads: usize,
    kv_heads: usize,
    vocabulary: usize,
}

const MODELS: [Model; 2] = [
    Model { name: "700m", hidden: 1536, intermediate: 4096, heads: 16, kv_heads: 16, vocabulary: 32002 },
    Model { name: "2b4t", hidden: 2560, intermediate: 6912, heads: 20, kv_heads: 5, vocabulary: 128_256 },
];

impl Model {
    fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }
}

/// Tokens computed together: one, a small batch, a part of a prompt.
const TOKENS: [usize; 3] = [1, 4, 64];
/// Positions that attention looks back at.
const POSITIONS: usize = 1024;

/// SplitMix64's output function, for bits that look even.
fn bits(i: u64) -> u64 {
    let x = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// A number between -1 and 1.
fn number(i: u64) -> f32 {
    (bits(i) >> 32) as i32 as f32 / 2_147_483_648.0
}

fn numbers(pool: &Pool, len: usize) -> Buffer<f32> {
    Buffer::from_fn(pool, len, |i| number(i as u64))
}

fn ternary(pool: &Pool, shape: [usize; 2], layout: Layout) -> TernaryMatrix {
    let builder = TernaryBuilder::new(pool, shape, layout);
    pool.run(|worker| builder.fill_random(worker, bits));
    builder.finish()
}

fn dense(pool: &Pool, shape: [usize; 2], dense_type: DenseType) -> DenseMatrix {
    let builder = DenseBuilder::new(pool, dense_type, shape);
    pool.run(|worker| builder.fill(worker, number));
    builder.finish()
}

/// Every instruction set of this machine but the definition, which is there to be right.
fn pools() -> Vec<Pool> {
    let fast = Isa::available().into_iter().filter(|isa| *isa != Isa::scalar());
    fast.map(|isa| Pool::new(isa, 1)).collect()
}

/// Times an operation, alone in a run.
fn time(
    group: &mut BenchmarkGroup<'_, WallTime>,
    pool: &Pool,
    shape: String,
    bytes: usize,
    operation: impl Fn(&mut Worker<'_>) + Sync,
) {
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(BenchmarkId::new(pool.isa().name(), shape), |b| b.iter(|| pool.run(&operation)));
}

fn ternary_product(criterion: &mut Criterion) {
    for (name, layout) in [("two_bit", Layout::TwoBit), ("base_three", Layout::BaseThree)] {
        let mut group = criterion.benchmark_group(format!("ternary_product_{name}"));
        for pool in &pools() {
            for model in &MODELS {
                let shapes = [[model.intermediate, model.hidden], [model.hidden, model.intermediate]];
                for [rows, cols] in shapes {
                    let w = ternary(pool, [rows, cols], layout);
                    for m in TOKENS {
                        let x = Int8Rows::new(pool, m, cols);
                        let input = numbers(pool, m * cols);
                        pool.run(|worker| ops::quantize_rows(worker, &input, m, cols, &x));
                        let y = Buffer::zeroed(pool, m * rows);
                        let shape = format!("{}_{rows}x{cols}_m{m}", model.name);
                        time(&mut group, pool, shape, w.size_bytes(), |worker| {
                            ops::ternary_products(
                                worker,
                                [TernaryProduct { w: &w, w_scale: 0.1, y: &y }],
                                &x,
                                m,
                            );
                        });
                    }
                }
            }
        }
    }
}

fn dense_product(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dense_product");
    group.sample_size(10);
    for pool in &pools() {
        for model in &MODELS {
            for (name, dense_type) in [("bf16", DenseType::Bf16), ("f16", DenseType::F16)] {
                let [rows, cols] = [model.vocabulary, model.hidden];
                let w = dense(pool, [rows, cols], dense_type);
                for m in [1, 4] {
                    let (x, y) = (numbers(pool, m * cols), Buffer::zeroed(pool, m * rows));
                    let shape = format!("{}_{name}_{rows}x{cols}_m{m}", model.name);
                    time(&mut group, pool, shape, w.size_bytes(), |worker| {
                        ops::dense_product(worker, w.view(), &x, m, &y);
                    });
                }
            }
        }
    }
}

fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rows");
    for pool in &pools() {
        for model in &MODELS {
            for (width, m) in [(model.hidden, 1), (model.intermediate, 1), (model.intermediate, 64)] {
                let (x, y) = (numbers(pool, m * width), numbers(pool, m * width));
                let out = Buffer::zeroed(pool, m * width);
                let int8 = Int8Rows::new(pool, m, width);
                let gain = vec![1.0; width];
                let bytes = m * width * size_of::<f32>();
                let shape = |operation: &str| format!("{operation}_{}_{width}_m{m}", model.name);
                time(&mut group, pool, shape("rms_norm"), bytes, |worker| {
                    ops::rms_norm(worker, &x, m, &gain, 1e-5, &out);
                });
                time(&mut group, pool, shape("quantize_rows"), bytes, |worker| {
                    ops::quantize_rows(worker, &x, m, width, &int8);
                });
                time(&mut group, pool, shape("silu_gate"), 2 * bytes, |worker| {
                    ops::gate(worker, Activation::Silu, [&x, &y], [m, width], &out);
                });
                time(&mut group, pool, shape("relu2_gate"), 2 * bytes, |worker| {
                    ops::gate(worker, Activation::Relu2, [&x, &y], [m, width], &out);
                });
                time(&mut group, pool, shape("add_assign"), 2 * bytes, |worker| {
                    ops::add_assign(worker, &out, &x, m, width);
                });
            }
        }
    }
}

fn embed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("embed");
    for pool in &pools() {
        for model in &MODELS {
            let table = dense(pool, [1024, model.hidden], DenseType::Bf16);
            let m = 64;
            let out = Buffer::zeroed(pool, m * model.hidden);
            time(
                &mut group,
                pool,
                format!("{}_{}_m{m}", model.name, model.hidden),
                2 * out.len(),
                |worker| {
                    ops::embed(worker, table.view(), (0..m as u32).map(|token| token * 13), &out);
                },
            );
        }
    }
}

fn attention(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    for pool in &pools() {
        for model in &MODELS {
            for (name, kv_type) in [("f16", KvType::F16), ("f32", KvType::F32)] {
                for m in [1, 64] {
                    attend(&mut group, pool, model, (name, kv_type), m);
                }
            }
        }
    }
}

/// `m` new tokens after [`POSITIONS`] others: rotated, appended and attended.
fn attend(
    group: &mut BenchmarkGroup<'_, WallTime>,
    pool: &Pool,
    model: &Model,
    (name, kv_type): (&str, KvType),
    m: usize,
) {
    let (heads, kv_heads, head_dim) = (model.heads, model.kv_heads, model.head_dim());
    let capacity = POSITIONS + m;
    let rotary = RotaryTable::new(head_dim, 10_000.0, capacity);
    let kv_shape = KvShape { num_hidden_layers: 1, num_key_value_heads: kv_heads, head_dim };
    let mut cache = KvCache::new(pool, kv_type, kv_shape, capacity);
    let keys = numbers(pool, POSITIONS * kv_heads * head_dim);
    let tokens = vec![0; POSITIONS];
    let sequences = [Sequence { tokens: &tokens, cache: &mut cache }];
    pool.run(|worker| ops::append(worker, &sequences, 0, None, &keys, &keys));
    cache.advance(POSITIONS);
    let bytes = cache.read_bytes(POSITIONS + m);
    let sequences = [Sequence { tokens: &tokens[..m], cache: &mut cache }];
    let (q, k) = (numbers(pool, m * heads * head_dim), numbers(pool, m * kv_heads * head_dim));
    let out = Buffer::zeroed(pool, m * heads * head_dim);
    let shape = |operation: &str| format!("{operation}_{}_{name}_d{POSITIONS}_m{m}", model.name);
    time(group, pool, shape("rotate"), q.len() * size_of::<f32>(), |worker| {
        ops::rotate(worker, &rotary, &sequences, heads, &q);
    });
    time(group, pool, shape("append"), 2 * k.len() * size_of::<f32>(), |worker| {
        ops::append(worker, &sequences, 0, None, &k, &k);
    });
    time(group, pool, shape("attention"), bytes, |worker| {
        ops::attention(worker, &sequences, 0, heads, &q, &out);
    });
}

criterion_group!(benches, ternary_product, dense_product, rows, embed, attention);
criterion_main!(benches);
