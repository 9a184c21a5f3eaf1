//! Whether a checkpoint has exactly the tensors that its configuration says.
//!
//! Names, shapes, types and weight scales; no weight is read, so codes that cannot occur are the
//! loader's to find.

use std::collections::HashMap;

use super::tensors::{EMBEDDING, ExpectedTensor, HEAD, TensorKind, expected_tensors};
use super::{Config, ConfigError, Linears};
use crate::checkpoint::{Checkpoint, Dtype, TensorRef};
use crate::gguf::model::gguf_name;

/// The end of the name of a table that old LLaMA checkpoints store and everyone computes.
const IGNORED_SUFFIX: &str = ".rotary_emb.inv_freq";

/// What messages call the types of weights that are floats.
const FLOATS: &str = "F32, F16 or BF16";
/// And those of the ternary linears of a GGUF file.
const TERNARY_OR_FLOATS: &str = "I2_S, TQ1_0, TQ2_0, F32, F16 or BF16";
/// And those of its embedding and head.
const QUANTIZED_OR_FLOATS: &str = "F32, F16, BF16, Q8_0, Q6_K or Q4_0";

/// Checks every tensor of `checkpoint` against `config`.
pub(super) fn check(config: &Config, checkpoint: &Checkpoint) -> Result<(), ConfigError> {
    let tensors = expected_tensors(config);
    let expected: HashMap<&str, TensorKind> =
        tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.kind)).collect();
    // What is there too much often explains what is missing, so it is reported first.
    for name in checkpoint.names() {
        if expected.contains_key(name) || name.ends_with(IGNORED_SUFFIX) {
            continue;
        }
        let scaled = name.strip_suffix("_scale").and_then(|scaled| expected.get(scaled));
        match (config.linears, scaled) {
            (Linears::Blocks, Some(TensorKind::Linear)) => {
                check_tensor(config, checkpoint, &weight_scale(name))?;
            }
            _ => check_unexpected(config, checkpoint, name)?,
        }
    }
    tensors.iter().try_for_each(|tensor| check_tensor(config, checkpoint, tensor))
}

/// The scale that may stand beside a linear of a GGUF file.
fn weight_scale(name: &str) -> ExpectedTensor {
    ExpectedTensor { name: name.to_owned(), shape: vec![1], kind: TensorKind::WeightScale }
}

fn check_tensor(
    config: &Config,
    checkpoint: &Checkpoint,
    tensor: &ExpectedTensor,
) -> Result<(), ConfigError> {
    let Some(found) = checkpoint.get(&tensor.name) else {
        return Err(ConfigError::MissingTensor {
            folder: checkpoint.name().to_owned(),
            name: stored_name(checkpoint, &tensor.name),
            shape: tensor.shape.clone(),
        });
    };
    check_dtype(config, checkpoint.is_gguf(), tensor, &found)?;
    check_shape(tensor, &found)?;
    match tensor.kind {
        TensorKind::WeightScale => check_weight_scale(&found),
        _ => Ok(()),
    }
}

/// What a checkpoint of this kind calls a tensor.
fn stored_name(checkpoint: &Checkpoint, name: &str) -> String {
    let there = if checkpoint.is_gguf() { gguf_name(name) } else { None };
    there.unwrap_or_else(|| name.to_owned())
}

