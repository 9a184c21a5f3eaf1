//! What stands before a product with int8 rows, in one pass over each row: a sum or a gate, a norm,
//! and the quantization.
//!
//! Each step is the operation of its own name, so the bits are those of the steps one by one.

use crate::buffer::{Buffer, Writer};
use crate::dispatch;
use crate::isa::Isa;
use crate::ops::gate::Activation;
use crate::ops::int8_rows::{Int8Rows, PANEL_TOKENS};
use crate::pool::Worker;

/// Where the rows come from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// They are there.
    Rows(&'a Buffer<f32>),
    /// `x = x + y`, which is kept in `x`.
    Sum {
        /// The rows, changed in place.
        x: &'a Buffer<f32>,
        /// What is added.
        y: &'a Buffer<f32>,
    },
    /// `activation(gate) · up`
    Gate {
        /// What the gate is put through.
        activation: Activation,
        /// The gate.
        gate: &'a Buffer<f32>,
        /// What is gated.
        up: &'a Buffer<f32>,
    },
}

/// The gain and ε of an RMSNorm.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// One factor a value.
    pub gain: &'a [f32],
    /// Added to the mean square.
    pub eps: f32,
}

/// `out = absmax(norm(source))`, row by row. See [`crate::quantize`].
///
/// # Shapes
/// buffers of `source`: `[m, width]`; `norm`: of `width`; `out`: room for `m` rows of `width`
///
/// # Panics
/// If the gain is of another width, or the rows do not fit.
pub fn prepare_rows(
    worker: &Worker<'_>,
    source: Source<'_>,
    norm: Option<Norm<'_>>,
    [m, width]: [usize; 2],
    out: &Int8Rows,
) {
    assert!(out.fits(width), "prepare_rows: the rows fit");
    if let Some(norm) = norm {
        assert_eq!(norm.gain.len(), width, "prepare_rows: the gain has one value a column");
    }
    let operation = worker.begin_operation();
    let isa = worker.isa();
    let mut source = Reader::new(worker, operation, source);
    let mut scratch = out.scratch(worker, operation);
    let mut out = out.write(worker, operation, m);
    let (scratch, normed) = scratch.slice(worker.index() * 2 * width, 2 * width).split_at_mut(width);
    // A panel belongs to one worker.
    while let Some(panel) = worker.claim(operation, m.div_ceil(PANEL_TOKENS)) {
        for row in panel * PANEL_TOKENS..m.min((panel + 1) * PANEL_TOKENS) {
            let x = source.row(isa, row, scratch);
            match norm {
                None => out.write_row(row, x),
                Some(Norm { gain, eps }) => {
                    dispatch::rms_norm(isa, x, gain, eps, normed);
                    out.write_row(row, normed);
                }
            }
        }
    }
}

/// Quantizes each row of `x` by its largest magnitude. See [`crate::quantize`].
///
/// # Shapes
/// `x`: `[m, width]`; `out`: room for `m` rows of `width`
pub fn quantize_rows(worker: &Worker<'_>, x: &Buffer<f32>, m: usize, width: usize, out: &Int8Rows) {
    prepare_rows(worker, Source::Rows(x), None, [m, width], out);
}

/// The buffers of a [`Source`], entered for one operation.
enum Reader<'a> {
    Rows(&'a [f32]),
    Sum { x: Writer<'a, f32>, y: &'a [f32] },
    Gate { activation: Activation, gate: &'a [f32], up: &'a [f32] },
}

impl<'a> Reader<'a> {
    fn new(worker: &'a Worker<'_>, operation: u32, source: Source<'a>) -> Self {
        match source {
            Source::Rows(x) => Reader::Rows(x.read(worker)),
            Source::Sum { x, y } => Reader::Sum { x: x.write(worker, operation), y: y.read(worker) },
            Source::Gate { activation, gate, up } => {
                Reader::Gate { activation, gate: gate.read(worker), up: up.read(worker) }
            }
        }
    }

    /// A row, in place or in `scratch`.
    fn row<'b>(&'b mut self, isa: Isa, row: usize, scratch: &'b mut [f32]) -> &'b [f32] {
        let range = row * scratch.len()..(row + 1) * scratch.len();
        match self {
            Reader::Rows(x) => &x[range],
            Reader::Sum { x, y } => {
                let x = x.slice(range.start, range.len());
                dispatch::add_assign(isa, x, &y[range]);
                x
            }
            Reader::Gate { activation, gate, up } => {
                activation.gate(isa, &gate[range.clone()], &up[range], scratch);
                scratch
            }
        }
    }
}
