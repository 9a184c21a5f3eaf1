//! The rows of a ternary matrix as codes, in whatever form a checkpoint has it.
//!
//! | form | codes | scale |
//! |---|---|---|
//! | planes | four a byte, those of transformers | a tensor of its own |
//! | blocks | those of GGUF | in the blocks, or after them |
//! | one magnitude | the signs of floats | what all that are not 0 have |
//! | masters | floats, quantised by the one function of the kernels | their absmean |
//!
//! Beside blocks and floats of one magnitude a GGUF file can have a tensor by which the weights are multiplied.
//! A matrix of zeros has the scale that is stored for it. Where none is (masters, blocks that are 0 throughout, the
//! scale 0 that bitnet.cpp's converter writes after such blocks) it has the least one of the kernels.
//!
//! Whoever loads a model and whoever converts one read them here.

use std::sync::{Mutex, PoisonError};

use tercet_kernels::Pool;
use tercet_kernels::quantize::{self, QuantizeError, SCALE_MIN};

use super::error::SCALES;
use super::{LoadError, blocks};
use crate::checkpoint::{Checkpoint, TensorRef, read_f32};
use crate::config::{Config, Linears, ScaleRule, linear_shape};
use crate::first_error::FirstError;
use crate::planes;

/// A ternary matrix of a checkpoint.
pub struct TernaryRows<'a> {
    tensor: TensorRef<'a>,
    shape: [usize; 2],
    scale: f32,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    Planes,
    /// With the scale that a block has if it is not 0 throughout.
    Blocks(f32),
    OneMagnitude,
    Masters,
}

/// Reads rows of a matrix; each worker has its own.
pub struct RowReader<'r> {
    rows: &'r TernaryRows<'r>,
    /// A row of floats.
    values: Vec<f32>,
}

impl<'a> TernaryRows<'a> {
    /// The ternary matrix of a linear, `model.layers.0.mlp.up_proj` for example.
    ///
    /// # Errors
    /// [`LoadError`] if its scale is none that weights can have, or a float is not finite.
    ///
    /// # Panics
    /// If the configuration was not read from the checkpoint, or the linear is dense.
    pub fn open(
        pool: &Pool,
        checkpoint: &'a Checkpoint,
        config: &Config,
        linear: &str,
    ) -> Result<Self, LoadError> {
        let found =
            |name: &str| checkpoint.get(name).expect("Config::read has checked that the tensor is there");
        let tensor = found(&format!("{linear}.weight"));
        let part = linear.splitn(4, '.').nth(3).expect("TernaryRows::open: a linear of a layer");
        let mut rows = Self { tensor, shape: linear_shape(config, part), scale: 0.0, form: Form::Masters };
        match config.linears {
            Linears::Dense => panic!("TernaryRows::open: {linear} is ternary"),
            Linears::Packed { scale: rule } => {
                rows.form = Form::Planes;
                rows.scale = stored_scale(&found(&format!("{linear}.weight_scale")), rule)?;
            }
            Linears::Blocks => {
                let factor = checkpoint.get(&format!("{linear}.weight_scale"));
                (rows.form, rows.scale) = rows.of_gguf(pool, factor)?;
            }
            Linears::Masters => rows.scale = rows.absmean(pool)?,
        }
        Ok(rows)
    }