/// Says what is wrong with a tensor that the configuration does not lead to, if anything is.
fn check_unexpected(config: &Config, checkpoint: &Checkpoint, name: &str) -> Result<(), ConfigError> {
    let found = checkpoint.get(name).expect("the name is one of the checkpoint's own");
    let (file, stored_name, family) = (found.file.to_owned(), found.name.to_owned(), config.family);
    if name == HEAD {
        return check_tied_head(checkpoint, &found);
    }
    if name.ends_with(".bias") {
        return Err(ConfigError::Bias { file, name: stored_name });
    }
    let num_hidden_layers = config.num_hidden_layers;
    if let Some(layer) = layer_of(name).filter(|layer| *layer >= num_hidden_layers) {
        return Err(ConfigError::LayerBeyondEnd { file, name: stored_name, layer, num_hidden_layers });
    }
    if let Some(linear) = name.strip_suffix("_scale") {
        let name = checkpoint.get(linear).map_or(linear, |linear| linear.name).to_owned();
        return Err(ConfigError::PackedForFloats { file, name, family });
    }
    let is_norm = found.shape.len() == 1 && (name.contains("norm") || name.contains("_ln"));
    if is_norm {
        return Err(ConfigError::UnknownNorm { file, name: stored_name, family });
    }
    Err(ConfigError::UnknownTensor { file, name: stored_name, family })
}

/// The layer that a tensor's name says it is in.
fn layer_of(name: &str) -> Option<usize> {
    let (layer, _) = name.strip_prefix("model.layers.")?.split_once('.')?;
    layer.parse().ok()
}

/// A tied model may store its head again, if it is the embedding.
fn check_tied_head(checkpoint: &Checkpoint, head: &TensorRef<'_>) -> Result<(), ConfigError> {
    let embedding = checkpoint.get(EMBEDDING);
    let is_same = embedding.is_some_and(|embedding| {
        head.dtype == embedding.dtype && head.shape == embedding.shape && head.bytes == embedding.bytes
    });
    if is_same {
        return Ok(());
    }
    Err(ConfigError::TiedHeadDiffers {
        file: head.file.to_owned(),
        head: head.name.to_owned(),
        embedding: stored_name(checkpoint, EMBEDDING),
    })
}

fn check_dtype(
    config: &Config,
    is_gguf: bool,
    tensor: &ExpectedTensor,
    found: &TensorRef<'_>,
) -> Result<(), ConfigError> {
    let (file, name) = (found.file.to_owned(), found.name.to_owned());
    let is_packed = matches!(config.linears, Linears::Packed { .. });
    let is_linear = tensor.kind == TensorKind::Linear;
    let family = config.family;
    let is_blocks = config.linears == Linears::Blocks;
    let is_table = matches!(tensor.kind, TensorKind::Embedding | TensorKind::Head);
    match found.dtype {
        found if is_linear && is_blocks && found.is_ternary_block() => Ok(()),
        found if is_linear && is_blocks && !found.is_weight_float() => {
            Err(ConfigError::Dtype { file, name, found, expected: TERNARY_OR_FLOATS })
        }
        found if is_table && found.is_quantized_block() => Ok(()),
        Dtype::U8 if is_linear && is_packed => Ok(()),
        Dtype::U8 if is_linear => Err(ConfigError::PackedForFloats { file, name, family }),
        found if is_linear && is_packed && found.is_weight_float() => {
            Err(ConfigError::FloatsForPacked { file, name, found, family })
        }
        found if is_linear && is_packed => Err(ConfigError::Dtype { file, name, found, expected: "U8" }),
        found if found.is_weight_float() => Ok(()),
        found => {
            let expected = if is_table && is_gguf { QUANTIZED_OR_FLOATS } else { FLOATS };
            Err(ConfigError::Dtype { file, name, found, expected })
        }
    }
}

fn check_shape(tensor: &ExpectedTensor, found: &TensorRef<'_>) -> Result<(), ConfigError> {
    let is_scalar = tensor.kind == TensorKind::WeightScale && found.shape.is_empty();
    if is_scalar || found.shape == tensor.shape {
        return Ok(());
    }
    Err(ConfigError::Shape {
        file: found.file.to_owned(),
        name: found.name.to_owned(),
        found: found.shape.to_vec(),
        expected: tensor.shape.clone(),
    })
}

fn check_weight_scale(found: &TensorRef<'_>) -> Result<(), ConfigError> {
    let mut value = [0.0];
    found.read_f32(0, &mut value);
    let [value] = value;
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(ConfigError::WeightScale { file: found.file.to_owned(), name: found.name.to_owned(), found: value })
}
