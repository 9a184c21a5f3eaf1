//! x86-64: `avx2`, `avx512vnni` and `avx512vbmi` have the same operations; `avx512bf16` adds the products of bf16.
//!
//! | module | holds what several of them have |
//! |---|---|
//! | `vectors`, `attention` | the vectors of two lengths, and attention by either |
//! | `avx512_dense`, `avx512_quantized` | products on 512 bits of dense rows, and of heads in fewer bits |
//! | `probe` | dot products that are only timed |

mod attention;
pub(crate) mod avx2;
pub(crate) mod avx512_dense;
mod avx512_quantized;
pub(crate) mod avx512bf16;
pub(crate) mod avx512vbmi;
pub(crate) mod avx512vnni;
mod probe;
mod vectors;
