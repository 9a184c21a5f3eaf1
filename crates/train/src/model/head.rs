//! The last norm, the vocabulary projection and the loss, a window of rows at a time.
//!
//! No matrix of all logits is kept: a window's logits become their gradient in place, which goes
//! at once into the gradients of head and norm and by the residual stream. Rows whose loss does
//! not count are left out.

use std::sync::Mutex;

use tercet::config::Config;
use tercet_kernels::ops;
use tercet_kernels::ops::backward::{
    self, GainParts, GradientOperands, GradientProduct, GradientSizes, Input, LossRows, SoftTargets, Weight,
};
use tercet_kernels::{Buffer, DenseView, Destination, Pool, Worker};

use super::linear::{norm_backward, norm_forward};
use super::parameters::Places;
use super::teacher::Teacher;
use super::{Pass, Shape, Stage};
use crate::data::Batch;

/// Logits that are there at a time, at most: 64 MB.
const WINDOW_LOGITS: usize = 1 << 24;
/// Rows of a window at most.
const WINDOW_ROWS: usize = 512;

/// How losses become gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossSettings {
    /// Multiplies the loss of every counted token, such as 1 / tokens of the step for a mean.
    pub scale: f32,
    /// The teacher's share of the loss; 0 without a teacher.
    pub teacher_weight: f32,
    /// Divides both models' logits in the teacher's part.
    pub temperature: f32,
}

impl LossSettings {
    /// Cross-entropy alone.
    pub fn hard(scale: f32) -> Self {
        LossSettings { scale, teacher_weight: 0.0, temperature: 1.0 }
    }
}

/// The losses of a batch, summed over the tokens that count.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Losses {
    /// Cross-entropy, in nats.
    pub cross_entropy: f64,
    /// What is trained: the same without a teacher.
    pub loss: f64,
    /// Tokens that count.
    pub tokens: u64,
}

impl Losses {
    /// Both together.
    pub fn plus(self, other: Losses) -> Losses {
        Losses {
            cross_entropy: self.cross_entropy + other.cross_entropy,
            loss: self.loss + other.loss,
            tokens: self.tokens + other.tokens,
        }
    }
}

/// Room for one window.
pub(super) struct Head {
    rows: usize,
    picked: Buffer<f32>,   // [rows, hidden]
    normed: Buffer<f32>,   // [rows, hidden]
    logits: Buffer<f32>,   // [rows, vocabulary]; then their gradient
    d_normed: Buffer<f32>, // [rows, hidden]
    d_picked: Buffer<f32>, // [rows, hidden]
    gain_parts: GainParts,
    operands: GradientOperands,
    /// `[rows, vocabulary]` from the first use of a teacher on.
    teacher: Buffer<f32>,
}

/// Rows of a window for a vocabulary of this size.
pub(super) fn window_rows(vocab_size: usize, rows: usize) -> usize {
    (WINDOW_LOGITS / vocab_size).clamp(1, WINDOW_ROWS).min(rows.max(1))
}

/// The product of the backward pass of a window.
pub(super) fn gradient_sizes(config: &Config, rows: usize) -> GradientSizes {
    GradientSizes { rows, matrices: vec![[config.vocab_size, config.hidden_size]], is_quantized: false }
}

impl Head {
    pub(super) fn new(pool: &Pool, shape: &Shape<'_>) -> Self {
        let config = shape.config;
        let rows = window_rows(config.vocab_size, shape.rows);
        let rows_of = |width| Buffer::zeroed(pool, rows * width);
        Head {
            rows,
            picked: rows_of(config.hidden_size),
            normed: rows_of(config.hidden_size),
            logits: rows_of(config.vocab_size),
            d_normed: rows_of(config.hidden_size),
            d_picked: rows_of(config.hidden_size),
            gain_parts: GainParts::new(pool, rows, config.hidden_size),
            operands: GradientOperands::new(pool, shape.precision, &gradient_sizes(config, rows)),
            teacher: Buffer::zeroed(pool, 0),
        }
    }

