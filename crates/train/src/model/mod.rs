//! The network in training: inference's forward pass with saved activations, and its gradients.
//!
//! ```text
//! x₀ = embed_tokens[ids]      xᵢ₊₁ = layer(xᵢ)      logits = norm(x) · lm_headᵀ
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `parameters` | where each parameter lies in one long buffer |
//! | `linear` | linears that share an input, straight through |
//! | `layer` | attention and MLP |
//! | `head` | the last norm, the vocabulary projection and the loss, some rows at a time |
//! | `teacher` | another model's logits |
//!
//! The forward pass calls the operations of inference in the order in which inference calls them,
//! so for one f32 checkpoint the logits have the same bits (`tests/one_function.rs`). It knows no
//! optimizer, schedule or file.

mod head;
mod layer;
mod linear;
mod memory;
mod parameters;
mod teacher;

use std::ops::Range;
use std::sync::Arc;

use tercet::config::{Config, Linears};
use tercet_kernels::ops::{self, backward};
use tercet_kernels::quantize::{self, QuantizeError};
use tercet_kernels::{
    Buffer, DenseView, KvCache, KvType, Layout, Pool, RotaryTable, Sequence, TernaryBuilder,
};

pub use head::{LossSettings, Losses};
pub use memory::MemoryNeed;
pub use parameters::{Parameter, ParameterLayout};
pub use teacher::{ModelTeacher, Teacher};
pub(crate) use teacher::{TEACHER_CACHE, TEACHER_LAYOUT};

use crate::data::Batch;
use head::Head;
use layer::{LayerScratch, SavedLayer, StepLayer};
use linear::{Quantized, StepWeights};
use parameters::Places;

/// What one pass over one micro-batch does not change.
struct Pass<'a> {
    config: &'a Config,
    rotary: &'a RotaryTable,
    parameters: &'a Buffer<f32>,
    gradients: &'a Buffer<f32>,
    lambda: f32,
    sequences: &'a [Sequence<'a>],
    segments: &'a [usize],
    rows: usize,
}

impl Pass<'_> {
    /// Whether weights and activations are quantized fully.
    fn is_quantized(&self) -> bool {
        self.lambda >= 1.0
    }
}

/// The sizes that buffers are made for.
#[derive(Clone, Copy)]
struct Shape<'a> {
    config: &'a Config,
    rows: usize,
}

impl Shape<'_> {
    fn is_dense(&self) -> bool {
        self.config.linears == Linears::Dense
    }

    fn key_value_size(&self) -> usize {
        self.config.num_key_value_heads * self.config.head_dim
    }

    /// The widest input of a linear.
    fn widest(&self) -> usize {
        self.config.hidden_size.max(self.config.intermediate_size).max(self.config.attention_size())
    }

    fn largest_matrix(&self) -> usize {
        let names = tercet::model::Layer::LINEARS;
        let sizes = names.map(|name| tercet::config::linear_shape(self.config, name).iter().product());
        sizes.into_iter().max().expect("a layer has linears")
    }
}

/// How a network is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkSize {
    /// Tokens of a micro-batch at most.
    pub rows: usize,
    /// Positions of a sequence at most.
    pub context: usize,
    /// Whether a layer's activations are computed again in the backward pass.
    pub recompute: bool,
}

/// What the masters became in one step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CodeStatistics {
    /// Ternary weights that are -1, 0 and +1.
    pub counts: [u64; 3],
    /// Weights whose code differs from that of the step before.
    pub flips: u64,
}

/// Masters that have no codes.
#[derive(Debug, thiserror::Error)]
#[error("parameter `{name}`: {source}")]
pub struct NoCodes {
    /// The parameter.
    pub name: String,
    /// Why.
    pub source: QuantizeError,
}

/// A model in training: parameters, gradients and the room for one micro-batch.
pub struct Network {
    pool: Arc<Pool>,
    config: Config,
    size: NetworkSize,
    layout: ParameterLayout,
    places: Places,
    parameters: Buffer<f32>,
    gradients: Buffer<f32>,
    /// Of each layer; made by [`Network::quantize`].
    weights: Vec<[StepWeights; 7]>,
    lambda: f32,
    rotary: RotaryTable,
    activations: Activations,
}

