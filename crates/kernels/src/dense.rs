//! Dense matrices in their checkpoint's type: embeddings, the vocabulary head, the linears of a
//! full-precision model.
//!
//! It knows no names and no files, only little-endian numbers.

use half::{bf16, f16};

use crate::aligned::{AlignedVec, Element};
use crate::buffer::Buffer;
use crate::dispatch;
use crate::isa::Isa;
use crate::pool::{Pool, Worker};
use crate::scalar::Stored;

/// The number type of a dense matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenseType {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    Bf16,
}

impl DenseType {
    /// `f32`, `f16` or `bf16`.
    pub const fn name(self) -> &'static str {
        match self {
            DenseType::F32 => "f32",
            DenseType::F16 => "f16",
            DenseType::Bf16 => "bf16",
        }
    }

    /// Bytes of one number.
    pub const fn size_bytes(self) -> usize {
        match self {
            DenseType::F32 => 4,
            DenseType::F16 | DenseType::Bf16 => 2,
        }
    }
}

enum DenseValues {
    F32(AlignedVec<f32>),
    F16(AlignedVec<f16>),
    Bf16(AlignedVec<bf16>),
}

/// A row-major matrix `[rows, cols]` of f32, f16 or bf16.
pub struct DenseMatrix {
    rows: usize,
    cols: usize,
    values: DenseValues,
}

#[derive(Clone, Copy)]
pub(crate) enum ViewedValues<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

/// A row-major matrix that somebody else keeps: a [`DenseMatrix`], or a part of a trainer's
/// parameters.
#[derive(Clone, Copy)]
pub struct DenseView<'a> {
    rows: usize,
    cols: usize,
    pub(crate) values: ViewedValues<'a>,
}

impl<'a> DenseView<'a> {
    /// A matrix of f32.
    ///
    /// # Panics
    /// If `values` has not `rows * cols` elements.
    pub fn from_f32(values: &'a [f32], [rows, cols]: [usize; 2]) -> Self {
        assert_eq!(values.len(), rows * cols, "DenseView::from_f32: one value an element");
        DenseView { rows, cols, values: ViewedValues::F32(values) }
    }

    /// Outputs: the rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs: the columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `row` as f32, exactly.
    pub(crate) fn read_row(&self, isa: Isa, row: usize, out: &mut [f32]) {
        let range = row * self.cols..(row + 1) * self.cols;
        match self.values {
            ViewedValues::F32(values) => out.copy_from_slice(&values[range]),
            ViewedValues::F16(values) => dispatch::to_f32(isa, &values[range], out),
            ViewedValues::Bf16(values) => dispatch::to_f32(isa, &values[range], out),
        }
    }
}

impl DenseMatrix {
    /// A matrix of f32.
    ///
    /// # Panics
    /// If `values` has not `rows * cols` elements.
    pub fn from_f32(values: &[f32], [rows, cols]: [usize; 2]) -> Self {
        assert_eq!(values.len(), rows * cols, "DenseMatrix::from_f32: one value an element");
        DenseMatrix { rows, cols, values: DenseValues::F32(values.into()) }
    }

    /// Outputs: the rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs: the columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The number type.
    pub fn dense_type(&self) -> DenseType {
        match self.values {
            DenseValues::F32(_) => DenseType::F32,
            DenseValues::F16(_) => DenseType::F16,
            DenseValues::Bf16(_) => DenseType::Bf16,
        }
    }

    /// Bytes that one pass over the matrix reads.
    pub fn size_bytes(&self) -> usize {
        self.rows * self.cols * self.dense_type().size_bytes()
    }

    /// The whole matrix, for an operation.
    pub fn view(&self) -> DenseView<'_> {
        let values = match &self.values {
            DenseValues::F32(values) => ViewedValues::F32(values),
            DenseValues::F16(values) => ViewedValues::F16(values),
            DenseValues::Bf16(values) => ViewedValues::Bf16(values),
        };
        DenseView { rows: self.rows, cols: self.cols, values }
    }
}

enum DenseBuffer {
    F32(Buffer<f32>),
    F16(Buffer<f16>),
    Bf16(Buffer<bf16>),
}

/// A matrix that the workers of a pool fill from little-endian bytes.
pub struct DenseBuilder {
    rows: usize,
    cols: usize,
    values: DenseBuffer,
}

/// Elements that a worker copies at a time: small against any matrix that matters.
const COPY_ELEMENTS: usize = 1 << 18;

impl DenseBuilder {
    /// Memory for a matrix of this type and shape.
    pub fn new(pool: &Pool, dense_type: DenseType, [rows, cols]: [usize; 2]) -> Self {
        let len = rows * cols;
        let values = match dense_type {
            DenseType::F32 => DenseBuffer::F32(Buffer::zeroed_weights(pool, len)),
            DenseType::F16 => DenseBuffer::F16(Buffer::zeroed_weights(pool, len)),
            DenseType::Bf16 => DenseBuffer::Bf16(Buffer::zeroed_weights(pool, len)),
        };
        DenseBuilder { rows, cols, values }
    }