    /// The loss of a batch whose residual stream is `stream`; where `d` is wanted it becomes the
    /// gradient by `stream`, and the gradients of norm and head are added.
    #[expect(clippy::too_many_arguments, reason = "it is the end of a pass and needs all of it")]
    pub(super) fn loss(
        &mut self,
        pool: &Pool,
        pass: &Pass<'_>,
        places: &Places,
        stream: &Buffer<f32>,
        batch: &Batch,
        settings: &LossSettings,
        mut teacher: Option<&mut dyn Teacher>,
        d: Option<&Buffer<f32>>,
    ) -> Losses {
        let (vocabulary, hidden) = (pass.config.vocab_size, pass.config.hidden_size);
        if let Some(d) = d {
            pool.run(|worker| {
                backward::fill_zero(worker, d, std::slice::from_ref(&(0..pass.rows * hidden)));
                self.operands.prepare_weight(worker, &self.product(pass, places));
            });
        }
        let mut losses = Losses::default();
        for first in (0..pass.rows).step_by(self.rows) {
            let window = first..pass.rows.min(first + self.rows);
            let rows: Vec<usize> = window.clone().filter(|row| batch.counts[*row]).collect();
            if let Some(teacher) = &mut teacher {
                if self.teacher.is_empty() {
                    self.teacher = Buffer::zeroed(pool, self.rows * vocabulary);
                }
                // The teacher sees every row, counted or not: its cache must be whole.
                let logits = teacher.logits(batch, window.clone());
                let out = self.teacher.as_mut_slice().chunks_exact_mut(vocabulary);
                for (out, row) in out.zip(&rows) {
                    out.copy_from_slice(&logits[(row - first) * vocabulary..][..vocabulary]);
                }
            }
            if rows.is_empty() {
                continue;
            }
            let targets: Vec<u32> = rows.iter().map(|row| batch.targets[*row]).collect();
            let soft = teacher.as_ref().map(|_| SoftTargets {
                logits: &self.teacher,
                weight: settings.teacher_weight,
                temperature: settings.temperature,
            });
            let wanted = LossRows { targets: &targets, scale: settings.scale, teacher: soft };
            let window_losses = Mutex::new(Vec::with_capacity(rows.len()));
            let window_pass = Pass { rows: rows.len(), ..*pass };
            pool.run(|worker| {
                self.project(worker, &window_pass, places, stream, &rows);
                worker.barrier();
                backward::cross_entropy(worker, wanted, vocabulary, &self.logits, &window_losses);
                worker.barrier();
                pass.clock.end(worker, Stage::Head);
                if let Some(d) = d {
                    self.project_backward(worker, &window_pass, places);
                    backward::scatter_rows(worker, &self.d_picked, &rows, hidden, d);
                }
            });
            let mut window_losses = window_losses.into_inner().expect("cross_entropy does not panic");
            window_losses.sort_unstable_by_key(|(row, _)| *row);
            for (_, [cross_entropy, loss]) in window_losses {
                losses = losses.plus(Losses { cross_entropy, loss, tokens: 1 });
            }
        }
        losses
    }

    /// The logits of every row, `[rows, vocabulary]`.
    pub(super) fn logits(
        &mut self,
        pool: &Pool,
        pass: &Pass<'_>,
        places: &Places,
        stream: &Buffer<f32>,
    ) -> Vec<f32> {
        let vocabulary = pass.config.vocab_size;
        let mut all = Vec::with_capacity(pass.rows * vocabulary);
        for first in (0..pass.rows).step_by(self.rows) {
            let rows: Vec<usize> = (first..pass.rows.min(first + self.rows)).collect();
            let window_pass = Pass { rows: rows.len(), ..*pass };
            pool.run(|worker| self.project(worker, &window_pass, places, stream, &rows));
            all.extend_from_slice(&self.logits.as_mut_slice()[..rows.len() * vocabulary]);
        }
        all
    }

    /// `logits = norm(stream[rows]) · headᵀ`.
    fn project(
        &self,
        worker: &mut Worker<'_>,
        pass: &Pass<'_>,
        places: &Places,
        stream: &Buffer<f32>,
        rows: &[usize],
    ) {
        let (vocabulary, hidden) = (pass.config.vocab_size, pass.config.hidden_size);
        ops::gather_rows(worker, stream, rows.iter().copied(), hidden, &self.picked);
        worker.barrier();
        norm_forward(worker, pass, &places.norm, &self.picked, &self.normed);
        let head = &pass.parameters.read(worker)[places.head.clone()];
        let head = DenseView::from_f32(head, [vocabulary, hidden]);
        ops::dense_product(worker, head, &self.normed, pass.rows, &self.logits);
    }

    /// The projection, whose weights are taken in once a pass.
    fn product<'a>(&'a self, pass: &Pass<'a>, places: &Places) -> GradientProduct<'a> {
        GradientProduct {
            w: Weight::Floats(pass.parameters, places.head.start),
            x: Input::Floats(&self.normed),
            d_y: &self.logits,
            shape: [pass.rows, pass.config.vocab_size, pass.config.hidden_size],
        }
    }

    /// From the gradient in `logits` to those of the head, the norm and `d_picked`.
    fn project_backward(&self, worker: &mut Worker<'_>, pass: &Pass<'_>, places: &Places) {
        let product = self.product(pass, places);
        self.operands.prepare_input(worker, &product);
        self.operands.prepare_gradient(worker, &product);
        worker.barrier();
        self.operands.input_gradient(worker, &product, Destination::Replace, &self.d_normed);
        let first = places.head.start;
        self.operands.weight_gradient(worker, &product, Destination::Add, pass.gradients, first);
        worker.barrier();
        pass.clock.end(worker, Stage::Head);
        let norm = &places.norm;
        let (parts, replaced) = (&self.gain_parts, Destination::Replace);
        norm_backward(worker, pass, norm, &self.picked, &self.d_normed, parts, replaced, &self.d_picked);
    }
}
