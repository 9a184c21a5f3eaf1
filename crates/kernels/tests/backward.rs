//! The backward operations against plain formulas in f64, on every instruction set and for several
//! threads, which change no bit.
//!
//! Tolerances are relative to the greatest magnitude of a result: f32 sums of one or two thousand
//! terms differ from f64 ones by less than 1e-5 of it.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use tercet_kernels::ops::backward::{
    self, AttentionRooms, GainParts, GatedNorm, GradientOperands, GradientPrecision, GradientProduct,
    GradientSizes, Input, LossRows, SoftTargets, Weight,
};
use tercet_kernels::ops::{self, Activation, Int8Rows, MuonStep, Region};
use tercet_kernels::{
    AdamwStep, Buffer, Destination, Isa, KvCache, KvShape, KvType, Layout, Pool, RotaryTable, Sequence,
    TernaryMatrix, Worker,
};

const TOLERANCE: f64 = 1e-5;

/// Numbers between -1 and 1, the same for the same seed.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f32 / (1u64 << 30) as f32 - 1.0
        })
        .collect()
}

/// Runs `case` on every instruction set, with one, two and three threads, and compares it with
/// `want`; the threads must change no bit.
#[track_caller]
fn check(want: &[f64], case: impl Fn(&Pool) -> Vec<f32>) {
    check_within(TOLERANCE, want, case);
}

