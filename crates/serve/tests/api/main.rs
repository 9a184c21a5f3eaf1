//! The API on the model inside, without a socket.

mod chat;
mod completions;
mod embeddings;
mod evaluation;
mod props;
mod refusals;
mod served;
mod tokens;
