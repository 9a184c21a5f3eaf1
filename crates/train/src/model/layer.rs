//! One block of the decoder: forward as inference does it, keeping what backward needs.
//!
//! ```text
//! middle = x + o_proj(sub_norm(attention(q, k, v)))        q, k, v of input_layernorm(x)
//! y      = middle + down_proj(sub_norm(activation(gate) · up))   of post_attention_layernorm(middle)
//! ```
//!
//! Norms that a model has not are left out. It knows neither embedding nor loss.

use tercet_kernels::ops::backward::{self, AttentionRooms, GainParts, GatedNorm};
use tercet_kernels::ops::{self, Source};
use tercet_kernels::{Buffer, Destination, Pool, Worker};

use super::linear::{LinearInput, LinearScratch, SavedInputs, StepLinear, add_gain, norm_backward};
use super::parameters::NormPlace;
use super::{Pass, Shape, Stage};

/// The places of a layer's linears in [`tercet::model::Layer::LINEARS`].
const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;
const O: usize = 3;
const GATE: usize = 4;
const UP: usize = 5;
const DOWN: usize = 6;

/// What the forward pass of one layer leaves for its backward pass. `m` is the rows of the pass.
pub(super) struct SavedLayer {
    q: Buffer<f32>,        // [m, heads, head_dim], rotated
    k: Buffer<f32>,        // [m, kv heads, head_dim], rotated
    v: Buffer<f32>,        // [m, kv heads, head_dim]
    attended: Buffer<f32>, // [m, heads, head_dim]
    middle: Buffer<f32>,   // [m, hidden]
    gate: Buffer<f32>,     // [m, intermediate]
    up: Buffer<f32>,       // [m, intermediate]
    qkv_inputs: SavedInputs,
    o_inputs: SavedInputs,
    gate_up_inputs: SavedInputs,
    down_inputs: SavedInputs,
}

impl SavedLayer {
    pub(super) fn new(pool: &Pool, shape: &Shape<'_>) -> Self {
        let config = shape.config;
        let rows_of = |width| Buffer::zeroed(pool, shape.rows * width);
        let inputs = |width, linears| SavedInputs::new(pool, shape, width, linears);
        let (attention, key_value) = (config.attention_size(), shape.key_value_size());
        SavedLayer {
            q: rows_of(attention),
            k: rows_of(key_value),
            v: rows_of(key_value),
            attended: rows_of(attention),
            middle: rows_of(config.hidden_size),
            gate: rows_of(config.intermediate_size),
            up: rows_of(config.intermediate_size),
            qkv_inputs: inputs(config.hidden_size, 3),
            o_inputs: inputs(attention, 1),
            gate_up_inputs: inputs(config.hidden_size, 2),
            down_inputs: inputs(config.intermediate_size, 1),
        }
    }
}

/// Room that all layers share.
pub(super) struct LayerScratch {
    linear: LinearScratch,
    normed: Buffer<f32>,      // [m, hidden]
    wide_normed: Buffer<f32>, // [m, widest of attention and MLP]
    branch: Buffer<f32>,      // [m, hidden]
    gated: Buffer<f32>,       // [m, intermediate]
    d_normed: Buffer<f32>,    // [m, hidden]
    d_wide: Buffer<f32>,      // [m, widest]: by the input of `o_proj` or `down_proj`
    d_attended: Buffer<f32>,  // [m, heads, head_dim]: by what stands before attention's sub-norm
    d_q: Buffer<f32>,         // [m, heads, head_dim]
    d_k: Buffer<f32>,         // [m, kv heads, head_dim]
    d_v: Buffer<f32>,         // [m, kv heads, head_dim]
    d_gate: Buffer<f32>,      // [m, intermediate]
    d_up: Buffer<f32>,        // [m, intermediate]
    gain_parts: GainParts,
    attention: AttentionRooms,
}

impl LayerScratch {
    pub(super) fn new(pool: &Pool, shape: &Shape<'_>) -> Self {
        let config = shape.config;
        let rows_of = |width| Buffer::zeroed(pool, shape.rows * width);
        let (attention, key_value) = (config.attention_size(), shape.key_value_size());
        LayerScratch {
            linear: LinearScratch::new(pool, shape),
            normed: rows_of(config.hidden_size),
            wide_normed: rows_of(shape.widest()),
            branch: rows_of(config.hidden_size),
            gated: rows_of(config.intermediate_size),
            d_normed: rows_of(config.hidden_size),
            d_wide: rows_of(shape.widest()),
            d_attended: rows_of(attention),
            d_q: rows_of(attention),
            d_k: rows_of(key_value),
            d_v: rows_of(key_value),
            d_gate: rows_of(config.intermediate_size),
            d_up: rows_of(config.intermediate_size),
            gain_parts: GainParts::new(pool, shape.rows, shape.widest()),
            attention: AttentionRooms::new(pool, shape.precision),
        }
    }
}

