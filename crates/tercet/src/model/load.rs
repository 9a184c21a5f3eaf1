//! From a checkpoint to a model: every tensor is read once, repacked by all workers, and its
//! pages given back.
//!
//! It knows the names and types of tensors; the bit layouts it makes are the kernels' business.

use std::sync::{Arc, Mutex, PoisonError};

use tercet_kernels::quantize::{self, QuantizeError};
use tercet_kernels::{
    CodeError, DenseBuilder, DenseMatrix, DenseType, Layout, Pool, QuantizedType, TernaryBuilder,
    TernaryMatrix,
};

use super::blocks::{Magnitude, ternary_codes, ternary_scale};
use super::error::{PLAUSIBLE_SCALES, SCALES};
use super::vocabulary::{Embedding, quantize_head};
use super::{
    Attention, BitLinear, Head, HeadType, Layer, Linear, LoadError, Mlp, Model, RmsNorm, WeightTypes,
};
use crate::checkpoint::{Checkpoint, Dtype, RowOrder, RowsOnDisk, TensorRef, read_f32};
use crate::config::{Config, EMBEDDING, HEAD, Linears, ScaleRule, linear_shape};
use crate::source::Source;

impl Model {
    /// Loads the model in `source` for the workers of `pool`.
    ///
    /// # Errors
    /// [`LoadError`] names the file and tensor or field, what was found and what was expected.
    pub fn load(
        source: &Source,
        pool: Arc<Pool>,
        weights: impl Into<WeightTypes>,
    ) -> Result<Model, LoadError> {
        let checkpoint = Checkpoint::open(source)?;
        let config = Config::read(source, &checkpoint)?;
        Model::from_checkpoint(&checkpoint, config, pool, weights)
    }

    /// Loads the tensors of a checkpoint whose configuration was read already.
    ///
    /// # Errors
    /// As [`Model::load`].
    ///
    /// # Panics
    /// If the configuration was read from another checkpoint.
    pub fn from_checkpoint(
        checkpoint: &Checkpoint,
        config: Config,
        pool: Arc<Pool>,
        weights: impl Into<WeightTypes>,
    ) -> Result<Model, LoadError> {
        tercet_kernels::self_test(pool.isa())?;
        let WeightTypes { layout, head } = weights.into();
        let loader = Loader { pool: &pool, checkpoint, config: &config, layout };
        let (embed_tokens, lm_head) = loader.vocabulary(head)?;
        let layers =
            (0..config.num_hidden_layers).map(|layer| loader.layer(layer)).collect::<Result<Vec<_>, _>>()?;
        let norm = loader.norm("model.norm", config.rms_norm_eps)?;
        check_scale_direction(&layers, &config, checkpoint)?;
        Ok(Model { config, embed_tokens, layers, norm, lm_head, pool })
    }
}

struct Loader<'a> {
    pool: &'a Pool,
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    layout: Layout,
}

