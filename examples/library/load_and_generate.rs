//! Loads a model and continues a text, word by word as it comes.
//!
//! ```sh
//! cargo run --release --example load_and_generate
//! cargo run --release --example load_and_generate -- "A cat and a dog" path/to/model
//! ```
//!
//! Without a model it is the small one inside the library, which knows children's stories.

use std::error::Error;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use tercet::embedded;
use tercet::generate::{Generated, GenerationParams, Listener, SamplingParams, Speculative, generate};
use tercet::model::{Model, PROMPT_ROWS, Session, SessionSize};
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvType, Layout, Pool};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let prompt = arguments.next().unwrap_or_else(|| "Once upon a time".to_owned());
    let source = match arguments.next() {
        // `Source::gguf` opens a GGUF file.
        Some(path) => Source::folder(path)?,
        None => embedded::stories(),
    };
    print!("{prompt}");
    let generated = continue_text(&source, &prompt, 100, |text| print!("{text}"))?;
    let tokens_per_s = generated.decode_steps as f64 / generated.decode_time.as_secs_f64();
    println!("\n\n{} tokens, {tokens_per_s:.0} a second", generated.tokens.len());
    Ok(())
}

/// Continues a prompt by at most `max_tokens` tokens; `on_text` gets the text as it becomes certain.
pub fn continue_text(
    source: &Source,
    prompt: &str,
    max_tokens: usize,
    on_text: impl FnMut(&str),
) -> Result<Generated, Box<dyn Error>> {
    // The instruction set and the threads are chosen once, here. Any choice gives the same text.
    let pool = Arc::new(Pool::new(Isa::best(), Pool::default_threads()));
    // Ternary weights lie in memory in two bits each; `Layout::BaseThree` takes 1.6 and gives the same text.
    let model = Model::load(source, pool, Layout::TwoBit)?;
    let tokenizer = Tokenizer::read(source, model.config())?;
    let prompt = tokenizer.encode(prompt, true)?;

    // A session is the room to compute in, a cache the memory of one text: many caches can share a session.
    let context = model.config().max_position_embeddings.min(prompt.len() + max_tokens);
    let size = SessionSize { context, max_rows: PROMPT_ROWS, max_logit_rows: 1 };
    let mut session = Session::new(&model, size);
    let mut cache = session.new_cache(KvType::F16);

    let params = GenerationParams {
        max_tokens,
        // With temperature 0, `SamplingParams::greedy()`, it is always the likeliest word. Here a seed decides.
        sampling: SamplingParams { temperature: 0.8, top_p: 0.95, seed: 7, ..SamplingParams::greedy() },
        stop: Vec::new(),
        ignore_eos: false,
        all_logits: false,
        speculative: Speculative::Off,
    };
    let mut printer = Printer(on_text);
    Ok(generate(&mut session, &mut cache, Some(&tokenizer), &prompt, &params, &mut printer)?)
}

/// Hears of the text; `ControlFlow::Break` would end it.
struct Printer<F>(F);

impl<F: FnMut(&str)> Listener for Printer<F> {
    fn text(&mut self, text: &str) -> ControlFlow<()> {
        (self.0)(text);
        // Shown at once. A closed pipe is no reason to stop here.
        let _ = std::io::stdout().flush();
        ControlFlow::Continue(())
    }
}
