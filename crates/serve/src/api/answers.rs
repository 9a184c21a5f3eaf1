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

/// Log-probabilities of one call. A harness asks for two a token, of 64 prompts of 4,096 tokens.
const MAX_SCORES: usize = 1 << 19;

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

/// Refuses more log-probabilities than are held until an answer is whole.
pub(super) fn check_scores(requests: &[Request]) -> Result<(), ApiError> {
    let found = requests.iter().map(Request::total_scores).fold(0, usize::saturating_add);
    if found > MAX_SCORES {
        let message = format!(
            "up to {found} log-probabilities of all tokens and choices together, expected at most {MAX_SCORES}; \
             a smaller `max_tokens` asks for fewer"
        );
        return Err(ApiError::invalid("logprobs", message));
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

#[cfg(test)]
mod tests {
    use tercet::generate::SamplingParams;

    use super::*;
    use crate::engine::{Continuation, Wanted};

    #[test]
    fn no_more_log_probabilities_are_asked_for_than_are_held() {
        let request = |prompt: usize, max_tokens: usize, top: Option<usize>, of_prompt: Option<usize>| {
            let mut continuation = Continuation::new(max_tokens, SamplingParams::greedy());
            (continuation.logprobs, continuation.prompt_logprobs) = (top, of_prompt);
            Request { prompt: vec![1; prompt], wanted: Wanted::Continuation(Box::new(continuation)) }
        };
        let harness = || (0..64).map(|_| request(4096, 0, Some(1), Some(1))).collect::<Vec<_>>();
        assert!(check_scores(&harness()).is_ok());
        assert!(check_scores(&[request(1, usize::MAX, None, None)]).is_ok());
        for refused in [
            vec![request(1, usize::MAX, Some(20), None)],
            harness().into_iter().chain([request(1, 1, Some(0), None)]).collect(),
            (0..8).map(|_| request(1, 4096, Some(20), None)).collect(),
        ] {
            assert_eq!(check_scores(&refused).unwrap_err().param(), Some("logprobs"));
        }
    }
}
