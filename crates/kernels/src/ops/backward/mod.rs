//! The operations of the backward pass: gradients of what `ops` computes.
//!
//! `d_x` is the gradient of the loss by `x`. Nothing here has a published order of arithmetic; but
//! every operation cuts its *outputs* into fixed blocks, each computed whole by one worker, so that
//! the number of threads changes no bit. Gradients of parameters go to a range of one long buffer and
//! are added there, so that micro-batches accumulate; those of matrices may also replace what is there.

mod attention;
mod gate;
mod loss;
mod product;
mod rows;

pub use attention::{AttentionRooms, attention_backward};
pub use gate::{GatedNorm, gate_backward};
pub use loss::{LossRows, SoftTargets, cross_entropy};
pub use product::{
    GradientOperands, GradientPrecision, GradientProduct, GradientSizes, Input, Weight, blend_matrix,
    blend_rows, dequantize_matrix, dequantize_rows, float_product,
};
pub use rows::{
    GainParts, add_gain_parts, embed_backward, fill_zero, rms_norm_backward, rotate_backward, scatter_rows,
};
