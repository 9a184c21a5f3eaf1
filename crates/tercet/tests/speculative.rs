//! Drafts change how many passes a text takes, and nothing else.

use std::ops::ControlFlow;
use std::sync::Arc;

use tercet::digest::LogitsDigest;
use tercet::embedded;
use tercet::generate::{GenerationParams, Listener, SamplingParams, Speculative, generate};
use tercet::model::{Model, Session, SessionSize};
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvType, Layout, Pool};

/// What somebody hears of a generation, and what it left behind.
#[derive(Default, PartialEq, Debug)]
struct Heard {
    text: String,
    tokens: Vec<u32>,
    logits: String,
    cache_len: usize,
}

#[derive(Default)]
struct Ear {
    text: String,
    digest: LogitsDigest,
}

impl Listener for Ear {
    fn text(&mut self, text: &str) -> ControlFlow<()> {
        self.text.push_str(text);
        ControlFlow::Continue(())
    }

    fn logits(&mut self, logits: &[f32]) -> ControlFlow<()> {
        self.digest.update(logits);
        ControlFlow::Continue(())
    }
}

struct Case<'a> {
    prompt: &'a str,
    temperature: f32,
    max_tokens: usize,
    context: usize,
    stop: &'a [&'a str],
}

impl Case<'_> {
    /// What is heard, and the passes, drafted and accepted tokens.
    fn run(
        &self,
        model: &Model,
        tokenizer: &Tokenizer,
        speculative: Speculative,
        rows: usize,
    ) -> (Heard, [usize; 3]) {
        let prompt = tokenizer.encode(self.prompt, true).unwrap();
        let max_rows = rows.max(prompt.len());
        let size = SessionSize { context: self.context, max_rows, max_logit_rows: rows };
        let mut session = Session::new(model, size);
        let mut cache = session.new_cache(KvType::F16);
        let params = GenerationParams {
            max_tokens: self.max_tokens,
            sampling: SamplingParams { temperature: self.temperature, seed: 7, ..SamplingParams::greedy() },
            stop: self.stop.iter().map(|stop| (*stop).to_owned()).collect(),
            ignore_eos: self.stop.is_empty(),
            all_logits: false,
            speculative,
        };
        let mut ear = Ear::default();
        let generated =
            generate(&mut session, &mut cache, Some(tokenizer), &prompt, &params, &mut ear).unwrap();
        let heard = Heard {
            text: ear.text,
            tokens: generated.tokens,
            logits: ear.digest.finish(),
            cache_len: cache.len(),
        };
        (heard, [generated.decode_steps, generated.drafted, generated.accepted])
    }
}

#[test]
fn a_text_is_the_same_with_drafts_and_takes_fewer_passes_where_it_repeats() {
    let pool = Arc::new(Pool::new(Isa::best(), 2));
    let source = embedded::stories();
    let model = Model::load(&source, pool, Layout::TwoBit).unwrap();
    let tokenizer = Tokenizer::read(&source, model.config()).unwrap();
    let repeating = "Tom has a red ball. Tom has a red ball. Tom has a red ball. Tom has a";
    let mut saved = 0;
    for prompt in [repeating, "Once upon a time", "."] {
        for temperature in [0.0, 0.7, 1.5] {
            for (max_tokens, context, stop) in [
                (1, 256, &[][..]),
                (2, 256, &[]),
                (3, 256, &[]),
                (40, 256, &[]),
                (200, 70, &[]),
                (60, 256, &["ball", " the"]),
            ] {
                let case = Case { prompt, temperature, max_tokens, context, stop };
                let (plain, [plain_steps, ..]) = case.run(&model, &tokenizer, Speculative::Off, 1);
                for rows in [8, 4, 1] {
                    let (heard, [steps, drafted, accepted]) =
                        case.run(&model, &tokenizer, Speculative::Lookup, rows);
                    assert_eq!(heard, plain, "{prompt:?} at {temperature}, {max_tokens} tokens, {rows} rows");
                    assert!(accepted <= drafted && steps + accepted == plain_steps);
                    assert!(rows > 1 || drafted == 0, "without rows there are no drafts");
                    saved += accepted;
                }
            }
        }
    }
    assert!(saved > 50, "{saved} passes were saved");
}
