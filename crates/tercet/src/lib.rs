//! Ternary language models (BitNet b1.58): load, run, measure.

pub mod checkpoint;
pub mod config;
pub mod convert;
pub mod digest;
pub mod embedded;
pub mod folder_files;
pub mod generate;
pub mod gguf;
mod json;
pub mod mapped_file;
pub mod model;
pub mod planes;
pub mod presets;
mod random;
pub mod random_folder;
pub mod source;
pub mod tokenizer;
pub mod verify;

// The tests of the crate and those outside it share one file, which calls the crate by its name.
#[cfg(test)]
extern crate self as tercet;
#[cfg(test)]
#[path = "../tests/tiny_model/mod.rs"]
mod tiny_model;
