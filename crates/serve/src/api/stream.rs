//! Answers as server-sent events: chunk after chunk, then what they took, then `[DONE]`.
//!
//! It knows no chunks; a [`Chunks`] writes them. While nothing comes, a comment tells proxies and clients that
//! somebody is there. A client that leaves drops the stream, and with it the answers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Serialize;

use super::ApiError;
use super::answers::Answers;
use crate::engine::Event;

/// Between two comments.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Tells nginx and those that follow it to hand each chunk on at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What the last line of a stream says.
const DONE: &str = "[DONE]";

/// What writes the chunks of one call.
pub(super) trait Chunks: Send + 'static {
    /// A chunk.
    type Chunk: Serialize;

    /// What comes before the first event.
    fn begin(&mut self) -> Vec<Self::Chunk>;

    /// What an event of one answer gives.
    fn event(&mut self, index: usize, event: Event) -> Result<Vec<Self::Chunk>, ApiError>;

    /// What comes after the last event.
    fn end(&mut self) -> Vec<Self::Chunk>;
}

/// Chunks, as they come.
pub(super) fn stream<C: Chunks>(answers: Answers, mut chunks: C) -> Response {
    let written = chunks.begin().iter().map(written).collect();
    let stream = unfold(Writer { answers: Some(answers), chunks, written }, |mut writer| async {
        let line = writer.next().await?;
        Some((Ok::<_, Infallible>(sse::Event::default().data(line)), writer))
    });
    let mut response =
        Sse::new(stream).keep_alive(KeepAlive::new().interval(PING_INTERVAL).text("ping")).into_response();
    response.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

struct Writer<C> {
    /// None after the last event.
    answers: Option<Answers>,
    chunks: C,
    /// Lines that are not given out yet.
    written: VecDeque<String>,
}

impl<C: Chunks> Writer<C> {
    async fn next(&mut self) -> Option<String> {
        while self.written.is_empty() {
            let answers = self.answers.as_mut()?;
            match answers.next().await {
                Some((index, event)) => match self.chunks.event(index, event) {
                    Ok(chunks) => self.written.extend(chunks.iter().map(written)),
                    Err(error) => self.end([written(&error.body())]),
                },
                None => {
                    let last: Vec<String> = self.chunks.end().iter().map(written).collect();
                    self.end(last);
                }
            }
        }
        self.written.pop_front()
    }

    fn end(&mut self, last: impl IntoIterator<Item = String>) {
        self.answers = None;
        self.written.extend(last);
        self.written.push_back(DONE.to_owned());
    }
}

fn written(chunk: &impl Serialize) -> String {
    serde_json::to_string(chunk).expect("stream: a chunk's keys are texts and its numbers finite")
}