/// Everything that belongs to one micro-batch.
struct Activations {
    /// What enters each layer, and what leaves the last: `[m, hidden]` each.
    residual: Vec<Buffer<f32>>,
    /// One a layer, or one in all where they are computed again.
    saved: Vec<SavedLayer>,
    scratch: LayerScratch,
    /// The gradient by the residual stream, `[m, hidden]`.
    d: Buffer<f32>,
    head: Head,
    /// One a segment of the last micro-batch, each of one layer: all layers use it in turn.
    caches: Vec<KvCache>,
}

impl Network {
    /// A model of this configuration with parameters of 0.
    ///
    /// # Panics
    /// If the linears are packed: they have no masters.
    pub fn new(config: Config, pool: Arc<Pool>, size: NetworkSize) -> Self {
        let layout = ParameterLayout::new(&config);
        let places = Places::new(&config, &layout);
        let shape = Shape { config: &config, rows: size.rows };
        let rows_of = |width| Buffer::zeroed(&pool, size.rows * width);
        let layers = config.num_hidden_layers;
        let saved_layers = if size.recompute { 1 } else { layers };
        let activations = Activations {
            residual: (0..=layers).map(|_| rows_of(config.hidden_size)).collect(),
            saved: (0..saved_layers).map(|_| SavedLayer::new(&pool, &shape)).collect(),
            scratch: LayerScratch::new(&pool, &shape),
            d: rows_of(config.hidden_size),
            head: Head::new(&pool, &config, size.rows),
            caches: Vec::new(),
        };
        Network {
            size,
            parameters: Buffer::zeroed(&pool, layout.len()),
            gradients: Buffer::zeroed(&pool, layout.len()),
            weights: Vec::new(),
            lambda: 1.0,
            rotary: RotaryTable::new(config.head_dim, config.rope_theta, size.context),
            layout,
            places,
            activations,
            config,
            pool,
        }
    }

    /// Its configuration: the linears are masters or dense.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The workers it runs on.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Where each parameter lies.
    pub fn layout(&self) -> &ParameterLayout {
        &self.layout
    }

    /// All parameters, as [`Network::layout`] places them.
    pub fn parameters(&mut self) -> &mut [f32] {
        self.parameters.as_mut_slice()
    }

    /// All gradients since [`Network::clear_gradients`], placed as the parameters.
    pub fn gradients(&mut self) -> &mut [f32] {
        self.gradients.as_mut_slice()
    }

    /// Parameters and gradients as the workers share them.
    pub(crate) fn buffers(&self) -> (&Buffer<f32>, &Buffer<f32>) {
        (&self.parameters, &self.gradients)
    }

    /// How far weights and activations are quantized: λ, from 0 to 1.
    pub fn set_lambda(&mut self, lambda: f32) {
        self.lambda = lambda;
    }

    /// Makes the codes of all masters, by the one function of the kernels.
    ///
    /// Call it after every change of the parameters.
    ///
    /// # Errors
    /// [`NoCodes`] if a master is not finite.
    pub fn quantize(&mut self) -> Result<CodeStatistics, NoCodes> {
        let mut statistics = CodeStatistics::default();
        let mut weights = Vec::with_capacity(self.places.layers.len());
        for (layer, places) in self.places.layers.iter().enumerate() {
            let mut linears = Vec::with_capacity(7);
            for (number, place) in places.linears.iter().enumerate() {
                if self.config.linears == Linears::Dense {
                    linears.push(StepWeights::Dense);
                    continue;
                }
                let quantized = self
                    .quantized(&place.weight, place.shape)
                    .map_err(|source| NoCodes { name: self.name_at(place.weight.start), source })?;
                for (total, count) in statistics.counts.iter_mut().zip(quantized.matrix.count()) {
                    *total += count;
                }
                if let Some(StepWeights::Ternary(before)) = self.weights.get(layer).map(|w| &w[number]) {
                    statistics.flips += quantized.matrix.count_changes(&before.matrix);
                }
                linears.push(StepWeights::Ternary(quantized));
            }
            let linears: [StepWeights; 7] =
                linears.try_into().ok().expect("Network::quantize: a layer has seven linears");
            weights.push(linears);
        }
        self.weights = weights;
        Ok(statistics)
    }

