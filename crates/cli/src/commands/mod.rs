//! The subcommands, one file each; their doc comments are their help.

#[cfg(feature = "completions")]
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod inspect;
#[cfg(feature = "completions")]
pub(crate) mod man;
pub(crate) mod run;
pub(crate) mod train;
