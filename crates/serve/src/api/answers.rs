//! The answers of one call, event by event, whichever of them has one.
//!
//! Dropping it ends those that are not done.

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll, unfold};

use super::{Api, ApiError};
use crate::engine::{Answer, Event, Failed, Request, SubmitError};
use crate::http::Tally;
use crate::metrics::Metrics;

/// Answers by the number of their request.
pub(super) struct Answers {
    events: SelectAll<BoxStream<'static, (usize, Event)>>,
}

impl Answers {
    /// Hands requests to the engine, all or none.
    pub(super) fn ask(api: &Api, tally: &Tally, requests: Vec<Request>) -> Result<Self, ApiError> {
        let answers = api.engine.submit(requests).inspect_err(|error| api.metrics.refused(error))?;
        Ok(Self::of(api, tally, answers))
    }

    /// Hands further requests of a call that was begun to the engine, all or none. Where there is no room, they may be
    /// handed to it again.
    pub(super) fn ask_more(api: &Api, tally: &Tally, requests: Vec<Request>) -> Result<Self, SubmitError> {
        let answers = api.engine.submit_more(requests).inspect_err(|error| {
            if !matches!(error, SubmitError::Full { .. }) {
                api.metrics.refused(error);
            }
        })?;
        Ok(Self::of(api, tally, answers))
    }

    fn of(api: &Api, tally: &Tally, answers: Vec<Answer>) -> Self {
        let events = answers.into_iter().enumerate().map(|(index, answer)| {
            let counted = Counted {
                answer,
                metrics: Arc::clone(&api.metrics),
                tally: tally.clone(),
                last_token: None,
                has_ended: false,
            };
            let events = unfold(counted, |mut counted| async {
                let event = counted.next().await?;
                Some((event, counted))
            });
            events.map(move |event| (index, event)).boxed()
        });
        Answers { events: events.collect() }
    }

    /// What comes next, of any of them; nothing when all are done.
    pub(super) async fn next(&mut self) -> Option<(usize, Event)> {
        self.events.next().await
    }
}

/// Refuses more choices than could ever wait.
pub(super) fn check_count(api: &Api, found: usize) -> Result<(), ApiError> {
    let settings = api.engine.settings();
    let expected = settings.queue + settings.max_sequences;
    if found > expected {
        let message = format!("{found} choices of all prompts together, expected at most {expected}");
        return Err(ApiError::invalid("n", message));
    }
    Ok(())
}

/// An answer, and what is counted of it.
struct Counted {
    answer: Answer,
    metrics: Arc<Metrics>,
    tally: Tally,
    last_token: Option<Instant>,
    has_ended: bool,
}

impl Counted {
    async fn next(&mut self) -> Option<Event> {
        if self.has_ended {
            return None;
        }
        // The engine ends every answer; one that just stops is the engine's own end.
        let event = self.answer.next().await.unwrap_or(Event::Failed(Failed::Stopped));
        match &event {
            Event::Token(token) => {
                self.tally.add(0, 1);
                if let Some(last) = self.last_token.replace(token.at) {
                    self.metrics.token(token.at.saturating_duration_since(last));
                }
            }
            Event::Finished(finished) => {
                self.has_ended = true;
                self.tally.add(finished.usage.prompt_tokens, 0);
                self.metrics.finished(finished);
            }
            Event::Failed(_) => {
                self.has_ended = true;
                self.metrics.failed();
            }
            Event::PromptScores(_) | Event::Embedding(_) => {}
        }
        Some(event)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.has_ended {
            self.metrics.cancelled();
        }
    }
}
