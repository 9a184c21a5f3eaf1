//! Linears that share an input: forward as inference does it, and backward straight through.
//!
//! ```text
//! forward    n = rms_norm(x) where the linear has a norm, else x
//!            q = absmax(n)      y = (q · Tᵀ) · scales
//! backward   d_n = d_y · Ŵ      d_W += d_yᵀ · n̂      Ŵ = scale · T,  n̂ = codes · scales
//!            d_x += d_n, through the norm where there is one
//! ```
//!
//! While λ is below 1 both passes use `W + λ (Ŵ - W)` and `n + λ (n̂ - n)` in floats.

use tercet_kernels::ops::{self, Int8Rows, TernaryProduct, backward};
use tercet_kernels::{Buffer, DenseView, Destination, Pool, TernaryMatrix, Worker};

use super::Pass;
use super::parameters::{LinearPlace, NormPlace};

/// A linear's weights as the forward pass uses them in one step.
pub(super) enum StepWeights {
    /// Codes and scale of the masters.
    Ternary(Quantized),
    /// The parameters themselves.
    Dense,
}

/// What masters become.
pub(super) struct Quantized {
    pub(super) matrix: TernaryMatrix,
    pub(super) scale: f32,
}

/// One linear of a layer in one step.
#[derive(Clone, Copy)]
pub(super) struct StepLinear<'a> {
    pub(super) place: &'a LinearPlace,
    pub(super) weights: &'a StepWeights,
}

/// What the forward pass keeps of the input that linears share.
pub(super) struct SavedInputs {
    /// One, or one a linear where norms are inside; none where the linears are dense.
    rows: Vec<Int8Rows>,
}

impl SavedInputs {
    /// Room for `m` rows of `width` values that go into `linears` linears.
    pub(super) fn new(pool: &Pool, pass: &super::Shape<'_>, width: usize, linears: usize) -> Self {
        let kept = match (pass.is_dense(), pass.config.norms.in_linear_eps) {
            (true, _) => 0,
            (false, Some(_)) => linears,
            (false, None) => 1,
        };
        SavedInputs { rows: (0..kept).map(|_| Int8Rows::new(pool, pass.rows, width)).collect() }
    }

    fn of(&self, linear: usize) -> &Int8Rows {
        &self.rows[linear.min(self.rows.len() - 1)]
    }
}

/// Room for the operands of products, as large as the largest of them.
pub(super) struct LinearScratch {
    /// `[m, width]`: an input after the norm inside a linear.
    normed: Buffer<f32>,
    /// `[m, width]`: the input that is multiplied, in floats.
    input: Buffer<f32>,
    /// `[n, k]`: the weights that are multiplied, in floats.
    weight: Buffer<f32>,
    /// `[m, width]`: the gradient by `normed`.
    d_normed: Buffer<f32>,
    /// `[m]`.
    inv_rms: Buffer<f32>,
}

impl LinearScratch {
    pub(super) fn new(pool: &Pool, shape: &super::Shape<'_>) -> Self {
        let widest = shape.widest();
        let zeroed = |len| Buffer::zeroed(pool, len);
        let wide = |is_wanted: bool| zeroed(if is_wanted { shape.rows * widest } else { 0 });
        let has_norm = shape.config.norms.in_linear_eps.is_some();
        LinearScratch {
            normed: wide(has_norm),
            input: wide(!shape.is_dense()),
            weight: zeroed(if shape.is_dense() { 0 } else { shape.largest_matrix() }),
            d_normed: wide(has_norm),
            inv_rms: zeroed(shape.rows),
        }
    }

