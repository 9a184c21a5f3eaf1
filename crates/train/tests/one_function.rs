//! The network that training optimises is the one that inference runs: for one f32 checkpoint the
//! logits have the same bits.

mod models;

use std::collections::BTreeMap;
use std::sync::Arc;

use models::{MODELS, model_config};
use tercet::model::{LogitRows, Model, Session, SessionSize};
use tercet::source::Source;
use tercet_kernels::ops::backward::GradientPrecision;
use tercet_kernels::{Isa, KvType, Layout, Pool, Sequence};
use tercet_train::export::{Export, Form};
use tercet_train::model::{Network, NetworkSize};
use tercet_train::start::{INITIALIZER_RANGE, initialize};

/// More than two blocks of the cache.
const TOKENS: usize = 150;

#[test]
fn the_trainers_logits_are_those_of_inference() {
    for (name, norms, act, linears) in MODELS {
        let config = model_config(norms, act, linears);
        let tokens: Vec<u32> = (0..TOKENS).map(|i| (i * i % config.vocab_size) as u32).collect();
        for isa in Isa::available() {
            let pool = Arc::new(Pool::new(isa, 2));
            let size = NetworkSize {
                rows: TOKENS,
                context: TOKENS,
                recompute: false,
                precision: GradientPrecision::F32,
            };
            let mut network = Network::new(config.clone(), Arc::clone(&pool), size);
            let layout = network.layout().clone();
            initialize(&layout, 7, 4.0 * INITIALIZER_RANGE, network.parameters());
            network.quantize().unwrap();
            let got = network.logits(&tokens, &[TOKENS]);

            for form in [Form::Masters, Form::Packed] {
                let export = Export::new(form, &config, &layout, network.parameters(), &BTreeMap::new());
                let source = Source::Memory(export.in_memory(name));
                let want = inference_logits(&source, Arc::clone(&pool), &tokens);
                let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert!(bits(&got) == bits(&want), "{name}, {isa:?}, {form:?}");
            }
        }
    }
}

/// All logits of a model folder, with a cache of f32.
fn inference_logits(source: &Source, pool: Arc<Pool>, tokens: &[u32]) -> Vec<f32> {
    let model = Model::load(source, pool, Layout::BaseThree).unwrap();
    let rows = tokens.len();
    let size = SessionSize { context: rows, max_rows: rows, max_logit_rows: rows };
    let mut session = Session::new(&model, size);
    let mut cache = session.new_cache(KvType::F32);
    let mut sequences = [Sequence { tokens, cache: &mut cache }];
    session.forward(&mut sequences, LogitRows::All).unwrap().to_vec()
}

#[test]
fn segments_are_sequences_of_their_own() {
    let (_, norms, act, linears) = MODELS[0];
    let config = model_config(norms, act, linears);
    let pool = Arc::new(Pool::new(Isa::best(), 2));
    let size = NetworkSize { rows: 90, context: 70, recompute: false, precision: GradientPrecision::F32 };
    let mut network = Network::new(config.clone(), pool, size);
    let layout = network.layout().clone();
    initialize(&layout, 7, INITIALIZER_RANGE, network.parameters());
    network.quantize().unwrap();
    let tokens: Vec<u32> = (0..90).map(|i| (i * 7 % config.vocab_size) as u32).collect();
    let together = network.logits(&tokens, &[20, 70]);
    let first = network.logits(&tokens[..20], &[20]);
    let second = network.logits(&tokens[20..], &[70]);
    assert!(together == [first, second].concat());
}
