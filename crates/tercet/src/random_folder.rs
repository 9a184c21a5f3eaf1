//! Random model folders of any size, written as a stream: to try loaders and machines with.
//!
//! Packed weights are made byte by byte, so that memory stays small whatever the model. The
//! tokenizer is the embedded model's, so that such a folder runs; its text is noise.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, json};

use crate::checkpoint::{self, Dtype, INDEX_FILE, NewTensor, SINGLE_FILE};
use crate::config::{CONFIG_FILE, Config, ExpectedTensor, Linears, ScaleRule, TensorKind, expected_tensors};
use crate::embedded;
use crate::random::{embedding_value, mix};
use crate::source::SourceError;

/// Bytes of tensors in one file; more go to the next.
const SHARD_BYTES: u64 = 5_000_000_000;

/// Why a folder was not written.
#[derive(Debug, thiserror::Error)]
pub enum RandomFolderError {
    /// Something is already there.
    #[error("{path}: found a file or folder, expected nothing there")]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The linears of this configuration are not packed.
    #[error("found linears stored as floats, expected packed ones")]
    NotPacked,
    /// The system failed to write.
    #[error("{path}: cannot be written: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The embedded tokenizer cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Writes a folder with pseudo-random weights, the same for the same seed; `on_written` hears of
/// the bytes of tensors written and to be written.
///
/// The folder appears under its name when it is complete.
///
/// # Errors
/// [`RandomFolderError`] if something is there already, or cannot be written.
pub fn write(
    config: &Config,
    folder: &Path,
    seed: u64,
    mut on_written: impl FnMut(u64, u64),
) -> Result<(), RandomFolderError> {
    let Linears::Packed { scale } = config.linears else { return Err(RandomFolderError::NotPacked) };
    if folder.exists() {
        return Err(RandomFolderError::Exists { path: folder.to_owned() });
    }
    let temporary = folder.with_extension("partial");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RandomFolderError::Io { path, source }
    };
    fs::create_dir(&temporary).map_err(failed(&temporary))?;
    let tensors = expected_tensors(config);
    let shards = shards(&tensors);
    let total = tensors.iter().map(tensor_bytes).sum();
    let mut written = 0;
    let mut weight_map = Map::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = shard_name(number, shards.len());
        let path = temporary.join(&name);
        let values = Values { seed, scale };
        write_shard(&path, shard, &values, &mut |bytes| {
            written += bytes;
            on_written(written, total);
        })
        .map_err(failed(&path))?;
        weight_map.extend(shard.iter().map(|tensor| (tensor.name.clone(), json!(name))));
    }
    if shards.len() > 1 {
        let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
        write_file(&temporary.join(INDEX_FILE), index.to_string().as_bytes())?;
    }
    let embedded = embedded::stories();
    let config = Config { bos_token_id: Some(0), eos_token_ids: vec![0], ..config.clone() };
    write_file(&temporary.join(CONFIG_FILE), format!("{:#}\n", config.to_json()).as_bytes())?;
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        write_file(&temporary.join(file), &embedded.read(file)?)?;
    }
    fs::rename(&temporary, folder).map_err(failed(folder))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), RandomFolderError> {
    fs::write(path, bytes).map_err(|source| RandomFolderError::Io { path: path.to_owned(), source })
}

fn shard_name(number: usize, shards: usize) -> String {
    if shards == 1 {
        return SINGLE_FILE.to_owned();
    }
    format!("model-{:05}-of-{shards:05}.safetensors", number + 1)
}

fn shards(tensors: &[ExpectedTensor]) -> Vec<Vec<&ExpectedTensor>> {
    let mut shards = vec![Vec::new()];
    let mut shard_bytes = 0;
    for tensor in tensors {
        if shard_bytes > 0 && shard_bytes + tensor_bytes(tensor) > SHARD_BYTES {
            shards.push(Vec::new());
            shard_bytes = 0;
        }
        shard_bytes += tensor_bytes(tensor);
        shards.last_mut().expect("there is a first shard").push(tensor);
    }
    shards
}

