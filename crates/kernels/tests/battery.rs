//! The battery: every public operation, on every instruction set of this machine, gives the bits
//! of its definition.
//!
//! It runs on the main thread and without the test harness, so that it also runs where threads
//! cannot be started (an emulator). Where `TERCET_ISA` is set, that instruction set must be among
//! those compared. Its lines are those of the harness, and the last one counts them.
#![expect(clippy::print_stdout, reason = "a test without the harness reports itself")]

mod cases;

use std::panic::catch_unwind;
use std::process::ExitCode;

use cases::{
    AttentionShape, DENSE_TYPES, KV_TYPES, LAYOUTS, Numbers, TernaryCase, assert_equals_scalar, assert_gives,
};
use tercet_kernels::{Buffer, Isa, KvCache, KvShape, KvType, Pool, QuantizedType, Sequence, ops, self_test};

/// The main thread alone: a pool of one starts none.
const THREADS: [usize; 1] = [1];
/// Shapes drawn for an operation, besides its edges.
const RANDOM_SHAPES: u64 = 24;
/// Row widths on and about the lengths of vectors and of row reductions.
const WIDTHS: [usize; 14] = [1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 257];
/// Values that no token, key or value may have.
const NOT_FINITE: [f32; 4] = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

const OPERATIONS: [(&str, fn()); 17] = [
    ("ternary_product", ternary_product),
    ("ternary_product_edges", ternary_product_edges),
    ("quantize_rows", quantize_rows),
    ("rows_that_are_not_finite", rows_that_are_not_finite),
    ("keys_and_values_that_are_not_finite", keys_and_values_that_are_not_finite),
    ("dense_product", dense_product),
    ("dense_product_of_many_tokens", dense_product_of_many_tokens),
    ("quantized_product", quantized_product),
    ("embed", embed),
    ("gather_rows", gather_rows),
    ("rms_norm", rms_norm),
    ("add_assign", add_assign),
    ("silu_gate", silu_gate),
    ("relu2_gate", relu2_gate),
    ("rotate", rotate),
    ("append_and_attention", append_and_attention),
    ("self_test", self_test_passes),
];

