//! Gradients against central differences, and against each other however the work is cut.

mod models;

use std::sync::Arc;

use models::{MODELS, model_config};
use tercet::config::Linears;
use tercet_kernels::ops::backward::GradientPrecision;
use tercet_kernels::{Isa, Pool};
use tercet_train::data::Batch;
use tercet_train::model::{LossSettings, Network, NetworkSize};
use tercet_train::start::initialize;

const ROWS: usize = 80;

fn network(model: usize, threads: usize, recompute: bool, precision: GradientPrecision) -> Network {
    let (_, norms, act, linears) = MODELS[model];
    let pool = Arc::new(Pool::new(Isa::best(), threads));
    let size = NetworkSize { rows: ROWS, context: ROWS, recompute, precision };
    let mut network = Network::new(model_config(norms, act, linears), pool, size);
    let layout = network.layout().clone();
    initialize(&layout, 3, 0.2, network.parameters());
    network.quantize().unwrap();
    network
}

fn batch(vocab_size: usize) -> Batch {
    let token = |i: usize| ((i * i + 3 * i) % vocab_size) as u32;
    Batch {
        tokens: (0..ROWS).map(token).collect(),
        targets: (1..=ROWS).map(token).collect(),
        counts: (0..ROWS).map(|i| i % 5 != 2).collect(),
        segments: vec![70, 10],
    }
}

fn gradients(network: &mut Network) -> Vec<f32> {
    let batch = batch(network.config().vocab_size);
    network.clear_gradients();
    network.accumulate(&batch, &LossSettings::hard(1.0), None);
    network.gradients().to_vec()
}

/// The derivative of a dense model's loss along the gradient of one parameter is its squared norm.
#[test]
fn dense_gradients_are_central_differences() {
    for model in (0..MODELS.len()).filter(|model| MODELS[*model].3 == Linears::Dense) {
        let mut network = network(model, 2, false, GradientPrecision::F32);
        let batch = batch(network.config().vocab_size);
        let gradients = gradients(&mut network);
        for parameter in network.layout().clone().parameters() {
            let direction = &gradients[parameter.range.clone()];
            let squares: f64 = direction.iter().map(|d| f64::from(*d).powi(2)).sum();
            // A step that changes the loss by about 0.02 of some 250: far above its rounding.
            let step = (0.02 / squares) as f32;
            let mut loss_at = |step: f32| {
                let before = network.parameters()[parameter.range.clone()].to_vec();
                for (value, d) in network.parameters()[parameter.range.clone()].iter_mut().zip(direction) {
                    *value += step * d;
                }
                network.quantize().unwrap();
                let loss = network.evaluate(&batch).loss;
                network.parameters()[parameter.range.clone()].copy_from_slice(&before);
                loss
            };
            let slope = (loss_at(step) - loss_at(-step)) / f64::from(2.0 * step);
            let difference = (slope / squares - 1.0).abs();
            assert!(difference < 0.02, "{}: {} {slope:e} {squares:e}", MODELS[model].0, parameter.name);
        }
    }
}

#[test]
fn threads_and_recomputation_change_no_bit() {
    for (model, (name, ..)) in MODELS.iter().enumerate() {
        for precision in [GradientPrecision::F32, GradientPrecision::Bf16] {
            let want = gradients(&mut network(model, 1, false, precision));
            assert!(want.iter().any(|d| *d != 0.0), "{name}");
            for (threads, recompute) in [(2, false), (3, false), (2, true)] {
                let got = gradients(&mut network(model, threads, recompute, precision));
                assert!(got == want, "{name}: {precision:?}, {threads} threads, recompute {recompute}");
            }
        }
    }
}

/// How far bf16 takes the gradient of a parameter, beside its norm: each product rounds its operands
/// by at most 2⁻⁸, some ten products follow each other, and most gradients are sums that cancel.
const BF16_TOLERANCE: f64 = 2e-2;

#[test]
fn gradients_in_bf16_are_near_those_in_f32() {
    for (model, (name, ..)) in MODELS.iter().enumerate() {
        let network_of = |precision| network(model, 2, false, precision);
        let want = gradients(&mut network_of(GradientPrecision::F32));
        let mut network = network_of(GradientPrecision::Bf16);
        let got = gradients(&mut network);
        for parameter in network.layout().parameters() {
            let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
            let (want, got) = (&want[parameter.range.clone()], &got[parameter.range.clone()]);
            let size = norm(&mut want.iter().map(|x| f64::from(*x)));
            let distance = norm(&mut want.iter().zip(got).map(|(a, b)| f64::from(a - b)));
            assert!(distance <= BF16_TOLERANCE * size, "{name}: {}: {:.4}", parameter.name, distance / size);
        }
    }
}

#[test]
fn micro_batches_accumulate() {
    let mut network = network(0, 2, false, GradientPrecision::F32);
    let once = gradients(&mut network);
    let batch = batch(network.config().vocab_size);
    network.accumulate(&batch, &LossSettings::hard(1.0), None);
    let twice = network.gradients();
    // Sums of tokens in another order, in f32.
    let greatest = once.iter().fold(0.0f32, |max, d| max.max(d.abs()));
    for (once, twice) in once.iter().zip(twice) {
        assert!((2.0 * once - *twice).abs() <= 1e-6 * greatest, "{once} {twice}");
    }
}

#[test]
#[should_panic(expected = "Network::forward: every segment has a token")]
fn an_empty_segment_is_refused() {
    let mut network = network(0, 1, false, GradientPrecision::F32);
    network.logits(&[1, 2], &[2, 0]);
}
