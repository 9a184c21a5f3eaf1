//! The engine on the model inside: what it answers depends on the request alone, and nothing is left behind.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tercet::checkpoint::Checkpoint;
use tercet::config::Config;
use tercet::embedded;
use tercet::generate::{GenerationParams, Listener, SamplingParams, Speculative, generate};
use tercet::model::{LogitRows, Model, Session, SessionSize};
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KV_BLOCK, KvType, Layout, Pool, Sequence};
use tercet_serve::engine::{
    Answer, Continuation, Engine, EngineSettings, Event, Finished, Health, Pooling, Reason, Request,
    ScoredToken, SubmitError, Wanted,
};

const CONTEXT: usize = 400;

fn settings() -> EngineSettings {
    EngineSettings {
        context: CONTEXT,
        kv_type: KvType::F16,
        cache_positions: 40 * CONTEXT,
        max_sequences: 32,
        max_rows: 48,
        queue: 64,
        shares_prefixes: true,
    }
}

fn model() -> Model {
    Model::load(&embedded::stories(), Arc::new(Pool::new(Isa::best(), 2)), Layout::TwoBit).unwrap()
}

fn tokenizer() -> Arc<Tokenizer> {
    let source = embedded::stories();
    let config = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
    Arc::new(Tokenizer::read(&source, &config).unwrap())
}

fn engine(settings: EngineSettings) -> Engine {
    Engine::start(model(), Some(tokenizer()), settings).unwrap()
}

fn continuation(max_tokens: usize, seed: u64) -> Continuation {
    let sampling = SamplingParams { temperature: 0.8, top_p: 0.95, seed, ..SamplingParams::greedy() };
    Continuation::new(max_tokens, sampling)
}

fn request(prompt: &[u32], continuation: Continuation) -> Request {
    Request { prompt: prompt.to_vec(), wanted: Wanted::Continuation(Box::new(continuation)) }
}

/// All that came of a request.
#[derive(Debug, Default)]
struct Got {
    tokens: Vec<u32>,
    text: String,
    scores: Vec<ScoredToken>,
    prompt_scores: Vec<ScoredToken>,
    embedding: Vec<f32>,
    finished: Option<Finished>,
}

impl Got {
    /// What must not depend on anything but the request.
    fn answer(&self) -> (&[u32], &str, &[ScoredToken], &[ScoredToken], Option<&Reason>) {
        let reason = self.finished.as_ref().map(|finished| &finished.reason);
        (&self.tokens, &self.text, &self.scores, &self.prompt_scores, reason)
    }

    fn cached_tokens(&self) -> usize {
        self.finished.as_ref().unwrap().usage.cached_tokens
    }
}

fn read(mut answer: Answer) -> Got {
    let mut got = Got::default();
    while let Some(event) = answer.blocking_next() {
        assert!(got.finished.is_none(), "nothing follows the end");
        match event {
            Event::PromptScores(scores) => got.prompt_scores = scores,
            Event::Token(token) => {
                got.tokens.push(token.token);
                got.text += &token.text;
                got.scores.extend(token.score);
            }
            Event::Embedding(embedding) => got.embedding = embedding,
            Event::Finished(finished) => {
                got.text += &finished.text;
                got.finished = Some(finished);
            }
            Event::Failed(failed) => panic!("{failed}"),
        }
    }
    got
}

fn ask(engine: &Engine, request: Request) -> Got {
    read(engine.submit(vec![request]).unwrap().pop().unwrap())
}

/// A prompt of `len` tokens, another one for each `seed`.
fn prompt(seed: usize, len: usize) -> Vec<u32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 500 + 3) as u32).collect()
}

/// Waits until nothing is in work; a minute at most.
fn settle(engine: &Engine) {
    let started = Instant::now();
    while engine.status().running + engine.status().waiting > 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", engine.status());
        std::thread::yield_now();
    }
}

