//! What fewer bits cost: heads and caches of a model beside its exact function, on a text.
//!
//! ```text
//! cargo run --release -p tercet --example quality -- MODEL_FOLDER TEXT_FILE [TOKENS]
//! ```
//!
//! For every head and cache: the mean Kullback-Leibler divergence of the next token's
//! distribution from that of the checkpoint's head with a cache of f32, in nats; the share of
//! positions with the same likeliest token; and bits a byte. The text is read in windows of the
//! model's context, each from an empty cache.
#![expect(clippy::print_stdout, reason = "an example reports itself")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use tercet::checkpoint::Checkpoint;
use tercet::config::Config;
use tercet::model::{HeadType, LogitRows, Model, Session, SessionSize, WeightTypes};
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvType, Layout, Pool, QuantizedType, Sequence};

/// Positions of a window at most.
const WINDOW: usize = 512;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "MODEL_FOLDER TEXT_FILE [TOKENS]";
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let text = std::fs::read_to_string(arguments.next().ok_or(usage)?)?;
    let limit = arguments.next().map_or(Ok(usize::MAX), |tokens| tokens.parse())?;

    let source = Source::folder(folder)?;
    let checkpoint = Checkpoint::open(&source)?;
    let config = Config::read(&source, &checkpoint)?;
    let tokenizer = Tokenizer::read(&source, &config)?;
    let mut tokens = tokenizer.encode(&text, false)?;
    let bytes = text.len() as f64 * tokens.len().min(limit) as f64 / tokens.len() as f64;
    tokens.truncate(limit);

    let pool = Arc::new(Pool::new(Isa::from_environment()?, Pool::default_threads()));
    let load = |head| {
        let weights = WeightTypes { layout: Layout::TwoBit, head };
        Model::from_checkpoint(&checkpoint, config.clone(), Arc::clone(&pool), weights)
    };
    let exact = load(HeadType::Checkpoint)?;
    println!("| head | cache | KL, nats | same top token | bits a byte |\n|---|---|---:|---:|---:|");
    let heads = QuantizedType::ALL.map(HeadType::Quantized);
    for head in [HeadType::Checkpoint].into_iter().chain(heads) {
        let model = load(head)?;
        for kv_type in [KvType::F32, KvType::F16, KvType::Int8] {
            let found = compare(&exact, (&model, kv_type), &tokens)?;
            let positions = found.positions as f64;
            println!(
                "| {} | {kv_type:?} | {:.2e} | {:.2} % | {:.4} |",
                model.lm_head().type_name(),
                found.divergence / positions,
                found.same as f64 / positions * 100.0,
                found.nats / std::f64::consts::LN_2 / bytes,
            );
        }
    }
    Ok(())
}

/// Sums over the positions of a text.
#[derive(Default)]
struct Comparison {
    positions: usize,
    divergence: f64,
    same: usize,
    nats: f64,
}

fn compare(
    exact: &Model,
    (model, kv_type): (&Model, KvType),
    tokens: &[u32],
) -> Result<Comparison, Box<dyn Error>> {
    let config = model.config();
    let context = WINDOW.min(config.max_position_embeddings);
    let size = SessionSize { context, max_rows: context, max_logit_rows: context };
    let (mut exact, mut session) = (Session::new(exact, size), Session::new(model, size));
    let mut sums = Comparison::default();
    // Every window begins with the token that begins a text, which the last one did not predict.
    for window in tokens.chunks(context - 1) {
        let begin = config.bos_token_id.unwrap_or(window[0]);
        let inputs: Vec<u32> = [begin].into_iter().chain(window.iter().copied()).collect();
        let inputs = &inputs[..window.len()];
        let want = log_softmax(&mut exact, KvType::F32, inputs)?;
        let got = log_softmax(&mut session, kv_type, inputs)?;
        let rows = want.chunks_exact(config.vocab_size).zip(got.chunks_exact(config.vocab_size));
        for ((want, got), target) in rows.zip(window) {
            sums.positions += 1;
            sums.divergence += want.iter().zip(got).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            sums.same += usize::from(likeliest(want) == likeliest(got));
            sums.nats -= got[*target as usize];
        }
    }
    Ok(sums)
}

/// Logarithms of the probabilities after each input, `[inputs, vocabulary]`.
fn log_softmax(
    session: &mut Session<'_>,
    kv_type: KvType,
    inputs: &[u32],
) -> Result<Vec<f64>, Box<dyn Error>> {
    let vocab_size = session.model().config().vocab_size;
    let mut cache = session.new_cache(kv_type);
    let mut sequences = [Sequence { tokens: inputs, cache: &mut cache }];
    let logits = session.forward(&mut sequences, LogitRows::All)?;
    let row = |logits: &[f32]| {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
        let log_sum = f64::from(max) + sum.ln();
        logits.iter().map(|logit| f64::from(*logit) - log_sum).collect::<Vec<_>>()
    };
    Ok(logits.chunks_exact(vocab_size).flat_map(row).collect())
}

fn likeliest(row: &[f64]) -> Option<usize> {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]))
}
