//! What the `safetensors` crate writes, the checkpoint reads back, in one file or several.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use tercet::checkpoint::{Checkpoint, INDEX_FILE, SINGLE_FILE};
use tercet::source::{MemoryFolder, Source};

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Tensors of any name, type and small shape, also without elements.
fn tensors() -> impl Strategy<Value = Tensors> {
    let name =
        r#"[\PC&&[^\x00-\x1f]]{1,12}"#.prop_filter("the key of the free text", |name| name != "__metadata__");
    let dtype = prop::sample::select(vec![
        Dtype::BOOL,
        Dtype::U8,
        Dtype::I8,
        Dtype::F8_E4M3,
        Dtype::I16,
        Dtype::F16,
        Dtype::BF16,
        Dtype::I32,
        Dtype::F32,
        Dtype::F64,
        Dtype::I64,
        Dtype::U64,
        Dtype::C64,
    ]);
    let tensor = (dtype, vec(0usize..5, 0..4)).prop_flat_map(|(dtype, shape)| {
        let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (Just(dtype), Just(shape), vec(any::<u8>(), bytes))
    });
    btree_map(name, tensor, 1..8)
}

fn write(tensors: &Tensors) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let about = [("format".to_owned(), "pt".to_owned())];
    safetensors::serialize(views, Some(about.into_iter().collect())).unwrap()
}

/// Checks that a checkpoint has these tensors and no others.
fn check(files: BTreeMap<String, Vec<u8>>, tensors: &Tensors) -> Result<(), TestCaseError> {
    let files = files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
    let source = Source::Memory(MemoryFolder { name: "m".to_owned(), files });
    let checkpoint = Checkpoint::open(&source).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert!(checkpoint.names().eq(tensors.keys()));
    for (name, (dtype, shape, bytes)) in tensors {
        let found = checkpoint.get(name).unwrap();
        prop_assert_eq!(found.dtype.to_string(), dtype.to_string());
        prop_assert_eq!(found.shape, shape);
        prop_assert_eq!(found.bytes, bytes);
    }
    Ok(())
}

proptest! {
    #[test]
    fn one_file_is_read_back(tensors in tensors()) {
        check([(SINGLE_FILE.to_owned(), write(&tensors))].into(), &tensors)?;
    }

    #[test]
    fn several_files_are_read_back(tensors in tensors(), shards in 1usize..4) {
        let mut parts: BTreeMap<String, Tensors> = BTreeMap::new();
        let mut shard_of = serde_json::Map::new();
        for (i, (name, tensor)) in tensors.iter().enumerate() {
            let shard = format!("part-{}.safetensors", i % shards);
            shard_of.insert(name.clone(), shard.clone().into());
            parts.entry(shard).or_default().insert(name.clone(), tensor.clone());
        }
        let mut files: BTreeMap<String, Vec<u8>> =
            parts.iter().map(|(shard, part)| (shard.clone(), write(part))).collect();
        let index = serde_json::json!({ "weight_map": shard_of });
        files.insert(INDEX_FILE.to_owned(), index.to_string().into());
        check(files, &tensors)?;
    }
}
