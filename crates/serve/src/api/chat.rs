//! `/v1/chat/completions`: conversations and their answers.
//!
//! ```text
//! messages ── template ──▶ prompt ── n answers ──▶ events ──▶ pieces ──▶ chunks of a stream, or joined, one answer
//! ```
//!
//! So the two are equal. Calls of tools are read from the text while it comes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::answers::{Answers, check_scores};
use super::body::Body;
use super::calls::{Offer, join, pieces, syntax};
use super::conversation::{Sent, conversation_tokens};
use super::format::{Asked, asked_format, hold};
use super::heavy::heavy_json;
use super::identity::{Head, choice_seed};
use super::logprobs::chat_token;
use super::openapi::{Refusals, StreamEvent};
use super::sampling::{Absent, choices, continuation, max_tokens, set_length, top_logprobs};
use super::stream::{Chunks, stream};
use super::usage::{Totals, timings};
use super::wire::{
    AnsweredMessage, Chat, ChatChoice, ChatChunk, ChatChunkChoice, ChatFields, ChatLogprobs, ChatRequest,
    ChatToken, Delta, GenerationFields, Timings, Usage,
};
use super::{Api, ApiError};
use crate::engine::{self, Event, Reason, Request, Wanted};
use crate::http::Tally;
use crate::tools::ToolStream;

/// Answers a conversation
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "generation",
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answers, whole or as a stream of events", content(
            (Chat = "application/json"),
            (StreamEvent = "text/event-stream"),
        )),
        Refusals,
    ),
)]
pub(super) async fn chat(
    State(api): State<Arc<Api>>,
    tally: Tally,
    body: Body,
) -> Result<Response, ApiError> {
    let fields: ChatFields = body.read()?;
    let generation: GenerationFields = body.read()?;
    let model = api.model(generation.model.as_deref())?;
    let streams = generation.stream.unwrap_or(false);
    let shows_usage = generation.shows_usage();
    let n = choices(&api, "n", generation.n)?;
    let logprobs = logprobs(&api, &fields)?;
    let offer = Offer::read(&fields)?;
    let may_call = offer.is_some();
    let (mut requests, asked) = {
        let for_work = Arc::clone(&api);
        let work = move || requests(&for_work, fields, &generation, offer.as_ref(), n, logprobs);
        api.large_bodies.heavy(body.bytes, work).await?
    };
    if !streams {
        check_scores(&requests)?;
    }
    hold(&api, asked, &mut requests).await?;
    let answers = Answers::ask(&api, &tally, requests)?;
    let head = Head::new(&api, "chatcmpl-", model);
    let pieces = Pieces::new(&api, n, logprobs.is_some(), may_call);
    if streams {
        return Ok(stream(answers, Streamed { head, pieces, shows_usage }));
    }
    heavy_json(whole(head, answers, pieces).await?).await
}

/// How many of the likeliest tokens are told, if anything is told of tokens.
fn logprobs(api: &Api, fields: &ChatFields) -> Result<Option<usize>, ApiError> {
    let top = fields.top_logprobs.map(|value| top_logprobs(api, "top_logprobs", value)).transpose()?;
    match (fields.logprobs.unwrap_or(false), top) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, Some(1..)) => {
            Err(ApiError::invalid("top_logprobs", "`top_logprobs` needs `logprobs` to be true"))
        }
        (false, _) => Ok(None),
    }
}