impl Loader<'_> {
    /// Embedding and head. What is not multiplied stays in its file.
    fn vocabulary(&self, head: HeadType) -> Result<(Embedding, Head), LoadError> {
        let is_tied = self.config.tie_word_embeddings;
        let head_name = if is_tied { EMBEDDING } else { HEAD };
        let head = match head {
            HeadType::Checkpoint => Head::Dense(Arc::new(self.dense(head_name)?)),
            HeadType::Quantized(quantized_type) => self.quantized(head_name, quantized_type)?,
        };
        let embedding = match &head {
            Head::Dense(table) if is_tied => Embedding::Table(Arc::clone(table)),
            _ => Embedding::OnDisk(self.rows_on_disk(EMBEDDING, is_tied)?),
        };
        Ok((embedding, head))
    }

    /// A head in fewer bits.
    fn quantized(&self, name: &str, quantized_type: QuantizedType) -> Result<Head, LoadError> {
        let tensor = self.tensor(name);
        let cols = tensor.shape[1];
        let bad_number = FirstError::default();
        let head = quantize_head(self.pool, quantized_type, [tensor.shape[0], cols], |row, values| {
            tensor.read_f32(row * cols, values);
            if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
                bad_number.keep(row * cols + bad, row * cols + bad);
                values.fill(0.0);
            }
        });
        tensor.give_back(0..tensor.bytes.len());
        match bad_number.into_inner() {
            Some(index) => Err(not_finite(&tensor, name, index)),
            None => Ok(head),
        }
    }

    /// A table whose rows are read from the file; `is_checked` says that all its numbers were.
    fn rows_on_disk(&self, name: &str, is_checked: bool) -> Result<RowsOnDisk, LoadError> {
        let tensor = self.tensor(name);
        if !is_checked {
            let bad_number = FirstError::default();
            let cols = tensor.shape[1];
            self.pool.run(|worker| {
                let mut values = vec![0.0; cols];
                for row in (worker.index()..tensor.shape[0]).step_by(worker.threads()) {
                    tensor.read_f32(row * cols, &mut values);
                    if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
                        bad_number.keep(row * cols + bad, row * cols + bad);
                    }
                }
            });
            tensor.give_back(0..tensor.bytes.len());
            if let Some(index) = bad_number.into_inner() {
                return Err(not_finite(&tensor, name, index));
            }
        }
        Ok(tensor.rows_on_disk())
    }

    fn layer(&self, layer: usize) -> Result<Layer, LoadError> {
        let config = self.config;
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let linear = |part: &str| self.linear(&name(part), linear_shape(config, part));
        let norm = |part: &str| self.norm(&name(part), config.rms_norm_eps);
        let pre_norm = |part: &str| config.norms.pre.then(|| norm(part)).transpose();
        let sub_norms = config.norms.sub;
        let layer = Layer {
            input_layernorm: pre_norm("input_layernorm")?,
            self_attn: Attention {
                q_proj: linear("self_attn.q_proj")?,
                k_proj: linear("self_attn.k_proj")?,
                v_proj: linear("self_attn.v_proj")?,
                o_proj: linear("self_attn.o_proj")?,
                sub_norm: sub_norms.map(|names| norm(names.attention())).transpose()?,
            },
            post_attention_layernorm: pre_norm("post_attention_layernorm")?,
            mlp: Mlp {
                gate_proj: linear("mlp.gate_proj")?,
                up_proj: linear("mlp.up_proj")?,
                down_proj: linear("mlp.down_proj")?,
                sub_norm: sub_norms.map(|names| norm(names.mlp())).transpose()?,
            },
        };
        // Tensors share pages at their ends, which none of them alone can give back.
        self.checkpoint.give_back();
        Ok(layer)
    }

    fn linear(&self, name: &str, shape: [usize; 2]) -> Result<Linear, LoadError> {
        let weight = format!("{name}.weight");
        let (matrix, scale) = match self.config.linears {
            Linears::Dense => return Ok(Linear::Dense(self.dense(&weight)?)),
            Linears::Packed { scale } => (self.packed(&weight, shape)?, self.scale(name, scale)?),
            Linears::Masters => self.masters(&weight, shape)?,
            Linears::Blocks => self.blocks(&weight, shape)?,
        };
        let norm = self.config.norms.in_linear_eps;
        let norm = norm.map(|eps| self.norm(&format!("{name}.rms_norm"), eps)).transpose()?;
        Ok(Linear::Ternary(BitLinear { matrix, scale, norm }))
    }

    /// A tensor that `Config::read` has found and checked.
    fn tensor(&self, name: &str) -> TensorRef<'_> {
        self.checkpoint.get(name).expect("Config::read has checked that the tensor is there")
    }

    /// Four codes a byte in planes of rows: row `r` is in byte row `r mod R`, bits `2 (r div R)`,
    /// `R = ceil(rows / 4)` (transformers, `integrations/bitnet.py`).
    fn packed(&self, name: &str, [rows, cols]: [usize; 2]) -> Result<TernaryMatrix, LoadError> {
        let tensor = self.tensor(name);
        let byte_rows = tensor.shape[0];
        let builder = TernaryBuilder::new(self.pool, [rows, cols], self.layout);
        let bad_code = FirstError::default();
        self.pool.run(|worker| {
            let unpack = |first_row: usize, codes: &mut [u8]| {
                for (row, codes) in (first_row..).zip(codes.chunks_exact_mut(cols)) {
                    let shift = 2 * (row / byte_rows);
                    let bytes = &tensor.bytes[row % byte_rows * cols..][..cols];
                    for (code, byte) in codes.iter_mut().zip(bytes) {
                        *code = byte >> shift & 3;
                    }
                }
            };
            builder.pack(worker, unpack, |error| bad_code.keep(error.row * cols + error.column, error));
        });
        tensor.give_back(0..tensor.bytes.len());
        match bad_code.into_inner() {
            Some(CodeError { row, column, .. }) => {
                Err(LoadError::Code { file: tensor.file.to_owned(), name: name.to_owned(), row, column })
            }
            None => Ok(builder.finish()),
        }
    }

    /// A ternary matrix of a GGUF file.
    fn blocks(&self, name: &str, shape: [usize; 2]) -> Result<(TernaryMatrix, f32), LoadError> {
        let tensor = self.tensor(name);
        if tensor.dtype.is_ternary_block() {
            return self.ternary_blocks(name, shape);
        }
        match self.magnitude(name, shape)? {
            Some(magnitude) => self.ternary_floats(name, shape, magnitude),
            None => self.masters(name, shape),
        }
    }

    /// Codes and scales of blocks; all blocks that are not 0 throughout must have one scale.
    fn ternary_blocks(&self, name: &str, shape: [usize; 2]) -> Result<(TernaryMatrix, f32), LoadError> {
        let tensor = self.tensor(name);
        let cols = shape[1];
        let scale = ternary_scale(&tensor);
        if !(SCALES[0]..=SCALES[1]).contains(&scale) {
            return Err(LoadError::Scale {
                file: tensor.file.to_owned(),
                name: name.to_owned(),
                found: scale,
            });
        }
        let (bad_code, bad_scale) = (FirstError::default(), FirstError::default());
        let matrix = self.pack_rows(&tensor, shape, &bad_code, |stored_row, codes| {
            if let Err(found) = ternary_codes(&tensor, stored_row * cols, codes, scale) {
                bad_scale.keep(stored_row, found);
            }
        });
        let (file, name) = (tensor.file.to_owned(), name.to_owned());
        if let Some(found) = bad_scale.into_inner() {
            return Err(LoadError::BlockScales { file, name, found, expected: scale });
        }
        match bad_code.into_inner() {
            Some(CodeError { row, column, .. }) => Err(LoadError::Code { file, name, row, column }),
            None => Ok((matrix, scale)),
        }
    }

    /// Floats that are 0 or of one magnitude.
    fn ternary_floats(
        &self,
        name: &str,
        shape: [usize; 2],
        magnitude: f32,
    ) -> Result<(TernaryMatrix, f32), LoadError> {
        let tensor = self.tensor(name);
        let cols = shape[1];
        if !(SCALES[0]..=SCALES[1]).contains(&magnitude) {
            let (file, name) = (tensor.file.to_owned(), name.to_owned());
            return Err(LoadError::Scale { file, name, found: magnitude });
        }
        let matrix = self.pack_rows(&tensor, shape, &FirstError::default(), |stored_row, codes| {
            let mut values = vec![0.0; cols];
            read_f32(tensor.dtype, tensor.bytes, stored_row * cols, &mut values);
            for (code, value) in codes.iter_mut().zip(&values) {
                *code = 1 + u8::from(*value > 0.0) - u8::from(*value < 0.0);
            }
        });
        Ok((matrix, magnitude))
    }

    /// The magnitude of all values that are not 0, if they have one.
    fn magnitude(&self, name: &str, [rows, cols]: [usize; 2]) -> Result<Option<f32>, LoadError> {
        let tensor = self.tensor(name);
        let (found, bad_number) = (Mutex::new(Magnitude::None), FirstError::default());
        self.pool.run(|worker| {
            let (mut own, mut values) = (Magnitude::None, vec![0.0; cols]);
            for row in (worker.index()..rows).step_by(worker.threads()) {
                tensor.read_f32(row * cols, &mut values);
                if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
                    bad_number.keep(row * cols + bad, row * cols + bad);
                }
                own = values.iter().fold(own, |own, value| own.with(*value));
            }
            let mut all = found.lock().unwrap_or_else(PoisonError::into_inner);
            *all = match own {
                Magnitude::None => *all,
                Magnitude::One(value) => all.with(value),
                Magnitude::Several => Magnitude::Several,
            };
        });
        if let Some(index) = bad_number.into_inner() {
            return Err(not_finite(&tensor, name, index));
        }
        Ok(match found.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Magnitude::One(value) => Some(value),
            Magnitude::None | Magnitude::Several => None,
        })
    }

    /// Packs the codes that `codes_of` gives for each row of the file.
    fn pack_rows(
        &self,
        tensor: &TensorRef<'_>,
        [rows, cols]: [usize; 2],
        bad_code: &FirstError<CodeError>,
        codes_of: impl Fn(usize, &mut [u8]) + Sync,
    ) -> TernaryMatrix {
        let builder = TernaryBuilder::new(self.pool, [rows, cols], self.layout);
        self.pool.run(|worker| {
            let fill = |first_row: usize, codes: &mut [u8]| {
                for (row, codes) in (first_row..).zip(codes.chunks_exact_mut(cols)) {
                    codes_of(tensor.row_order.stored(row), codes);
                }
            };
            builder.pack(worker, fill, |error| bad_code.keep(error.row * cols + error.column, error));
        });
        tensor.give_back(0..tensor.bytes.len());
        builder.finish()
    }

    fn scale(&self, linear: &str, rule: ScaleRule) -> Result<f32, LoadError> {
        let name = format!("{linear}.weight_scale");
        let tensor = self.tensor(&name);
        let stored = floats(&tensor)[0];
        if !(SCALES[0]..=SCALES[1]).contains(&stored) {
            return Err(LoadError::Scale { file: tensor.file.to_owned(), name, found: stored });
        }
        Ok(match rule {
            ScaleRule::Multiply => stored,
            ScaleRule::Divide => 1.0 / stored,
        })
    }

    /// Float masters, quantized here by the one function of the kernels.
    fn masters(&self, name: &str, [rows, cols]: [usize; 2]) -> Result<(TernaryMatrix, f32), LoadError> {
        let tensor = self.tensor(name);
        let read = |first: usize, values: &mut [f32]| tensor.read_f32(first, values);
        let scale = quantize::scale_in_pool(self.pool, rows * cols, |_, first, values| read(first, values))
            .map_err(|QuantizeError::NotFinite { index }| not_finite(&tensor, name, index))?;
        let inv_scale = 1.0 / scale;
        let builder = TernaryBuilder::new(self.pool, [rows, cols], self.layout);
        self.pool.run(|worker| {
            let mut values = vec![0.0; cols];
            let quantize = |first_row: usize, codes: &mut [u8]| {
                for (row, codes) in (first_row..).zip(codes.chunks_exact_mut(cols)) {
                    read(row * cols, &mut values);
                    for (code, value) in codes.iter_mut().zip(&values) {
                        *code = quantize::ternary_code(*value, inv_scale);
                    }
                }
            };
            builder.pack(worker, quantize, |_| unreachable!("codes made here are 0, 1 or 2"));
        });
        tensor.give_back(0..tensor.bytes.len());
        Ok((builder.finish(), scale))
    }

    fn dense(&self, name: &str) -> Result<DenseMatrix, LoadError> {
        let tensor = self.tensor(name);
        let dense_type = match tensor.dtype {
            Dtype::F32 | Dtype::Q8_0 | Dtype::Q6K | Dtype::Q4_0 => DenseType::F32,
            Dtype::F16 => DenseType::F16,
            Dtype::BF16 => DenseType::Bf16,
            _ => unreachable!("Config::read has checked the type of a dense tensor"),
        };
        let builder = DenseBuilder::new(self.pool, dense_type, [tensor.shape[0], tensor.shape[1]]);
        let bad_number = FirstError::default();
        let is_copy = tensor.dtype.is_weight_float() && tensor.row_order == RowOrder::Same;
        self.pool.run(|worker| {
            let on_not_finite = |index| bad_number.keep(index, index);
            if is_copy {
                builder.copy(worker, tensor.bytes, |range| tensor.give_back(range), on_not_finite);
            } else {
                let read = |first: usize, values: &mut [f32]| tensor.read_f32(first, values);
                builder.fill_rows(worker, read, on_not_finite);
            }
        });
        tensor.give_back(0..tensor.bytes.len());
        match bad_number.into_inner() {
            Some(index) => Err(not_finite(&tensor, name, index)),
            None => Ok(builder.finish()),
        }
    }

    fn norm(&self, module: &str, eps: f32) -> Result<RmsNorm, LoadError> {
        let name = format!("{module}.weight");
        let tensor = self.tensor(&name);
        let gain = floats(&tensor);
        match gain.iter().position(|gain| !gain.is_finite()) {
            Some(index) => Err(not_finite(&tensor, &name, index)),
            None => Ok(RmsNorm { gain, eps }),
        }
    }
}

