//! Many texts of a model, as it would write them: what a smaller model can learn from.
//!
//! ```text
//! cargo run --release -p tercet --example sample_texts -- MODEL_FOLDER BYTES SEED > texts.txt
//! ```
//!
//! Each text begins with the model's first token, is sampled at temperature 1 and ends where the
//! model ends it, or with the context. A line `<|endoftext|>` parts texts. A place's texts depend on
//! the seed alone, not on the machine.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tercet::checkpoint::Checkpoint;
use tercet::config::Config;
use tercet::generate::{Sampler, SamplingParams};
use tercet::model::{HeadType, LogitRows, Model, Session, SessionSize, WeightTypes};
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvCache, KvType, Layout, Pool, Sequence};

/// Texts that are written side by side.
const PLACES: usize = 64;
/// What parts two texts.
const SEPARATOR: &str = "\n<|endoftext|>\n";

/// One text on its way.
struct Place {
    cache: KvCache,
    sampler: Sampler,
    tokens: Vec<u32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "MODEL_FOLDER BYTES SEED";
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let wanted_bytes: usize = arguments.next().ok_or(usage)?.parse()?;
    let seed: u64 = arguments.next().ok_or(usage)?.parse()?;

    let source = Source::folder(folder)?;
    let checkpoint = Checkpoint::open(&source)?;
    let config = Config::read(&source, &checkpoint)?;
    let tokenizer = Tokenizer::read(&source, &config)?;
    let first = tokenizer.encode("", true)?;
    let ends: Vec<u32> = config.eos_token_ids.iter().chain(&first).copied().collect();
    let pool = Arc::new(Pool::new(Isa::from_environment()?, Pool::default_threads()));
    let weights = WeightTypes { layout: Layout::TwoBit, head: HeadType::Checkpoint };
    let model = Model::from_checkpoint(&checkpoint, config, Arc::clone(&pool), weights)?;
    let context = model.config().max_position_embeddings;
    let size = SessionSize { context, max_rows: PLACES, max_logit_rows: PLACES };
    let mut session = Session::new(&model, size);

    let vocab_size = model.config().vocab_size;
    let mut places = Vec::with_capacity(PLACES);
    for place in 0..PLACES as u64 {
        let seed = seed * PLACES as u64 + place;
        let params = SamplingParams { temperature: 1.0, seed, ..SamplingParams::greedy() };
        let sampler = Sampler::new(params, vocab_size)?;
        places.push(Place { cache: session.new_cache(KvType::F16), sampler, tokens: first.clone() });
    }
    let mut out = std::io::stdout().lock();
    let mut written = 0;
    while written < wanted_bytes {
        let mut sequences: Vec<Sequence<'_>> = places
            .iter_mut()
            .map(|place| {
                let unseen = place.cache.len();
                Sequence { tokens: &place.tokens[unseen..], cache: &mut place.cache }
            })
            .collect();
        let logits = session.forward(&mut sequences, LogitRows::Last)?;
        for (place, logits) in places.iter_mut().zip(logits.chunks_exact(vocab_size)) {
            let token = place.sampler.sample(logits);
            if !ends.contains(&token) {
                place.tokens.push(token);
                if place.tokens.len() < context {
                    continue;
                }
            }
            let text = tokenizer.decode(&place.tokens[first.len()..]);
            let text = text.trim();
            if !text.is_empty() {
                write!(out, "{text}{SEPARATOR}")?;
                written += text.len() + SEPARATOR.len();
            }
            place.tokens.truncate(first.len());
            place.cache.truncate(0);
        }
    }
    Ok(())
}
