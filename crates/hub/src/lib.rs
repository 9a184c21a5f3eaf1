//! Models of the Hugging Face Hub, in the cache that all its software shares.
//!
//! It knows repositories, files and their digests, HTTP and the layout of the cache. It does not
//! know what is in a file, nor which files a model needs; it prints nothing and reads no arguments.
//!
//! ```text
//! Settings ─ Client ─ list ─ Repository ─ fetch ─ Cache: models--org--name/{blobs,refs,snapshots,trees}
//! ```

mod cache;
mod client;
mod digest;
mod download;
mod error;
mod fetch;
mod free_space;
mod id;
mod patience;
mod repository;
mod settings;
mod token;

pub use cache::{Cache, CachedModel, CachedRevision, Removal, Snapshot};
pub use client::Client;
pub use error::HubError;
pub use fetch::{Listener, News};
pub use id::ModelId;
pub use repository::Repository;
pub use settings::{Settings, expand_home};
pub use token::Token;
