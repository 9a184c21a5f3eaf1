//! x86-64: one file an instruction set, the same operations in each.

mod attention;
pub(crate) mod avx2;
pub(crate) mod avx512_dense;
mod avx512_quantized;
pub(crate) mod avx512bf16;
pub(crate) mod avx512vbmi;
pub(crate) mod avx512vnni;
mod probe;
mod vectors;