fn main() -> ExitCode {
    if let Err(error) = Isa::from_environment() {
        println!("{error}");
        return ExitCode::FAILURE;
    }
    let names: Vec<&str> = Isa::available().iter().map(|isa| isa.name()).collect();
    println!("comparing {}", names.join(", "));
    let mut failed = 0;
    for (name, operation) in OPERATIONS {
        let is_equal = catch_unwind(operation).is_ok();
        println!("test {name} ... {}", if is_equal { "ok" } else { "FAILED" });
        failed += usize::from(!is_equal);
    }
    println!("{} passed, {failed} failed", OPERATIONS.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn ternary_product() {
    for (seed, shape) in random_shapes([20, 70, 700]) {
        let case = TernaryCase::random(shape, seed);
        for layout in LAYOUTS {
            assert_equals_scalar(&THREADS, |pool| case.product(pool, layout));
            assert_equals_scalar(&THREADS, |pool| case.products_of_thirds(pool, layout));
        }
    }
}

fn ternary_product_edges() {
    for case in TernaryCase::edges() {
        for layout in LAYOUTS {
            assert_equals_scalar(&THREADS, |pool| case.product(pool, layout));
        }
    }
}

fn quantize_rows() {
    for (seed, shape) in row_shapes() {
        assert_equals_scalar(&THREADS, |pool| cases::quantize_rows(pool, shape, seed));
    }
}

/// What has gone out of range is seen in every product, and not taken for zeros.
fn rows_that_are_not_finite() {
    for isa in Isa::available() {
        let pool = Pool::new(isa, 1);
        for width in WIDTHS {
            for value in NOT_FINITE {
                for place in [0, width / 2, width - 1] {
                    let mut x = Numbers(width as u64).floats(2 * width);
                    x[width + place] = value;
                    let y = cases::unit_product(&pool, &x, [2, width]);
                    let (finite, rest) = y.split_at(width);
                    assert!(finite.iter().all(|y| y.is_finite()), "{isa:?}: the other row, {width}");
                    assert!(rest.iter().all(|y| y.is_nan()), "{isa:?}: {value} at {place} of {width}");
                }
            }
        }
    }
}

fn keys_and_values_that_are_not_finite() {
    for isa in Isa::available() {
        let pool = Pool::new(isa, 1);
        for kv_type in KV_TYPES {
            for value in NOT_FINITE {
                for is_key in [true, false] {
                    let out = attend_to_one(&pool, kv_type, is_key, value);
                    let what = if is_key { "key" } else { "value" };
                    assert!(!out.iter().all(|y| y.is_finite()), "{isa:?}, {kv_type:?}: a {what} of {value}");
                }
            }
        }
    }
}

/// Attention of one position to itself alone, with `value` as a number of its key or of its value.
fn attend_to_one(pool: &Pool, kv_type: KvType, is_key: bool, value: f32) -> Vec<f32> {
    const HEAD_DIM: usize = 20;
    let mut numbers = Numbers(3);
    let [q, mut k, mut v] = [0; 3].map(|_| numbers.floats(HEAD_DIM));
    if is_key {
        k[7] = value
    } else {
        v[7] = value
    }
    let [q, k, v] = [q, k, v].map(|x| Buffer::from_slice(pool, &x));
    let mut out = Buffer::zeroed(pool, HEAD_DIM);
    let shape = KvShape { num_hidden_layers: 1, num_key_value_heads: 1, head_dim: HEAD_DIM };
    let mut cache = KvCache::new(pool, kv_type, shape, 1);
    let sequences = [Sequence { tokens: &[0], cache: &mut cache }];
    pool.run(|worker| {
        ops::append(worker, &sequences, 0, None, &k, &v);
        worker.barrier();
        ops::attention(worker, &sequences, 0, 1, &q, &out);
    });
    out.as_mut_slice().to_vec()
}

fn quantized_product() {
    for (seed, shape) in random_shapes([20, 70, 300]) {
        for quantized_type in QuantizedType::ALL {
            assert_equals_scalar(&THREADS, |pool| {
                cases::quantized_product(pool, quantized_type, shape, seed)
            });
        }
    }
}

fn dense_product() {
    for (seed, shape) in matrix_shapes() {
        for dense_type in DENSE_TYPES {
            assert_equals_scalar(&THREADS, |pool| cases::dense_product(pool, dense_type, shape, seed));
        }
    }
}

/// Panels of tokens and strips of rows, filled exactly, one less and one more: against the sums
/// themselves, since the scalar path walks the same panels.
fn dense_product_of_many_tokens() {
    for m in [16, 17, 33, 70] {
        for n in [15, 16, 17, 40] {
            for k in [1, 16, 17, 1600] {
                for dense_type in DENSE_TYPES {
                    let (shape, seed) = ([m, n, k], (m * n * k) as u64);
                    let want = cases::dense_product_by_definition(dense_type, shape, seed);
                    assert_gives(&want, &THREADS, |pool| cases::dense_product(pool, dense_type, shape, seed));
                }
            }
        }
    }
}

fn embed() {
    for (seed, shape) in matrix_shapes() {
        for dense_type in DENSE_TYPES {
            assert_equals_scalar(&THREADS, |pool| cases::embed(pool, dense_type, shape, seed));
        }
    }
}

fn gather_rows() {
    for (seed, shape) in row_shapes() {
        assert_equals_scalar(&THREADS, |pool| cases::gather_rows(pool, shape, seed));
    }
}

fn rms_norm() {
    for (seed, shape) in row_shapes() {
        for eps in [0.0, 1e-5] {
            assert_equals_scalar(&THREADS, |pool| cases::rms_norm(pool, shape, eps, seed));
        }
    }
}

fn add_assign() {
    for (seed, shape) in row_shapes() {
        assert_equals_scalar(&THREADS, |pool| cases::add_assign(pool, shape, seed));
    }
}

fn silu_gate() {
    for (seed, shape) in row_shapes() {
        assert_equals_scalar(&THREADS, |pool| cases::silu_gate(pool, shape, seed));
    }
}

fn relu2_gate() {
    for (seed, shape) in row_shapes() {
        assert_equals_scalar(&THREADS, |pool| cases::relu2_gate(pool, shape, seed));
    }
}

fn rotate() {
    for (seed, shape) in attention_shapes() {
        assert_equals_scalar(&THREADS, |pool| shape.rotate(pool, seed));
    }
}

/// A cache is only seen through attention, so the two are compared together.
fn append_and_attention() {
    for (seed, shape) in attention_shapes() {
        for kv_type in KV_TYPES {
            assert_equals_scalar(&THREADS, |pool| shape.attend(pool, kv_type, 41, seed));
        }
    }
}

fn self_test_passes() {
    for isa in Isa::available() {
        self_test(isa).expect("the start-up self-test passes");
    }
}

/// A seed and a shape drawn from it: each size from 1 to its greatest.
fn random_shapes<const N: usize>(greatest: [u64; N]) -> impl Iterator<Item = (u64, [usize; N])> {
    (0..RANDOM_SHAPES).map(move |seed| {
        let mut numbers = Numbers(seed);
        (seed, greatest.map(|greatest| 1 + (numbers.next() % greatest) as usize))
    })
}

fn row_shapes() -> impl Iterator<Item = (u64, [usize; 2])> {
    let edges = WIDTHS.iter().flat_map(|width| [(0, [0, *width]), (1, [1, *width]), (2, [3, *width])]);
    edges.chain(random_shapes([6, 200]))
}

fn matrix_shapes() -> impl Iterator<Item = (u64, [usize; 3])> {
    let edges = WIDTHS.iter().flat_map(|k| [(0, [0, 3, *k]), (1, [1, 4, *k]), (2, [5, 5, *k])]);
    edges.chain(random_shapes([10, 40, 300]))
}

/// Positions on and about the end of a cache block, then random ones.
fn attention_shapes() -> impl Iterator<Item = (u64, AttentionShape)> {
    let edges = [0, 62, 63, 64, 127].map(|before| [before + 1, 2, 2, 2, 3]);
    let edges = edges.into_iter().map(|shape| (7, shape));
    edges.chain(random_shapes([150, 20, 3, 6, 70])).map(|(seed, [before, len, kv_heads, group, half])| {
        let shape =
            AttentionShape { before: before - 1, len, kv_heads, heads: kv_heads * group, head_dim: 2 * half };
        (seed, shape)
    })
}
