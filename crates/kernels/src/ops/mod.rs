//! The public operations: they check shapes, share tiles out among the workers, and call the
//! arch file of the pool's instruction set.
//!
//! All workers call an operation together with the same arguments. What it writes may be read
//! after the next [`Worker::barrier`](crate::Worker::barrier), which the caller places. The
//! definitions are in `scalar/`.

mod attention;
pub mod backward;
mod dense_product;
mod gate;
mod int8_rows;
mod log_probability;
mod optimizer;
mod prepare;
mod quantized_product;
pub(crate) mod rows;
mod ternary_product;

pub use attention::{MAX_HEAD_DIM, append, attention, rotate};
pub use dense_product::dense_product;
pub use gate::{Activation, gate};
pub use int8_rows::Int8Rows;
pub use log_probability::{TokenScore, log_probabilities, log_sum_exp};
pub use optimizer::{MuonStep, Region, adamw, muon, sum_of_squares};
pub use prepare::{Norm, Source, prepare_rows, quantize_rows};
pub use quantized_product::quantized_product;
pub use rows::{add, add_assign, embed, embed_with, exponential, gather_rows, rms_norm};
pub use ternary_product::{MAX_COLUMNS, TernaryProduct, barrier_before, ternary_products};

/// Claims an operation is cut into for each worker, so that a slow one leaves its share to others.
const CLAIMS_A_WORKER: usize = 16;
