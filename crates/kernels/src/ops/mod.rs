//! The public operations: they check shapes, share tiles out among the workers, and call the
//! arch file of the pool's instruction set.
//!
//! All workers call an operation together with the same arguments. What it writes may be read
//! after the next [`Worker::barrier`](crate::Worker::barrier), which the caller places. The
//! definitions are in `scalar/`.

mod attention;
pub mod backward;
mod optimizer;
mod product;
mod rows;

pub use attention::{append, attention, rotate};
pub use optimizer::{MuonStep, Region, adamw, muon, sum_of_squares};
pub use product::{Int8Rows, MAX_COLUMNS, dense_product, quantize_rows, ternary_product};
pub use rows::{add_assign, embed, exponential, gather_rows, relu2_gate, rms_norm, silu_gate};
