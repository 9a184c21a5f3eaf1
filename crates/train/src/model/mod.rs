//! The network in training: inference's forward pass with saved activations, and its gradients.
//!
//! ```text
//! x₀ = embed_tokens[ids]      xᵢ₊₁ = layer(xᵢ)      logits = norm(x) · lm_headᵀ
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `parameters` | where each parameter lies in one long buffer |
//! | `pass` | what all of them are told |
//! | `linear` | linears that share an input, straight through |
//! | `layer` | attention and MLP |
//! | `head` | the last norm, the vocabulary projection and the loss, some rows at a time |
//! | `stages` | where the time of a step goes |
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
mod pass;
mod stages;
mod teacher;

use std::sync::Arc;

use tercet::config::{Config, Linears, TensorKind};
use tercet_kernels::ops;
use tercet_kernels::ops::backward::{self, GradientPrecision};
use tercet_kernels::{
    Buffer, DenseView, Destination, KvCache, KvShape, KvType, MasterMatrix, NotFiniteMaster, Pool,
    RotaryTable, Sequence, quantize_masters,
};

pub use tercet_kernels::CodeStatistics;

pub use head::{LossSettings, Losses};
pub use memory::MemoryNeed;
pub use parameters::{Parameter, ParameterLayout};
pub use stages::{Stage, StageTimes};
pub(crate) use teacher::TEACHER_LAYOUT;
pub use teacher::{ModelTeacher, Teacher};

use crate::data::Batch;
use head::Head;
use layer::{LayerScratch, SavedLayer, StepLayer};
use linear::StepWeights;
use parameters::Places;
use pass::{Pass, Shape};
pub(crate) use stages::StageClock;

/// The numbers of all caches, also a teacher's: nothing is rounded.
pub(crate) const KV_TYPE: KvType = KvType::F32;

/// How a network is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkSize {
    /// Tokens of a micro-batch at most.
    pub rows: usize,
    /// Positions of a sequence at most.
    pub context: usize,
    /// Whether a layer's activations are computed again in the backward pass.
    pub recompute: bool,
    /// The numbers that the products of the backward pass multiply.
    pub precision: GradientPrecision,
}

