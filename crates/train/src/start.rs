//! The parameters a run starts with: random, or those of a model folder.
//!
//! A folder's floats are taken as they are, whatever type they are stored in. Starting a ternary
//! model from a dense one keeps every tensor: where a norm moves from before a block into its
//! linears, each takes its gains; norms that the model has not get gains of 1.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tercet::checkpoint::{Checkpoint, CheckpointError};
use tercet::config::{Config, ConfigError, Family, Linears, Norms, SubNorms, TensorKind};
use tercet::source::Source;

use crate::config::{LinearKind, ModelConfig, NormPlacement};
use crate::model::{Parameter, ParameterLayout};

/// Standard deviation of the initial matrices where the configuration names none.
pub const INITIALIZER_RANGE: f32 = 0.02;

/// Why a model cannot be started from.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its tensors cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its configuration was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its linears are packed.
    #[error("{folder}: found packed ternary weights, expected floats to train")]
    Packed {
        /// The folder.
        folder: String,
    },
    /// The configuration of the run asks for another model than the folder's.
    #[error("model.{field}: found `{found}`, but {folder} {has}")]
    Conflict {
        /// The field of the run.
        field: &'static str,
        /// Its value.
        found: String,
        /// The folder.
        folder: String,
        /// What the folder has.
        has: String,
    },
    /// A weight is NaN or infinite.
    #[error("{file}: tensor `{name}`: element {index} is not finite")]
    NotFinite {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// The element.
        index: usize,
    },
}

impl StartError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Packed { .. } => Some(
                "start from the masters that the model was packed from; where they are lost, \
                 `tercet convert SRC FOLDER --to hf-bf16` makes floats with the same codes",
            ),
            _ => None,
        }
    }
}

/// A model folder that a run starts from.
pub struct Start {
    checkpoint: Checkpoint,
    folder: String,
    /// The configuration of what is trained.
    pub config: Config,
}

impl Start {
    /// Opens the folder and settles what is trained: its own model, or a dense model's weights in a
    /// ternary one.
    ///
    /// # Errors
    /// [`StartError`] if the folder cannot be read, is packed, or contradicts `model`.
    pub fn open(source: &Source, model: &ModelConfig) -> Result<Self, StartError> {
        let checkpoint = Checkpoint::open(source)?;
        let found = Config::read(source, &checkpoint)?;
        let folder = source.name();
        let conflict = |field, found: String, has: String| StartError::Conflict {
            field,
            found,
            folder: folder.clone(),
            has,
        };
        let config = match (found.linears, model.linears.unwrap_or(LinearKind::Ternary)) {
            (Linears::Packed { .. } | Linears::Blocks, _) => return Err(StartError::Packed { folder }),
            (Linears::Masters, LinearKind::Dense) => {
                return Err(conflict("linears", "dense".to_owned(), "is ternary".to_owned()));
            }
            (Linears::Dense, LinearKind::Ternary) => ternary_from_dense(found, model.norms),
            (Linears::Masters, LinearKind::Ternary) | (Linears::Dense, LinearKind::Dense) => {
                if let Some(norms) = model.norms.filter(|norms| norms_of(*norms, &found) != found.norms) {
                    let has = "has its norms elsewhere".to_owned();
                    return Err(conflict("norms", format!("{norms:?}"), has));
                }
                found
            }
        };
        Ok(Start { checkpoint, folder, config })
    }

    /// How messages call the folder.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Reads every parameter of `layout`; gains that the folder has not are those of the norm that
    /// stood in their place, or 1.
    ///
    /// # Errors
    /// [`StartError::NotFinite`] with the first such weight.
    pub fn read(&self, layout: &ParameterLayout, values: &mut [f32]) -> Result<(), StartError> {
        for parameter in layout.parameters() {
            let values = &mut values[parameter.range.clone()];
            let moved = || self.checkpoint.get(&moved_norm(&parameter.name)?);
            let moved = || if self.config.norms.pre { None } else { moved() };
            let Some(tensor) = self.checkpoint.get(&parameter.name).or_else(moved) else {
                values.fill(1.0);
                continue;
            };
            tensor.read_f32(0, values);
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                let (file, name) = (tensor.file.to_owned(), parameter.name.clone());
                return Err(StartError::NotFinite { file, name, index });
            }
        }
        Ok(())
    }
}

