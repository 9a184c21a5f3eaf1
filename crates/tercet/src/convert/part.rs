//! One tensor of the result, and how its bytes are made from the source.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use half::{bf16, f16};
use tercet_kernels::Pool;

use super::masters::{self, Grid};
use super::{ConvertError, rows};
use crate::checkpoint::{Checkpoint, Dtype, RowOrder, TensorRef};
use crate::config::{Config, ScaleRule};
use crate::gguf::ternary::{self, TQ_BLOCK};
use crate::gguf::{TensorType, quantized};
use crate::model::{LoadError, RowReader, TernaryRows};
use crate::planes;

/// Values that are looked at together.
const SCAN_VALUES: usize = 1 << 14;

/// One tensor of the result.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its name in the result.
    pub(super) name: String,
    /// Its shape as the result stores it.
    pub(super) shape: Vec<usize>,
    pub(super) content: Content,
    /// How the result has the rows.
    pub(super) row_order: RowOrder,
}

/// What a tensor is made from.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A float tensor of the source, in numbers of this type.
    Floats { tensor: String, number: Number },
    /// The codes of a linear.
    Codes { linear: String, form: CodeForm },
    /// The scale of a linear, in f32.
    Scale { linear: String, rule: ScaleRule },
    /// Floats that the codes and the scale of a linear are made from.
    Masters { linear: String, grid: Grid },
}

/// The type of floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q6K,
    /// Blocks of this type, as the source has them.
    Same(TensorType),
}

/// How codes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CodeForm {
    /// Four a byte, in planes of rows.
    Planes,
    I2S,
    Tq1_0,
    Tq2_0,
    /// The code minus 1, times the scale, in f16.
    ValuesF16,
    /// The same in bf16.
    ValuesBf16,
}

impl Content {
    /// Its type in safetensors and GGUF.
    pub(super) fn tensor_type(&self) -> TensorType {
        match self {
            Content::Floats { number, .. } => number.tensor_type(),
            Content::Scale { .. } | Content::Masters { grid: Grid::F32, .. } => TensorType::F32,
            Content::Masters { grid: Grid::Bf16, .. } => TensorType::Bf16,
            Content::Codes { form, .. } => match form {
                CodeForm::Planes => unreachable!("Content::tensor_type: planes are no type of GGUF"),
                CodeForm::I2S => TensorType::I2S,
                CodeForm::Tq1_0 => TensorType::Tq1_0,
                CodeForm::Tq2_0 => TensorType::Tq2_0,
                CodeForm::ValuesF16 => TensorType::F16,
                CodeForm::ValuesBf16 => TensorType::Bf16,
            },
        }
    }

    /// Its type in a safetensors file.
    pub(super) fn dtype(&self) -> Dtype {
        match self {
            Content::Codes { form: CodeForm::Planes, .. } => Dtype::U8,
            other => Dtype::from_gguf(other.tensor_type()),
        }
    }
}

impl Number {
    pub(super) fn tensor_type(self) -> TensorType {
        match self {
            Number::F32 => TensorType::F32,
            Number::F16 => TensorType::F16,
            Number::Bf16 => TensorType::Bf16,
            Number::Q8_0 => TensorType::Q8_0,
            Number::Q6K => TensorType::Q6K,
            Number::Same(tensor_type) => tensor_type,
        }
    }

    /// What people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Number::F32 => "f32",
            Number::F16 => "f16",
            Number::Bf16 => "bf16",
            Number::Q8_0 => "q8_0",
            Number::Q6K => "q6_k",
            Number::Same(_) => "the same blocks",
        }
    }

    /// The number that holds the elements of a tensor exactly.
    pub(super) fn exact(dtype: Dtype) -> Number {
        match dtype {
            Dtype::F16 => Number::F16,
            Dtype::BF16 => Number::Bf16,
            _ => Number::F32,
        }
    }
}

/// There are no masters of a linear in bf16; in f32 there may be. It goes through a writer.
#[derive(Debug, thiserror::Error)]
#[error("a linear has no masters in bf16")]
pub(super) struct NoMasters;

impl NoMasters {
    /// Whether this is what went through the writer.
    pub(super) fn is(error: &ConvertError) -> bool {
        let ConvertError::Io { source, .. } = error else { return false };
        source.get_ref().is_some_and(|source| source.is::<NoMasters>())
    }
}

