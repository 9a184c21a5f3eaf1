//! The argument that says where drafts of the next tokens come from.

use clap::ValueEnum;
use tercet::generate::Speculative;

/// Where drafts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drafts {
    /// No drafts: one token a pass
    Off,
    /// From what followed the same tokens earlier in prompt and text
    Lookup,
}

impl From<Drafts> for Speculative {
    fn from(drafts: Drafts) -> Self {
        match drafts {
            Drafts::Off => Speculative::Off,
            Drafts::Lookup => Speculative::Lookup,
        }
    }
}
