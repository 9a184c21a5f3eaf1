//! A few seconds of fuzzing with a fixed seed: right files, mutated, must never make a reader
//! panic.
//!
//! The mutations are of bytes and, since those mostly end at the first bracket, of parsed JSON.

mod entry_points;
mod tiny_model;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use tiny_model::{KINDS, Kind, TinyModel};

/// Mutated files a reader; together they take a few seconds.
const ROUNDS: usize = 3000;

/// A random index below `n`.
fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    rng.next_u32() as usize % n
}

/// Calls a reader with mutations of right files.
fn fuzz(seed: u64, right: &[Vec<u8>], mutate: fn(&mut ChaCha8Rng, &[u8]) -> Vec<u8>, read: fn(&[u8])) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..ROUNDS {
        let file = &right[below(&mut rng, right.len())];
        read(&mutate(&mut rng, file));
    }
}

/// Flips, cuts, doubles or inserts bytes.
fn mutate_bytes(rng: &mut ChaCha8Rng, file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..=below(rng, 4) {
        let at = below(rng, file.len() + 1);
        match below(rng, 5) {
            0 => file.truncate(at),
            1 => file.insert(at, rng.next_u32() as u8),
            2 => file.extend_from_within(at..),
            3 => drop(file.drain(at..(at + 8).min(file.len()))),
            _ => {
                if let Some(byte) = file.get_mut(at) {
                    *byte ^= 1 << below(rng, 8);
                }
            }
        }
    }
    file
}

/// Mutates bytes one time in four, and else the parsed JSON.
fn mutate_json(rng: &mut ChaCha8Rng, file: &[u8]) -> Vec<u8> {
    if below(rng, 4) == 0 {
        return mutate_bytes(rng, file);
    }
    let mut value: Value = serde_json::from_slice(file).unwrap();
    for _ in 0..=below(rng, 3) {
        let other = pick(rng, &mut value).clone();
        let replacement = if below(rng, 2) == 0 { other } else { interesting(rng) };
        let place = pick(rng, &mut value);
        match place {
            Value::Object(object) if !object.is_empty() && below(rng, 2) == 0 => {
                let key = object.keys().nth(below(rng, object.len())).unwrap().clone();
                let value = object.remove(&key).unwrap();
                if below(rng, 2) == 0 {
                    object.insert(format!("{key}x"), value);
                }
            }
            Value::Array(list) if below(rng, 2) == 0 => list.push(replacement),
            place => *place = replacement,
        }
    }
    value.to_string().into()
}

/// A random value within a value, one nearer the root more likely.
fn pick<'a>(rng: &mut ChaCha8Rng, value: &'a mut Value) -> &'a mut Value {
    let inner = match value {
        Value::Object(object) => object.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    };
    if inner == 0 || below(rng, 5) == 0 {
        return value;
    }
    let at = below(rng, inner);
    match value {
        Value::Object(object) => pick(rng, object.values_mut().nth(at).unwrap()),
        Value::Array(list) => pick(rng, &mut list[at]),
        leaf => leaf,
    }
}

/// A value that readers stumble over.
fn interesting(rng: &mut ChaCha8Rng) -> Value {
    #[rustfmt::skip]
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(1.5),
        json!(1e308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1u64 << 31),
        json!(""),
        json!("\u{0}"),
        json!("../x"),
        json!("\u{1F600}"),
        json!("("),
        json!("(a+)+$"),
        json!([]),
        json!({}),
        json!([[]]),
        json!("Sequence"),
        json!("Strip"),
        json!("Replace"),
        json!("Metaspace"),
        json!("BPE"),
        json!("NFKC"),
        json!("Digits"),
        json!("Punctuation"),
        json!("ByteFallback"),
        json!({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": true}),
        json!({"type": "Strip", "strip_left": true, "strip_right": true}),
        json!({"type": "Strip", "content": "a", "start": 3, "stop": 0}),
        json!({"type": "Whitespace"}),
        json!({"type": "Lowercase"}),
        json!({"type": "Fuse"}),
    ];
    values[below(rng, values.len())].clone()
}

/// Mutates the header of a safetensors file, half of the time keeping the length right.
fn mutate_safetensors(rng: &mut ChaCha8Rng, file: &[u8]) -> Vec<u8> {
    if below(rng, 3) == 0 {
        return mutate_bytes(rng, file);
    }
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = mutate_json(rng, header);
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat()
}

/// One file of each family's folder.
fn files(name: &str) -> Vec<Vec<u8>> {
    KINDS.map(|kind| TinyModel::new(kind).folder().files[name].to_vec()).into()
}

#[test]
fn no_safetensors_file_makes_the_reader_panic() {
    fuzz(1, &files("model.safetensors"), mutate_safetensors, entry_points::safetensors);
}

#[test]
fn no_index_makes_the_reader_panic() {
    fuzz(2, &[entry_points::right_index()], mutate_json, entry_points::index);
}

#[test]
fn no_configuration_makes_the_reader_panic() {
    fuzz(3, &files("config.json"), mutate_json, entry_points::config);
}

#[test]
fn no_tokenizer_makes_the_reader_panic() {
    let right = TinyModel::new(Kind::Bitnet).tokenizer.to_string().into();
    fuzz(4, &[right], mutate_json, entry_points::tokenizer);
}