/// One layer in one step.
#[derive(Clone, Copy)]
pub(super) struct StepLayer<'a> {
    pub(super) places: &'a super::parameters::LayerPlaces,
    pub(super) weights: &'a [super::linear::StepWeights; 7],
}

impl<'a> StepLayer<'a> {
    fn linear(&self, linear: usize) -> StepLinear<'a> {
        StepLinear { place: &self.places.linears[linear], weights: &self.weights[linear] }
    }

    /// `y = layer(x)`, both `[m, hidden]`; ends with a barrier.
    pub(super) fn forward(
        &self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        x: &Buffer<f32>,
        saved: &SavedLayer,
        s: &LayerScratch,
        y: &Buffer<f32>,
    ) {
        self.attention_forward(worker, pass, x, saved, s);
        add(worker, pass, x, &s.branch, &saved.middle);
        self.mlp_forward(worker, pass, saved, s);
        add(worker, pass, &saved.middle, &s.branch, y);
    }

    /// `s.branch = o_proj(sub_norm(attention(q, k, v)))` of `x`.
    fn attention_forward(
        &self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        x: &Buffer<f32>,
        saved: &SavedLayer,
        s: &LayerScratch,
    ) {
        let config = pass.config;
        let qkv = [(self.linear(Q), &saved.q), (self.linear(K), &saved.k), (self.linear(V), &saved.v)];
        let input = self.qkv_input(x, s);
        s.linear.forward(worker, pass, &input, &qkv, &saved.qkv_inputs); // [m, heads | kv heads | kv heads, head_dim]
        ops::rotate(worker, pass.rotary, pass.sequences, config.num_attention_heads, &saved.q);
        ops::rotate(worker, pass.rotary, pass.sequences, config.num_key_value_heads, &saved.k);
        worker.barrier();
        ops::append(worker, pass.sequences, 0, None, &saved.k, &saved.v);
        worker.barrier();
        let heads = config.num_attention_heads;
        ops::attention(worker, pass.sequences, 0, heads, &saved.q, &saved.attended);
        worker.barrier();
        pass.clock.end(worker, Stage::Attention);
        let o = [(self.linear(O), &s.branch)];
        s.linear.forward(worker, pass, &self.o_input(saved, s), &o, &saved.o_inputs); // [m, hidden]
    }

    /// `s.branch = down_proj(sub_norm(activation(gate_proj(x)) · up_proj(x)))` of `saved.middle`.
    fn mlp_forward(&self, worker: &mut Worker<'_>, pass: &Pass<'_>, saved: &SavedLayer, s: &LayerScratch) {
        let gate_up = [(self.linear(GATE), &saved.gate), (self.linear(UP), &saved.up)];
        let input = self.gate_up_input(saved, s);
        s.linear.forward(worker, pass, &input, &gate_up, &saved.gate_up_inputs); // [m, intermediate]
        let down = [(self.linear(DOWN), &s.branch)];
        s.linear.forward(worker, pass, &self.down_input(pass, saved, s), &down, &saved.down_inputs); // [m, hidden]
    }

    fn qkv_input<'i>(&'i self, x: &'i Buffer<f32>, s: &'i LayerScratch) -> LinearInput<'i> {
        let norm = self.places.input_layernorm.as_ref();
        LinearInput { source: Source::Rows(x), norm, gated: &s.gated, normed: &s.normed }
    }

    fn o_input<'i>(&'i self, saved: &'i SavedLayer, s: &'i LayerScratch) -> LinearInput<'i> {
        let norm = self.places.attention_sub_norm.as_ref();
        LinearInput { source: Source::Rows(&saved.attended), norm, gated: &s.gated, normed: &s.wide_normed }
    }

    fn gate_up_input<'i>(&'i self, saved: &'i SavedLayer, s: &'i LayerScratch) -> LinearInput<'i> {
        let norm = self.places.post_attention_layernorm.as_ref();
        LinearInput { source: Source::Rows(&saved.middle), norm, gated: &s.gated, normed: &s.normed }
    }

    fn down_input<'i>(
        &'i self,
        pass: &Pass<'_>,
        saved: &'i SavedLayer,
        s: &'i LayerScratch,
    ) -> LinearInput<'i> {
        let source = Source::Gate { activation: pass.config.hidden_act, gate: &saved.gate, up: &saved.up };
        let norm = self.places.mlp_sub_norm.as_ref();
        LinearInput { source, norm, gated: &s.gated, normed: &s.wide_normed }
    }

    /// Takes the gradient by the layer's output in `d` and leaves there that by its input `x`; adds
    /// the gradients of all its parameters.
    pub(super) fn backward(
        &self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        x: &Buffer<f32>,
        saved: &SavedLayer,
        s: &LayerScratch,
        d: &Buffer<f32>,
    ) {
        self.mlp_backward(worker, pass, saved, s, d);
        self.attention_backward(worker, pass, x, saved, s, d);
    }

    /// From `d` by `y` to `d` by `saved.middle`.
    fn mlp_backward(
        &self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        saved: &SavedLayer,
        s: &LayerScratch,
        d: &Buffer<f32>,
    ) {
        let (m, width) = (pass.rows, pass.config.intermediate_size);
        let down = [(self.linear(DOWN), d)];
        let input = self.down_input(pass, saved, s);
        s.linear.backward(worker, pass, &input, &down, &saved.down_inputs, &s.d_wide);
        let activation = pass.config.hidden_act;
        let sub_norm = self.places.mlp_sub_norm.as_ref();
        let norm = sub_norm.map(|norm| GatedNorm {
            gain: &pass.parameters.read(worker)[norm.gain.clone()],
            eps: norm.eps,
            parts: &s.gain_parts,
        });
        let inputs = [&saved.gate, &saved.up, &s.d_wide];
        backward::gate_backward(worker, activation, norm, inputs, [m, width], [&s.d_gate, &s.d_up]);
        worker.barrier();
        if let Some(norm) = sub_norm {
            add_gain(worker, pass, norm, &s.gain_parts);
        }
        pass.clock.end(worker, Stage::Rows);
        let norm = self.places.post_attention_layernorm.as_ref();
        let gate_up = [(self.linear(GATE), &s.d_gate), (self.linear(UP), &s.d_up)];
        let input = self.gate_up_input(saved, s);
        s.linear.backward(worker, pass, &input, &gate_up, &saved.gate_up_inputs, &s.d_normed);
        add_through(worker, pass, norm, &saved.middle, s, d);
    }

    /// From `d` by `saved.middle` to `d` by `x`.
    fn attention_backward(
        &self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        x: &Buffer<f32>,
        saved: &SavedLayer,
        s: &LayerScratch,
        d: &Buffer<f32>,
    ) {
        let config = pass.config;
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let sub_norm = self.places.attention_sub_norm.as_ref();
        let o = [(self.linear(O), d)];
        s.linear.backward(worker, pass, &self.o_input(saved, s), &o, &saved.o_inputs, &s.d_wide);
        let d_attended = before_norm(worker, pass, sub_norm, &saved.attended, s);
        backward::attention_backward(
            worker,
            &s.attention,
            pass.segments,
            [heads, kv_heads, config.head_dim],
            [&saved.q, &saved.k, &saved.v, &saved.attended, d_attended],
            [&s.d_q, &s.d_k, &s.d_v],
        );
        worker.barrier();
        backward::rotate_backward(worker, pass.rotary, pass.sequences, heads, &s.d_q);
        backward::rotate_backward(worker, pass.rotary, pass.sequences, kv_heads, &s.d_k);
        worker.barrier();
        pass.clock.end(worker, Stage::Attention);
        let norm = self.places.input_layernorm.as_ref();
        let qkv = [(self.linear(Q), &s.d_q), (self.linear(K), &s.d_k), (self.linear(V), &s.d_v)];
        s.linear.backward(worker, pass, &self.qkv_input(x, s), &qkv, &saved.qkv_inputs, &s.d_normed);
        add_through(worker, pass, norm, x, s, d);
    }
}

