//! The requests that are asked, each with the answer that it gets when nothing else runs.
//!
//! An answer holds the text, and of some every token with its log-probability: a piece that is lost, doubled or
//! out of place, or a number with another last bit, makes it another answer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::client::{Connection, Head};
use super::server::Server;

pub(crate) const COMPLETIONS: &str = "/v1/completions";

const BEGINNINGS: [&str; 8] = [
    "Once upon a time",
    "Once upon a time, there was a little girl named Lily. She loved to play outside",
    "Once upon a time, there was a little girl named Lily. She had a big, red ball",
    "One day, a boy named Tom went to the park with his mom. He saw a dog and",
    "The cat",
    "Sara and Ben were playing in the garden when they heard a sound. They looked up and saw",
    "A",
    "There was a bird who could not fly. Every day it sat in a tree and watched the others. One morning",
];

/// Request number `n`: prompts, lengths and ways to choose are mixed; every one has its own seed.
pub(crate) fn request(number: usize, seed: u64) -> Value {
    let mut prompt = BEGINNINGS[number % BEGINNINGS.len()].to_owned();
    // Some prompts are read in many passes.
    for _ in 0..number % 5 {
        prompt.push_str(". They were very happy and ran to the big tree");
    }
    let temperature = [0.0, 0.8, 1.2][number % 3];
    let mut request = json!({
        "prompt": prompt,
        "seed": seed.wrapping_add(number as u64) % (1 << 31),
        "temperature": temperature,
        "max_tokens": 8 + number * 7 % 41,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    if number.is_multiple_of(2) {
        request["logprobs"] = json!(2);
    }
    if number % 4 == 1 {
        request["stop"] = json!(["Lily", ". She"]);
    }
    if number % 3 == 2 {
        request["ignore_eos"] = json!(true);
    }
    request
}

/// What was told in answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// Each token and its log-probability, where asked for.
    tokens: Vec<(String, f64)>,
    finish_reason: String,
    completion_tokens: u64,
}

/// When the pieces of an answer came.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) first: Duration,
    /// Between pieces.
    pub(crate) gaps: Vec<Duration>,
}

/// Asks and reads the stream to its end.
pub(crate) fn ask(connection: &mut Connection, request: &Value) -> Result<(Answer, Times)> {
    let started = Instant::now();
    let head = connection.post(COMPLETIONS, request)?;
    read(connection, &head, started)
}

/// Reads a stream to its end, and wants it whole.
pub(crate) fn read(connection: &mut Connection, head: &Head, started: Instant) -> Result<(Answer, Times)> {
    if head.status != 200 {
        let body = connection.body(head)?;
        bail!("status {}: {}", head.status, String::from_utf8_lossy(&body));
    }
    let mut events = connection.events(head)?;
    let mut answer = Answer {
        text: String::new(),
        tokens: Vec::new(),
        finish_reason: String::new(),
        completion_tokens: 0,
    };
    let (mut id, mut last, mut times) = (None, started, Times::default());
    loop {
        let data = events.next()?.context("the stream ended before `[DONE]`")?;
        if data == "[DONE]" {
            break;
        }
        let now = Instant::now();
        if id.is_none() {
            times.first = now - started;
        } else {
            times.gaps.push(now - last);
        }
        last = now;
        let event: Value = serde_json::from_str(&data)?;
        ensure!(event["error"].is_null(), "the stream has an error: {data}");
        let own = event["id"].as_str().context("a piece has no id")?.to_owned();
        ensure!(*id.get_or_insert_with(|| own.clone()) == own, "a piece of another answer: {data}");
        answer.take(&event)?;
    }
    ensure!(events.next()?.is_none(), "something follows `[DONE]`");
    ensure!(answer.completion_tokens > 0, "the stream has no usage");
    ensure!(!answer.finish_reason.is_empty(), "the stream has no finish_reason");
    Ok((answer, times))
}

impl Answer {
    /// Adds a piece.
    fn take(&mut self, event: &Value) -> Result<()> {
        if let Some(tokens) = event["usage"]["completion_tokens"].as_u64() {
            ensure!(self.completion_tokens == 0, "usage came twice");
            self.completion_tokens = tokens;
        }
        let Some(choice) = event["choices"].get(0) else { return Ok(()) };
        ensure!(self.finish_reason.is_empty(), "a piece follows the last: {event}");
        self.text.push_str(choice["text"].as_str().context("a piece has no text")?);
        if let Some(reason) = choice["finish_reason"].as_str() {
            reason.clone_into(&mut self.finish_reason);
        }
        let list = |name: &str| choice["logprobs"][name].as_array().into_iter().flatten();
        for (token, number) in list("tokens").zip(list("token_logprobs")) {
            let token = token.as_str().context("a token is no text")?.to_owned();
            self.tokens.push((token, number.as_f64().context("a log-probability is no number")?));
        }
        Ok(())
    }
}

/// Requests, each with the answer that it gets alone.
pub(crate) struct Known {
    pub(crate) cases: Vec<(Value, Answer)>,
}

impl Known {
    /// Asks so many requests one after the other.
    pub(crate) fn find(server: &Server, count: usize, seed: u64) -> Result<Self> {
        let find = |number| {
            let request = request(number, seed);
            let (answer, _) = ask(&mut server.connect()?, &request)
                .with_context(|| format!("alone, request {number}: {request}"))?;
            let asks_tokens = request["logprobs"].is_number();
            ensure!(
                !asks_tokens || answer.tokens.len() as u64 == answer.completion_tokens,
                "{} tokens have log-probabilities, usage tells of {}",
                answer.tokens.len(),
                answer.completion_tokens
            );
            Ok((request, answer))
        };
        Ok(Known { cases: (0..count).map(find).collect::<Result<_>>()? })
    }

    /// A request by any number, and what must be told.
    pub(crate) fn case(&self, number: usize) -> (&Value, &Answer) {
        let (request, answer) = &self.cases[number % self.cases.len()];
        (request, answer)
    }

    /// Asks a request and wants the known answer.
    pub(crate) fn check(&self, connection: &mut Connection, number: usize) -> Result<Times> {
        let (request, want) = self.case(number);
        let (found, times) = ask(connection, request)?;
        ensure!(found == *want, "request {request} got {found:?}, alone {want:?}");
        Ok(times)
    }
}