#[test]
fn a_request_is_answered_as_alone_among_thirty_one_others() {
    let alone =
        engine(EngineSettings { max_sequences: 1, max_rows: 128, shares_prefixes: false, ..settings() });
    let together = engine(settings());
    let requests = || {
        (0..32).map(|i| {
            let mut wanted = continuation(10 + i, i as u64);
            wanted.logprobs = (i % 3 == 0).then_some(i % 5);
            wanted.prompt_logprobs = (i % 7 == 0).then_some(1);
            wanted.sampling.repetition_penalty = if i % 4 == 1 { 1.3 } else { 1.0 };
            // Some begin alike.
            let prompt = [prompt(i % 3, 70), prompt(i, 1 + i * 9 % 200)].concat();
            request(&prompt, wanted)
        })
    };
    let answers = together.submit(requests().collect()).unwrap();
    let got: Vec<Got> = answers.into_iter().map(read).collect();
    for (i, (got, request)) in got.iter().zip(requests()).enumerate() {
        let want = ask(&alone, request);
        assert_eq!(got.answer(), want.answer(), "request {i}");
    }
    assert!(got.iter().any(|got| got.cached_tokens() > 0), "some prompts begin alike");
    settle(&together);
    assert_eq!(together.status().used_pages, 0);
}

struct Tokens(Vec<u32>, String);

impl Listener for Tokens {
    fn text(&mut self, text: &str) -> ControlFlow<()> {
        self.1 += text;
        ControlFlow::Continue(())
    }

    fn token(&mut self, token: u32) {
        self.0.push(token);
    }
}

#[test]
fn it_answers_as_the_library_generates() {
    let (model, tokenizer) = (model(), tokenizer());
    let mut session = Session::new(&model, SessionSize { context: CONTEXT, max_rows: 7, max_logit_rows: 1 });
    let engine = engine(settings());
    for (seed, text) in [(1, "Once upon a time"), (2, "The little dog"), (3, "a")] {
        let prompt = tokenizer.encode(text, true).unwrap();
        let mut wanted = continuation(120, seed);
        wanted.stop = vec!["\n\n".to_owned(), "and the".to_owned()];
        let params = GenerationParams {
            max_tokens: wanted.max_tokens,
            sampling: wanted.sampling,
            stop: wanted.stop.clone(),
            ignore_eos: false,
            all_logits: false,
            speculative: Speculative::Off,
        };
        let mut cache = session.new_cache(KvType::F16);
        let mut want = Tokens(Vec::new(), String::new());
        generate(&mut session, &mut cache, Some(&tokenizer), &prompt, &params, &mut want).unwrap();
        let got = ask(&engine, request(&prompt, wanted));
        assert_eq!((got.tokens, got.text), (want.0, want.1), "{text}");
    }
}

#[test]
fn a_known_beginning_is_not_computed_again() {
    let engine = engine(settings());
    let prompt = prompt(1, 3 * KV_BLOCK + 5);
    let first = ask(&engine, request(&prompt, continuation(80, 1)));
    assert_eq!(first.cached_tokens(), 0);
    let again = ask(&engine, request(&prompt, continuation(80, 1)));
    assert_eq!(again.cached_tokens(), 3 * KV_BLOCK);
    assert_eq!(again.answer(), first.answer());
    // What was generated is known too.
    let longer = [&prompt[..], &first.tokens, &[5, 6]].concat();
    let next = ask(&engine, request(&longer, continuation(1, 1)));
    assert_eq!(next.cached_tokens(), (prompt.len() + first.tokens.len() - 1) / KV_BLOCK * KV_BLOCK);
    let whole = ask(&engine, request(&prompt[..2 * KV_BLOCK], continuation(1, 1)));
    assert_eq!(whole.cached_tokens(), KV_BLOCK, "the last token is always computed");
}

#[test]
fn equal_prompts_that_come_together_are_computed_once() {
    let engine = engine(settings());
    let prompt = prompt(2, 4 * KV_BLOCK + 1);
    let group = (0..6).map(|seed| request(&prompt, continuation(5, seed))).collect();
    let got: Vec<Got> = engine.submit(group).unwrap().into_iter().map(read).collect();
    let cached: Vec<usize> = got.iter().map(Got::cached_tokens).collect();
    assert_eq!(cached, [[0].as_slice(), &[4 * KV_BLOCK; 5]].concat());
}

