//! x86-64: one file an instruction set, the same operations in each.

pub(crate) mod avx2;
pub(crate) mod avx512vnni;
mod probe;