    /// `y = linear(x)` for linears that share `x`; ends with a barrier.
    pub(super) fn forward(
        &self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        x: &Buffer<f32>,
        linears: &[(StepLinear<'_>, &Buffer<f32>)],
        saved: &SavedInputs,
    ) {
        let m = pass.rows;
        for (number, (linear, y)) in linears.iter().enumerate() {
            let [n, k] = linear.place.shape;
            let x = self.normed(worker, pass, linear.place, x);
            match linear.weights {
                StepWeights::Dense => {
                    let w = &pass.parameters.read(worker)[linear.place.weight.clone()];
                    ops::dense_product(worker, DenseView::from_f32(w, [n, k]), x, m, y);
                }
                StepWeights::Ternary(weights) => {
                    let rows = saved.of(number);
                    if number == 0 || linear.place.norm.is_some() {
                        ops::quantize_rows(worker, x, m, k, rows);
                        worker.barrier();
                    }
                    if pass.is_quantized() {
                        let product = TernaryProduct { w: &weights.matrix, w_scale: weights.scale, y };
                        ops::ternary_products(worker, [product], rows, m);
                    } else {
                        self.operands(worker, pass, linear.place, weights, x, rows);
                        let w = &self.weight.read(worker)[..n * k];
                        backward::float_product(worker, &self.input, w, [m, n, k], y);
                        worker.barrier();
                    }
                }
            }
            if linear.place.norm.is_some() {
                worker.barrier();
            }
        }
        worker.barrier();
    }

    /// Adds the gradients of every linear's weight and norm, and sets `d_x` to that by `x`; ends
    /// with a barrier.
    ///
    /// `x` is what the linears shared; it is only read where a norm, a dense weight or λ wants it.
    pub(super) fn backward(
        &self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        x: &Buffer<f32>,
        linears: &[(StepLinear<'_>, &Buffer<f32>)],
        saved: &SavedInputs,
        d_x: &Buffer<f32>,
    ) {
        let (m, gradients) = (pass.rows, pass.gradients);
        let has_norm = linears[0].0.place.norm.is_some();
        if has_norm {
            backward::fill_zero(worker, d_x, m * linears[0].0.place.shape[1]);
            worker.barrier();
        }
        for (number, (linear, d_y)) in linears.iter().enumerate() {
            let [n, k] = linear.place.shape;
            let shape = [m, n, k];
            let needs_input = matches!(linear.weights, StepWeights::Dense) || !pass.is_quantized();
            let input = if needs_input { self.normed(worker, pass, linear.place, x) } else { x };
            let destination = if number == 0 || has_norm { Destination::Replace } else { Destination::Add };
            let d_input = if has_norm { &self.d_normed } else { d_x };
            match linear.weights {
                StepWeights::Dense => {
                    let w = &pass.parameters.read(worker)[linear.place.weight.clone()];
                    backward::input_gradient(worker, d_y, w, 1.0, shape, destination, d_input);
                    let first = linear.place.weight.start;
                    backward::weight_gradient(worker, d_y, input, shape, gradients, first);
                }
                StepWeights::Ternary(weights) => {
                    self.operands(worker, pass, linear.place, weights, input, saved.of(number));
                    let scale = if pass.is_quantized() { weights.scale } else { 1.0 };
                    let w = &self.weight.read(worker)[..n * k];
                    backward::input_gradient(worker, d_y, w, scale, shape, destination, d_input);
                    let first = linear.place.weight.start;
                    backward::weight_gradient(worker, d_y, &self.input, shape, gradients, first);
                }
            }
            worker.barrier();
            if let Some(norm) = &linear.place.norm {
                norm_backward(worker, pass, norm, x, &self.d_normed, &self.inv_rms, d_x);
            }
        }
    }

    /// The input after the norm inside a linear, or the input itself; ends with a barrier if it
    /// computed anything.
    fn normed<'a>(
        &'a self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        place: &LinearPlace,
        x: &'a Buffer<f32>,
    ) -> &'a Buffer<f32> {
        let Some(norm) = &place.norm else { return x };
        norm_forward(worker, pass, norm, x, &self.normed);
        &self.normed
    }

    /// The floats that are multiplied: `self.weight` and `self.input`; ends with a barrier.
    ///
    /// Quantized fully, `self.weight` holds -1, 0, +1 and the scale is still to be applied.
    fn operands(
        &self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        place: &LinearPlace,
        weights: &Quantized,
        x: &Buffer<f32>,
        rows: &Int8Rows,
    ) {
        let (m, k) = (pass.rows, place.shape[1]);
        backward::dequantize_matrix(worker, &weights.matrix, &self.weight);
        if pass.is_quantized() {
            backward::dequantize_rows(worker, rows, m, k, &self.input);
            worker.barrier();
            return;
        }
        backward::blend_rows(worker, x, rows, pass.lambda, [m, k], &self.input);
        worker.barrier();
        let masters = &pass.parameters.read(worker)[place.weight.clone()];
        backward::blend_matrix(worker, masters, weights.scale, pass.lambda, &self.weight);
        worker.barrier();
    }
}

/// `out = rms_norm(x)`; ends with a barrier.
pub(super) fn norm_forward(
    worker: &mut Worker<'_>,
    pass: &Pass<'_>,
    norm: &NormPlace,
    x: &Buffer<f32>,
    out: &Buffer<f32>,
) {
    let gain = &pass.parameters.read(worker)[norm.gain.clone()];
    ops::rms_norm(worker, x, pass.rows, gain, norm.eps, out);
    worker.barrier();
}

/// Adds the gradients of a norm to those of its gain and to `d_x`; ends with a barrier.
pub(super) fn norm_backward(
    worker: &mut Worker<'_>,
    pass: &Pass<'_>,
    norm: &NormPlace,
    x: &Buffer<f32>,
    d_y: &Buffer<f32>,
    inv_rms: &Buffer<f32>,
    d_x: &Buffer<f32>,
) {
    let gain = &pass.parameters.read(worker)[norm.gain.clone()];
    backward::rms_norm_backward(worker, x, pass.rows, gain, norm.eps, d_y, inv_rms, d_x);
    worker.barrier();
    let shape = [pass.rows, norm.gain.len()];
    backward::rms_norm_gain_backward(worker, x, inv_rms, d_y, shape, pass.gradients, norm.gain.start);
    worker.barrier();
}