#[test]
fn what_was_cached_makes_room_for_what_is_new() {
    let engine = engine(EngineSettings { cache_positions: CONTEXT, max_sequences: 4, ..settings() });
    for round in 0..3 {
        let group = (0..12).map(|seed| request(&prompt(seed, 150), continuation(40, round))).collect();
        for answer in engine.submit(group).unwrap() {
            assert!(read(answer).finished.is_some());
        }
    }
    settle(&engine);
    let status = engine.status();
    assert_eq!(status.used_pages, 0, "{status:?}");
    assert!(status.cached_pages > 0 && status.cached_pages <= status.total_pages, "{status:?}");
}

#[test]
fn who_leaves_frees_its_place() {
    let engine = engine(settings());
    for round in 0..20 {
        let group = (0..20).map(|seed| {
            let mut wanted = continuation(200, seed);
            wanted.ignore_eos = true;
            request(&prompt(seed as usize, 150), wanted)
        });
        let mut answers = engine.submit(group.collect()).unwrap();
        if round % 2 == 0 {
            answers[round].blocking_next();
        }
        drop(answers);
    }
    settle(&engine);
    assert_eq!(engine.status().used_pages, 0);
    assert!(ask(&engine, request(&prompt(1, 10), continuation(3, 1))).finished.is_some());
}

#[test]
fn prompts_are_scored_as_the_session_scores_them() {
    let model = model();
    let prompt = prompt(4, 150);
    let mut session =
        Session::new(&model, SessionSize { context: CONTEXT, max_rows: 150, max_logit_rows: 150 });
    let mut cache = session.new_cache(KvType::F16);
    let targets: Vec<(usize, u32)> = prompt[1..].iter().copied().enumerate().collect();
    let rows: Vec<usize> = (0..targets.len()).collect();
    let mut sequences = [Sequence { tokens: &prompt, cache: &mut cache }];
    let want = session.score(&mut sequences, &rows, &targets).unwrap();

    let engine = engine(settings());
    for max_tokens in [0, 1] {
        let mut wanted = continuation(max_tokens, 0);
        wanted.sampling = SamplingParams::greedy();
        (wanted.prompt_logprobs, wanted.logprobs) = (Some(2), Some(2));
        let got = ask(&engine, request(&prompt, wanted));
        assert_eq!(got.prompt_scores.len(), want.len());
        for (got, want) in got.prompt_scores.iter().zip(&want) {
            assert_eq!(got.log_probability, want.log_probability);
            assert_eq!(got.top[0].0 == got.token, want.is_greedy);
            assert!(got.top[0].1 >= got.top[1].1);
        }
        assert_eq!((got.tokens.len(), got.scores.len()), (max_tokens, max_tokens));
        assert_eq!(got.cached_tokens(), 0);
    }
}

#[test]
fn embeddings_are_hidden_rows_pooled() {
    let model = model();
    let prompt = prompt(5, 130);
    let mut session =
        Session::new(&model, SessionSize { context: CONTEXT, max_rows: 130, max_logit_rows: 130 });
    let mut cache = session.new_cache(KvType::F16);
    let rows: Vec<usize> = (0..prompt.len()).collect();
    let mut sequences = [Sequence { tokens: &prompt, cache: &mut cache }];
    let (_, hidden) = session.forward_with_hidden(&mut sequences, LogitRows::None, &rows).unwrap();
    let width = model.config().hidden_size;
    let last = &hidden[hidden.len() - width..];
    let mean: Vec<f32> = (0..width)
        .map(|i| {
            (hidden.chunks(width).map(|row| f64::from(row[i])).sum::<f64>() / prompt.len() as f64) as f32
        })
        .collect();

    let engine = engine(settings());
    for (pooling, want) in [(Pooling::Last, last), (Pooling::Mean, &mean), (Pooling::Last, last)] {
        let got = ask(&engine, Request { prompt: prompt.clone(), wanted: Wanted::Embedding(pooling) });
        assert_eq!(got.embedding, want, "{pooling:?}");
    }
}

