//! What one client may ask for, each limit with its default.

use std::time::Duration;

/// Limits of requests and of connections.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Bytes of a request's head, its line and all headers.
    pub header_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// From a connection's beginning, or the first byte of a further request on it, to the end of a request's head.
    pub header_time: Duration,
    /// From the end of the head to that of the body.
    pub body_time: Duration,
    /// In which a client takes at least 16 KiB of what was written for it, or all.
    pub write_time: Duration,
    /// Connections at once.
    pub connections: usize,
    /// From the first signal to the end of what is in work.
    pub drain_time: Duration,
    /// `n` and `best_of`.
    pub choices: usize,
    /// Stop texts, and as many stop tokens.
    pub stops: usize,
    /// Bytes of a stop text.
    pub stop_bytes: usize,
    /// `top_logprobs`, and `logprobs` of completions.
    pub top_logprobs: usize,
    /// Entries of `logit_bias`.
    pub logit_bias: usize,
    /// Bytes of a JSON schema, and of all tools together.
    pub schema_bytes: usize,
    /// Levels of a JSON schema.
    pub schema_depth: usize,
    /// Prompts of one request.
    pub prompts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes: 2 << 20,
            header_bytes: 16 << 10,
            headers: 64,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            write_time: Duration::from_secs(30),
            connections: 512,
            drain_time: Duration::from_secs(30),
            choices: 8,
            stops: 16,
            stop_bytes: 256,
            top_logprobs: 20,
            logit_bias: 1024,
            schema_bytes: 64 << 10,
            schema_depth: 32,
            prompts: 64,
        }
    }
}