/// The norm before attention or MLP whose work the norm inside this linear takes over.
fn moved_norm(in_linear: &str) -> Option<String> {
    let (layer, linear) = in_linear.strip_suffix(".rms_norm.weight")?.rsplit_once('.')?;
    let (layer, _) = layer.rsplit_once('.')?;
    let norm = match linear {
        "q_proj" | "k_proj" | "v_proj" => "input_layernorm",
        "gate_proj" | "up_proj" => "post_attention_layernorm",
        _ => return None,
    };
    Some(format!("{layer}.{norm}.weight"))
}

/// Where norms sit, as the run's configuration names it.
pub(crate) fn norms_of(placement: NormPlacement, config: &Config) -> Norms {
    let pre = Norms { pre: true, sub: None, in_linear_eps: None };
    let eps = Some(config.norms.in_linear_eps.unwrap_or(config.rms_norm_eps));
    match placement {
        NormPlacement::InLinear => Norms { pre: false, sub: None, in_linear_eps: eps },
        NormPlacement::Pre => pre,
        NormPlacement::PreAndInLinear => Norms { in_linear_eps: eps, ..pre },
        NormPlacement::Sub => Norms { sub: Some(SubNorms::Bitnet), ..pre },
        NormPlacement::OneBitLlm => Norms { sub: Some(SubNorms::OneBitLlm), ..pre },
    }
}

/// A dense model's configuration with ternary linears.
fn ternary_from_dense(config: Config, norms: Option<NormPlacement>) -> Config {
    let norms = norms_of(norms.unwrap_or(NormPlacement::Pre), &config);
    let family = match (norms.sub, norms.in_linear_eps) {
        (Some(SubNorms::Bitnet), _) => Family::Bitnet,
        (Some(SubNorms::OneBitLlm), _) => Family::OneBitLlm,
        (None, Some(_)) => Family::NormInLinear,
        (None, None) => Family::TernaryLlama,
    };
    Config { norms, family, linears: Linears::Masters, ..config }
}

/// Fills every parameter: matrices from a normal distribution, gains with 1.
///
/// The same seed gives the same numbers on every machine: ChaCha8 with a stream for each tensor, and
/// the Box-Muller transform in f64 with the `libm` crate.
pub fn initialize(layout: &ParameterLayout, seed: u64, standard_deviation: f32, values: &mut [f32]) {
    for (stream, parameter) in (0..).zip(layout.parameters()) {
        let values = &mut values[parameter.range.clone()];
        if parameter.kind == TensorKind::Norm {
            values.fill(1.0);
        } else {
            normal(seed, stream, parameter, standard_deviation, values);
        }
    }
}

fn normal(seed: u64, stream: u64, parameter: &Parameter, standard_deviation: f32, values: &mut [f32]) {
    assert_eq!(values.len(), parameter.range.len(), "normal: one number an element");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    // A number in (0, 1], so that its logarithm is finite.
    let mut uniform = || ((random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    for pair in values.chunks_mut(2) {
        let radius = libm::sqrt(-2.0 * libm::log(uniform())) * f64::from(standard_deviation);
        let angle = 2.0 * std::f64::consts::PI * uniform();
        let both = [radius * libm::cos(angle), radius * libm::sin(angle)];
        for (value, number) in pair.iter_mut().zip(both) {
            *value = number as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_norm_inside_a_linear_takes_the_place_of_the_one_before_its_block() {
        let moved = |linear: &str| moved_norm(&format!("model.layers.3.{linear}.rms_norm.weight"));
        assert_eq!(moved("self_attn.k_proj").unwrap(), "model.layers.3.input_layernorm.weight");
        assert_eq!(moved("mlp.up_proj").unwrap(), "model.layers.3.post_attention_layernorm.weight");
        assert_eq!(moved("mlp.down_proj"), None);
        assert_eq!(moved_norm("model.norm.weight"), None);
    }
}
