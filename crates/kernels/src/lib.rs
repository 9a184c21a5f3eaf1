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
//!
//! # A ternary product
//!
//! `y = W x`, with weights in {-1, 0, +1} and one scale a matrix, and activations of 8 bits and one scale a token.
//!
//! ```
//! use tercet_kernels::ops::{self, Int8Rows, TernaryProduct};
//! use tercet_kernels::quantize::absmean;
//! use tercet_kernels::{Buffer, Isa, Layout, Pool, TernaryMatrix};
//!
//! // Two rows of three floats become codes 0, 1, 2 for -1, 0, +1, and a scale: real = (code - 1) × scale.
//! let (codes, w_scale) = absmean(&[0.9, -1.1, 0.1, -1.0, 0.0, 1.1])?;
//! assert_eq!(codes, [2, 0, 1, 0, 1, 2]);
//! let w = TernaryMatrix::from_codes(&codes, [2, 3], Layout::TwoBit)?;
//!
//! let mut results = Vec::new();
//! for isa in Isa::available() {
//!     let pool = Pool::new(isa, 2);
//!     let x = Buffer::from_slice(&pool, &[1.0, 0.5, -2.0]); // one token
//!     let rows = Int8Rows::new(&pool, 1, 3);
//!     let mut y = Buffer::zeroed(&pool, 2);
//!     pool.run(|worker| {
//!         ops::quantize_rows(worker, &x, 1, 3, &rows);
//!         worker.barrier();
//!         ops::ternary_products(worker, [TernaryProduct { w: &w, w_scale, y: &y }], &rows, 1);
//!     });
//!     results.push(y.as_mut_slice().to_vec());
//! }
//! // 1 - 0.5 and -1 - 2, times the scale, but for the rounding to 8 bits; and the same bits from all.
//! assert!((results[0][0] / w_scale - 0.5).abs() < 0.02 && (results[0][1] / w_scale + 3.0).abs() < 0.02);
//! assert!(results.iter().all(|result| *result == results[0]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to go on
//!
//! | for | see |
//! |---|---|
//! | what a CPU can do, and forcing less (`TERCET_ISA`) | [`Isa`] |
//! | threads, phases, and why a forgotten barrier is a panic | [`Pool`], [`Worker`], [`Buffer`] |
//! | weights in 2 and in 1.6 bits | [`TernaryMatrix`], [`Layout`] |
//! | the one function that makes codes and scales | [`quantize`] |
//! | the operations of the forward pass, and of the backward pass | [`ops`], [`ops::backward`] |
//! | keys and values | [`KvCache`], [`KvPages`] |
//! | whether the kernels compute here what they should | [`self_test()`] |
//! | what this machine can do at best | [`Ceilings`] |
//!
//! # What holds
//!
//! The operations of the forward pass give the same bits on every instruction set, for any number of threads and for
//! one token as for many, for finite values. Those of the backward pass state tolerances, and give the same bits for
//! any number of threads.

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
pub use isa::{Isa, IsaError};
pub use kv::{KvCache, KvPage, KvPages, KvShape, KvType, Sequence};
pub use masters::{CodeStatistics, MasterMatrix, NotFiniteMaster, QuantizedMaster, quantize_masters};
pub use pool::{Pool, Worker};
pub use probe::{Ceilings, float_rate, read_bandwidth};
pub use quantized::{QuantizedMatrix, QuantizedType};
pub use rotary::RotaryTable;
pub use scalar::KV_BLOCK;
pub use scalar::backward::AdamwStep;
pub use self_test::{SelfTestError, self_test};
pub use ternary::{CodeError, Layout, TernaryBuilder, TernaryMatrix};
