//! Gradients of `y = x̂ · Ŵᵀ`, and the operands they take.
//!
//! ```text
//! d_x = d_y · Ŵ        [m, k] = [m, n] · [n, k]
//! d_w = d_yᵀ · x̂       [n, k] = [n, m] · [m, k]
//! ```
//!
//! `Ŵ` and `x̂` are what the forward pass multiplied: the codes of a ternary matrix with the scale
//! applied to the product, and the dequantized int8 rows. The straight-through estimator is that
//! these gradients are taken for those of the masters and of the unquantized rows.
//!
//! | module | holds |
//! |---|---|
//! | `pairs` | the products in bf16, with f32 sums |
//! | `floats` | the products in f32 |
//! | `quantized` | quantized operands as floats |

mod floats;
mod pairs;
mod quantized;

pub use floats::float_product;
pub use quantized::{blend_matrix, blend_rows, dequantize_matrix, dequantize_rows};

use crate::buffer::Buffer;
use crate::dispatch;
use crate::gemm::Destination;
use crate::isa::Isa;
use crate::ops::int8_rows::Int8Rows;
use crate::pool::{Pool, Worker};
use crate::ternary::TernaryMatrix;
use floats::FloatOperands;
use pairs::PairedOperands;

/// The numbers that the products of the backward pass multiply. Sums are f32 in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradientPrecision {
    /// As they are.
    F32,
    /// Rounded to bf16: ternary weights and int8 codes lose nothing, gradients and dense operands
    /// are known to 2⁻⁸.
    Bf16,
}

impl GradientPrecision {
    /// bf16 where this instruction set has products of it.
    pub fn fastest(isa: Isa) -> Self {
        if dispatch::has_bf16(isa) { GradientPrecision::Bf16 } else { GradientPrecision::F32 }
    }
}

/// The weights that were multiplied, `[n, k]`.
#[derive(Clone, Copy)]
pub enum Weight<'a> {
    /// Codes of two bits, and their scale.
    Ternary(&'a TernaryMatrix, f32),
    /// Row by row, from an element on.
    Floats(&'a Buffer<f32>, usize),
}

impl Weight<'_> {
    /// What a product with the operand is multiplied with.
    fn scale(self) -> f32 {
        match self {
            Weight::Ternary(_, scale) => scale,
            Weight::Floats(..) => 1.0,
        }
    }
}

/// The rows that were multiplied, `[m, k]`.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// Quantized.
    Codes(&'a Int8Rows),
    /// As they are.
    Floats(&'a Buffer<f32>),
}

/// A product of the forward pass, and the gradient by what it gave.
#[derive(Clone, Copy)]
pub struct GradientProduct<'a> {
    /// `Ŵ`.
    pub w: Weight<'a>,
    /// `x̂`.
    pub x: Input<'a>,
    /// `[m, n]`.
    pub d_y: &'a Buffer<f32>,
    /// `m`, `n` and `k`.
    pub shape: [usize; 3],
}

/// The products that operands are made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GradientSizes {
    /// Rows of an input at most.
    pub rows: usize,
    /// `[n, k]` of every matrix.
    pub matrices: Vec<[usize; 2]>,
    /// Whether weights are ternary and inputs int8.
    pub is_quantized: bool,
}

impl GradientSizes {
    /// Bytes that [`GradientOperands`] of these sizes take.
    pub fn bytes(&self, precision: GradientPrecision) -> usize {
        let numbers: usize = match precision {
            GradientPrecision::F32 => floats::numbers(self).into_iter().fold(0, usize::saturating_add),
            GradientPrecision::Bf16 => pairs::words(self).into_iter().fold(0, usize::saturating_add),
        };
        numbers.saturating_mul(size_of::<u32>())
    }
}

/// Room for the operands of one product at a time, in the form in which they are multiplied.
pub struct GradientOperands(Form);

enum Form {
    Floats(FloatOperands),
    Pairs(PairedOperands),
}

impl GradientOperands {
    /// Room for the largest of the products.
    pub fn new(pool: &Pool, precision: GradientPrecision, sizes: &GradientSizes) -> Self {
        GradientOperands(match precision {
            GradientPrecision::F32 => Form::Floats(FloatOperands::new(pool, sizes)),
            GradientPrecision::Bf16 => Form::Pairs(PairedOperands::new(pool, sizes)),
        })
    }

    /// Takes in the weights of a product.
    pub fn prepare_weight(&self, worker: &Worker<'_>, product: &GradientProduct<'_>) {
        let [_, n, k] = product.shape;
        match &self.0 {
            Form::Floats(operands) => operands.prepare_weight(worker, product.w),
            Form::Pairs(operands) => operands.prepare_weight(worker, product.w, [n, k]),
        }
    }

    /// Takes in the input of a product, for this one and others with the same.
    pub fn prepare_input(&self, worker: &Worker<'_>, product: &GradientProduct<'_>) {
        let [m, _, k] = product.shape;
        match &self.0 {
            Form::Floats(operands) => operands.prepare_input(worker, product.x, [m, k]),
            Form::Pairs(operands) => operands.prepare_input(worker, product.x, [m, k]),
        }
    }

    /// Takes in the gradient of a product.
    pub fn prepare_gradient(&self, worker: &Worker<'_>, product: &GradientProduct<'_>) {
        match &self.0 {
            Form::Floats(_) => {}
            Form::Pairs(operands) => operands.prepare_gradient(worker, product),
        }
    }

    /// `d_x = d_y · Ŵ`, or added to `d_x`, of a product whose weights and gradient were taken in
    /// before the last barrier.
    ///
    /// # Shapes
    /// `d_x`: `[m, k]`
    pub fn input_gradient(
        &self,
        worker: &Worker<'_>,
        product: &GradientProduct<'_>,
        destination: Destination,
        d_x: &Buffer<f32>,
    ) {
        match &self.0 {
            Form::Floats(operands) => operands.input_gradient(worker, product, destination, d_x),
            Form::Pairs(operands) => operands.input_gradient(worker, product, destination, d_x),
        }
    }

    /// `d_w = d_yᵀ · x̂`, or added to `d_w`, in the elements of `gradients` from `first` on, of a
    /// product whose input and gradient were taken in before the last barrier.
    ///
    /// # Shapes
    /// `d_w`: `[n, k]`
    pub fn weight_gradient(
        &self,
        worker: &Worker<'_>,
        product: &GradientProduct<'_>,
        destination: Destination,
        gradients: &Buffer<f32>,
        first: usize,
    ) {
        match &self.0 {
            Form::Floats(operands) => {
                operands.weight_gradient(worker, product, destination, gradients, first);
            }
            Form::Pairs(operands) => {
                operands.weight_gradient(worker, product, destination, gradients, first);
            }
        }
    }
}
