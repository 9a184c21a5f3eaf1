//! What is between HTTP and the engine: OpenAI's routes and their wire types.
//!
//! ```text
//! body ─▶ fields, checked ─▶ requests ─▶ engine ─▶ events ─▶ pieces ─▶ JSON, or chunks of a stream
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `answers` | the answers of one call, event by event |
//! | `body` | a request's body as JSON |
//! | `calls` | tools and calls of them |
//! | `chat` | `/v1/chat/completions` |
//! | `completions` | `/v1/completions` |
//! | `conversation` | conversations as tokens |
//! | `embeddings` | `/v1/embeddings` |
//! | `error` | the one shape of refusals and failures |
//! | `format` | `response_format` as a grammar; grammars compiled in turn |
//! | `heavy` | work that would hold up others |
//! | `identity` | ids, times and seeds |
//! | `logprobs` | how likely tokens were |
//! | `maxima` | the running limits in `/openapi.json` |
//! | `models` | `/v1/models` |
//! | `openapi` | `/openapi.json` |
//! | `props` | `/props` |
//! | `routes` | which routes there are |
//! | `sampling` | how a text is generated |
//! | `state` | what the routes know |
//! | `stream` | server-sent events |
//! | `text` | text to tokens and back |
//! | `tokens` | `/tokenize`, `/detokenize`, `/tokenizer_info` |
//! | `usage` | what answers took |
//! | `wire` | what goes over the wire |
//!
//! It knows no sockets, keys or addresses.

mod answers;
mod body;
mod calls;
mod chat;
mod completions;
mod conversation;
mod embeddings;
mod error;
#[cfg(test)]
mod fixture;
mod format;
mod heavy;
mod identity;
mod logprobs;
mod maxima;
mod models;
mod openapi;
mod props;
mod routes;
mod sampling;
mod state;
mod stream;
mod text;
mod tokens;
mod usage;
mod wire;

pub(crate) use body::check_json;
pub use error::{ApiError, ErrorBody, ErrorObject};
pub use heavy::LargeBodies;
pub use openapi::document;
pub use routes::{Route, routes, table};
pub use state::Api;
