//! Every operation gives the same bits on every instruction set of this machine and for any
//! thread count as the definition on one thread: random shapes. Fixed ones are in `battery.rs`.

mod cases;

use cases::{
    AttentionShape, DENSE_TYPES, KV_TYPES, LAYOUTS, Numbers, TernaryCase, assert_equals_scalar, assert_gives,
};
use proptest::prelude::*;
use tercet_kernels::{Isa, KV_BLOCK, KvType, Layout, Pool, QuantizedType, TernaryMatrix};

const THREADS: [usize; 3] = [1, 2, 3];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn ternary_product(m in 1usize..20, n in 1usize..300, k in 1usize..700, seed in any::<u64>()) {
        let case = TernaryCase::random([m, n, k], seed);
        for layout in LAYOUTS {
            assert_equals_scalar(&THREADS, |pool| case.product(pool, layout));
        }
    }

    #[test]
    fn products_in_one_operation_are_those_alone(
        m in 1usize..20, n in 3usize..400, k in 1usize..200, seed in any::<u64>()
    ) {
        let case = TernaryCase::random([m, n, k], seed);
        for layout in LAYOUTS {
            let alone = case.product(&Pool::new(Isa::best(), 2), layout);
            for threads in THREADS {
                let pool = Pool::new(Isa::best(), threads);
                prop_assert_eq!(&case.products_of_thirds(&pool, layout), &alone);
            }
        }
    }

    #[test]
    fn ternary_product_is_the_sum(n in 1usize..40, k in 1usize..200, seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        let (codes, x) = (numbers.codes(n * k), numbers.floats(k));
        let largest = x.iter().fold(1e-5f32, |a, x| a.max(x.abs()));
        let q: Vec<i32> = x.iter().map(|x| (x * (127.0 / largest)).round_ties_even() as i32).collect();
        let w = TernaryMatrix::from_codes(&codes, [n, k], Layout::TwoBit).unwrap();
        let y = cases::ternary_product(&Pool::new(Isa::best(), 2), &w, 0.37, &x, 1);
        for (codes, y) in codes.chunks(k).zip(y) {
            let sum: i32 = codes.iter().zip(&q).map(|(code, q)| (i32::from(*code) - 1) * q).sum();
            prop_assert_eq!(y, sum as f32 * (0.37 * (largest / 127.0)));
        }
    }

    #[test]
    fn quantize_rows(m in 1usize..6, width in 1usize..200, seed in any::<u64>()) {
        assert_equals_scalar(&THREADS, |pool| cases::quantize_rows(pool, [m, width], seed));
    }

    #[test]
    fn dense_product(m in 1usize..10, n in 1usize..40, k in 1usize..300, seed in any::<u64>()) {
        for dense_type in DENSE_TYPES {
            assert_equals_scalar(&THREADS, |pool| cases::dense_product(pool, dense_type, [m, n, k], seed));
            assert_equals_scalar(&THREADS, |pool| cases::embed(pool, dense_type, [m, n, k], seed));
        }
    }

    #[test]
    fn dense_product_of_many_tokens(m in 16usize..80, n in 1usize..70, k in 1usize..300, seed in any::<u64>()) {
        let shape = [m, n, k];
        for dense_type in DENSE_TYPES {
            let want = cases::dense_product_by_definition(dense_type, shape, seed);
            assert_gives(&want, &THREADS, |pool| cases::dense_product(pool, dense_type, shape, seed));
        }
    }

    #[test]
    fn quantized_product(m in 1usize..20, n in 1usize..70, k in 1usize..300, seed in any::<u64>()) {
        for quantized_type in QuantizedType::ALL {
            assert_equals_scalar(&THREADS, |pool| {
                cases::quantized_product(pool, quantized_type, [m, n, k], seed)
            });
        }
    }

    #[test]
    fn rows(m in 1usize..6, width in 1usize..200, seed in any::<u64>()) {
        let shape = [m, width];
        for eps in [0.0, 1e-5] {
            assert_equals_scalar(&THREADS, |pool| cases::rms_norm(pool, shape, eps, seed));
        }
        assert_equals_scalar(&THREADS, |pool| cases::gather_rows(pool, shape, seed));
        assert_equals_scalar(&THREADS, |pool| cases::add_assign(pool, shape, seed));
        assert_equals_scalar(&THREADS, |pool| cases::silu_gate(pool, shape, seed));
        assert_equals_scalar(&THREADS, |pool| cases::relu2_gate(pool, shape, seed));
    }

    #[test]
    fn attention(
        before in 0usize..150, len in 1usize..20, kv_heads in 1usize..4, group in 1usize..7,
        half in 1usize..70, seed in any::<u64>(),
    ) {
        let shape = AttentionShape { before, len, kv_heads, heads: kv_heads * group, head_dim: 2 * half };
        assert_equals_scalar(&THREADS, |pool| shape.rotate(pool, seed));
        for kv_type in KV_TYPES {
            assert_equals_scalar(&THREADS, |pool| shape.attend(pool, kv_type, before + len, seed));
        }
    }

    #[test]
    fn attention_does_not_depend_on_chunks(before in 0usize..150, len in 1usize..90, chunk in 1usize..90) {
        let shape = AttentionShape { before, len, kv_heads: 2, heads: 6, head_dim: 22 };
        let pool = Pool::new(Isa::best(), 2);
        for kv_type in KV_TYPES {
            prop_assert_eq!(
                shape.attend(&pool, kv_type, chunk, 7),
                shape.attend(&pool, kv_type, before + len, 7)
            );
        }
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
fn one_position_gives_its_value_as_activations_are_quantized() {
    let shape = AttentionShape { before: 0, len: 1, kv_heads: 2, heads: 2, head_dim: 20 };
    let got = shape.attend(&Pool::new(Isa::best(), 2), KvType::Int8, 1, 5);
    let mut numbers = Numbers(5);
    let [_, _, v] = [0; 3].map(|_| numbers.floats(2 * 20));
    for (v, got) in v.chunks(20).zip(got.chunks(20)) {
        let largest = v.iter().fold(1e-5f32, |a, v| a.max(v.abs()));
        let want: Vec<f32> =
            v.iter().map(|v| (v * (127.0 / largest)).round_ties_even() * (largest / 127.0)).collect();
        assert_eq!(got, want);
    }
}

#[test]
fn edges_of_the_ternary_product() {
    for case in TernaryCase::edges() {
        for layout in LAYOUTS {
            assert_equals_scalar(&[1, 2], |pool| case.product(pool, layout));
        }
    }
}