    /// How messages call its codes.
    pub fn name(&self) -> &'a str {
        self.tensor.name
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// real = (code - 1) × scale.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The floats that codes and scale are made from, if they are.
    pub(crate) fn masters(&self) -> Option<&TensorRef<'a>> {
        matches!(self.form, Form::Masters).then_some(&self.tensor)
    }

    /// A reader of rows.
    pub fn reader(&self) -> RowReader<'_> {
        RowReader { rows: self, values: vec![0.0; self.shape[1]] }
    }

    /// Tells the system that the matrix is not needed for now.
    pub fn give_back(&self) {
        self.tensor.give_back(0..self.tensor.bytes.len());
    }

    /// The form and scale of a matrix of a GGUF file, with the factor that may stand beside it.
    fn of_gguf(&self, pool: &Pool, factor: Option<TensorRef<'_>>) -> Result<(Form, f32), LoadError> {
        // What is wrong is told of the factor, where there is one.
        let times_factor = |scale: f32| match &factor {
            Some(factor) => checked_scale(factor, scale * number(factor)),
            None => checked_scale(&self.tensor, scale),
        };
        if self.tensor.dtype.is_ternary_block() {
            return match blocks::ternary_scale(&self.tensor) {
                Some(scale) => Ok((Form::Blocks(scale), times_factor(scale)?)),
                None => Ok((Form::Blocks(0.0), SCALE_MIN)),
            };
        }
        match (self.magnitude(pool)?, factor) {
            (Magnitude::One(magnitude), _) => Ok((Form::OneMagnitude, times_factor(magnitude)?)),
            (Magnitude::Several, Some(_)) => {
                let (file, name) = (self.tensor.file.to_owned(), self.name().to_owned());
                Err(LoadError::MastersWithScale { file, name })
            }
            (Magnitude::None | Magnitude::Several, _) => Ok((Form::Masters, self.absmean(pool)?)),
        }
    }

    fn absmean(&self, pool: &Pool) -> Result<f32, LoadError> {
        let [rows, cols] = self.shape;
        let scale = quantize::scale_in_pool(pool, rows * cols, |_, first, values| {
            self.tensor.read_f32(first, values);
        });
        scale.map_err(|QuantizeError::NotFinite { index }| self.not_finite(index))
    }

    /// The magnitude of all values that are not 0.
    fn magnitude(&self, pool: &Pool) -> Result<Magnitude, LoadError> {
        let [rows, cols] = self.shape;
        let (found, bad_number) = (Mutex::new(Magnitude::None), FirstError::default());
        pool.run(|worker| {
            let (mut own, mut values) = (Magnitude::None, vec![0.0; cols]);
            for row in (worker.index()..rows).step_by(worker.threads()) {
                self.tensor.read_f32(row * cols, &mut values);
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
            return Err(self.not_finite(index));
        }
        Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn not_finite(&self, index: usize) -> LoadError {
        LoadError::NotFinite { file: self.tensor.file.to_owned(), name: self.name().to_owned(), index }
    }
}

impl RowReader<'_> {
    /// Writes the codes of a row, all of them 0, 1 or 2.
    ///
    /// # Errors
    /// [`LoadError`] if there is another code, or a block with another scale than the matrix.
    pub fn read(&mut self, row: usize, codes: &mut [u8]) -> Result<(), LoadError> {
        let TernaryRows { tensor, shape: [_, cols], scale, form } = self.rows;
        let (file, name) = (|| tensor.file.to_owned(), || tensor.name.to_owned());
        match form {
            Form::Planes => {
                let byte_rows = tensor.shape[0];
                let bytes = &tensor.bytes[row % byte_rows * cols..][..*cols];
                planes::get(bytes, row / byte_rows, codes);
            }
            Form::Blocks(scale) => {
                let first = tensor.row_order.stored(row) * cols;
                blocks::ternary_codes(tensor, first, codes, *scale).map_err(|found| {
                    LoadError::BlockScales { file: file(), name: name(), found, expected: *scale }
                })?;
            }
            Form::OneMagnitude => {
                let first = tensor.row_order.stored(row) * cols;
                read_f32(tensor.dtype, tensor.bytes, first, &mut self.values);
                for (code, value) in codes.iter_mut().zip(&self.values) {
                    *code = 1 + u8::from(*value > 0.0) - u8::from(*value < 0.0);
                }
            }
            Form::Masters => {
                tensor.read_f32(row * cols, &mut self.values);
                let inv_scale = 1.0 / scale;
                for (code, value) in codes.iter_mut().zip(&self.values) {
                    *code = quantize::ternary_code(*value, inv_scale);
                }
            }
        }
        match codes.iter().position(|code| *code > 2) {
            Some(column) => Err(LoadError::Code { file: file(), name: name(), row, column }),
            None => Ok(()),
        }
    }
}

/// The scale that a packed linear stores.
fn stored_scale(tensor: &TensorRef<'_>, rule: ScaleRule) -> Result<f32, LoadError> {
    let stored = checked_scale(tensor, number(tensor))?;
    Ok(match rule {
        ScaleRule::Multiply => stored,
        ScaleRule::Divide => 1.0 / stored,
    })
}

/// A scale that weights can have; the tensor is the one that gives it.
fn checked_scale(tensor: &TensorRef<'_>, found: f32) -> Result<f32, LoadError> {
    if (SCALES[0]..=SCALES[1]).contains(&found) {
        return Ok(found);
    }
    Err(LoadError::Scale { file: tensor.file.to_owned(), name: tensor.name.to_owned(), found })
}

/// The number that a scale is.
fn number(tensor: &TensorRef<'_>) -> f32 {
    let mut value = [0.0];
    tensor.read_f32(0, &mut value);
    value[0]
}

/// What is known of the values that are not 0.
#[derive(Clone, Copy)]
enum Magnitude {
    /// There are none.
    None,
    /// All have this one.
    One(f32),
    Several,
}

impl Magnitude {
    fn with(self, value: f32) -> Self {
        match (self, value.abs()) {
            (_, 0.0) => self,
            (Self::None, found) => Self::One(found),
            (Self::One(known), found) if known == found => self,
            _ => Self::Several,
        }
    }
}