/// How a tensor is written.
fn new_tensor(tensor: &ExpectedTensor) -> NewTensor {
    let dtype = match tensor.kind {
        TensorKind::Linear => Dtype::U8,
        TensorKind::WeightScale | TensorKind::Norm => Dtype::F32,
        TensorKind::Embedding | TensorKind::Head => Dtype::BF16,
    };
    NewTensor { name: tensor.name.clone(), dtype, shape: tensor.shape.clone() }
}

fn tensor_bytes(tensor: &ExpectedTensor) -> u64 {
    new_tensor(tensor).size_bytes()
}

fn write_shard(
    path: &Path,
    tensors: &[&ExpectedTensor],
    values: &Values,
    on_written: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let new: Vec<NewTensor> = tensors.iter().map(|tensor| new_tensor(tensor)).collect();
    checkpoint::write_file(path, &new, &BTreeMap::new(), |number, file| {
        values.write(file, tensors[number], mix(number as u64 + 1))?;
        on_written(new[number].size_bytes());
        Ok(())
    })
}

struct Values {
    seed: u64,
    scale: ScaleRule,
}

impl Values {
    fn write(&self, file: &mut dyn Write, tensor: &ExpectedTensor, stream: u64) -> io::Result<()> {
        let elements: u64 = tensor.shape.iter().map(|size| *size as u64).product();
        let bits = |i: u64| mix(self.seed ^ stream ^ i);
        match tensor.kind {
            TensorKind::Linear => {
                let mut bytes = [0; 8];
                for first in (0..elements).step_by(bytes.len()) {
                    let mut bits = bits(first);
                    for byte in &mut bytes {
                        *byte = four_codes((bits % 81) as u8);
                        bits /= 81;
                    }
                    file.write_all(&bytes[..bytes.len().min((elements - first) as usize)])?;
                }
                Ok(())
            }
            // A linear of some 2000 inputs keeps about the size of its input.
            TensorKind::WeightScale => {
                let scale: f32 = 1.0 / 32.0;
                let stored = match self.scale {
                    ScaleRule::Multiply => scale,
                    ScaleRule::Divide => 1.0 / scale,
                };
                file.write_all(&stored.to_le_bytes())
            }
            TensorKind::Norm => (0..elements).try_for_each(|_| file.write_all(&1f32.to_le_bytes())),
            TensorKind::Embedding | TensorKind::Head => {
                (0..elements).try_for_each(|i| file.write_all(&embedding_value(bits(i)).to_le_bytes()))
            }
        }
    }
}

/// Four base-3 digits as four two-bit codes.
fn four_codes(mut digits: u8) -> u8 {
    (0..4).fold(0, |byte, place| {
        let code = digits % 3;
        digits /= 3;
        byte | code << (2 * place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::presets::PRESETS;
    use crate::source::Source;
    use std::sync::Arc;
    use tercet_kernels::{Isa, Layout, Pool};

    #[test]
    fn every_preset_made_small_loads() {
        let parent = tempfile::tempdir().unwrap();
        let pool = Arc::new(Pool::new(Isa::best(), 1));
        for preset in PRESETS {
            let config = Config {
                hidden_size: 64,
                intermediate_size: 172,
                num_hidden_layers: 1,
                num_attention_heads: 4,
                num_key_value_heads: 2,
                head_dim: 16,
                vocab_size: 600,
                ..preset.config()
            };
            let folder = parent.path().join(preset.name);
            let mut last = (0, 0);
            write(&config, &folder, 1, |written, total| last = (written, total)).unwrap();
            assert!(last.0 == last.1 && last.0 > 0);
            Model::load(&Source::folder(&folder).unwrap(), Arc::clone(&pool), Layout::TwoBit).unwrap();
            let error = write(&config, &folder, 1, |_, _| ()).unwrap_err();
            assert!(matches!(error, RandomFolderError::Exists { .. }));
        }
    }

    #[test]
    fn tensors_past_the_limit_go_to_the_next_file() {
        let tensor = |name: &str, size| ExpectedTensor {
            name: name.to_owned(),
            shape: vec![size],
            kind: TensorKind::Linear,
        };
        let tensors = [tensor("a", 3_000_000_000), tensor("b", 1_000_000_000), tensor("c", 2_000_000_000)];
        let names: Vec<Vec<&str>> =
            shards(&tensors).iter().map(|shard| shard.iter().map(|t| t.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["a", "b"], vec!["c"]]);
    }
}
