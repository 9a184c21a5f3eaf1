//! Three published checkpoints, imported by `tools/import_llama2c.py`, have the published losses
//! and write the published texts.
//!
//! They are not part of the project: `TERCET_SHARED` names the folder that holds
//! `models/` and `data/`. Where it is unset, or there is no Python, the test is skipped aloud.

mod skipping;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tercet::generate::{GenerationParams, Listener, SamplingParams, Speculative, generate};
use tercet::model::{LogitRows, Model, Session, SessionSize};
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvType, Layout, Pool, Sequence};

struct Published {
    checkpoint: &'static str,
    tokenizer: &'static str,
    /// Mean negative log-likelihood a token, in nats.
    loss: f64,
    text: &'static str,
}

const MODELS: [Published; 3] = [
    Published {
        checkpoint: "models/stories260K/stories260K.bin",
        tokenizer: "models/stories260K/tok512.bin",
        loss: 1.4396,
        text: "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. \
               One day, she saw a big, red ball. She wanted to play with it, but it was too high.\n\
               Lily's mom said, \"Lily, let's go to the park.\"",
    },
    Published {
        checkpoint: "models/bitnet-stories/bit_model_1M.bin",
        tokenizer: "models/bitnet-stories/tokenizer.bin",
        loss: 1.4434,
        text: "Once upon a time, there was a little girl named Lily. She loved to play with her toys and run \
               around in the sky. One day, she saw a big, shiny rock on the ground. She wanted to see what \
               was inside the room.",
    },
    Published {
        checkpoint: "models/bitnet-stories/bit_model_3M.bin",
        tokenizer: "models/bitnet-stories/tokenizer.model",
        loss: 1.3407,
        text: "Once upon a time, there was a little girl named Lily. She loved to play outside and explore \
               the world around her. One day, she saw a big, red ball. She was so happy and wanted to play \
               with it.",
    },
];

/// The published losses are computed in another order of sums.
const LOSS_TOLERANCE: f64 = 1e-3;
/// Blocks of `valid_head.txt` that the published losses are the mean of, and their tokens.
const BLOCKS: usize = 200;
const PREDICTED_TOKENS: usize = 19_395;

#[test]
fn published_models_have_their_losses_and_texts() {
    const NAME: &str = "published_models_have_their_losses_and_texts";
    let Some(shared) = std::env::var_os("TERCET_SHARED").map(PathBuf::from) else {
        return skipping::skip(NAME, "TERCET_SHARED is not set");
    };
    if Command::new("python3").arg("--version").output().is_err() {
        return skipping::skip(NAME, "python3 is not installed");
    }
    let validation = std::fs::read_to_string(shared.join("data/tinystories/valid_head.txt")).unwrap();
    let blocks: Vec<&str> =
        validation.split("\n\n").filter(|block| !block.trim().is_empty()).take(BLOCKS).collect();
    let parent = tempfile::tempdir().unwrap();
    for published in &MODELS {
        let folder = import(&shared, published, parent.path());
        check(&folder, published, &blocks);
    }
}

fn import(shared: &Path, published: &Published, parent: &Path) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/import_llama2c.py");
    let checkpoint = shared.join(published.checkpoint);
    let folder = parent.join(checkpoint.file_stem().unwrap());
    let output = Command::new("python3")
        .arg(script)
        .arg(&checkpoint)
        .arg(&folder)
        .arg("--tokenizer")
        .arg(shared.join(published.tokenizer))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

fn check(folder: &Path, published: &Published, blocks: &[&str]) {
    let source = Source::folder(folder).unwrap();
    // One thread: passes this small gain nothing from more.
    let pool = Arc::new(Pool::new(Isa::best(), 1));
    let model = Model::load(&source, pool, Layout::TwoBit).unwrap();
    let tokenizer = Tokenizer::read(&source, model.config()).unwrap();
    let mut session = Session::new(&model, SessionSize { context: 512, max_rows: 512, max_logit_rows: 512 });

    let losses: Vec<f64> = blocks.iter().flat_map(|block| losses(&mut session, &tokenizer, block)).collect();
    assert_eq!(losses.len(), PREDICTED_TOKENS);
    let loss = losses.iter().sum::<f64>() / losses.len() as f64;
    let error = (loss - published.loss).abs();
    assert!(error <= LOSS_TOLERANCE, "{}: loss {loss}, expected {}", published.checkpoint, published.loss);

    let text = greedy_text(&mut session, &tokenizer, published.text.len());
    assert!(text.starts_with(published.text), "{}: {text}", published.checkpoint);
}

/// Negative log-likelihood of every token of `text` after the first.
fn losses(session: &mut Session<'_>, tokenizer: &Tokenizer, text: &str) -> Vec<f64> {
    let tokens = tokenizer.encode(text, true).unwrap();
    let vocab_size = session.model().config().vocab_size;
    let mut cache = session.new_cache(KvType::F32);
    let sequence = Sequence { tokens: &tokens[..tokens.len() - 1], cache: &mut cache };
    let logits = session.forward(&mut [sequence], LogitRows::All).unwrap();
    let loss = |(logits, target): (&[f32], &u32)| {
        let greatest = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
        let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - greatest).exp()).sum();
        greatest + sum.ln() - f64::from(logits[*target as usize])
    };
    logits.chunks(vocab_size).zip(&tokens[1..]).map(loss).collect()
}

fn greedy_text(session: &mut Session<'_>, tokenizer: &Tokenizer, max_tokens: usize) -> String {
    struct Text(String);
    impl Listener for Text {
        fn text(&mut self, text: &str) -> ControlFlow<()> {
            self.0.push_str(text);
            ControlFlow::Continue(())
        }
    }
    let mut text = Text("Once upon a time".to_owned());
    let prompt = tokenizer.encode(&text.0, true).unwrap();
    let mut cache = session.new_cache(KvType::F32);
    let params = GenerationParams {
        max_tokens,
        sampling: SamplingParams::greedy(),
        stop: Vec::new(),
        ignore_eos: false,
        all_logits: false,
        speculative: Speculative::Off,
    };
    generate(session, &mut cache, Some(tokenizer), &prompt, &params, &mut text).unwrap();
    text.0
}