impl Part {
    /// Takes f32 for the masters of a linear.
    pub(super) fn widen(&mut self) {
        if let Content::Masters { grid, .. } = &mut self.content {
            *grid = Grid::F32;
        }
    }
}

/// The model that is converted.
pub(super) struct Origin<'a> {
    pub(super) pool: &'a Pool,
    pub(super) checkpoint: &'a Checkpoint,
    /// How the linears are read: those of a dense model that is rounded by force count as masters.
    pub(super) config: &'a Config,
}

impl Origin<'_> {
    /// Writes the bytes of a tensor.
    pub(super) fn write(&self, part: &Part, out: &mut dyn Write) -> io::Result<()> {
        match &part.content {
            Content::Floats { tensor, number } => self.write_floats(part, tensor, *number, out),
            Content::Codes { linear, form } => {
                let matrix = self.linear(linear).map_err(ConvertError::into_io)?;
                self.write_codes(part, &matrix, *form, out)?;
                matrix.give_back();
                self.checkpoint.give_back();
                Ok(())
            }
            Content::Scale { linear, rule } => {
                let scale = self.linear(linear).map_err(ConvertError::into_io)?.scale();
                out.write_all(&stored_scale(scale, *rule).to_le_bytes())
            }
            Content::Masters { linear, grid } => {
                match self.masters(linear, *grid).map_err(ConvertError::into_io)? {
                    Some(weights) => write_values(out, &weights, *grid),
                    None if *grid == Grid::Bf16 => Err(io::Error::other(NoMasters)),
                    None => {
                        let linear = self.linear(linear).map_err(ConvertError::into_io)?;
                        let (model, name) = (self.checkpoint.name().to_owned(), linear.name().to_owned());
                        let (found, number) = (linear.scale(), "the mean of floats");
                        Err(ConvertError::ScaleRange { model, name, found, number }.into_io())
                    }
                }
            }
        }
    }

    /// Whether a part is of bf16, and there are no masters of the linear in it.
    pub(super) fn needs_f32(&self, part: &Part) -> Result<bool, ConvertError> {
        match &part.content {
            Content::Masters { linear, grid: Grid::Bf16 } => Ok(self.masters(linear, Grid::Bf16)?.is_none()),
            _ => Ok(false),
        }
    }

    pub(super) fn linear(&self, linear: &str) -> Result<TernaryRows<'_>, ConvertError> {
        Ok(TernaryRows::open(self.pool, self.checkpoint, self.config, linear)?)
    }

    /// Weights that the codes and the scale of a linear are made from; nothing where the grid has none.
    pub(super) fn masters(&self, linear: &str, grid: Grid) -> Result<Option<Vec<f32>>, ConvertError> {
        let matrix = self.linear(linear)?;
        let [matrix_rows, cols] = matrix.shape();
        let mut codes = vec![0; matrix_rows * cols];
        let read = |reader: &mut RowReader<'_>, row: usize, codes: &mut [u8]| Ok(reader.read(row, codes)?);
        rows::make(self.pool, &mut codes, cols, || matrix.reader(), read)?;
        let weights = match matrix.masters() {
            None => masters::of_codes(self.pool, grid, &codes, matrix.scale()),
            Some(tensor) => {
                let mut weights = vec![0.0; codes.len()];
                let read = |(): &mut (), row: usize, weights: &mut [f32]| {
                    tensor.read_f32(row * cols, weights);
                    Ok(())
                };
                rows::make(self.pool, &mut weights, cols, || (), read)?;
                masters::near(self.pool, grid, weights, &codes, matrix.scale())
            }
        };
        matrix.give_back();
        self.checkpoint.give_back();
        Ok(weights)
    }

    fn write_codes(
        &self,
        part: &Part,
        matrix: &TernaryRows<'_>,
        form: CodeForm,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let [matrix_rows, cols] = matrix.shape();
        let scale = matrix.scale();
        if form == CodeForm::Planes {
            let byte_rows = planes::byte_rows(matrix_rows);
            let new_state = || (matrix.reader(), vec![0; cols]);
            return rows::write(
                self.pool,
                out,
                [byte_rows, cols],
                new_state,
                |(reader, codes), row, bytes| {
                    for plane in 0..planes::PLANES {
                        let row = row + plane * byte_rows;
                        if row < matrix_rows {
                            reader.read(row, codes)?;
                        } else {
                            codes.fill(1);
                        }
                        planes::put(codes, plane, bytes);
                    }
                    Ok(())
                },
            );
        }
        let scale_f16 = f16::from_f32(scale);
        let scale_bf16 = bf16::from_f32(scale);
        let (is_held, number) = match form {
            CodeForm::Tq1_0 | CodeForm::Tq2_0 | CodeForm::ValuesF16 => (scale_f16.is_normal(), "f16"),
            CodeForm::ValuesBf16 => (scale_bf16.is_normal(), "bf16"),
            CodeForm::I2S | CodeForm::Planes => (true, "f32"),
        };
        if !is_held {
            let (model, name) = (self.checkpoint.name().to_owned(), matrix.name().to_owned());
            return Err(ConvertError::ScaleRange { model, name, found: scale, number }.into_io());
        }
        let row_bytes = part.content.tensor_type().block_bytes(cols);
        let new_state = || (matrix.reader(), vec![0; cols]);
        rows::write(self.pool, out, [matrix_rows, row_bytes], new_state, |(reader, codes), row, bytes| {
            reader.read(part.row_order.row(row), codes)?;
            match form {
                CodeForm::Planes => unreachable!("write_codes: planes are written above"),
                CodeForm::I2S => put_blocks(codes, bytes, ternary::to_i2_s_block),
                CodeForm::Tq1_0 => {
                    put_blocks(codes, bytes, |codes: &[u8; TQ_BLOCK]| {
                        ternary::to_tq1_0_block(codes, scale_f16)
                    });
                }
                CodeForm::Tq2_0 => {
                    put_blocks(codes, bytes, |codes: &[u8; TQ_BLOCK]| {
                        ternary::to_tq2_0_block(codes, scale_f16)
                    });
                }
                CodeForm::ValuesF16 => {
                    let value =
                        |code: u8| [-scale_f16, f16::ZERO, scale_f16][usize::from(code)].to_le_bytes();
                    put_blocks(codes, bytes, |[code]: &[u8; 1]| value(*code));
                }
                CodeForm::ValuesBf16 => {
                    let value =
                        |code: u8| [-scale_bf16, bf16::ZERO, scale_bf16][usize::from(code)].to_le_bytes();
                    put_blocks(codes, bytes, |[code]: &[u8; 1]| value(*code));
                }
            }
            Ok(())
        })?;
        match form {
            CodeForm::I2S => out.write_all(&ternary::to_i2_s_tail(scale)),
            _ => Ok(()),
        }
    }

    fn write_floats(&self, part: &Part, name: &str, number: Number, out: &mut dyn Write) -> io::Result<()> {
        let tensor = self.checkpoint.get(name).expect("Origin::write: the plan has found the tensor");
        if let Number::Same(_) = number {
            out.write_all(tensor.bytes)?;
            tensor.give_back(0..tensor.bytes.len());
            return Ok(());
        }
        let cols = tensor.shape.last().copied().unwrap_or(1);
        let tensor_rows: usize = tensor.shape.iter().product::<usize>() / cols.max(1);
        let row_bytes = number.tensor_type().block_bytes(cols);
        let new_state = || vec![0.0; cols];
        rows::write(self.pool, out, [tensor_rows, row_bytes], new_state, |values, row, bytes| {
            let row = part.row_order.row(row);
            tensor.read_f32(row * cols, values);
            self.check_values(&tensor, number, row * cols, values)?;
            match number {
                Number::F32 => put_blocks(values, bytes, |[value]: &[f32; 1]| value.to_le_bytes()),
                Number::F16 => {
                    put_blocks(values, bytes, |[value]: &[f32; 1]| f16::from_f32(*value).to_le_bytes());
                }
                Number::Bf16 => {
                    put_blocks(values, bytes, |[value]: &[f32; 1]| bf16::from_f32(*value).to_le_bytes());
                }
                Number::Q8_0 => put_blocks(values, bytes, quantized::to_q8_0_block),
                Number::Q6K => put_blocks(values, bytes, quantized::to_q6_k_block),
                Number::Same(_) => unreachable!("write_floats: the same bytes are written above"),
            }
            Ok(())
        })?;
        tensor.give_back(0..tensor.bytes.len());
        Ok(())
    }

    /// Whether some value of a float tensor is another one in this type.
    pub(super) fn rounds(&self, name: &str, number: Number) -> bool {
        let tensor = self.checkpoint.get(name).expect("Origin::rounds: the plan has found the tensor");
        if number == Number::F32 || number.tensor_type() == Number::exact(tensor.dtype).tensor_type() {
            return false;
        }
        let is_other: fn(f32) -> bool = match number {
            Number::F16 => |value| f16::from_f32(value).to_f32() != value,
            Number::Bf16 => |value| bf16::from_f32(value).to_f32() != value,
            _ => return true,
        };
        let (found, elements) = (AtomicBool::new(false), tensor.shape.iter().product::<usize>());
        self.pool.run(|worker| {
            let mut values = vec![0.0; SCAN_VALUES];
            for first in (0..elements).step_by(SCAN_VALUES).skip(worker.index()).step_by(worker.threads()) {
                let values = &mut values[..SCAN_VALUES.min(elements - first)];
                tensor.read_f32(first, values);
                if values.iter().any(|value| is_other(*value)) {
                    found.store(true, Ordering::Relaxed);
                    return;
                }
            }
        });
        tensor.give_back(0..tensor.bytes.len());
        found.into_inner()
    }

    /// Whether all values are numbers that the type can hold.
    fn check_values(
        &self,
        tensor: &TensorRef<'_>,
        number: Number,
        first: usize,
        values: &[f32],
    ) -> Result<(), ConvertError> {
        let (name, model) = (|| tensor.name.to_owned(), || self.checkpoint.name().to_owned());
        if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
            let (file, index) = (tensor.file.to_owned(), first + bad);
            return Err(LoadError::NotFinite { file, name: name(), index }.into());
        }
        // The blocks' scales are f16, and no greater than their values.
        let holds: fn(&f32) -> bool = match number {
            Number::F32 | Number::Same(_) => |_| true,
            Number::Bf16 => |value| bf16::from_f32(*value).is_finite(),
            Number::F16 | Number::Q8_0 | Number::Q6K => |value| f16::from_f32(*value).is_finite(),
        };
        match values.iter().position(|value| !holds(value)) {
            Some(bad) => {
                let (index, found) = (first + bad, values[bad]);
                let number = if number == Number::Bf16 { "bf16" } else { "f16" };
                Err(ConvertError::Range { model: model(), name: name(), index, found, number })
            }
            None => Ok(()),
        }
    }
}

