//! From a checkpoint to a model: every tensor is read once, repacked by all workers, and its
//! pages given back.
//!
//! It knows the names and types of tensors; the bit layouts it makes are the kernels' business.

use std::sync::Arc;

use tercet_kernels::{
    DenseBuilder, DenseMatrix, DenseType, Layout, Pool, QuantizedType, TernaryBuilder, TernaryMatrix,
};

use super::error::PLAUSIBLE_SCALES;
use super::ternary_rows::TernaryRows;
use super::vocabulary::{Embedding, quantize_head};
use super::{
    Attention, BitLinear, Head, HeadType, Layer, Linear, LoadError, Mlp, Model, RmsNorm, WeightTypes,
};
use crate::checkpoint::{Checkpoint, Dtype, RowOrder, RowsOnDisk, TensorRef};
use crate::config::{Config, EMBEDDING, HEAD, Linears, ScaleRule};
use crate::first_error::FirstError;
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
            Some(index) => Err(not_finite(&tensor, index)),
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
                return Err(not_finite(&tensor, index));
            }
        }
        Ok(tensor.rows_on_disk())
    }

    fn layer(&self, layer: usize) -> Result<Layer, LoadError> {
        let config = self.config;
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let linear = |part: &str| self.linear(&name(part));
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

    fn linear(&self, name: &str) -> Result<Linear, LoadError> {
        if self.config.linears == Linears::Dense {
            return Ok(Linear::Dense(self.dense(&format!("{name}.weight"))?));
        }
        let rows = TernaryRows::open(self.pool, self.checkpoint, self.config, name)?;
        let matrix = self.pack(&rows)?;
        let norm = self.config.norms.in_linear_eps;
        let norm = norm.map(|eps| self.norm(&format!("{name}.rms_norm"), eps)).transpose()?;
        Ok(Linear::Ternary(BitLinear { matrix, scale: rows.scale(), norm }))
    }

    fn pack(&self, rows: &TernaryRows<'_>) -> Result<TernaryMatrix, LoadError> {
        let cols = rows.shape()[1];
        let builder = TernaryBuilder::new(self.pool, rows.shape(), self.layout);
        let bad_row = FirstError::default();
        self.pool.run(|worker| {
            let mut reader = rows.reader();
            let fill = |first_row: usize, codes: &mut [u8]| {
                for (row, codes) in (first_row..).zip(codes.chunks_exact_mut(cols)) {
                    if let Err(error) = reader.read(row, codes) {
                        bad_row.keep(row, error);
                        codes.fill(1);
                    }
                }
            };
            builder.pack(worker, fill, |_| unreachable!("RowReader::read gives codes of 0, 1 or 2"));
        });
        rows.give_back();
        match bad_row.into_inner() {
            Some(error) => Err(error),
            None => Ok(builder.finish()),
        }
    }

    /// A tensor that `Config::read` has found and checked.
    fn tensor(&self, name: &str) -> TensorRef<'_> {
        self.checkpoint.get(name).expect("Config::read has checked that the tensor is there")
    }

    fn dense(&self, name: &str) -> Result<DenseMatrix, LoadError> {
        let tensor = self.tensor(name);
        let dense_type = match tensor.dtype {
            Dtype::F32 | Dtype::Block(_) => DenseType::F32,
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
            Some(index) => Err(not_finite(&tensor, index)),
            None => Ok(builder.finish()),
        }
    }

    fn norm(&self, module: &str, eps: f32) -> Result<RmsNorm, LoadError> {
        let tensor = self.tensor(&format!("{module}.weight"));
        let gain = floats(&tensor);
        match gain.iter().position(|gain| !gain.is_finite()) {
            Some(index) => Err(not_finite(&tensor, index)),
            None => Ok(RmsNorm { gain, eps }),
        }
    }
}

fn not_finite(tensor: &TensorRef<'_>, index: usize) -> LoadError {
    LoadError::NotFinite { file: tensor.file.to_owned(), name: tensor.name.to_owned(), index }
}

/// All values of a small float tensor.
fn floats(tensor: &TensorRef<'_>) -> Vec<f32> {
    let mut values = vec![0.0; tensor.shape.iter().product()];
    tensor.read_f32(0, &mut values);
    values
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
