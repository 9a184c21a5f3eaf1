//! `/v1/completions`: texts and their continuations.
//!
//! ```text
//! prompts ── n answers each ──▶ events ──▶ pieces ──▶ chunks of a stream, or joined, one whole answer
//! ```
//!
//! So the two are equal. With `echo` and `logprobs` a prompt's tokens come first, the first of them without a score:
//! what an evaluation reads.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::answers::{Answers, check_count, check_scores};
use super::body::Body;
use super::format::{asked_format, hold};
use super::heavy::heavy_json;
use super::identity::{Head, choice_seed};
use super::openapi::{Refusals, StreamEvent};
use super::sampling::{Absent, choices, continuation, max_tokens, set_length, top_logprobs};
use super::stream::{Chunks, stream};
use super::text::{Offsets, check_tokens, decode, encode_prompt};
use super::usage::{Totals, timings};
use super::wire::{
    Completion, CompletionChoice, CompletionFields, CompletionLogprobs, CompletionRequest, GenerationFields,
    Prompt, Timings, Usage,
};
use super::{Api, ApiError};
use crate::engine::{self, Continuation, Event, Reason, Request, ScoredToken, Wanted};
use crate::http::Tally;

/// Tokens that are generated where no number is asked for, as at OpenAI.
const DEFAULT_MAX_TOKENS: usize = 16;

/// Continues a text
///
/// Or texts, or tokens, each `n` times.
#[utoipa::path(
    post,
    path = "/v1/completions",
    tag = "generation",
    request_body = CompletionRequest,
    responses(
        (status = 200, description = "The continuations, whole or as a stream of events", content(
            (Completion = "application/json"),
            (StreamEvent = "text/event-stream"),
        )),
        Refusals,
    ),
)]
pub(super) async fn complete(
    State(api): State<Arc<Api>>,
    tally: Tally,
    body: Body,
) -> Result<Response, ApiError> {
    let fields: CompletionFields = body.read()?;
    let generation: GenerationFields = body.read()?;
    let model = api.model(generation.model.as_deref())?;
    let streams = generation.stream.unwrap_or(false);
    let shows_usage = generation.shows_usage();
    let call = Call::new(&api, &fields, &generation)?;
    let continuation = call.continuation(&api, &generation)?;
    if streams && call.best_of > call.n {
        return Err(ApiError::invalid("best_of", "`best_of` is more than `n`, which cannot be streamed"));
    }
    let read = {
        let api = Arc::clone(&api);
        move || {
            let asked = asked_format(&api, generation.response_format.as_ref())?;
            let prompts = prompts(&api, fields.prompt, call.echoes)?;
            let requests = requests(&api, &prompts, &continuation, call.best_of, generation.max_tokens)?;
            Ok((prompts, requests, asked))
        }
    };
    let (prompts, mut requests, asked) = api.large_bodies.heavy(body.bytes, read).await?;
    hold(&api, asked, &mut requests).await?;
    let answers = Answers::ask(&api, &tally, requests)?;
    let head = Head::new(&api, "cmpl-", model);
    let pieces = Pieces::new(&api, prompts, call);
    if streams {
        return Ok(stream(answers, Streamed { head, pieces, shows_usage }));
    }
    heavy_json(whole(head, answers, pieces, call).await?).await
}

/// What a call asks for, but for the prompts.
#[derive(Debug, Clone, Copy)]
struct Call {
    n: usize,
    best_of: usize,
    echoes: bool,
    logprobs: Option<usize>,
}

impl Call {
    fn new(api: &Api, fields: &CompletionFields, generation: &GenerationFields) -> Result<Self, ApiError> {
        if fields.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
            return Err(ApiError::invalid(
                "suffix",
                "`suffix` is not supported: nothing is written before a text",
            ));
        }
        let n = choices(api, "n", generation.n)?;
        let best_of = choices(api, "best_of", fields.best_of.or(Some(n as u64)))?;
        if best_of < n {
            let message = format!("`best_of` is {best_of}, expected at least `n`, {n}");
            return Err(ApiError::invalid("best_of", message));
        }
        let logprobs = fields.logprobs.map(|value| top_logprobs(api, "logprobs", value)).transpose()?;
        Ok(Call { n, best_of, echoes: fields.echo.unwrap_or(false), logprobs })
    }

    fn continuation(self, api: &Api, generation: &GenerationFields) -> Result<Continuation, ApiError> {
        let mut continuation = continuation(api, generation)?;
        // The best are found by their log-probabilities, shown or not.
        continuation.logprobs = self.logprobs.or((self.best_of > self.n).then_some(0));
        continuation.prompt_logprobs = self.logprobs.filter(|_| self.echoes);
        Ok(continuation)
    }
}