    /// Codes and scale of the masters in a range.
    fn quantized(&self, range: &Range<usize>, [n, k]: [usize; 2]) -> Result<Quantized, QuantizeError> {
        let parameters = &self.parameters;
        let scale = quantize::scale_in_pool(&self.pool, n * k, |worker, first, values| {
            values.copy_from_slice(&parameters.read(worker)[range.start + first..][..values.len()]);
        })?;
        let inv_scale = 1.0 / scale;
        let builder = TernaryBuilder::new(&self.pool, [n, k], Layout::TwoBit);
        self.pool.run(|worker| {
            let masters = &parameters.read(worker)[range.clone()];
            let fill = |first_row: usize, codes: &mut [u8]| {
                for (code, master) in codes.iter_mut().zip(&masters[first_row * k..]) {
                    *code = quantize::ternary_code(*master, inv_scale);
                }
            };
            builder.pack(worker, fill, |_| unreachable!("codes made here are 0, 1 or 2"));
        });
        Ok(Quantized { matrix: builder.finish(), scale })
    }

    fn name_at(&self, first: usize) -> String {
        let found = self.layout.parameters().iter().find(|parameter| parameter.range.start == first);
        found.expect("Network: a parameter begins there").name.clone()
    }

    /// The codes 0, 1, 2 of the first `rows` rows and `cols` columns of one linear, for looking at.
    ///
    /// `None` where the linears are dense, or there is no such layer or linear.
    pub fn codes(&self, layer: usize, linear: usize, [rows, cols]: [usize; 2]) -> Option<Vec<u8>> {
        let StepWeights::Ternary(weights) = self.weights.get(layer)?.get(linear)? else { return None };
        let matrix = &weights.matrix;
        let (rows, cols) = (rows.min(matrix.rows()), cols.min(matrix.cols()));
        let codes = (0..rows).flat_map(|row| (0..cols).map(move |col| matrix.code(row, col)));
        Some(codes.collect())
    }

    /// All gradients become 0.
    pub fn clear_gradients(&mut self) {
        let (gradients, len) = (&self.gradients, self.layout.len());
        self.pool.run(|worker| backward::fill_zero(worker, gradients, len));
    }

    /// Runs a micro-batch forward and backward and adds its gradients.
    ///
    /// # Panics
    /// If the batch does not fit, or [`Network::quantize`] was not called.
    pub fn accumulate(
        &mut self,
        batch: &Batch,
        settings: &LossSettings,
        teacher: Option<&mut dyn Teacher>,
    ) -> Losses {
        self.forward(&batch.tokens, &batch.segments);
        let losses = self.loss(batch, settings, teacher, true);
        self.backward(&batch.tokens, &batch.segments);
        losses
    }

    /// The losses of a batch, without gradients.
    ///
    /// # Panics
    /// As [`Network::accumulate`].
    pub fn evaluate(&mut self, batch: &Batch) -> Losses {
        self.forward(&batch.tokens, &batch.segments);
        self.loss(batch, &LossSettings::hard(1.0), None, false)
    }

    /// The logits of every token, `[rows, vocabulary]`.
    ///
    /// # Panics
    /// As [`Network::accumulate`].
    pub fn logits(&mut self, tokens: &[u32], segments: &[usize]) -> Vec<f32> {
        self.forward(tokens, segments);
        let Network { pool, activations, .. } = self;
        let stream = activations.residual.last().expect("there is a stream after the last layer");
        let pass = Pass {
            config: &self.config,
            rotary: &self.rotary,
            parameters: &self.parameters,
            gradients: &self.gradients,
            lambda: self.lambda,
            sequences: &[],
            segments,
            rows: tokens.len(),
        };
        activations.head.logits(pool, &pass, &self.places, stream)
    }

    /// Fills the activations.
    fn forward(&mut self, tokens: &[u32], segments: &[usize]) {
        assert!(tokens.len() <= self.size.rows, "Network: the batch fits");
        assert_eq!(segments.iter().sum::<usize>(), tokens.len(), "Network: segments have all tokens");
        assert!(segments.iter().all(|len| *len <= self.size.context), "Network: segments fit the context");
        assert_eq!(self.weights.len(), self.places.layers.len(), "Network: quantize comes first");
        self.set_caches(segments);
        let table = [self.config.vocab_size, self.config.hidden_size];
        let (parameters, embedding) = (&self.parameters, self.places.embedding.clone());
        let first = &self.activations.residual[0];
        self.pool.run(|worker| {
            let table = DenseView::from_f32(&parameters.read(worker)[embedding.clone()], table);
            ops::embed(worker, table, tokens.iter().copied(), first);
        });
        for layer in 0..self.places.layers.len() {
            self.forward_layer(layer, tokens, segments);
        }
    }

