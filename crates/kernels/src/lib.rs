//! Ternary matrices, int8 rows and the operations of a BitNet b1.58 model, for one machine.
//!
//! A leaf: it knows bytes and shapes, and nothing of files, models, tokens' meaning or arguments.
//! Every operation has one definition ([`ops`] says where); each instruction set gives the same
//! bits.
//!
//! ```text
//! Isa ─► Pool ─► run(|worker| …)        instruction set and threads: chosen once
//!                  ops::…(worker, …)    an operation: all workers call it, and share its tiles
//!                  worker.barrier()     what was written may be read
//! ```

#[macro_use]
mod dispatch;

mod aligned;
mod buffer;
mod dense;
mod gemm;
mod isa;
mod kv;
mod masters;
pub mod ops;
mod pool;
mod prefetch;
mod probe;
pub mod quantize;
mod quantized;
mod rotary;
mod scalar;
mod self_test;
mod slab;
mod team;
mod ternary;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use aligned::{AlignedVec, Element};
pub use buffer::Buffer;
pub use dense::{DenseBuilder, DenseMatrix, DenseType, DenseView};
pub use gemm::Destination;
pub use isa::{ISA_VARIABLE, Isa, IsaError};
pub use kv::{KvCache, KvType, Sequence};
pub use masters::{CodeStatistics, MasterMatrix, NotFiniteMaster, QuantizedMaster, quantize_masters};
pub use pool::{Pool, Worker};
pub use probe::{Ceilings, float_rate, read_bandwidth};
pub use quantized::{GROUP_COLUMNS, QuantizedMatrix, QuantizedType};
pub use rotary::RotaryTable;
pub use scalar::KV_BLOCK;
pub use scalar::backward::AdamwStep;
pub use self_test::{SelfTestError, self_test};
pub use ternary::{BLOCK_BYTES, CodeError, Layout, TILE_ROWS, TernaryBuilder, TernaryMatrix};
