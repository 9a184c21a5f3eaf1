//! Chooses the next token in its own way: a story that never uses one letter (a lipogram).
//!
//! ```sh
//! cargo run --release --example custom_sampler
//! cargo run --release --example custom_sampler -- a "Tim had fun with his red toy"
//! ```
//!
//! The library's own loop, `tercet::generate::generate`, is left out: here are the passes of the model, one after
//! another, and between two of them the logits are yours.

use std::error::Error;
use std::sync::Arc;

use tercet::embedded;
use tercet::generate::{Sampler, SamplingParams, TextStream};
use tercet::model::{LogitRows, Model, Session, SessionSize};
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvType, Layout, Pool, Sequence};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let letter = arguments.next().map_or(Ok('e'), |letter| letter.parse())?;
    let prompt =
        arguments.next().unwrap_or_else(|| "A big dog and a small cat had fun in a park.".to_owned());
    let lipogram = Lipogram::new(letter)?;
    let text = lipogram.write(&prompt, 80)?;
    println!(
        "without `{letter}` ({} of {} tokens forbidden):",
        lipogram.forbidden(),
        lipogram.is_allowed.len()
    );
    println!("\n{prompt}{text}");
    Ok(())
}

/// A model, and which of its tokens may be used.
pub struct Lipogram {
    model: Model,
    tokenizer: Tokenizer,
    /// One for each token of the vocabulary.
    is_allowed: Vec<bool>,
}

impl Lipogram {
    /// The model inside, and all tokens whose text is without a letter, be it large or small.
    pub fn new(letter: char) -> Result<Self, Box<dyn Error>> {
        let source = embedded::stories();
        let pool = Arc::new(Pool::new(Isa::best(), Pool::default_threads()));
        let model = Model::load(&source, pool, Layout::TwoBit)?;
        let tokenizer = Tokenizer::read(&source, model.config())?;
        let allowed = |id| {
            // A token can hold a part of a character only: such bytes are no text by themselves.
            let text = tokenizer.token_bytes(id).and_then(|bytes| String::from_utf8(bytes).ok());
            text.is_some_and(|text| !text.to_lowercase().contains(letter.to_ascii_lowercase()))
        };
        let is_allowed = (0..model.config().vocab_size as u32).map(allowed).collect();
        Ok(Lipogram { model, tokenizer, is_allowed })
    }

    /// Tokens that may not be used.
    pub fn forbidden(&self) -> usize {
        self.is_allowed.iter().filter(|is_allowed| !**is_allowed).count()
    }

    /// Continues a prompt by at most so many tokens, none of them forbidden.
    pub fn write(&self, prompt: &str, max_tokens: usize) -> Result<String, Box<dyn Error>> {
        let prompt = self.tokenizer.encode(prompt, true)?;
        let context = prompt.len() + max_tokens;
        let mut session =
            Session::new(&self.model, SessionSize { context, max_rows: prompt.len(), max_logit_rows: 1 });
        let mut cache = session.new_cache(KvType::F16);
        // What is left after our own rule is drawn by the library: penalties, temperature, top-p.
        let params = SamplingParams {
            temperature: 0.6,
            top_p: 0.8,
            repetition_penalty: 1.05,
            seed: 5,
            ..SamplingParams::greedy()
        };
        let mut sampler = Sampler::new(params, self.is_allowed.len())?;
        let mut stream = TextStream::new(Some(&self.tokenizer), &prompt, Vec::new());
        let mut text = String::new();

        // The first pass reads the prompt, each further one the token that was chosen last.
        let mut next = prompt;
        for _ in 0..max_tokens {
            let mut sequences = [Sequence { tokens: &next, cache: &mut cache }];
            let mut logits = session.forward(&mut sequences, LogitRows::Last)?.to_vec();
            // The rule itself: a token with a logit of -∞ has the probability 0.
            for (logit, is_allowed) in logits.iter_mut().zip(&self.is_allowed) {
                if !is_allowed {
                    *logit = f32::NEG_INFINITY;
                }
            }
            let token = sampler.sample(&logits);
            if self.model.config().eos_token_ids.contains(&token) {
                break;
            }
            text += &stream.push(token).text;
            next = vec![token];
        }
        Ok(text + &stream.finish().text)
    }
}