#[test]
fn a_text_may_not_end_too_soon() {
    let (engine, tokenizer) = (engine(settings()), tokenizer());
    let prompt = tokenizer.encode("Once upon a time", true).unwrap();
    let first = ask(&engine, request(&prompt, continuation(1, 9))).tokens[0];
    let mut wanted = continuation(10, 9);
    wanted.stop_tokens = vec![first];
    let got = ask(&engine, request(&prompt, wanted.clone()));
    assert_eq!((got.tokens.as_slice(), got.text.as_str()), ([first].as_slice(), ""));
    assert_eq!(got.finished.unwrap().reason, Reason::Stop);
    wanted.min_tokens = 5;
    assert!(ask(&engine, request(&prompt, wanted)).tokens.len() > 5);
    let mut wanted = continuation(3, 9);
    wanted.logit_bias = vec![(first, -100.0), (77, 100.0)];
    assert_eq!(ask(&engine, request(&prompt, wanted)).tokens, [77; 3]);
    // A text whose every token is an end has one.
    let mut wanted = continuation(10, 9);
    wanted.min_tokens = 5;
    wanted.stop_tokens = (0..100_000).collect();
    assert_eq!(ask(&engine, request(&prompt, wanted)).tokens.len(), 1);
}

#[test]
fn what_was_begun_is_finished_while_nothing_new_is_taken() {
    let engine = engine(settings());
    let embedding = |seed| Request { prompt: prompt(seed, 30), wanted: Wanted::Embedding(Pooling::Mean) };
    let mut first = engine.submit(vec![embedding(1)]).unwrap();
    engine.drain();
    assert_eq!(engine.submit(vec![embedding(2)]).err(), Some(SubmitError::Draining));
    let mut more = engine.submit_more(vec![embedding(2)]).unwrap();
    for answer in [first.pop(), more.pop()] {
        assert!(!read(answer.unwrap()).embedding.is_empty());
    }
    engine.stop();
    assert_eq!(engine.submit_more(vec![embedding(3)]).err(), Some(SubmitError::Stopped));
}

#[test]
fn only_prompts_that_are_looked_up_are_counted_so() {
    let prompt = prompt(6, 2 * KV_BLOCK + 3);
    let counted = |settings: EngineSettings, request: Request| {
        let engine = engine(settings);
        ask(&engine, request);
        settle(&engine);
        let status = engine.status();
        assert_eq!(status.prompt_tokens, prompt.len() as u64);
        status.queried_tokens
    };
    let plain = || request(&prompt, continuation(1, 1));
    assert_eq!(counted(settings(), plain()), prompt.len() as u64);
    assert_eq!(counted(EngineSettings { shares_prefixes: false, ..settings() }, plain()), 0);
    let mut scored = continuation(1, 1);
    scored.prompt_logprobs = Some(0);
    assert_eq!(counted(settings(), request(&prompt, scored)), 0, "a scored prompt is computed anew");
}

#[test]
fn what_cannot_be_taken_is_refused() {
    let engine = engine(EngineSettings { queue: 3, max_sequences: 1, ..settings() });
    let long = engine.submit(vec![request(&prompt(1, 300), continuation(101, 1))]).err();
    assert_eq!(long, Some(SubmitError::TooLong { found: 401, expected: CONTEXT }));
    let endless = |seed| {
        let mut wanted = continuation(300, seed);
        wanted.ignore_eos = true;
        request(&prompt(1, 90), wanted)
    };
    let _kept: Vec<_> = (0..3).map(|seed| engine.submit(vec![endless(seed)]).unwrap()).collect();
    let full = engine.submit((0..3).map(endless).collect()).err();
    assert!(matches!(full, Some(SubmitError::Full { expected: 3, .. })), "{full:?}");
    assert_eq!(engine.health(), Health::Alive);
    engine.drain();
    assert_eq!(engine.submit(vec![endless(1)]).err(), Some(SubmitError::Draining));
    assert!(matches!(engine.submit_more((0..3).map(endless).collect()), Err(SubmitError::Full { .. })));
    let mut answers: Vec<_> = _kept.into_iter().flatten().collect();
    engine.stop();
    while let Some(event) = answers[2].blocking_next() {
        assert!(matches!(event, Event::Failed(_) | Event::Token(_)), "{event:?}");
    }
    let started = Instant::now();
    while engine.health() != Health::Dead {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::yield_now();
    }
    assert_eq!(engine.submit(vec![endless(1)]).err(), Some(SubmitError::Stopped));
}
