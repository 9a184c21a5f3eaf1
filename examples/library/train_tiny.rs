//! Trains a ternary model of some 100,000 weights on a text made here, and lets it write.
//!
//! ```sh
//! cargo run --release --example train_tiny
//! ```
//!
//! It takes some seconds. The run is in every way a real one: it leaves the folder of a model that every part of tercet
//! reads, here a temporary one that is removed at the end.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use tercet::generate::{GenerationParams, Listener, SamplingParams, Speculative, generate};
use tercet::model::{Model, Session, SessionSize};
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvType, Layout, Pool};
use tercet_train::config::TrainConfig;
use tercet_train::trainer::{Observer, StepNews, prepare, train};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut losses = Losses::default();
    let model = train_on(&sentences(4000), folder.path(), 400, &mut losses)?;
    println!("\ntrained; it writes:\n{}", write(&model, "the cat", 40)?);
    Ok(())
}

/// Sentences of a little grammar, so that there is something to learn: `a dog likes milk.`
pub fn sentences(count: usize) -> String {
    let who = ["the cat", "a dog", "one bird", "my fox"];
    let does = ["sees", "likes", "finds"];
    let what = ["the sun", "a ball", "milk"];
    let sentence = |i: usize| {
        // Multiplied by a large odd number and shifted, neighbours have nothing in common.
        let mixed = i.wrapping_mul(2_654_435_761) >> 7;
        format!("{} {} {}.\n", who[mixed % 4], does[mixed / 4 % 3], what[mixed / 12 % 3])
    };
    (0..count).map(sentence).collect()
}

/// Trains on a text, for so many steps; everything lies in `folder`, and the model is what comes back.
pub fn train_on(
    text: &str,
    folder: &Path,
    steps: u64,
    observer: &mut dyn Observer,
) -> Result<Source, Box<dyn Error>> {
    std::fs::write(folder.join("text.txt"), text)?;
    // The same keys as in `examples/tiny.toml`. Paths come as values, which need no quoting.
    let mut config = TrainConfig::parse("train_tiny", CONFIG)?;
    config.data.train = vec![folder.join("text.txt").display().to_string()];
    config.run.output = folder.join("run");
    config.train.steps = Some(steps);

    let threads = Pool::default_threads();
    // Reads the text, trains the tokenizer and plans the run; nothing large is in memory yet.
    let prepared = prepare(config, threads, observer)?;
    let pool = Arc::new(Pool::new(Isa::best(), threads));
    let outcome = train(&prepared, &pool, observer, None)?;
    Ok(Source::folder(outcome.folder)?)
}

const CONFIG: &str = r#"
run.output = "set above"
data = { train = ["set above"], sequence_length = 64 }
model = { hidden_size = 64, intermediate_size = 128, num_hidden_layers = 2, num_attention_heads = 4 }
tokenizer.vocab_size = 300
train = { steps = 1, micro_batch = 4 }
schedule.learning_rate = 5e-3
watch = { sample_every = 0, save_every = 0 }
"#;

/// Hears of every step. A run asks it after each whether it should stop: Ctrl-C is its business.
#[derive(Default)]
pub struct Losses {
    /// Of each step, in nats a token.
    pub all: Vec<f32>,
}

impl Observer for Losses {
    fn step(&mut self, news: &StepNews<'_>) {
        self.all.push(news.record.loss);
        if news.record.step % 50 == 1 || news.record.step == news.steps {
            println!(
                "step {:>3} of {}: loss {:.2} nats a token",
                news.record.step, news.steps, news.record.loss
            );
        }
    }

    fn wants_stop(&self) -> bool {
        false
    }
}

/// The likeliest continuation of a prompt.
pub fn write(source: &Source, prompt: &str, max_tokens: usize) -> Result<String, Box<dyn Error>> {
    // So small a model gains nothing from several threads, and its text is the same with any number.
    let model = Model::load(source, Arc::new(Pool::new(Isa::best(), 1)), Layout::TwoBit)?;
    let tokenizer = Tokenizer::read(source, model.config())?;
    let tokens = tokenizer.encode(prompt, true)?;
    let context = model.config().max_position_embeddings;
    let mut session = Session::new(&model, SessionSize { context, max_rows: context, max_logit_rows: 1 });
    // The trainer's keys and values are f32: with such a cache it is the network that was trained, to the last bit.
    let mut cache = session.new_cache(KvType::F32);
    let params = GenerationParams {
        max_tokens,
        sampling: SamplingParams::greedy(),
        stop: Vec::new(),
        ignore_eos: false,
        all_logits: false,
        speculative: Speculative::Off,
    };
    let mut text = Text(prompt.to_owned());
    generate(&mut session, &mut cache, Some(&tokenizer), &tokens, &params, &mut text)?;
    Ok(text.0)
}

/// Keeps what is written.
struct Text(String);

impl Listener for Text {
    fn text(&mut self, text: &str) -> ControlFlow<()> {
        self.0.push_str(text);
        ControlFlow::Continue(())
    }
}
