//! `model.safetensors.index.json`: which tensor is in which file.
//!
//! It checks the names, which come from outside and are about to be opened; whether the files
//! hold what the index says is the checkpoint's to find out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::CheckpointError;
use crate::json::{kind, parse_object, shown};

/// The longest file name that common file systems allow, in bytes.
const FILE_NAME_MAX_BYTES: usize = 255;

/// Parses an index into the file of each tensor.
pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<BTreeMap<String, String>, CheckpointError> {
    let bad = |detail: String| CheckpointError::IndexJson { file: file.to_owned(), detail };
    let mut index = parse_object(bytes).map_err(|error| bad(error.to_string()))?;
    let map = match index.remove("weight_map") {
        Some(Value::Object(map)) => map,
        Some(other) => {
            return Err(bad(format!("`weight_map` is {}, expected an object", kind(&other))));
        }
        None => return Err(bad("`weight_map` is missing".to_owned())),
    };
    if map.is_empty() {
        return Err(CheckpointError::IndexEmpty { file: file.to_owned() });
    }
    let mut shard_of = BTreeMap::new();
    for (name, shard) in map {
        let Value::String(shard) = shard else {
            return Err(bad(format!(
                "tensor `{}` is said to be in {}, expected a file name",
                shown(&name),
                kind(&shard)
            )));
        };
        if !is_shard_name(&shard) {
            return Err(CheckpointError::ShardName {
                file: file.to_owned(),
                name: shown(&name),
                found: shown(&shard),
            });
        }
        shard_of.insert(name, shard);
    }
    Ok(shard_of)
}

/// Every file once, sorted.
pub(super) fn shards(shard_of: &BTreeMap<String, String>) -> Vec<&str> {
    let mut shards: Vec<&str> = shard_of.values().map(String::as_str).collect();
    shards.sort_unstable();
    shards.dedup();
    shards
}

/// Whether a name is that of a safetensors file in the same folder, on every system.
fn is_shard_name(name: &str) -> bool {
    name.len() <= FILE_NAME_MAX_BYTES
        && name.strip_suffix(".safetensors").is_some_and(|stem| !stem.is_empty())
        && !name.starts_with('.')
        && !name.contains(['/', '\\', ':'])
        && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_names_are_plain() {
        assert!(is_shard_name("model-00001-of-00002.safetensors"));
        for name in [
            "",
            ".safetensors",
            "..",
            "../x.safetensors",
            "/x.safetensors",
            "a/b.safetensors",
            "a\\b.safetensors",
            "c:x.safetensors",
            "x.bin",
            "x\0.safetensors",
            ".x.safetensors",
        ] {
            assert!(!is_shard_name(name), "{name:?}");
        }
        assert!(!is_shard_name(&format!("{}.safetensors", "x".repeat(255))));
    }

    #[test]
    fn an_index_gives_each_tensors_file() {
        let text = br#"{"metadata":{"total_size":8},"weight_map":{"b":"2.safetensors","a":"1.safetensors"}}"#;
        let map = parse("i", text).unwrap();
        let pairs: Vec<_> = map.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(pairs, [("a", "1.safetensors"), ("b", "2.safetensors")]);
    }
}