/// As [`check`], with another tolerance.
#[track_caller]
fn check_within(tolerance: f64, want: &[f64], case: impl Fn(&Pool) -> Vec<f32>) {
    let greatest = want.iter().fold(1e-30f64, |max, x| max.max(x.abs()));
    for isa in Isa::available() {
        let got = case(&Pool::new(isa, 1));
        assert_eq!(got.len(), want.len());
        for (at, (got, want)) in got.iter().zip(want).enumerate() {
            let difference = (f64::from(*got) - want).abs() / greatest;
            assert!(difference <= tolerance, "{isa:?}: element {at} is {got}, expected {want}");
        }
        for threads in [2, 3] {
            assert!(case(&Pool::new(isa, threads)) == got, "{isa:?}: {threads} threads");
        }
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

/// `a · b`, of `[m, k]` and `[k, n]`.
fn product(a: &[f64], b: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    let element = |row: usize, col: usize| (0..k).map(|i| a[row * k + i] * b[i * n + col]).sum();
    (0..m).flat_map(|row| (0..n).map(move |col| element(row, col))).collect()
}

fn transposed(a: &[f64], [rows, cols]: [usize; 2]) -> Vec<f64> {
    (0..cols).flat_map(|col| (0..rows).map(move |row| a[row * cols + col])).collect()
}

fn shapes() -> impl Iterator<Item = (u64, [usize; 3])> {
    let shapes = [[1, 1, 1], [1, 70, 3], [65, 17, 33], [130, 64, 65], [64, 129, 16]];
    (1..).zip(shapes)
}

/// Shapes of products: tiles, panels and blocks filled exactly, one less and one more, and rows of many
/// columns.
fn product_shapes() -> impl Iterator<Item = (u64, [usize; 3])> {
    let of_tokens = |m| [15, 16, 17, 40].map(|n| [1, 16, 17, 1600].map(|k| [m, n, k])).concat();
    shapes().chain((10..).zip([16, 17, 33, 70].map(of_tokens).concat()))
}

#[test]
fn float_products() {
    for (seed, [m, n, k]) in product_shapes() {
        let (x, w) = (numbers(m * k, seed), numbers(n * k, seed + 100));
        check(&product(&wide(&x), &transposed(&wide(&w), [n, k]), [m, n, k]), |pool| {
            let (x, mut y) = (Buffer::from_slice(pool, &x), Buffer::zeroed(pool, m * n));
            pool.run(|worker| backward::float_product(worker, &x, &w, [m, n, k], &y));
            y.as_mut_slice().to_vec()
        });
    }
}

/// Operands of a product whose gradients are wanted.
struct Case {
    shape: [usize; 3],
    x: Vec<f32>,
    w: Vec<f32>,
    /// Codes of `w`, which then stands for nothing else.
    codes: Option<Vec<u8>>,
    d_y: Vec<f32>,
    before: Vec<f32>,
}

const TERNARY_SCALE: f32 = 0.75;

impl Case {
    fn new(seed: u64, shape: [usize; 3], is_quantized: bool) -> Self {
        let [m, n, k] = shape;
        let w = numbers(n * k, seed + 100);
        Case {
            shape,
            x: numbers(m * k, seed),
            codes: is_quantized.then(|| w.iter().map(|w| (1.5 * w + 1.5) as u8).collect()),
            w,
            d_y: numbers(m * n, seed + 200),
            before: numbers(n * k, seed + 300),
        }
    }

    /// `d_x` after it was set and added once more, and `d_w` added to what was there before, both
    /// after the sums of the magnitudes of their terms.
    fn expected(&self) -> [Vec<f64>; 4] {
        let [m, n, k] = self.shape;
        let mut x = wide(&self.x);
        let mut w = wide(&self.w);
        if let Some(codes) = &self.codes {
            w = codes.iter().map(|code| f64::from(TERNARY_SCALE) * (f64::from(*code) - 1.0)).collect();
            x = quantized(&self.x, k);
        }
        let d_y = wide(&self.d_y);
        let magnitudes = |x: &[f64]| -> Vec<f64> { x.iter().map(|x| x.abs()).collect() };
        let d_x = |d_y: &[f64], w: &[f64]| -> Vec<f64> {
            product(d_y, w, [m, k, n]).iter().map(|d| 2.0 * d).collect()
        };
        let d_w = |d_y: &[f64], x: &[f64]| product(&transposed(d_y, [m, n]), x, [n, k, m]);
        let added =
            d_w(&d_y, &x).iter().zip(&self.before).map(|(d, before)| d + f64::from(*before)).collect();
        let (d_y_sizes, x_sizes, w_sizes) = (magnitudes(&d_y), magnitudes(&x), magnitudes(&w));
        [d_x(&d_y_sizes, &w_sizes), d_w(&d_y_sizes, &x_sizes), d_x(&d_y, &w), added]
    }

    fn gradients(&self, pool: &Pool, precision: GradientPrecision) -> [Vec<f32>; 2] {
        let [m, n, k] = self.shape;
        let matrix =
            self.codes.as_ref().map(|codes| TernaryMatrix::from_codes(codes, [n, k], Layout::TwoBit));
        let matrix = matrix.transpose().unwrap();
        let rows = Int8Rows::new(pool, m, k);
        let [x, d_y, floats] = [&self.x, &self.d_y, &self.w].map(|values| Buffer::from_slice(pool, values));
        let (w, input) = match &matrix {
            Some(matrix) => (Weight::Ternary(matrix, TERNARY_SCALE), Input::Codes(&rows)),
            None => (Weight::Floats(&floats, 0), Input::Floats(&x)),
        };
        let wanted = GradientProduct { w, x: input, d_y: &d_y, shape: self.shape };
        let sizes = GradientSizes { rows: m, matrices: vec![[n, k]], is_quantized: matrix.is_some() };
        let operands = GradientOperands::new(pool, precision, &sizes);
        let mut d_x = Buffer::zeroed(pool, m * k);
        let mut d_w = Buffer::zeroed(pool, 3 + n * k);
        d_w.as_mut_slice()[3..].copy_from_slice(&self.before);
        pool.run(|worker| {
            ops::quantize_rows(worker, &x, m, k, &rows);
            worker.barrier();
            operands.prepare_weight(worker, &wanted);
            operands.prepare_input(worker, &wanted);
            operands.prepare_gradient(worker, &wanted);
            worker.barrier();
            operands.weight_gradient(worker, &wanted, Destination::Add, &d_w, 3);
            for destination in [Destination::Replace, Destination::Add] {
                operands.input_gradient(worker, &wanted, destination, &d_x);
                worker.barrier();
            }
        });
        [d_x.as_mut_slice().to_vec(), d_w.as_mut_slice()[3..].to_vec()]
    }
}

#[test]
fn gradients_of_products_in_f32() {
    for (seed, shape) in product_shapes() {
        for is_quantized in [false, true] {
            let case = Case::new(seed, shape, is_quantized);
            let [.., d_x, d_w] = case.expected();
            check(&d_x, |pool| case.gradients(pool, GradientPrecision::F32)[0].clone());
            check(&d_w, |pool| case.gradients(pool, GradientPrecision::F32)[1].clone());
        }
    }
}

/// Each operand that is no code is rounded by at most 2⁻⁸ of itself, and sums in f32 add less than
/// 1e-5 of their terms' magnitudes.
#[test]
fn gradients_of_products_in_bf16_are_within_the_rounding_of_their_operands() {
    // The last has more tokens than are summed before the next panels.
    let long = (9, [2051, 40, 50]);
    for (seed, shape) in product_shapes().chain([long]) {
        for is_quantized in [false, true] {
            let case = Case::new(seed, shape, is_quantized);
            let [d_x_size, d_w_size, d_x, d_w] = case.expected();
            let rounded_operands = if is_quantized { 1.0 } else { 2.0 };
            let tolerance = rounded_operands / 256.0 * 1.01 + TOLERANCE;
            for isa in Isa::available() {
                let got = case.gradients(&Pool::new(isa, 1), GradientPrecision::Bf16);
                for (got, want, size) in [(&got[0], &d_x, &d_x_size), (&got[1], &d_w, &d_w_size)] {
                    for (at, ((got, want), size)) in got.iter().zip(want).zip(size).enumerate() {
                        let difference = (f64::from(*got) - want).abs();
                        let is_near = difference <= tolerance * size + 1e-6;
                        assert!(is_near, "{isa:?} {shape:?}: element {at} is {got}, expected {want}");
                    }
                }
                for threads in [2, 3] {
                    let again = case.gradients(&Pool::new(isa, threads), GradientPrecision::Bf16);
                    assert!(again == got, "{isa:?}: {threads} threads");
                }
            }
        }
    }
}

/// Rows as their int8 codes say them.
fn quantized(x: &[f32], k: usize) -> Vec<f64> {
    x.chunks(k)
        .flat_map(|row| {
            let absmax = row.iter().fold(1e-5f32, |max, x| max.max(x.abs()));
            row.iter().map(move |x| f64::from((x * (127.0 / absmax)).round_ties_even() * (absmax / 127.0)))
        })
        .collect()
}

#[test]
fn quantized_operands_become_floats() {
    let ([m, n, k], lambda) = ([5, 37, 83], 0.25);
    let codes: Vec<u8> = numbers(n * k, 5).iter().map(|x| (1.5 * x + 1.5) as u8).collect();
    let (masters, x) = (numbers(n * k, 6), numbers(m * k, 7));
    let blended: Vec<f64> = masters
        .iter()
        .zip(&codes)
        .map(|(w, code)| {
            let (w, quantized) = (f64::from(*w), 0.5 * (f64::from(*code) - 1.0));
            w + 0.25 * (quantized - w)
        })
        .collect();
    check(&blended, |pool| {
        let matrix = TernaryMatrix::from_codes(&codes, [n, k], Layout::TwoBit).unwrap();
        let mut out = Buffer::zeroed(pool, n * k);
        pool.run(|worker| {
            backward::dequantize_matrix(worker, &matrix, &out);
            worker.barrier();
            backward::blend_matrix(worker, &masters, 0.5, lambda, &out);
        });
        out.as_mut_slice().to_vec()
    });
    let quantized = quantized(&x, k);
    check(&quantized, |pool| {
        with_rows(pool, &x, [m, k], |worker, _, rows, out| {
            backward::dequantize_rows(worker, rows, m, k, out);
        })
    });
    let blended: Vec<f64> =
        x.iter().zip(&quantized).map(|(x, q)| f64::from(*x) + 0.25 * (q - f64::from(*x))).collect();
    check(&blended, |pool| {
        with_rows(pool, &x, [m, k], |worker, x, rows, out| {
            backward::blend_rows(worker, x, rows, lambda, [m, k], out);
        })
    });
}

/// What `f` makes of `x` and its quantized rows.
fn with_rows(
    pool: &Pool,
    x: &[f32],
    [m, k]: [usize; 2],
    f: impl Fn(&Worker<'_>, &Buffer<f32>, &Int8Rows, &Buffer<f32>) + Sync,
) -> Vec<f32> {
    let (x, rows) = (Buffer::from_slice(pool, x), Int8Rows::new(pool, m, k));
    let mut out = Buffer::zeroed(pool, m * k);
    pool.run(|worker| {
        ops::quantize_rows(worker, &x, m, k, &rows);
        worker.barrier();
        f(worker, &x, &rows, &out);
    });
    out.as_mut_slice().to_vec()
}

#[test]
fn rms_norm() {
    for (seed, [m, width, _]) in shapes() {
        let (x, d_y) = (numbers(m * width, seed), numbers(m * width, seed + 1));
        let (gain, before) = (numbers(width, seed + 2), numbers(m * width, seed + 3));
        let eps = 1e-3f64;
        let (mut d_x, mut d_gain) = (wide(&before), vec![0.0; width]);
        for row in 0..m {
            let at = |i: usize| row * width + i;
            let (x, d_y, gain) = (wide(&x), wide(&d_y), wide(&gain));
            let mean = (0..width).map(|i| x[at(i)] * x[at(i)]).sum::<f64>() / width as f64;
            let r = 1.0 / (mean + f64::from(eps as f32)).sqrt();
            let along: f64 = (0..width).map(|i| gain[i] * d_y[at(i)] * x[at(i)]).sum();
            for i in 0..width {
                d_x[at(i)] += r * gain[i] * d_y[at(i)] - r.powi(3) * x[at(i)] * along / width as f64;
                d_gain[i] += d_y[at(i)] * x[at(i)] * r;
            }
        }
        let want = [d_x, d_gain].concat();
        check(&want, |pool| {
            let (x, d_y) = (Buffer::from_slice(pool, &x), Buffer::from_slice(pool, &d_y));
            let (mut d_x, parts) = (Buffer::from_slice(pool, &before), GainParts::new(pool, m, width));
            let mut gradients = Buffer::zeroed(pool, width + 1);
            pool.run(|worker| {
                let (eps, added) = (eps as f32, Destination::Add);
                backward::rms_norm_backward(worker, &x, m, &gain, eps, &d_y, &parts, added, &d_x);
                worker.barrier();
                backward::add_gain_parts(worker, &parts, [m, width], &gradients, 1);
            });
            [d_x.as_mut_slice(), &mut gradients.as_mut_slice()[1..]].concat()
        });
    }
}

#[test]
fn gates() {
    let len = 77;
    let [gate, up, d] = [1, 2, 3].map(|seed| numbers(len, seed));
    let silu = |g: f64| g / (1.0 + (-g).exp());
    let relu2 = |g: f64| g.max(0.0).powi(2);
    let cases: [(&dyn Fn(f64) -> f64, Activation); 2] =
        [(&silu, Activation::Silu), (&relu2, Activation::Relu2)];
    for (function, activation) in cases {
        let inputs = gate.iter().zip(&up).zip(&d).map(|((g, u), d)| [*g, *u, *d].map(f64::from));
        let step = 1e-6;
        let d_gate =
            inputs.clone().map(|[g, u, d]| d * u * (function(g + step) - function(g - step)) / (2.0 * step));
        let d_up = inputs.clone().map(|[g, _, d]| d * function(g));
        let want: Vec<f64> = d_gate.chain(d_up).collect();
        check(&want, |pool| {
            let [gate, up, d] = [&gate, &up, &d].map(|values| Buffer::from_slice(pool, values));
            let [mut d_gate, mut d_up] = [0; 2].map(|_| Buffer::zeroed(pool, len));
            pool.run(|worker| {
                let (inputs, outputs) = ([&gate, &up, &d], [&d_gate, &d_up]);
                backward::gate_backward(worker, activation, None, inputs, [7, 11], outputs);
            });
            [d_gate.as_mut_slice(), d_up.as_mut_slice()].concat()
        });
    }
}

/// Gate and norm in one pass are the two operations one after the other, to the bit.
#[test]
fn gates_with_a_norm() {
    let ([m, width], eps) = ([37, 21], 1e-5);
    let [gate, up, d] = [1, 2, 3].map(|seed| numbers(m * width, seed));
    let gain = numbers(width, 4);
    for isa in Isa::available() {
        let pool = Pool::new(isa, 2);
        let parts = GainParts::new(&pool, m, width);
        let [gate, up, d] = [&gate, &up, &d].map(|values| Buffer::from_slice(&pool, values));
        let room = || Buffer::zeroed(&pool, m * width);
        let [gated, d_gated] = [room(), room()];
        let of = |is_fused: bool| {
            let mut outputs = [room(), room()];
            let mut d_gain = Buffer::zeroed(&pool, width);
            pool.run(|worker| {
                if is_fused {
                    let norm = Some(GatedNorm { gain: &gain, eps, parts: &parts });
                    let inputs = [&gate, &up, &d];
                    let outputs = [&outputs[0], &outputs[1]];
                    backward::gate_backward(worker, Activation::Silu, norm, inputs, [m, width], outputs);
                    worker.barrier();
                } else {
                    ops::gate(worker, Activation::Silu, [&gate, &up], [m, width], &gated);
                    worker.barrier();
                    let replace = Destination::Replace;
                    backward::rms_norm_backward(worker, &gated, m, &gain, eps, &d, &parts, replace, &d_gated);
                    worker.barrier();
                    let (inputs, outputs) = ([&gate, &up, &d_gated], [&outputs[0], &outputs[1]]);
                    backward::gate_backward(worker, Activation::Silu, None, inputs, [m, width], outputs);
                    worker.barrier();
                }
                backward::add_gain_parts(worker, &parts, [m, width], &d_gain, 0);
            });
            let [d_gate, d_up] = &mut outputs;
            [d_gate.as_mut_slice(), d_up.as_mut_slice(), d_gain.as_mut_slice()].concat()
        };
        assert_eq!(of(true), of(false), "{isa:?}");
    }
}

/// A gate of 40 rows of 21 values, with gradients of `len` values and a norm of `gain` values whose
/// parts have room for `rows` rows.
fn gate_of_40_rows(len: usize, gain: usize, rows: usize) {
    let pool = Pool::new(Isa::scalar(), 1);
    let [gate, up, d_out] = [0; 3].map(|_| Buffer::zeroed(&pool, 40 * 21));
    let [d_gate, d_up] = [40 * 21, len].map(|len| Buffer::zeroed(&pool, len));
    let (gain, parts) = (vec![1.0; gain], GainParts::new(&pool, rows, 21));
    let norm = Some(GatedNorm { gain: &gain, eps: 1e-5, parts: &parts });
    pool.run(|worker| {
        let (inputs, outputs) = ([&gate, &up, &d_out], [&d_gate, &d_up]);
        backward::gate_backward(worker, Activation::Silu, norm, inputs, [40, 21], outputs);
    });
}

#[test]
fn a_gate_has_the_shapes_it_says() {
    gate_of_40_rows(40 * 21, 21, 40);
}

#[test]
#[should_panic(expected = "gate_backward: gradients have one value a column and row")]
fn gradients_of_a_gate_that_are_too_short_are_refused() {
    gate_of_40_rows(40 * 21 - 1, 21, 40);
}

#[test]
#[should_panic(expected = "gate_backward: the gain has one value a column")]
fn a_gain_of_another_width_is_refused() {
    gate_of_40_rows(40 * 21, 22, 40);
}

#[test]
#[should_panic(expected = "gate_backward: the parts of the gain's gradient have room")]
fn parts_of_too_few_rows_are_refused() {
    gate_of_40_rows(40 * 21, 21, 32);
}

#[test]
fn attention() {
    check_attention([4, 2, 6], &[1, 70, 131]);
}

/// A panel and a block of rows filled exactly, one less and one more; heads of whole panels, and of two
/// with a pair of columns more.
#[test]
fn attention_at_the_edges_of_panels_and_blocks() {
    for head_dim in [34, 64] {
        check_attention([2, 1, head_dim], &[15, 16, 17, 64, 65]);
    }
}

/// Gradients by `heads` query heads that share `kv_heads` key heads, of some sequences in one pass.
#[track_caller]
fn check_attention([heads, kv_heads, head_dim]: [usize; 3], sequences: &[usize]) {
    let rows: usize = sequences.iter().sum();
    let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    let (q, d_out) = (numbers(rows * q_width, 1), numbers(rows * q_width, 2));
    let (k, v) = (numbers(rows * kv_width, 3), numbers(rows * kv_width, 4));
    let scale = 1.0 / (head_dim as f64).sqrt();
    let (mut d_q, mut d_k, mut d_v) =
        (vec![0.0; rows * q_width], vec![0.0; rows * kv_width], vec![0.0; rows * kv_width]);
    let mut out = vec![0.0f32; rows * q_width];
    let mut first = 0;
    for &len in sequences {
        for head in 0..heads {
            let at_q = |row: usize| (first + row) * q_width + head * head_dim;
            let at_k = |row: usize| (first + row) * kv_width + head / (heads / kv_heads) * head_dim;
            let dot = |a: &[f32], at_a: usize, b: &[f32], at_b: usize| -> f64 {
                (0..head_dim).map(|i| f64::from(a[at_a + i]) * f64::from(b[at_b + i])).sum()
            };
            for row in 0..len {
                let scores: Vec<f64> = (0..=row).map(|j| scale * dot(&q, at_q(row), &k, at_k(j))).collect();
                let sum: f64 = scores.iter().map(|s| s.exp()).sum();
                let p: Vec<f64> = scores.iter().map(|s| s.exp() / sum).collect();
                let d_p: Vec<f64> = (0..=row).map(|j| dot(&d_out, at_q(row), &v, at_k(j))).collect();
                let along: f64 = p.iter().zip(&d_p).map(|(p, d)| p * d).sum();
                for i in 0..head_dim {
                    let sum: f64 = (0..=row).map(|j| p[j] * f64::from(v[at_k(j) + i])).sum();
                    out[at_q(row) + i] = sum as f32;
                }
                for j in 0..=row {
                    let d_s = p[j] * (d_p[j] - along) * scale;
                    for i in 0..head_dim {
                        d_q[at_q(row) + i] += d_s * f64::from(k[at_k(j) + i]);
                        d_k[at_k(j) + i] += d_s * f64::from(q[at_q(row) + i]);
                        d_v[at_k(j) + i] += p[j] * f64::from(d_out[at_q(row) + i]);
                    }
                }
            }
        }
        first += len;
    }
    // In bf16 three roundings of 2⁻⁸ follow each other, in sums whose terms are of both signs.
    for (precision, tolerance) in [(GradientPrecision::F32, TOLERANCE), (GradientPrecision::Bf16, 1e-2)] {
        check_within(tolerance, &[d_q.clone(), d_k.clone(), d_v.clone()].concat(), |pool| {
            let inputs = [&q, &k, &v, &out, &d_out].map(|values| Buffer::from_slice(pool, values));
            let mut outputs = [q_width, kv_width, kv_width].map(|width| Buffer::zeroed(pool, rows * width));
            let rooms = AttentionRooms::new(pool, precision);
            pool.run(|worker| {
                let shape = [heads, kv_heads, head_dim];
                let (inputs, outputs) = (inputs.each_ref(), outputs.each_ref());
                backward::attention_backward(worker, &rooms, sequences, shape, inputs, outputs);
            });
            outputs.each_mut().map(|output| output.as_mut_slice().to_vec()).concat()
        });
    }
}

#[test]
fn rotating_back_gives_what_was_rotated() {
    let x = numbers(9 * 3 * 8, 1);
    check(&wide(&x), |pool| {
        let table = RotaryTable::new(8, 10_000.0, 9);
        let mut rotated = Buffer::from_slice(pool, &x);
        let shape = KvShape { num_hidden_layers: 0, num_key_value_heads: 3, head_dim: 8 };
        let mut cache = KvCache::new(pool, KvType::F32, shape, 9);
        let sequences = [Sequence { tokens: &[0; 9], cache: &mut cache }];
        pool.run(|worker| {
            ops::rotate(worker, &table, &sequences, 3, &rotated);
            worker.barrier();
            backward::rotate_backward(worker, &table, &sequences, 3, &rotated);
        });
        rotated.as_mut_slice().to_vec()
    });
}

#[test]
fn losses_and_their_gradients() {
    let (rows, vocabulary, scale) = (5, 39, 0.2f32);
    let logits: Vec<f32> = numbers(rows * vocabulary, 1).iter().map(|x| 4.0 * x).collect();
    let teacher: Vec<f32> = numbers(rows * vocabulary, 2).iter().map(|x| 4.0 * x).collect();
    let targets: Vec<u32> = (0..rows as u32).map(|row| row * 7).collect();
    let softmax = |logits: &[f32], temperature: f64| -> Vec<f64> {
        let weights: Vec<f64> = logits.iter().map(|x| (f64::from(*x) / temperature).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    };
    for (weight, temperature) in [(0.0f32, 1.0f32), (0.3, 2.0), (1.0, 1.0)] {
        let (w, t) = (f64::from(weight), f64::from(temperature));
        let mut want = Vec::new();
        let (mut hard, mut loss) = (Vec::new(), Vec::new());
        for (row, target) in targets.iter().enumerate() {
            let range = row * vocabulary..(row + 1) * vocabulary;
            let p = softmax(&logits[range.clone()], 1.0);
            let (q, soft) = (softmax(&logits[range.clone()], t), softmax(&teacher[range], t));
            let target = *target as usize;
            let divergence: f64 = soft.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
            hard.push(-p[target].ln());
            loss.push((1.0 - w) * -p[target].ln() + w * t * t * divergence);
            want.extend((0..vocabulary).map(|i| {
                let own = p[i] - f64::from(u8::from(i == target));
                f64::from(scale) * ((1.0 - w) * own + w * t * (q[i] - soft[i]))
            }));
        }
        want.extend(hard);
        want.extend(loss);
        check(&want, |pool| {
            let mut logits = Buffer::from_slice(pool, &logits);
            let teacher = Buffer::from_slice(pool, &teacher);
            let soft = SoftTargets { logits: &teacher, weight, temperature };
            let wanted = LossRows { targets: &targets, scale, teacher: (weight > 0.0).then_some(soft) };
            let losses = Mutex::new(Vec::new());
            pool.run(|worker| backward::cross_entropy(worker, wanted, vocabulary, &logits, &losses));
            let mut losses = losses.into_inner().unwrap();
            losses.sort_by_key(|(row, _)| *row);
            let part = |part: usize| losses.iter().map(move |(_, both)| both[part] as f32);
            logits.as_mut_slice().iter().copied().chain(part(0)).chain(part(1)).collect()
        });
    }
}

#[test]
fn rows_are_scattered_and_embeddings_gathered() {
    let (width, tokens) = (70, [3u32, 0, 3, 2]);
    let d_x = numbers(tokens.len() * width, 1);
    let mut want = vec![0.0; 5 * width];
    for (row, token) in tokens.iter().enumerate() {
        for i in 0..width {
            want[*token as usize * width + i] += f64::from(d_x[row * width + i]);
        }
    }
    check(&want, |pool| {
        let (d_x, mut gradients) = (Buffer::from_slice(pool, &d_x), Buffer::zeroed(pool, 5 * width));
        pool.run(|worker| backward::embed_backward(worker, &tokens, &d_x, width, &gradients, 0));
        gradients.as_mut_slice().to_vec()
    });
    let places = [0, 1, 3, 4];
    let mut want = vec![0.0; 5 * width];
    for (row, place) in places.iter().enumerate() {
        want[place * width..(place + 1) * width].copy_from_slice(&wide(&d_x[row * width..(row + 1) * width]));
    }
    check(&want, |pool| {
        let (part, mut x) = (Buffer::from_slice(pool, &d_x), Buffer::from_fn(pool, 5 * width, |_| 9.0));
        pool.run(|worker| {
            backward::fill_zero(worker, &x, std::slice::from_ref(&(0..5 * width)));
            worker.barrier();
            backward::scatter_rows(worker, &part, &places, width, &x);
        });
        x.as_mut_slice().to_vec()
    });
}

#[test]
fn adamw_and_norms() {
    let len = (1 << 14) + 100;
    let [g, m, v, w] = [1, 2, 3, 4].map(|seed| numbers(len, seed));
    let v: Vec<f32> = v.iter().map(|v| v.abs()).collect();
    let step = AdamwStep {
        gradient_scale: 0.5,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-3,
        step_size: 0.01,
        inv_root_correction: 1.5,
        keep: 0.99,
    };
    let changed = 5..len - 7;
    let mut want = Vec::new();
    for i in 0..len {
        let [g, m, v, w] = [g[i], m[i], v[i], w[i]].map(f64::from);
        if changed.contains(&i) {
            let g = g * 0.5;
            let (m, v) = (0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g);
            want.push(w * 0.99 - 0.01 * m / (v.sqrt() * 1.5 + 1e-3));
        } else {
            want.push(w);
        }
    }
    want.push(wide(&g).iter().map(|g| g * g).sum::<f64>() / 1e4);
    check(&want, |pool| {
        let regions = [Region { range: changed.clone(), step }];
        let g = Buffer::from_slice(pool, &g);
        let [m, v, mut w] = [&m, &v, &w].map(|values| Buffer::from_slice(pool, values));
        pool.run(|worker| ops::adamw(worker, &regions, &g, [&m, &v, &w]));
        let mut result = w.as_mut_slice().to_vec();
        result.push((ops::sum_of_squares(pool, &g, std::slice::from_ref(&(0..len))) / 1e4) as f32);
        result
    });
}

/// After Muon's iteration all singular values lie near 1, whatever they were.
#[test]
fn muon_steps_are_nearly_orthogonal() {
    for [n, k] in [[24, 40], [40, 24], [16, 16]] {
        let gradient = numbers(n * k, 9);
        let step = MuonStep { gradient_scale: 1.0, momentum: 0.95, learning_rate: 1.0, keep: 0.0 };
        let run = |threads: usize| {
            let pool = Pool::new(Isa::best(), threads);
            let gradients = Buffer::from_slice(&pool, &gradient);
            let [momenta, mut weights] = [0; 2].map(|_| Buffer::zeroed(&pool, n * k));
            let matrices = [(0, [n, k])];
            pool.run(|worker| ops::muon(worker, &step, &matrices, &gradients, [&momenta, &weights]));
            weights.as_mut_slice().to_vec()
        };
        let update = run(1);
        assert!(run(2) == update);
        let size = 0.2 * (n.max(k) as f64).sqrt();
        let update: Vec<f64> = update.iter().map(|u| f64::from(*u) / -size).collect();
        let squares: f64 = update.iter().map(|u| u * u).sum();
        let mean_square = squares / n.min(k) as f64;
        assert!((0.5..1.4).contains(&mean_square), "{n} × {k}: {mean_square}");
        let along: f64 = update.iter().zip(&gradient).map(|(u, g)| u * f64::from(*g)).sum();
        assert!(along > 0.0, "the step goes with the gradient");
    }
}

/// What would let two workers, or one twice, write the same memory is refused.
#[test]
fn what_is_written_lies_apart() {
    let pool = Pool::new(Isa::scalar(), 1);
    let [a, b, c, d] = [0; 4].map(|_| Buffer::<f32>::zeroed(&pool, 64));
    let refused = |f: &(dyn Fn(&Worker<'_>) + Sync), expected| check_refused(&pool, f, expected);
    let step = AdamwStep {
        gradient_scale: 1.0,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-3,
        step_size: 0.01,
        inv_root_correction: 1.0,
        keep: 1.0,
    };
    let regions = |ranges: [Range<usize>; 2]| ranges.map(|range| Region { range, step });
    let apart = regions([32..64, 0..32]);
    pool.run(|worker| ops::adamw(worker, &apart, &a, [&b, &c, &d]));
    refused(&|worker| ops::adamw(worker, &apart, &a, [&b, &b, &c]), "written once");
    let overlapping = regions([0..33, 32..64]);
    refused(&|worker| ops::adamw(worker, &overlapping, &a, [&b, &c, &d]), "no two of them overlap");
    refused(&|worker| backward::fill_zero(worker, &a, &[3..9, 0..4]), "no two of them overlap");

    let muon = MuonStep { gradient_scale: 1.0, momentum: 0.95, learning_rate: 1.0, keep: 0.0 };
    let matrices = [(0, [4, 4]), (15, [4, 4])];
    refused(&|worker| ops::muon(worker, &muon, &matrices, &a, [&b, &c]), "no two of them overlap");
    refused(&|worker| ops::muon(worker, &muon, &matrices[..1], &a, [&b, &b]), "written once");

    let gate = |worker: &Worker<'_>| {
        backward::gate_backward(worker, Activation::Silu, None, [&a, &b, &c], [2, 8], [&d, &d]);
    };
    refused(&gate, "written once");
    refused(&|worker| backward::scatter_rows(worker, &a, &[1, 1], 8, &b), "the rows ascend");
}

#[test]
fn shapes_that_do_not_fit_are_refused_by_name() {
    let pool = Pool::new(Isa::scalar(), 1);
    let refused = |f: &(dyn Fn(&Worker<'_>) + Sync), expected| check_refused(&pool, f, expected);
    let [x, d_y, d_x] = [0; 3].map(|_| Buffer::<f32>::zeroed(&pool, 64));
    let (few, parts) = (GainParts::new(&pool, 32, 1), GainParts::new(&pool, 64, 8));
    let norm = |worker: &Worker<'_>, m: usize, gain: &[f32], parts: &GainParts| {
        backward::rms_norm_backward(worker, &x, m, gain, 1e-5, &d_y, parts, Destination::Replace, &d_x);
    };
    refused(&|worker| norm(worker, 9, &[1.0; 8], &parts), "rms_norm_backward: one value a column and row");
    refused(&|worker| norm(worker, 33, &[1.0], &few), "rms_norm_backward: the parts");
    let add = |worker: &Worker<'_>, m, first| backward::add_gain_parts(worker, &few, [m, 1], &d_x, first);
    refused(&|worker| add(worker, 33, 0), "add_gain_parts: the parts");
    refused(&|worker| add(worker, 32, 64), "add_gain_parts: the gain lies in the gradients");

    let rows = Int8Rows::new(&pool, 2, 8);
    let norm = ops::Norm { gain: &[1.0; 7], eps: 1e-5 };
    let prepare =
        |worker: &Worker<'_>| ops::prepare_rows(worker, ops::Source::Rows(&x), Some(norm), [2, 8], &rows);
    refused(&prepare, "prepare_rows: the gain has one value a column");

    let shape = KvShape { num_hidden_layers: 1, num_key_value_heads: 2, head_dim: 4 };
    let mut cache = KvCache::new(&pool, KvType::F32, shape, 1);
    let sequences = [Sequence { tokens: &[0], cache: &mut cache }];
    let attention = |worker: &Worker<'_>| ops::attention(worker, &sequences, 0, 3, &x, &d_x);
    refused(&attention, "attention: the query heads share key heads evenly");

    let matrix = TernaryMatrix::from_codes(&[1; 64], [8, 8], Layout::BaseThree).unwrap();
    let sizes = GradientSizes { rows: 8, matrices: vec![[8, 8]], is_quantized: true };
    let operands = GradientOperands::new(&pool, GradientPrecision::Bf16, &sizes);
    let (w, x) = (Weight::Ternary(&matrix, 1.0), Input::Floats(&x));
    let product = GradientProduct { w, x, d_y: &d_y, shape: [8, 8, 8] };
    refused(&|worker| operands.prepare_weight(worker, &product), "prepare_weight: a block has 16 columns");
}

/// Runs what must panic, and looks for `expected` in what it says.
#[track_caller]
fn check_refused(pool: &Pool, f: &(dyn Fn(&Worker<'_>) + Sync), expected: &str) {
    let panic = catch_unwind(AssertUnwindSafe(|| pool.run(|worker| f(worker)))).unwrap_err();
    let message = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    assert!(message.contains(expected), "found `{message}`, expected `{expected}`");
}
