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

use tercet_kernels::ops::backward::{self, GainParts, GradientOperands, GradientProduct, Input, Weight};
use tercet_kernels::ops::{self, Int8Rows, Norm, Source, TernaryProduct};
use tercet_kernels::{Buffer, DenseView, Destination, Pool, QuantizedMaster, Worker};

use super::parameters::{LinearPlace, NormPlace};
use super::{Pass, Stage};

/// A linear's weights as the forward pass uses them in one step.
pub(super) enum StepWeights {
    /// Codes and scale of the masters.
    Ternary(QuantizedMaster),
    /// The parameters themselves.
    Dense,
}

impl StepWeights {
    /// Codes and scale, where there are any.
    pub(super) fn into_ternary(self) -> Option<QuantizedMaster> {
        match self {
            StepWeights::Ternary(weights) => Some(weights),
            StepWeights::Dense => None,
        }
    }
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

/// What enters linears that share it: a norm of rows, or of a gate.
pub(super) struct LinearInput<'a> {
    pub(super) source: Source<'a>,
    pub(super) norm: Option<&'a NormPlace>,
    /// `[m, intermediate]`: room for a gate.
    pub(super) gated: &'a Buffer<f32>,
    /// `[m, width]`: room for what is normed.
    pub(super) normed: &'a Buffer<f32>,
}

impl<'a> LinearInput<'a> {
    /// It in floats; ends with a barrier if it computed anything.
    fn rows(&self, worker: &mut Worker<'_>, pass: &Pass<'_>, width: usize) -> &'a Buffer<f32> {
        let rows = self.before_norm(worker, pass, width);
        let Some(norm) = self.norm else { return rows };
        norm_forward(worker, pass, norm, rows, self.normed);
        self.normed
    }

    /// What stands before the norm; ends with a barrier if it computed anything.
    fn before_norm(&self, worker: &mut Worker<'_>, pass: &Pass<'_>, width: usize) -> &'a Buffer<f32> {
        match self.source {
            Source::Rows(x) => return x,
            Source::Gate { activation, gate, up } => {
                ops::gate(worker, activation, [gate, up], [pass.rows, width], self.gated);
            }
            Source::Sum { .. } => unreachable!("LinearInput: the trainer keeps its sums"),
        }
        worker.barrier();
        pass.clock.end(worker, Stage::Rows);
        self.gated
    }
}

/// Room for the operands of products, as large as the largest of them.
pub(super) struct LinearScratch {
    /// `[m, width]`: an input after the norm inside a linear.
    normed: Buffer<f32>,
    /// `[m, width]`: the input on its way to int8.
    blended_input: Buffer<f32>,
    /// `[n, k]`: the weights on their way to being ternary.
    blended_weight: Buffer<f32>,
    operands: GradientOperands,
    /// `[m, width]`: the gradient by `normed`.
    d_normed: Buffer<f32>,
    gain_parts: GainParts,
}

impl LinearScratch {
    pub(super) fn new(pool: &Pool, shape: &super::Shape<'_>) -> Self {
        let widest = shape.widest();
        let zeroed = |len| Buffer::zeroed(pool, len);
        let wide = |is_wanted: bool| zeroed(if is_wanted { shape.rows * widest } else { 0 });
        let has_norm = shape.config.norms.in_linear_eps.is_some();
        LinearScratch {
            normed: wide(has_norm),
            blended_input: wide(!shape.is_dense()),
            blended_weight: zeroed(if shape.is_dense() { 0 } else { shape.largest_matrix() }),
            operands: GradientOperands::new(pool, shape.precision, &shape.gradient_sizes()),
            d_normed: wide(has_norm),
            gain_parts: GainParts::new(pool, shape.rows, if has_norm { widest } else { 0 }),
        }
    }