/// A prompt, and its text where that is given back.
struct ReadPrompt {
    tokens: Vec<u32>,
    echo: Option<String>,
}

fn prompts(api: &Api, prompt: Prompt, echoes: bool) -> Result<Vec<ReadPrompt>, ApiError> {
    let served = &api.served;
    let of_text = |text: String| {
        Ok(ReadPrompt { tokens: encode_prompt(served, &text, "prompt")?, echo: echoes.then_some(text) })
    };
    let of_tokens = |tokens: Vec<u32>| {
        check_tokens(served, &tokens, "prompt")?;
        let echo = echoes.then(|| decode(served, &tokens));
        Ok(ReadPrompt { tokens, echo })
    };
    let count = match &prompt {
        Prompt::Text(_) | Prompt::Tokens(_) => 1,
        Prompt::Texts(texts) => texts.len(),
        Prompt::TokenLists(lists) => lists.len(),
    };
    let most = api.limits.prompts;
    if !(1..=most).contains(&count) {
        return Err(ApiError::invalid(
            "prompt",
            format!("`prompt` has {count} prompts, expected 1 to {most}"),
        ));
    }
    match prompt {
        Prompt::Text(text) => Ok(vec![of_text(text)?]),
        Prompt::Tokens(tokens) => Ok(vec![of_tokens(tokens)?]),
        Prompt::Texts(texts) => texts.into_iter().map(of_text).collect(),
        Prompt::TokenLists(lists) => lists.into_iter().map(of_tokens).collect(),
    }
}

/// The engine's requests, all of the first prompt first. A choice's seed depends on its number for its prompt, so
/// that a prompt has the same answers alone and among others.
fn requests(
    api: &Api,
    prompts: &[ReadPrompt],
    continuation: &Continuation,
    best_of: usize,
    asked_tokens: Option<u64>,
) -> Result<Vec<Request>, ApiError> {
    check_count(api, prompts.len() * best_of)?;
    let mut requests = Vec::with_capacity(prompts.len() * best_of);
    for prompt in prompts {
        let absent = Absent::AtMost(DEFAULT_MAX_TOKENS);
        let most = max_tokens(api.context(), prompt.tokens.len(), asked_tokens, absent)?;
        for choice in 0..best_of {
            let mut continuation = Box::new(continuation.clone());
            set_length(&mut continuation, most)?;
            continuation.sampling.seed = choice_seed(continuation.sampling.seed, choice);
            let wanted = Wanted::Continuation(continuation);
            requests.push(Request { prompt: prompt.tokens.clone(), wanted });
        }
    }
    check_scores(&requests)?;
    Ok(requests)
}

impl Head {
    fn completion(
        &self,
        choices: Vec<CompletionChoice>,
        usage: Option<Option<Usage>>,
        timings: Option<Timings>,
    ) -> Completion {
        Completion {
            id: self.id.clone(),
            object: "text_completion",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: self.system_fingerprint.clone(),
            choices,
            usage,
            timings,
        }
    }
}

/// What an event adds to a choice.
#[derive(Default)]
struct Piece {
    text: String,
    logprobs: CompletionLogprobs,
    /// The log-probability of the generated token.
    log_probability: Option<f64>,
    finished: Option<(&'static str, engine::Usage)>,
}

impl Piece {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.logprobs.tokens.is_empty() && self.finished.is_none()
    }
}

/// Turns events into pieces.
struct Pieces {
    api: Arc<Api>,
    shows_logprobs: bool,
    choices: Vec<Progress>,
    totals: Totals,
}

/// How far a choice is.
struct Progress {
    /// The prompt, until it is given back.
    echo: Option<(Arc<[u32]>, String)>,
    offsets: Offsets,
}

impl Pieces {
    fn new(api: &Arc<Api>, prompts: Vec<ReadPrompt>, call: Call) -> Self {
        let mut choices = Vec::with_capacity(prompts.len() * call.best_of);
        for prompt in prompts {
            let offsets = match prompt.echo {
                Some(_) => Offsets::of_text_from(&api.served, &prompt.tokens),
                None => Offsets::default(),
            };
            let tokens: Arc<[u32]> = prompt.tokens.into();
            let echo = prompt.echo.map(|text| (tokens, text));
            choices
                .extend((0..call.best_of).map(|_| Progress { echo: echo.clone(), offsets: offsets.clone() }));
        }
        Pieces {
            api: Arc::clone(api),
            shows_logprobs: call.logprobs.is_some(),
            choices,
            totals: Totals::new(call.best_of),
        }
    }

