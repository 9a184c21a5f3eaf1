//! Ways to damage a file at random: its bytes and, since those changes mostly end at the first
//! bracket, its parsed JSON.
//!
//! Shared by the smoke test and the fuzz targets. They know no format but JSON and the frame of
//! safetensors.
#![allow(dead_code, unreachable_pub, reason = "each user includes the file and uses its own part")]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use serde_json::{Value, json};

/// A random index below `n`.
pub fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    rng.next_u32() as usize % n
}

/// Flips, cuts, doubles or inserts bytes.
pub fn bytes(rng: &mut ChaCha8Rng, file: &[u8]) -> Vec<u8> {
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

/// Mutates bytes one time in four or if there is no JSON, and else the parsed JSON.
pub fn json(rng: &mut ChaCha8Rng, file: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(file) else {
        return bytes(rng, file);
    };
    if below(rng, 4) == 0 {
        return bytes(rng, file);
    }
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
pub fn safetensors(rng: &mut ChaCha8Rng, file: &[u8]) -> Vec<u8> {
    let Some((header, data)) = frame(file).filter(|_| below(rng, 3) != 0) else {
        return bytes(rng, file);
    };
    let header = json(rng, header);
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat()
}

/// The header and the data of a safetensors file.
fn frame(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    rest.split_at_checked(u64::from_le_bytes(*length) as usize)
}