/// Masters that have no codes.
#[derive(Debug, thiserror::Error)]
#[error("parameter `{name}`: element {index} is not finite")]
pub struct NoCodes {
    /// The parameter.
    pub name: String,
    /// The first element that is NaN or infinite.
    pub index: usize,
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
    /// What becomes of the gradients of the layers' matrices in the next micro-batch.
    matrices: Destination,
    rotary: RotaryTable,
    clock: StageClock,
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
        let shape = Shape { config: &config, rows: size.rows, precision: size.precision };
        let rows_of = |width| Buffer::zeroed(&pool, size.rows * width);
        let layers = config.num_hidden_layers;
        let saved_layers = if size.recompute { 1 } else { layers };
        let activations = Activations {
            residual: (0..=layers).map(|_| rows_of(config.hidden_size)).collect(),
            saved: (0..saved_layers).map(|_| SavedLayer::new(&pool, &shape)).collect(),
            scratch: LayerScratch::new(&pool, &shape),
            d: rows_of(config.hidden_size),
            head: Head::new(&pool, &shape),
            caches: Vec::new(),
        };
        Network {
            size,
            parameters: Buffer::zeroed(&pool, layout.len()),
            gradients: Buffer::zeroed(&pool, layout.len()),
            weights: Vec::new(),
            lambda: 1.0,
            matrices: Destination::Replace,
            rotary: RotaryTable::new(config.head_dim, config.rope_theta, size.context),
            clock: StageClock::new(),
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

    /// The clock that tells where the time of a step goes.
    pub(crate) fn clock(&self) -> &StageClock {
        &self.clock
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
        let layers = self.places.layers.len();
        if self.config.linears == Linears::Dense {
            self.weights = (0..layers).map(|_| [const { StepWeights::Dense }; 7]).collect();
            return Ok(CodeStatistics::default());
        }
        let linears = self.places.layers.iter().flat_map(|layer| &layer.linears);
        let matrices: Vec<_> =
            linears.map(|linear| MasterMatrix { first: linear.weight.start, shape: linear.shape }).collect();
        let before = self.weights.drain(..).flatten().filter_map(StepWeights::into_ternary).collect();
        let quantized = quantize_masters(&self.pool, &self.parameters, &matrices, before);
        let (weights, statistics) = quantized.map_err(|NotFiniteMaster { matrix, index }| NoCodes {
            name: self.name_at(matrices[matrix].first),
            index,
        })?;
        let mut weights = weights.into_iter().map(StepWeights::Ternary);
        let mut next = || weights.next().expect("Network::quantize: seven linears a layer");
        self.weights = (0..layers).map(|_| std::array::from_fn(|_| next())).collect();
        self.clock.end_outside(Stage::Codes);
        Ok(statistics)
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

    /// The next micro-batch is the first of a step: its gradients replace those that are there.
    pub fn clear_gradients(&mut self) {
        self.matrices = Destination::Replace;
        let (gradients, parameters) = (&self.gradients, self.layout.parameters());
        // Those of the layers' matrices are then written and not added.
        let added = parameters.iter().filter(|parameter| parameter.kind != TensorKind::Linear);
        let ranges: Vec<_> = added.map(|parameter| parameter.range.clone()).collect();
        self.pool.run(|worker| backward::fill_zero(worker, gradients, &ranges));
    }

    /// Runs a micro-batch forward and backward and adds its gradients.
    ///
    /// # Panics
    /// If the batch does not fit or has an empty segment, or [`Network::quantize`] was not called.
    pub fn accumulate(
        &mut self,
        batch: &Batch,
        settings: &LossSettings,
        teacher: Option<&mut dyn Teacher>,
    ) -> Losses {
        self.forward(&batch.tokens, &batch.segments);
        let losses = self.loss(batch, settings, teacher, true);
        self.backward(&batch.tokens, &batch.segments);
        self.matrices = Destination::Add;
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
        let Split { activations, pool, places, pass, .. } = self.split();
        let stream = activations.residual.last().expect("there is a stream after the last layer");
        let pass = Pass { segments, rows: tokens.len(), ..pass };
        activations.head.logits(pool, &pass, places, stream)
    }

    /// Fills the activations.
    fn forward(&mut self, tokens: &[u32], segments: &[usize]) {
        assert!(tokens.len() <= self.size.rows, "Network::forward: the batch fits");
        assert!(segments.iter().all(|len| *len > 0), "Network::forward: every segment has a token");
        assert_eq!(
            segments.iter().sum::<usize>(),
            tokens.len(),
            "Network::forward: segments have all tokens"
        );
        let is_long = |len: &usize| *len > self.size.context;
        assert!(!segments.iter().any(is_long), "Network::forward: segments fit the context");
        assert_eq!(self.weights.len(), self.places.layers.len(), "Network::forward: quantize comes first");
        self.set_caches(segments);
        let table = [self.config.vocab_size, self.config.hidden_size];
        let (parameters, embedding) = (&self.parameters, self.places.embedding.clone());
        let first = &self.activations.residual[0];
        self.pool.run(|worker| {
            let table = DenseView::from_f32(&parameters.read(worker)[embedding.clone()], table);
            ops::embed(worker, table, tokens.iter().copied(), first);
        });
        self.clock.end_outside(Stage::Rows);
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
        let Split { activations: Activations { residual, d, head, .. }, pool, places, pass, .. } =
            self.split();
        let stream = residual.last().expect("there is a stream after the last layer");
        let pass = Pass { segments: &batch.segments, rows: batch.tokens.len(), ..pass };
        let gradient = wants_gradient.then_some(&*d);
        let losses = head.loss(pool, &pass, places, stream, batch, settings, teacher, gradient);
        self.clock.end_outside(Stage::Head);
        losses
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
        self.clock.end_outside(Stage::Rows);
    }

    /// One cache a segment, kept where the segments have the lengths of the last ones.
    fn set_caches(&mut self, segments: &[usize]) {
        let caches = &mut self.activations.caches;
        let fits = |(cache, len): (&KvCache, &usize)| cache.capacity() >= *len;
        if caches.len() == segments.len() && caches.iter().zip(segments).all(fits) {
            return;
        }
        *caches = caches_of(&self.pool, &self.config, 1, segments);
    }

    /// Calls `f` with what a layer's pass over the current micro-batch needs.
    fn with_pass(&mut self, tokens: &[u32], segments: &[usize], f: impl FnOnce(&Pool, &Pass<'_>, Parts<'_>)) {
        let Split { activations, pool, places, weights, pass } = self.split();
        let Activations { residual, saved, scratch, d, caches, .. } = activations;
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
        let pass = Pass { sequences: &sequences, segments, rows: tokens.len(), ..pass };
        let activations = LayerActivations { residual, saved, scratch, d };
        f(pool, &pass, Parts { places, weights, activations });
    }

    /// What a micro-batch changes, and beside it what it does not.
    fn split(&mut self) -> Split<'_> {
        Split {
            pass: Pass {
                config: &self.config,
                rotary: &self.rotary,
                parameters: &self.parameters,
                gradients: &self.gradients,
                matrices: self.matrices,
                lambda: self.lambda,
                sequences: &[],
                segments: &[],
                rows: 0,
                clock: &self.clock,
            },
            pool: &self.pool,
            places: &self.places,
            weights: &self.weights,
            activations: &mut self.activations,
        }
    }
}

/// A cache in f32 for each segment.
fn caches_of(pool: &Pool, config: &Config, layers: usize, segments: &[usize]) -> Vec<KvCache> {
    let shape = KvShape { num_hidden_layers: layers, ..config.kv_shape() };
    let cache = |len: &usize| KvCache::new(pool, KV_TYPE, shape, *len);
    segments.iter().map(cache).collect()
}

/// A network, taken apart.
struct Split<'a> {
    activations: &'a mut Activations,
    pool: &'a Pool,
    places: &'a Places,
    weights: &'a [[StepWeights; 7]],
    /// Of no rows yet.
    pass: Pass<'a>,
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
