//! What stands around the API: sockets, guards, health, and the end.
//!
//! | module | holds |
//! |---|---|
//! | `app` | all routes in their guards as one value, without a socket |
//! | `front` | what all requests share: keys, names, limits, and how the server is |
//! | `keys`, `hosts` | who may come in; which names are ours, and which web pages may ask |
//! | `guards` | the checks before a request is looked at |
//! | `access` | a name for each request, its line in the log, its headers |
//! | `listener`, `connections`, `socket` | connections: how many, how long, how slow |
//! | `shutdown` | signals, and the end without cutting anybody off |
//!
//! It knows no OpenAI and no model.

mod access;
mod app;
mod connections;
mod front;
mod guards;
mod hosts;
mod keys;
mod listener;
mod shutdown;
mod socket;

pub use axum::Router;

pub use access::Tally;
pub use app::{OPEN_ROUTES, OWN_ROUTES, app};
pub use front::Front;
pub use hosts::{Hosts, OriginError, Origins};
pub use keys::{KeyError, Keys};
pub use listener::{LAST_BYTES, bind, serve};
pub use shutdown::{Ended, Signal, Signals};
