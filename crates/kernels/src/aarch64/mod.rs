//! aarch64: one file an instruction set, the same operations in each.

pub(crate) mod neon_dotprod;
mod probe;