    fn forward_layer(&mut self, layer: usize, tokens: &[u32], segments: &[usize]) {
        self.with_pass(tokens, segments, |pool, pass, parts| {
            let Parts { places, weights, activations: a, .. } = parts;
            let step = StepLayer { places: &places.layers[layer], weights: &weights[layer] };
            let saved = &a.saved[layer.min(a.saved.len() - 1)];
            let (x, y) = (&a.residual[layer], &a.residual[layer + 1]);
            pool.run(|worker| step.forward(worker, pass, x, saved, a.scratch, y));
        });
    }

    /// The loss, and where it is wanted its gradient by the residual stream, in `activations.d`.
    fn loss(
        &mut self,
        batch: &Batch,
        settings: &LossSettings,
        mut teacher: Option<&mut dyn Teacher>,
        wants_gradient: bool,
    ) -> Losses {
        if let Some(teacher) = &mut teacher {
            teacher.begin(batch);
        }
        let Activations { residual, d, head, .. } = &mut self.activations;
        let stream = residual.last().expect("there is a stream after the last layer");
        let pass = Pass {
            config: &self.config,
            rotary: &self.rotary,
            parameters: &self.parameters,
            gradients: &self.gradients,
            lambda: self.lambda,
            sequences: &[],
            segments: &batch.segments,
            rows: batch.tokens.len(),
        };
        let gradient = wants_gradient.then_some(&*d);
        head.loss(&self.pool, &pass, &self.places, stream, batch, settings, teacher, gradient)
    }

    /// From the gradient in `activations.d` to those of all parameters.
    fn backward(&mut self, tokens: &[u32], segments: &[usize]) {
        for layer in (0..self.places.layers.len()).rev() {
            if self.size.recompute && layer + 1 < self.places.layers.len() {
                self.forward_layer(layer, tokens, segments);
            }
            self.with_pass(tokens, segments, |pool, pass, parts| {
                let Parts { places, weights, activations: a } = parts;
                let step = StepLayer { places: &places.layers[layer], weights: &weights[layer] };
                let saved = &a.saved[layer.min(a.saved.len() - 1)];
                let x = &a.residual[layer];
                pool.run(|worker| step.backward(worker, pass, x, saved, a.scratch, a.d));
            });
        }
        let (gradients, d) = (&self.gradients, &self.activations.d);
        let (first, width) = (self.places.embedding.start, self.config.hidden_size);
        self.pool.run(|worker| backward::embed_backward(worker, tokens, d, width, gradients, first));
    }

    /// One cache a segment, kept where the segments have the lengths of the last ones.
    fn set_caches(&mut self, segments: &[usize]) {
        let caches = &mut self.activations.caches;
        let fits = |(cache, len): (&KvCache, &usize)| cache.capacity() >= *len;
        if caches.len() == segments.len() && caches.iter().zip(segments).all(fits) {
            return;
        }
        let (heads, head_dim) = (self.config.num_key_value_heads, self.config.head_dim);
        let cache = |len: &usize| KvCache::new(&self.pool, KvType::F32, 1, heads, head_dim, *len);
        *caches = segments.iter().map(cache).collect();
    }

    /// Calls `f` with what a layer's pass over the current micro-batch needs.
    fn with_pass(&mut self, tokens: &[u32], segments: &[usize], f: impl FnOnce(&Pool, &Pass<'_>, Parts<'_>)) {
        let Activations { residual, saved, scratch, d, caches, .. } = &mut self.activations;
        let mut rest = tokens;
        let sequences: Vec<Sequence<'_>> = caches
            .iter_mut()
            .zip(segments)
            .map(|(cache, len)| {
                let (tokens, later) = rest.split_at(*len);
                rest = later;
                Sequence { tokens, cache }
            })
            .collect();
        let pass = Pass {
            config: &self.config,
            rotary: &self.rotary,
            parameters: &self.parameters,
            gradients: &self.gradients,
            lambda: self.lambda,
            sequences: &sequences,
            segments,
            rows: tokens.len(),
        };
        let activations = LayerActivations { residual, saved, scratch, d };
        f(&self.pool, &pass, Parts { places: &self.places, weights: &self.weights, activations });
    }
}

/// The parts of a network that a layer's pass needs beside the [`Pass`].
struct Parts<'a> {
    places: &'a Places,
    weights: &'a [[StepWeights; 7]],
    activations: LayerActivations<'a>,
}

/// The activations without the caches, which the sequences of a pass hold.
struct LayerActivations<'a> {
    residual: &'a [Buffer<f32>],
    saved: &'a [SavedLayer],
    scratch: &'a LayerScratch,
    d: &'a Buffer<f32>,
}
