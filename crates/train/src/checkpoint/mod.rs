//! What is saved of a run, and how nothing is lost.
//!
//! | module | holds |
//! |---|---|
//! | `store` | the folder of checkpoints: save, verify, fall back, prune |
//! | `manifest` | what files a checkpoint has, with their hashes |
//! | `tensors` | flat f32 buffers as safetensors files |
//!
//! It knows no model: what lies in a checkpoint is the trainer's.

mod error;
mod manifest;
mod store;
mod tensors;

pub use error::{StoreError, TensorsError};
pub use store::{Checkpoint, Found, Moment, Stage, Store};
pub(crate) use tensors::{TensorInto, TensorOut, read_tensors, write_tensors};