/// What a folder stores for a scale.
pub(super) fn stored_scale(scale: f32, rule: ScaleRule) -> f32 {
    match rule {
        ScaleRule::Multiply => scale,
        ScaleRule::Divide => exact_inverse(scale).expect("stored_scale: the plan has found an inverse"),
    }
}

/// The number whose reciprocal is a scale to the last bit, if there is one.
pub(super) fn exact_inverse(scale: f32) -> Option<f32> {
    let near = (1.0 / scale).to_bits();
    let candidates = [near, near.wrapping_sub(1), near + 1].map(f32::from_bits);
    candidates.into_iter().find(|stored| 1.0 / stored == scale)
}

/// Fills `bytes` with blocks, each made of as many values as a block has.
fn put_blocks<T, const VALUES: usize, const BYTES: usize>(
    values: &[T],
    bytes: &mut [u8],
    block: impl Fn(&[T; VALUES]) -> [u8; BYTES],
) {
    for (values, bytes) in values.as_chunks().0.iter().zip(bytes.as_chunks_mut().0) {
        *bytes = block(values);
    }
}

/// Weights of a grid, in the numbers it is the grid of.
fn write_values(out: &mut dyn Write, weights: &[f32], grid: Grid) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(1 << 16);
    for weights in weights.chunks(1 << 14) {
        bytes.clear();
        for weight in weights {
            match grid {
                Grid::F32 => bytes.extend(weight.to_le_bytes()),
                Grid::Bf16 => bytes.extend(bf16::from_f32(*weight).to_le_bytes()),
            }
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_that_were_divided_have_an_exact_inverse() {
        let mut without = 0;
        for i in 0..10_000u32 {
            let stored = 1.0 + i as f32 * 0.01;
            let scale = 1.0 / stored;
            assert_eq!(exact_inverse(scale).map(|stored| 1.0 / stored), Some(scale));
            without += u32::from(exact_inverse(0.011 + i as f32 * 1e-6).is_none());
        }
        assert!(without > 0, "some scales have none, or the search would not be needed");
    }
}