    /// Copies all numbers from `source` (little-endian, row-major), all workers together.
    ///
    /// `on_copied` hears of every range of bytes that is no longer needed, `on_not_finite` of the
    /// first NaN or infinity of a range, by its element.
    pub fn copy(
        &self,
        worker: &Worker<'_>,
        source: &[u8],
        on_copied: impl Fn(std::ops::Range<usize>),
        on_not_finite: impl Fn(usize),
    ) {
        match &self.values {
            DenseBuffer::F32(out) => copy(worker, out, source, f32::from_le_bytes, on_copied, on_not_finite),
            DenseBuffer::F16(out) => copy(worker, out, source, f16::from_le_bytes, on_copied, on_not_finite),
            DenseBuffer::Bf16(out) => {
                copy(worker, out, source, bf16::from_le_bytes, on_copied, on_not_finite)
            }
        }
    }

    /// Fills it row by row, rounded to its type, all workers together: `read(first, values)` gives the elements from
    /// `first` on. `on_not_finite` hears of the first NaN or infinity of a row, by its element.
    pub fn fill_rows(
        &self,
        worker: &Worker<'_>,
        read: impl Fn(usize, &mut [f32]),
        on_not_finite: impl Fn(usize),
    ) {
        match &self.values {
            DenseBuffer::F32(out) => fill_rows(worker, out, self.cols, read, |value| value, on_not_finite),
            DenseBuffer::F16(out) => fill_rows(worker, out, self.cols, read, f16::from_f32, on_not_finite),
            DenseBuffer::Bf16(out) => fill_rows(worker, out, self.cols, read, bf16::from_f32, on_not_finite),
        }
    }

    /// Fills it with `value(i)` for element `i`, rounded to its type, all workers together.
    pub fn fill(&self, worker: &Worker<'_>, value: impl Fn(u64) -> f32) {
        match &self.values {
            DenseBuffer::F32(out) => fill(worker, out, value),
            DenseBuffer::F16(out) => fill(worker, out, |i| f16::from_f32(value(i))),
            DenseBuffer::Bf16(out) => fill(worker, out, |i| bf16::from_f32(value(i))),
        }
    }

    /// The finished matrix.
    pub fn finish(self) -> DenseMatrix {
        let values = match self.values {
            DenseBuffer::F32(values) => DenseValues::F32(values.into_values()),
            DenseBuffer::F16(values) => DenseValues::F16(values.into_values()),
            DenseBuffer::Bf16(values) => DenseValues::Bf16(values.into_values()),
        };
        DenseMatrix { rows: self.rows, cols: self.cols, values }
    }
}

fn fill_rows<T: Element>(
    worker: &Worker<'_>,
    out: &Buffer<T>,
    cols: usize,
    read: impl Fn(usize, &mut [f32]),
    rounded: impl Fn(f32) -> T,
    on_not_finite: impl Fn(usize),
) {
    let operation = worker.begin_operation();
    let mut rows = out.write(worker, operation);
    let mut values = vec![0.0; cols];
    while let Some(row) = worker.claim(operation, out.len() / cols.max(1)) {
        read(row * cols, &mut values);
        if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
            on_not_finite(row * cols + bad);
        }
        for (out, value) in rows.slice(row * cols, cols).iter_mut().zip(&values) {
            *out = rounded(*value);
        }
    }
}

fn fill<T: Element>(worker: &Worker<'_>, out: &Buffer<T>, value: impl Fn(u64) -> T) {
    let operation = worker.begin_operation();
    let mut values = out.write(worker, operation);
    while let Some(index) = worker.claim(operation, out.len().div_ceil(COPY_ELEMENTS)) {
        let first = index * COPY_ELEMENTS;
        for (i, out) in (first as u64..).zip(values.slice(first, COPY_ELEMENTS.min(out.len() - first))) {
            *out = value(i);
        }
    }
}

fn copy<T: Element + Stored, const BYTES: usize>(
    worker: &Worker<'_>,
    out: &Buffer<T>,
    source: &[u8],
    from_bytes: impl Fn([u8; BYTES]) -> T,
    on_copied: impl Fn(std::ops::Range<usize>),
    on_not_finite: impl Fn(usize),
) {
    assert_eq!(source.len(), out.len() * BYTES, "DenseBuilder::copy: the bytes of every element");
    let operation = worker.begin_operation();
    let mut values = out.write(worker, operation);
    while let Some(index) = worker.claim(operation, out.len().div_ceil(COPY_ELEMENTS)) {
        let first = index * COPY_ELEMENTS;
        let len = COPY_ELEMENTS.min(out.len() - first);
        let range = first * BYTES..(first + len) * BYTES;
        let values = values.slice(first, len);
        for (value, bytes) in values.iter_mut().zip(source[range.clone()].as_chunks().0) {
            *value = from_bytes(*bytes);
        }
        if let Some(bad) = values.iter().position(|value| !Stored::to_f32(*value).is_finite()) {
            on_not_finite(first + bad);
        }
        on_copied(range);
    }
}
