//! Fuzzes `model.safetensors.index.json`, beside two right shards.
#![no_main]

#[path = "../../crates/tercet/tests/entry_points/mod.rs"]
mod entry_points;
#[path = "../../crates/tercet/tests/tiny_model/mod.rs"]
mod tiny_model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry_points::index(bytes));