/// The engine's requests, and the grammar that is to hold their texts.
fn requests(
    api: &Api,
    fields: ChatFields,
    generation: &GenerationFields,
    offer: Option<&Offer>,
    n: usize,
    logprobs: Option<usize>,
) -> Result<(Vec<Request>, Option<Asked>), ApiError> {
    let mut continuation = continuation(api, generation)?;
    continuation.logprobs = logprobs;
    let mut variables = fields.chat_template_kwargs.unwrap_or_default();
    if let Some(effort) = fields.reasoning_effort {
        variables.entry("reasoning_effort").or_insert(effort.into());
    }
    let sent = Sent {
        messages: fields.messages,
        // Tools that may not be called are not shown.
        tools: fields.tools.filter(|_| offer.is_some()).unwrap_or_default(),
        add_generation_prompt: fields.add_generation_prompt,
        continue_final_message: fields.continue_final_message,
        variables,
    };
    let prompt = conversation_tokens(api, &sent)?;
    let asked = fields.max_completion_tokens.or(generation.max_tokens);
    let most = max_tokens(api.context(), prompt.len(), asked, Absent::Rest)?;
    set_length(&mut continuation, most)?;
    let format = asked_format(api, generation.response_format.as_ref())?;
    let asked = match offer {
        Some(_) if format.is_some() => {
            let message = "`response_format` is for answers in text, expected `tool_choice` to be `none`";
            return Err(ApiError::invalid("response_format", message));
        }
        Some(offer) => offer.asked(api)?,
        None => format,
    };
    let requests = (0..n).map(|choice| {
        let mut continuation = Box::new(continuation.clone());
        continuation.sampling.seed = choice_seed(continuation.sampling.seed, choice);
        Request { prompt: prompt.clone(), wanted: Wanted::Continuation(continuation) }
    });
    Ok((requests.collect(), asked))
}

impl Head {
    fn chunk(
        &self,
        choices: Vec<ChatChunkChoice>,
        usage: Option<Option<Usage>>,
        timings: Option<Timings>,
    ) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk",
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
    delta: Delta,
    logprobs: Vec<ChatToken>,
    finished: Option<(&'static str, engine::Usage)>,
}

impl Piece {
    fn is_empty(&self) -> bool {
        self.delta == Delta::default() && self.logprobs.is_empty() && self.finished.is_none()
    }
}

/// Turns events into pieces.
struct Pieces {
    api: Arc<Api>,
    shows_logprobs: bool,
    /// For each choice what reads calls from its text, where there may be some.
    calls: Vec<Option<ToolStream>>,
    totals: Totals,
}

impl Pieces {
    fn new(api: &Arc<Api>, n: usize, shows_logprobs: bool, may_call: bool) -> Self {
        let calls = || may_call.then(|| ToolStream::new(syntax(api)));
        Pieces {
            api: Arc::clone(api),
            shows_logprobs,
            calls: (0..n).map(|_| calls()).collect(),
            totals: Totals::new(n),
        }
    }

    fn choices(&self) -> usize {
        self.calls.len()
    }

    fn event(&mut self, index: usize, event: Event) -> Result<Piece, ApiError> {
        let mut piece = Piece::default();
        match event {
            Event::PromptScores(_) | Event::Embedding(_) => {}
            Event::Token(token) => {
                piece.delta = self.delta(index, token.text, Some(token.token));
                if self.shows_logprobs {
                    piece
                        .logprobs
                        .extend(token.score.as_ref().map(|score| chat_token(&self.api.served, score)));
                }
            }
            Event::Finished(finished) => {
                piece.delta = self.delta(index, finished.text, None);
                self.totals.add(index, &finished.usage);
                let has_calls = self.calls[index].as_ref().is_some_and(ToolStream::has_calls);
                let reason = match finished.reason {
                    Reason::Length => "length",
                    Reason::Stop | Reason::StopText(_) if has_calls => "tool_calls",
                    Reason::Stop | Reason::StopText(_) => "stop",
                };
                piece.finished = Some((reason, finished.usage));
            }
            Event::Failed(failed) => return Err(failed.into()),
        }
        Ok(piece)
    }

