//! Bits a byte of a model on the paragraphs of a text, each by itself.
//!
//! ```text
//! cargo run --release -p tercet --example bits_per_byte -- TEXT_FILE [BLOCKS] [MODEL_FOLDER]
//! ```
//!
//! A block is what lies between empty lines; the first `BLOCKS` that are not empty count (200). Each
//! is tokenised with the model's first token and scored from there on, the end of the text not
//! included. Without a folder it is the small model inside.
#![expect(clippy::print_stdout, reason = "an example reports itself")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use tercet::checkpoint::Checkpoint;
use tercet::config::Config;
use tercet::embedded;
use tercet::model::{HeadType, LogitRows, Model, Session, SessionSize, WeightTypes};
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvType, Layout, Pool, Sequence};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let text = std::fs::read_to_string(arguments.next().ok_or("TEXT_FILE [BLOCKS] [MODEL_FOLDER]")?)?;
    let blocks: usize = arguments.next().map_or(Ok(200), |blocks| blocks.parse())?;
    let source = match arguments.next() {
        Some(folder) => Source::folder(PathBuf::from(folder))?,
        None => embedded::stories(),
    };
    let checkpoint = Checkpoint::open(&source)?;
    let config = Config::read(&source, &checkpoint)?;
    let tokenizer = Tokenizer::read(&source, &config)?;
    let pool = Arc::new(Pool::new(Isa::from_environment()?, Pool::default_threads()));
    let weights = WeightTypes { layout: Layout::TwoBit, head: HeadType::Checkpoint };
    let model = Model::from_checkpoint(&checkpoint, config, pool, weights)?;
    let context = model.config().max_position_embeddings;
    let vocab_size = model.config().vocab_size;
    let size = SessionSize { context, max_rows: context, max_logit_rows: context };
    let mut session = Session::new(&model, size);

    let (mut nats, mut tokens, mut bytes) = (0.0, 0, 0);
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()).take(blocks) {
        let mut ids = tokenizer.encode(block, true)?;
        if model.config().eos_token_ids.contains(ids.last().unwrap_or(&u32::MAX)) {
            ids.pop();
        }
        let mut cache = session.new_cache(KvType::F32);
        let mut sequences = [Sequence { tokens: &ids[..ids.len() - 1], cache: &mut cache }];
        let logits = session.forward(&mut sequences, LogitRows::All)?;
        for (logits, next) in logits.chunks_exact(vocab_size).zip(&ids[1..]) {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
            nats += sum.ln() + f64::from(max - logits[*next as usize]);
        }
        tokens += ids.len() - 1;
        bytes += block.len();
    }
    let bits = nats / std::f64::consts::LN_2 / bytes as f64;
    println!(
        "{bits:.4} bits a byte, {:.4} nats a token: {tokens} tokens, {bytes} bytes",
        nats / tokens as f64
    );
    Ok(())
}