    fn event(&mut self, index: usize, event: Event) -> Result<Piece, ApiError> {
        let progress = &mut self.choices[index];
        let served = &self.api.served;
        let mut piece = Piece::default();
        // The prompt comes with whatever comes first.
        if let Some((tokens, text)) = progress.echo.take() {
            piece.text = text;
            if self.shows_logprobs {
                let scores: &[ScoredToken] = match &event {
                    Event::PromptScores(scores) => scores,
                    _ => &[],
                };
                for (i, token) in tokens.iter().enumerate() {
                    let score = i.checked_sub(1).and_then(|i| scores.get(i));
                    piece.logprobs.push(served, &mut progress.offsets, *token, score);
                }
            }
        }
        match event {
            Event::PromptScores(_) | Event::Embedding(_) => {}
            Event::Token(token) => {
                piece.text.push_str(&token.text);
                piece.log_probability = token.score.as_ref().map(|score| score.log_probability);
                if self.shows_logprobs {
                    piece.logprobs.push(served, &mut progress.offsets, token.token, token.score.as_ref());
                }
            }
            Event::Finished(finished) => {
                piece.text.push_str(&finished.text);
                self.totals.add(index, &finished.usage);
                let reason = match finished.reason {
                    Reason::Stop | Reason::StopText(_) => "stop",
                    Reason::Length => "length",
                };
                piece.finished = Some((reason, finished.usage));
            }
            Event::Failed(failed) => return Err(failed.into()),
        }
        Ok(piece)
    }
}

/// A choice with all its pieces.
#[derive(Default)]
struct Joined {
    text: String,
    logprobs: CompletionLogprobs,
    log_probability: f64,
    finished: Option<(&'static str, engine::Usage)>,
}

impl Joined {
    fn push(&mut self, piece: Piece) {
        self.text.push_str(&piece.text);
        self.logprobs.extend(piece.logprobs);
        self.log_probability += piece.log_probability.unwrap_or(0.0);
        self.finished = piece.finished.or(self.finished.take());
    }

    /// By which the best of several is told: the mean log-probability of its tokens.
    fn likelihood(&self) -> f64 {
        let tokens = self.finished.as_ref().map_or(0, |(_, usage)| usage.completion_tokens);
        self.log_probability / tokens.max(1) as f64
    }
}

async fn whole(
    head: Head,
    mut answers: Answers,
    mut pieces: Pieces,
    call: Call,
) -> Result<Completion, ApiError> {
    let mut joined: Vec<Joined> = pieces.choices.iter().map(|_| Joined::default()).collect();
    while let Some((index, event)) = answers.next().await {
        joined[index].push(pieces.event(index, event)?);
    }
    let timings = match joined.as_slice() {
        [only] => only.finished.as_ref().map(|(_, usage)| timings(usage)),
        _ => None,
    };
    let mut choices = Vec::new();
    let mut joined = joined.into_iter();
    loop {
        let mut of_prompt: Vec<Joined> = joined.by_ref().take(call.best_of).collect();
        if of_prompt.is_empty() {
            break;
        }
        if call.best_of > call.n {
            // Stable: of equals the first.
            of_prompt.sort_by(|a, b| b.likelihood().total_cmp(&a.likelihood()));
        }
        for joined in of_prompt.into_iter().take(call.n) {
            choices.push(CompletionChoice {
                index: choices.len(),
                text: joined.text,
                logprobs: call.logprobs.is_some().then_some(joined.logprobs),
                finish_reason: joined.finished.map(|(reason, _)| reason),
            });
        }
    }
    let usage = pieces.totals.usage();
    Ok(head.completion(choices, Some(Some(usage)), timings))
}

/// Pieces as chunks of a stream.
struct Streamed {
    head: Head,
    pieces: Pieces,
    shows_usage: bool,
}

impl Chunks for Streamed {
    type Chunk = Completion;

    fn begin(&mut self) -> Vec<Completion> {
        Vec::new()
    }

    fn event(&mut self, index: usize, event: Event) -> Result<Vec<Completion>, ApiError> {
        let piece = self.pieces.event(index, event)?;
        if piece.is_empty() {
            return Ok(Vec::new());
        }
        let choice = CompletionChoice {
            index,
            text: piece.text,
            logprobs: self.pieces.shows_logprobs.then_some(piece.logprobs),
            finish_reason: piece.finished.as_ref().map(|(reason, _)| *reason),
        };
        let timings = piece.finished.as_ref().map(|(_, usage)| timings(usage));
        Ok(vec![self.head.completion(vec![choice], self.shows_usage.then_some(None), timings)])
    }

    fn end(&mut self) -> Vec<Completion> {
        let usage = self.shows_usage.then(|| Some(self.pieces.totals.usage()));
        usage.map(|usage| self.head.completion(Vec::new(), Some(usage), None)).into_iter().collect()
    }
}