/// `out = x + y`, all `[m, hidden]`; ends with a barrier.
fn add(worker: &mut Worker<'_>, pass: &Pass<'_>, x: &Buffer<f32>, y: &Buffer<f32>, out: &Buffer<f32>) {
    ops::add(worker, x, y, [pass.rows, pass.config.hidden_size], out);
    worker.barrier();
    pass.clock.end(worker, Stage::Rows);
}

/// The gradient by `x`, which stands before attention's sub-norm, from `s.d_wide`, which is that after it.
fn before_norm<'s>(
    worker: &mut Worker<'_>,
    pass: &Pass<'_>,
    norm: Option<&NormPlace>,
    x: &Buffer<f32>,
    s: &'s LayerScratch,
) -> &'s Buffer<f32> {
    let Some(norm) = norm else { return &s.d_wide };
    norm_backward(worker, pass, norm, x, &s.d_wide, &s.gain_parts, Destination::Replace, &s.d_attended);
    &s.d_attended
}

/// Adds `s.d_normed`, the gradient after an optional norm of `x`, to `d`, that by `x`.
fn add_through(
    worker: &mut Worker<'_>,
    pass: &Pass<'_>,
    norm: Option<&NormPlace>,
    x: &Buffer<f32>,
    s: &LayerScratch,
    d: &Buffer<f32>,
) {
    match norm {
        Some(norm) => {
            norm_backward(worker, pass, norm, x, &s.d_normed, &s.gain_parts, Destination::Add, d);
        }
        None => {
            ops::add_assign(worker, d, &s.d_normed, pass.rows, pass.config.hidden_size);
            worker.barrier();
            pass.clock.end(worker, Stage::Rows);
        }
    }
}
