//! What the engine adds to a single stream: its tokens beside those of bare passes, in turn, on random weights.
//!
//! ```sh
//! cargo run --release -p tercet-serve --example overhead -- 2b4t 60
//! ```
//!
//! Both decode a few tokens in turn, so that a machine whose speed changes changes both alike. The model is loaded
//! twice, since the engine owns its own.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tercet::generate::SamplingParams;
use tercet::model::{LogitRows, Model, Session, SessionSize};
use tercet::presets::Preset;
use tercet_kernels::{Isa, KvCache, KvType, Layout, Pool, Sequence};
use tercet_serve::engine::{Answer, Continuation, Engine, EngineSettings, Event, Request, Wanted};

/// Tokens of one turn.
const TURN_TOKENS: usize = 8;
const CONTEXT: usize = 4096;
const SETTINGS: EngineSettings = EngineSettings {
    context: CONTEXT,
    kv_type: KvType::F16,
    cache_positions: CONTEXT,
    max_sequences: 1,
    max_rows: 8,
    queue: 1,
    shares_prefixes: true,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "2b4t".to_owned());
    let turns: usize = arguments.next().map_or(Ok(60), |turns| turns.parse())?;
    let preset = Preset::by_name(&name).ok_or("no such preset")?;
    let random = || {
        let pool = Arc::new(Pool::new(Isa::best(), Pool::default_threads()));
        Model::random(preset.config(), pool, Layout::TwoBit, 0)
    };

    let bare = random();
    let mut session = Session::new(&bare, SessionSize { context: CONTEXT, max_rows: 8, max_logit_rows: 8 });
    let mut cache = session.new_cache(KvType::F16);
    let engine = Engine::start(random(), None, SETTINGS)?;
    let mut added: Vec<f64> = Vec::with_capacity(turns);
    for turn in 0..=turns {
        let bare_time = bare_turn(&mut session, &mut cache)?;
        let engine_time = engine_turn(&engine)?;
        // The first turn touches memory for the first time.
        if turn > 0 {
            added.push(engine_time.as_secs_f64() / bare_time.as_secs_f64() - 1.0);
        }
    }
    added.sort_by(f64::total_cmp);
    let at = |share: f64| 100.0 * added[((added.len() - 1) as f64 * share) as usize];
    writeln!(
        std::io::stdout(),
        "{name}: the engine takes {:+.2} % longer than bare passes (median of {turns} turns of {TURN_TOKENS} tokens; quartiles {:+.2} % to {:+.2} %)",
        at(0.5),
        at(0.25),
        at(0.75)
    )?;
    Ok(())
}

/// A prompt of one token, then a token after another, as the engine has them: the likeliest.
fn bare_turn(session: &mut Session<'_>, cache: &mut KvCache) -> Result<Duration, Box<dyn Error>> {
    cache.truncate(0);
    let mut token = 5;
    let mut started = Instant::now();
    for step in 0..TURN_TOKENS {
        let sequences = &mut [Sequence { tokens: &[token], cache }];
        let logits = session.forward(sequences, LogitRows::Last)?;
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
        token = best.ok_or("a vocabulary of none")?.0 as u32;
        if step == 0 {
            started = Instant::now();
        }
    }
    Ok(started.elapsed())
}

/// From the first token to the last.
fn engine_turn(engine: &Engine) -> Result<Duration, Box<dyn Error>> {
    let continuation =
        Continuation { ignore_eos: true, ..Continuation::new(TURN_TOKENS, SamplingParams::greedy()) };
    let wanted = Wanted::Continuation(Box::new(continuation));
    let mut answers: Vec<Answer> = engine.submit(vec![Request { prompt: vec![5], wanted }])?;
    while let Some(event) = answers[0].blocking_next() {
        match event {
            Event::Finished(finished) => return Ok(finished.usage.decode),
            Event::Failed(failed) => return Err(failed.into()),
            _ => {}
        }
    }
    Err("the engine has died".into())
}
