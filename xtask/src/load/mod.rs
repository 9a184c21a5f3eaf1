//! Load on a running server: many clients, rude ones, and what the server holds when they have gone.
//!
//! | module | holds |
//! |---|---|
//! | `client` | HTTP on a plain socket |
//! | `server` | `tercet serve` as a process |
//! | `requests` | what is asked, and what is told alone |
//! | `streams` | many at once |
//! | `burst` | more than there is room for |
//! | `storm` | half of them cut |
//! | `slow` | one who reads a byte a second |
//! | `half_open` | requests that never come to an end |
//! | `percentile` | of times |
//!
//! Counts are wanted, times are only told. `cargo xtask soak load`, `soak replicas` and a test of the binary run it,
//! each with
//! its own counts.

pub(crate) mod burst;
pub(crate) mod client;
pub(crate) mod half_open;
pub(crate) mod percentile;
pub(crate) mod requests;
pub(crate) mod server;
pub(crate) mod slow;
pub(crate) mod storm;
pub(crate) mod streams;
