//! Random model folders of any size, written as a stream: to try loaders and machines with.
//!
//! Packed weights are made byte by byte, so that memory stays small whatever the model. The
//! tokenizer is the embedded model's, so that such a folder runs; its text is noise.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use half::bf16;

use crate::checkpoint::{self, Dtype, NewTensor};
use crate::config::{CONFIG_FILE, Config, ExpectedTensor, Linears, ScaleRule, TensorKind, expected_tensors};
use crate::embedded;
use crate::random::{EMBEDDING_LIMIT, even, mix};
use crate::source::SourceError;

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
    let failed = |source| RandomFolderError::Io { path: folder.to_owned(), source };
    // Beside its place, with a name that nobody has: what is renamed must be on one disk.
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let scratch = tempfile::Builder::new()
        .prefix(".tercet-")
        .suffix(".partial")
        .tempdir_in(parent.unwrap_or(Path::new(".")))
        // Its own words name a folder that nobody asked for.
        .map_err(|error| failed(error.kind().into()))?;
    let temporary = scratch.path().join(folder.file_name().unwrap_or_default());
    fs::create_dir(&temporary).map_err(failed)?;
    let tensors = expected_tensors(config);
    let new: Vec<NewTensor> = tensors.iter().map(new_tensor).collect();
    let total = new.iter().map(NewTensor::size_bytes).sum();
    let values = Values { seed, scale };
    let mut written = 0;
    checkpoint::write_files(&temporary, &new, &BTreeMap::new(), &mut |number, file| {
        values.write(file, &tensors[number], mix(number as u64 + 1))?;
        written += new[number].size_bytes();
        on_written(written, total);
        Ok(())
    })
    .map_err(|(path, source)| RandomFolderError::Io { path, source })?;
    let embedded = embedded::stories();
    let config = Config { bos_token_id: Some(1), eos_token_ids: vec![2], ..config.clone() };
    write_file(&temporary.join(CONFIG_FILE), format!("{:#}\n", config.to_json()).as_bytes())?;
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        write_file(&temporary.join(file), &embedded.read(file)?)?;
    }
    fs::rename(&temporary, folder).map_err(failed)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), RandomFolderError> {
    fs::write(path, bytes).map_err(|source| RandomFolderError::Io { path: path.to_owned(), source })
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
                let value = |i| bf16::from_f32(even(bits(i), EMBEDDING_LIMIT));
                (0..elements).try_for_each(|i| file.write_all(&value(i).to_le_bytes()))
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
    fn what_an_earlier_run_has_left_is_in_nobodys_way() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("a.partial")).unwrap();
        let config = Config { num_hidden_layers: 1, vocab_size: 600, ..PRESETS[0].config() };
        for name in ["a.1", "a.2"] {
            write(&config, &parent.path().join(name), 1, |_, _| ()).unwrap();
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 3, "nothing else is left");
    }
}