    /// What new text adds to a message, and the token it came with; without one it is the last.
    fn delta(&mut self, index: usize, text: String, token: Option<u32>) -> Delta {
        let (text, tool_calls) = match &mut self.calls[index] {
            None => (text, Vec::new()),
            Some(calls) => {
                let mut deltas = calls.push(&text);
                deltas.extend(match token {
                    // The mark has no text where it is a special token: what comes with it stands before it.
                    Some(token) => calls.token(token),
                    None => calls.finish(),
                });
                pieces(deltas)
            }
        };
        Delta { role: None, content: (!text.is_empty()).then_some(text), tool_calls }
    }
}

/// A choice with all its pieces.
#[derive(Default)]
struct Joined {
    message: AnsweredMessage,
    logprobs: Vec<ChatToken>,
    finished: Option<(&'static str, engine::Usage)>,
}

impl Joined {
    fn push(&mut self, piece: Piece) {
        if let Some(text) = piece.delta.content {
            self.message.content.get_or_insert_default().push_str(&text);
        }
        join(&mut self.message.tool_calls, piece.delta.tool_calls);
        self.logprobs.extend(piece.logprobs);
        self.finished = piece.finished.or(self.finished.take());
    }
}

async fn whole(head: Head, mut answers: Answers, mut pieces: Pieces) -> Result<Chat, ApiError> {
    let mut joined: Vec<Joined> = (0..pieces.choices()).map(|_| Joined::default()).collect();
    while let Some((index, event)) = answers.next().await {
        joined[index].push(pieces.event(index, event)?);
    }
    let timings = match joined.as_slice() {
        [only] => only.finished.as_ref().map(|(_, usage)| timings(usage)),
        _ => None,
    };
    let choice = |(index, joined): (usize, Joined)| {
        let mut message = AnsweredMessage { role: "assistant", ..joined.message };
        if message.tool_calls.is_empty() {
            message.content.get_or_insert_default();
        }
        ChatChoice {
            index,
            message,
            logprobs: pieces.shows_logprobs.then_some(ChatLogprobs { content: joined.logprobs }),
            finish_reason: joined.finished.map_or("stop", |(reason, _)| reason),
        }
    };
    Ok(Chat {
        id: head.id,
        object: "chat.completion",
        created: head.created,
        model: head.model,
        system_fingerprint: head.system_fingerprint,
        choices: joined.into_iter().enumerate().map(choice).collect(),
        usage: pieces.totals.usage(),
        timings,
    })
}

/// Pieces as chunks of a stream.
struct Streamed {
    head: Head,
    pieces: Pieces,
    shows_usage: bool,
}

impl Streamed {
    fn chunk(&self, index: usize, piece: Piece) -> ChatChunk {
        let has_logprobs = !piece.logprobs.is_empty();
        let choice = ChatChunkChoice {
            index,
            delta: piece.delta,
            logprobs: has_logprobs.then_some(ChatLogprobs { content: piece.logprobs }),
            finish_reason: piece.finished.as_ref().map(|(reason, _)| *reason),
        };
        let timings = piece.finished.as_ref().map(|(_, usage)| timings(usage));
        self.head.chunk(vec![choice], self.shows_usage.then_some(None), timings)
    }
}

impl Chunks for Streamed {
    type Chunk = ChatChunk;

    /// Who speaks, for each choice.
    fn begin(&mut self) -> Vec<ChatChunk> {
        let first = |index| {
            let delta = Delta { role: Some("assistant"), content: Some(String::new()), ..Delta::default() };
            self.chunk(index, Piece { delta, ..Piece::default() })
        };
        (0..self.pieces.choices()).map(first).collect()
    }

    fn event(&mut self, index: usize, event: Event) -> Result<Vec<ChatChunk>, ApiError> {
        let piece = self.pieces.event(index, event)?;
        Ok(if piece.is_empty() { Vec::new() } else { vec![self.chunk(index, piece)] })
    }

    fn end(&mut self) -> Vec<ChatChunk> {
        let usage = self.shows_usage.then(|| Some(self.pieces.totals.usage()));
        usage.map(|usage| self.head.chunk(Vec::new(), Some(usage), None)).into_iter().collect()
    }
}
