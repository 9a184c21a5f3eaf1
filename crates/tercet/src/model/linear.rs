//! A linear layer: ternary with its scale (and its own norm in some families), or dense.
//!
//! It knows no layer of a model; where linears share an input, it is prepared once for all.

use tercet_kernels::ops::{self, Int8Rows};
use tercet_kernels::{Buffer, DenseMatrix, Pool, TernaryMatrix, Worker};

/// The gain and ε of an RMSNorm.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// One factor a value.
    pub gain: Vec<f32>,
    /// Added to the mean square.
    pub eps: f32,
}

/// A ternary linear: `y = absmax(norm(x)) · (codes - 1)ᵀ · scale`.
pub struct BitLinear {
    /// The codes.
    pub matrix: TernaryMatrix,
    /// real = (code - 1) × scale.
    pub scale: f32,
    /// The norm inside the linear, in families that have one.
    pub norm: Option<RmsNorm>,
}

/// One linear layer `[out, in]`.
pub enum Linear {
    /// Ternary weights and int8 activations.
    Ternary(BitLinear),
    /// Weights in the checkpoint's type and f32 activations.
    Dense(DenseMatrix),
}

impl Linear {
    /// Outputs and inputs.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Linear::Ternary(linear) => [linear.matrix.rows(), linear.matrix.cols()],
            Linear::Dense(matrix) => [matrix.rows(), matrix.cols()],
        }
    }

    /// Bytes of weights that one token reads.
    pub fn size_bytes(&self) -> usize {
        match self {
            Linear::Ternary(linear) => linear.matrix.size_bytes(),
            Linear::Dense(matrix) => matrix.size_bytes(),
        }
    }

    /// The linear alone, for checks against a reference: `x` is `[m, in]`, the result `[m, out]`.
    pub fn apply(&self, pool: &Pool, x: &[f32], m: usize) -> Vec<f32> {
        let [rows, cols] = self.shape();
        let inputs = LinearInputs::new(pool, m, cols);
        let x = Buffer::from_slice(pool, x);
        let mut y = Buffer::zeroed(pool, m * rows);
        pool.run(|worker| inputs.project(worker, &x, m, &[(self, &y)]));
        y.as_mut_slice().to_vec()
    }
}

/// Room for the prepared inputs of linears.
pub(super) struct LinearInputs {
    /// `[rows, width]`, after the norm inside a linear.
    normed: Buffer<f32>,
    int8: Int8Rows,
}

impl LinearInputs {
    pub(super) fn new(pool: &Pool, max_rows: usize, max_width: usize) -> Self {
        LinearInputs {
            normed: Buffer::zeroed(pool, max_rows * max_width),
            int8: Int8Rows::new(pool, max_rows, max_width),
        }
    }

    /// Room for quantized rows, between two calls of [`project`](Self::project).
    pub(super) fn int8(&self) -> &Int8Rows {
        &self.int8
    }

    /// `y = linear(x)` for linears of one kind that share their input; ends with a barrier.
    pub(super) fn project(
        &self,
        worker: &mut Worker<'_>,
        x: &Buffer<f32>,
        m: usize,
        linears: &[(&Linear, &Buffer<f32>)],
    ) {
        let mut is_quantized = false;
        for (linear, y) in linears {
            match linear {
                Linear::Dense(matrix) => ops::dense_product(worker, matrix.view(), x, m, y),
                Linear::Ternary(linear) => {
                    if let Some(norm) = &linear.norm {
                        ops::rms_norm(worker, x, m, &norm.gain, norm.eps, &self.normed);
                        worker.barrier();
                        ops::quantize_rows(worker, &self.normed, m, linear.matrix.cols(), &self.int8);
                        worker.barrier();
                    } else if !is_quantized {
                        ops::quantize_rows(worker, x, m, linear.matrix.cols(), &self.int8);
                        worker.barrier();
                        is_quantized = true;
                    }
                    ops::ternary_product(worker, &linear.matrix, linear.scale, &self.int8, m, y);
                    if linear.norm.is_some() {
                        worker.barrier();
                    }
                }
            }
        }
        worker.barrier();
    }
}