fn not_finite(tensor: &TensorRef<'_>, name: &str, index: usize) -> LoadError {
    LoadError::NotFinite { file: tensor.file.to_owned(), name: name.to_owned(), index }
}

/// All values of a small float tensor.
fn floats(tensor: &TensorRef<'_>) -> Vec<f32> {
    let mut values = vec![0.0; tensor.shape.iter().product()];
    tensor.read_f32(0, &mut values);
    values
}

/// The error that comes first in a tensor, whichever worker finds one first.
struct FirstError<E>(Mutex<Option<(usize, E)>>);

impl<E> Default for FirstError<E> {
    fn default() -> Self {
        FirstError(Mutex::new(None))
    }
}

impl<E> FirstError<E> {
    fn keep(&self, index: usize, error: E) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(kept, _)| index < *kept) {
            *first = Some((index, error));
        }
    }

    fn into_inner(self) -> Option<E> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).map(|(_, error)| error)
    }
}

/// Refuses scales that are those of a trained model only when read the other way.
fn check_scale_direction(
    layers: &[Layer],
    config: &Config,
    checkpoint: &Checkpoint,
) -> Result<(), LoadError> {
    let Linears::Packed { scale: rule } = config.linears else { return Ok(()) };
    let mut scales: Vec<f32> = layers
        .iter()
        .flat_map(Layer::linears)
        .filter_map(|(_, linear)| match linear {
            Linear::Ternary(linear) => Some(linear.scale),
            Linear::Dense(_) => None,
        })
        .collect();
    scales.sort_by(f32::total_cmp);
    let Some(median) = scales.get(scales.len() / 2) else { return Ok(()) };
    if (PLAUSIBLE_SCALES[0]..=PLAUSIBLE_SCALES[1]).contains(median) {
        return Ok(());
    }
    Err(LoadError::ScaleDirection {
        file: checkpoint.name().to_owned(),
        linear_class: match rule {
            ScaleRule::Multiply => "autobitlinear",
            ScaleRule::Divide => "bitlinear",
        },
        found: *median,
    })
}
