//! Models and data sets of the Hugging Face Hub, in the cache that all its software shares.
//!
//! It knows repositories, files and their digests, HTTP and the layout of the cache. It does not
//! know what is in a file, nor which files a model needs; it prints nothing and reads no arguments.
//!
//! ```text
//! Settings ─ Client ─ list ─ Repository ─ fetch ─ Cache: models--org--name/{blobs,refs,snapshots,trees}
//! ```
//!
//! # A model in the cache
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! use tercet_hub::{Cache, Client, RepositoryId, News, Settings};
//!
//! let id: RepositoryId = "microsoft/bitnet-b1.58-2B-4T".parse()?;
//! // The variables that all software of the Hub reads: HF_HOME, HF_TOKEN, HF_HUB_OFFLINE and others.
//! let settings = Settings::from_variables(|name| std::env::var_os(name), std::env::home_dir().as_deref())?;
//! let (client, cache) = (Client::new(&settings)?, Cache::new(&settings.cache));
//! let mut listener = |news: News<'_>| {
//!     if let News::File { name, bytes, done_bytes } = news {
//!         println!("{name}: {} bytes to come", bytes - done_bytes);
//!     }
//!     ControlFlow::Continue(()) // `Break` stops; another call goes on where this one was
//! };
//! let repository = client.list(&id, &mut listener)?;
//! let files = ["config.json", "tokenizer.json", "model.safetensors"];
//! let folder = client.fetch(&cache, &repository, &files, &mut listener)?;
//! cache.set_reference(&repository)?;
//! println!("at commit {} in {}", repository.commit(), folder.display());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to go on
//!
//! | for | see |
//! |---|---|
//! | names, and which there may be | [`RepositoryId`] |
//! | the variables, and where the cache is | [`Settings`] |
//! | asking the Hub, and what a refusal means | [`Client`], [`HubError`] |
//! | what is in the cache, and taking something out | [`Cache`], [`Snapshot`], [`Removal`] |
//! | progress, attempts, and stopping | [`News`], [`Listener`] |
//!
//! # What holds
//!
//! A file has its name only when all its bytes are there and have the digest that the Hub says; what was interrupted
//! goes on where it stopped. Nothing is asked of the network but what was named. The token goes to the endpoint and to
//! nobody else, never over a plain connection to another machine, and is never shown. Sizes are in bytes.

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
pub use id::RepositoryId;
pub use repository::Repository;
pub use settings::{Settings, expand_home};
pub use token::Token;