    /// `y = linear(x)` for linears that share `x`; ends with a barrier.
    pub(super) fn forward(
        &self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        input: &LinearInput<'_>,
        linears: &[(StepLinear<'_>, &Buffer<f32>)],
        saved: &SavedInputs,
    ) {
        let m = pass.rows;
        let width = linears[0].0.place.shape[1];
        if pass.is_int8_alone() {
            let parameters = pass.parameters.read(worker);
            let norm = input.norm.map(|norm| Norm { gain: &parameters[norm.gain.clone()], eps: norm.eps });
            ops::prepare_rows(worker, input.source, norm, [m, width], saved.of(0));
            worker.barrier();
            pass.clock.end(worker, Stage::Rows);
            for (linear, y) in linears {
                let StepWeights::Ternary(weights) = linear.weights else { unreachable!("int8 alone") };
                let product = TernaryProduct { w: &weights.matrix, w_scale: weights.scale, y };
                ops::ternary_products(worker, [product], saved.of(0), m);
            }
            worker.barrier();
            pass.clock.end(worker, Stage::ForwardProducts);
            return;
        }
        let x = input.rows(worker, pass, width);
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
                        pass.clock.end(worker, Stage::Rows);
                    }
                    if pass.is_quantized() {
                        let product = TernaryProduct { w: &weights.matrix, w_scale: weights.scale, y };
                        ops::ternary_products(worker, [product], rows, m);
                    } else {
                        self.blend(worker, pass, linear.place, weights, x, rows);
                        let w = &self.blended_weight.read(worker)[..n * k];
                        backward::float_product(worker, &self.blended_input, w, [m, n, k], y);
                        worker.barrier();
                    }
                }
            }
            if linear.place.norm.is_some() {
                worker.barrier();
                pass.clock.end(worker, Stage::ForwardProducts);
            }
        }
        worker.barrier();
        pass.clock.end(worker, Stage::ForwardProducts);
    }

    /// Adds the gradients of every linear's weight and norm, and sets `d_x` to that by `x`; ends
    /// with a barrier.
    ///
    /// `input` is what the linears shared; it is only computed where a norm, a dense weight or λ wants
    /// it in floats.
    pub(super) fn backward(
        &self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        input: &LinearInput<'_>,
        linears: &[(StepLinear<'_>, &Buffer<f32>)],
        saved: &SavedInputs,
        d_x: &Buffer<f32>,
    ) {
        let m = pass.rows;
        let width = linears[0].0.place.shape[1];
        // Nobody looks at `normed` where there are codes alone.
        let x = if pass.is_int8_alone() { input.normed } else { input.rows(worker, pass, width) };
        let has_norm = linears[0].0.place.norm.is_some();
        for (number, (linear, d_y)) in linears.iter().enumerate() {
            let [n, k] = linear.place.shape;
            let (w, x_hat) = self.multiplied(worker, pass, linear, x, saved, number);
            let product = GradientProduct { w, x: x_hat, d_y, shape: [m, n, k] };
            self.operands.prepare_weight(worker, &product);
            if number == 0 || has_norm {
                self.operands.prepare_input(worker, &product);
            }
            self.operands.prepare_gradient(worker, &product);
            worker.barrier();
            pass.clock.end(worker, Stage::Packing);
            let destination = if number == 0 || has_norm { Destination::Replace } else { Destination::Add };
            let d_input = if has_norm { &self.d_normed } else { d_x };
            self.operands.input_gradient(worker, &product, destination, d_input);
            let first = linear.place.weight.start;
            self.operands.weight_gradient(worker, &product, pass.matrices, pass.gradients, first);
            worker.barrier();
            pass.clock.end(worker, Stage::BackwardProducts);
            if let Some(norm) = &linear.place.norm {
                let destination = if number == 0 { Destination::Replace } else { Destination::Add };
                norm_backward(worker, pass, norm, x, &self.d_normed, &self.gain_parts, destination, d_x);
            }
        }
    }

    /// What the forward pass of a linear multiplied; ends with a barrier if it computed anything.
    fn multiplied<'a>(
        &'a self,
        worker: &mut Worker<'_>,
        pass: &Pass<'a>,
        linear: &StepLinear<'a>,
        x: &'a Buffer<f32>,
        saved: &'a SavedInputs,
        number: usize,
    ) -> (Weight<'a>, Input<'a>) {
        match linear.weights {
            StepWeights::Dense => {
                let x = self.normed(worker, pass, linear.place, x);
                (Weight::Floats(pass.parameters, linear.place.weight.start), Input::Floats(x))
            }
            StepWeights::Ternary(weights) if pass.is_quantized() => {
                (Weight::Ternary(&weights.matrix, weights.scale), Input::Codes(saved.of(number)))
            }
            StepWeights::Ternary(weights) => {
                let x = self.normed(worker, pass, linear.place, x);
                self.blend(worker, pass, linear.place, weights, x, saved.of(number));
                (Weight::Floats(&self.blended_weight, 0), Input::Floats(&self.blended_input))
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

    /// `self.blended_weight` and `self.blended_input`: between floats and quantized; ends with a
    /// barrier.
    fn blend(
        &self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        place: &LinearPlace,
        weights: &QuantizedMaster,
        x: &Buffer<f32>,
        rows: &Int8Rows,
    ) {
        let (m, k) = (pass.rows, place.shape[1]);
        backward::dequantize_matrix(worker, &weights.matrix, &self.blended_weight);
        backward::blend_rows(worker, x, rows, pass.lambda, [m, k], &self.blended_input);
        worker.barrier();
        let masters = &pass.parameters.read(worker)[place.weight.clone()];
        backward::blend_matrix(worker, masters, weights.scale, pass.lambda, &self.blended_weight);
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
    pass.clock.end(worker, Stage::Rows);
}

/// Adds the gradient of a norm's gain, and gives that by `x` in `d_x` or adds it; ends with a barrier.
#[expect(clippy::too_many_arguments, reason = "those of the norm, and where its gradients go")]
pub(super) fn norm_backward(
    worker: &mut Worker<'_>,
    pass: &Pass<'_>,
    norm: &NormPlace,
    x: &Buffer<f32>,
    d_y: &Buffer<f32>,
    parts: &GainParts,
    destination: Destination,
    d_x: &Buffer<f32>,
) {
    let gain = &pass.parameters.read(worker)[norm.gain.clone()];
    backward::rms_norm_backward(worker, x, pass.rows, gain, norm.eps, d_y, parts, destination, d_x);
    worker.barrier();
    add_gain(worker, pass, norm, parts);
    pass.clock.end(worker, Stage::Rows);
}

/// Adds the gradient of a norm's gain from its parts; ends with a barrier.
pub(super) fn add_gain(worker: &mut Worker<'_>, pass: &Pass<'_>, norm: &NormPlace, parts: &GainParts) {
    let shape = [pass.rows, norm.gain.len()];
    backward::add_gain_parts(worker, parts, shape, pass.gradients, norm.gain.start);
    worker.barrier();
}
