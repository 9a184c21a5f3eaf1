//! What a task asks of a model, and what a model answers, as text.
//!
//! The words are lm-evaluation-harness's. It knows neither tokens nor how a task is described.

/// A question to a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// How likely is `continuation` after `context`, and would greedy decoding give it?
    LogLikelihood {
        /// What is given; may be empty.
        context: String,
        /// What is scored.
        continuation: String,
    },
    /// How likely is a text from its first token on, in windows as long as the context?
    Rolling {
        /// The text.
        text: String,
    },
    /// What does greedy decoding write after `context`?
    Generate {
        /// What is given.
        context: String,
        /// Strings that end the text; they are not part of it.
        until: Vec<String>,
        /// Tokens to generate at most.
        max_tokens: usize,
    },
}

/// The answer to a [`Request`] of the same kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// To [`Request::LogLikelihood`].
    LogLikelihood {
        /// Sum of the log-probabilities of the continuation's tokens, in nats.
        log_likelihood: f64,
        /// Whether each of them is the likeliest.
        is_greedy: bool,
    },
    /// To [`Request::Rolling`]: the sum over all tokens of the text, in nats.
    Rolling {
        /// Sum of the log-probabilities, in nats.
        log_likelihood: f64,
    },
    /// To [`Request::Generate`].
    Generated {
        /// The text.
        text: String,
    },
}
