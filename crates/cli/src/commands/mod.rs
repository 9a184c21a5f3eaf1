//! The subcommands, one file each; their doc comments are their help.

pub(crate) mod bench;
pub(crate) mod chat;
#[cfg(feature = "completions")]
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod inspect;
pub(crate) mod ls;
#[cfg(feature = "completions")]
pub(crate) mod man;
pub(crate) mod pull;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod train;
pub(crate) mod verify;
