//! A linear layer: ternary with its scale (and its own norm in some families), or dense.
//!
//! It knows no layer of a model; where linears share an input, it is prepared once for all.

use tercet_kernels::ops::{self, Int8Rows, Norm, Source, TernaryProduct};
use tercet_kernels::{Buffer, DenseMatrix, Pool, TernaryMatrix, Worker};

/// The gain and ε of an RMSNorm.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// One factor a value.
    pub gain: Vec<f32>,
    /// Added to the mean square.
    pub eps: f32,
}

impl RmsNorm {
    fn as_operand(&self) -> Norm<'_> {
        Norm { gain: &self.gain, eps: self.eps }
    }
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

impl BitLinear {
    fn product<'a>(&'a self, y: &'a Buffer<f32>) -> TernaryProduct<'a> {
        TernaryProduct { w: &self.matrix, w_scale: self.scale, y }
    }
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

    /// Whether its input must be there as floats: a dense one's, or that of a norm inside.
    fn takes_floats(&self) -> bool {
        match self {
            Linear::Ternary(linear) => linear.norm.is_some(),
            Linear::Dense(_) => true,
        }
    }

    fn as_ternary(&self) -> &BitLinear {
        match self {
            Linear::Ternary(linear) => linear,
            Linear::Dense(_) => unreachable!("a dense linear takes floats"),
        }
    }

    /// The linear alone, for checks against a reference: `x` is `[m, in]`, the result `[m, out]`.
    pub fn apply(&self, pool: &Pool, x: &[f32], m: usize) -> Vec<f32> {
        let [rows, cols] = self.shape();
        let inputs = LinearInputs::new(pool, m, cols, true);
        let x = Buffer::from_slice(pool, x);
        let mut y = Buffer::zeroed(pool, m * rows);
        let input = Input { source: Source::Rows(&x), norm: None, shape: [m, cols] };
        pool.run(|worker| inputs.project(worker, input, [(self, &y)]));
        y.as_mut_slice().to_vec()
    }
}

/// Rows on their way to linears that share them.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    /// Where they come from.
    pub(super) source: Source<'a>,
    /// The norm before the linears, in families that have one.
    pub(super) norm: Option<&'a RmsNorm>,
    /// Rows and their width.
    pub(super) shape: [usize; 2],
}

/// Room for the prepared inputs of linears.
pub(super) struct LinearInputs {
    /// `[rows, width]`, where rows must be kept as floats.
    rows: Buffer<f32>,
    /// `[rows, width]`, after a norm.
    normed: Buffer<f32>,
    int8: Int8Rows,
}

impl LinearInputs {
    pub(super) fn new(pool: &Pool, max_rows: usize, max_width: usize, keeps_floats: bool) -> Self {
        let floats = || Buffer::zeroed(pool, if keeps_floats { max_rows * max_width } else { 0 });
        LinearInputs { rows: floats(), normed: floats(), int8: Int8Rows::new(pool, max_rows, max_width) }
    }

    /// Room for quantized rows, between two calls of [`project`](Self::project).
    pub(super) fn int8(&self) -> &Int8Rows {
        &self.int8
    }

    /// `y = linear(norm(source))` for linears of one kind that share their input; ends with a
    /// barrier.
    pub(super) fn project<const N: usize>(
        &self,
        worker: &mut Worker<'_>,
        input: Input<'_>,
        linears: [(&Linear, &Buffer<f32>); N],
    ) {
        let [m, width] = input.shape;
        if linears.iter().any(|(linear, _)| linear.takes_floats()) {
            let x = self.floats(worker, input);
            for (linear, y) in linears {
                match linear {
                    Linear::Dense(matrix) => ops::dense_product(worker, matrix.view(), x, m, y),
                    Linear::Ternary(linear) => {
                        let norm = linear.norm.as_ref().map(RmsNorm::as_operand);
                        ops::prepare_rows(worker, Source::Rows(x), norm, [m, width], &self.int8);
                        worker.barrier();
                        ops::ternary_products(worker, [linear.product(y)], &self.int8, m);
                        worker.barrier();
                    }
                }
            }
        } else {
            let norm = input.norm.map(RmsNorm::as_operand);
            ops::prepare_rows(worker, input.source, norm, [m, width], &self.int8);
            let products = linears.map(|(linear, y)| linear.as_ternary().product(y));
            ops::barrier_before(worker, products, m);
            ops::ternary_products(worker, products, &self.int8, m);
        }
        worker.barrier();
    }

    /// The normed rows as floats; ends with a barrier where it writes any.
    fn floats<'a>(&'a self, worker: &mut Worker<'_>, input: Input<'a>) -> &'a Buffer<f32> {
        let Input { source, norm, shape: [m, width] } = input;
        let rows = match source {
            Source::Rows(x) => x,
            Source::Sum { x, y } => {
                ops::add_assign(worker, x, y, m, width);
                worker.barrier();
                x
            }
            Source::Gate { activation, gate, up } => {
                ops::gate(worker, activation, [gate, up], [m, width], &self.rows);
                worker.barrier();
                &self.rows
            }
        };
        let Some(norm) = norm else { return rows };
        ops::rms_norm(worker, rows, m, &norm.gain, norm.eps, &self.normed);
        worker.barrier();
        &self.normed
    }
}
