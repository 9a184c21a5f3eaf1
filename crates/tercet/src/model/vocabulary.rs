//! The two tables of the vocabulary: where a token's first vector comes from, and what turns the
//! last one into logits.
//!
//! It knows nothing of the layers between them.

use std::sync::Arc;

use tercet_kernels::ops::{self, Int8Rows};
use tercet_kernels::{Buffer, DenseMatrix, Layout, Pool, QuantizedMatrix, QuantizedType, Worker};

use crate::checkpoint::RowsOnDisk;

/// The number type of the vocabulary projection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeadType {
    /// The checkpoint's, with f32 activations: the function that was trained.
    #[default]
    Checkpoint,
    /// Fewer bits, with int8 activations: another function, close to the trained one.
    Quantized(QuantizedType),
}

/// How weights are held in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightTypes {
    /// The ternary linears.
    pub layout: Layout,
    /// The vocabulary projection.
    pub head: HeadType,
}

impl From<Layout> for WeightTypes {
    /// The trained head.
    fn from(layout: Layout) -> Self {
        WeightTypes { layout, head: HeadType::Checkpoint }
    }
}

/// Where the vector of a token comes from; always exact.
pub(super) enum Embedding {
    /// A table in memory, which is also the head.
    Table(Arc<DenseMatrix>),
    /// Rows of the checkpoint's file, read as they are needed.
    OnDisk(RowsOnDisk),
    /// Pseudo-random rows `[rows, cols]`: element `i` of the table is `value(i)`.
    Random {
        /// Rows and columns.
        shape: [usize; 2],
        /// The elements.
        value: Box<dyn Fn(u64) -> f32 + Send + Sync>,
    },
}

impl Embedding {
    /// Rows and columns.
    pub(super) fn shape(&self) -> [usize; 2] {
        match self {
            Embedding::Table(table) => [table.rows(), table.cols()],
            Embedding::OnDisk(rows) => rows.shape(),
            Embedding::Random { shape, .. } => *shape,
        }
    }

    /// Bytes of one row.
    pub(super) fn row_bytes(&self) -> usize {
        match self {
            Embedding::Table(table) => table.cols() * table.dense_type().size_bytes(),
            Embedding::OnDisk(rows) => rows.row_bytes(),
            Embedding::Random { shape: [_, cols], .. } => cols * size_of::<f32>(),
        }
    }

    /// `out[t] = row tokens[t]`, `[tokens, cols]`.
    pub(super) fn read(
        &self,
        worker: &Worker<'_>,
        tokens: impl Iterator<Item = u32> + Clone,
        out: &Buffer<f32>,
    ) {
        let cols = self.shape()[1];
        match self {
            Embedding::Table(table) => ops::embed(worker, table.view(), tokens, out),
            Embedding::OnDisk(rows) => {
                ops::embed_with(worker, tokens, cols, out, |token, out| rows.read(token as usize, out));
            }
            Embedding::Random { value, .. } => ops::embed_with(worker, tokens, cols, out, |token, out| {
                for (i, out) in (u64::from(token) * cols as u64..).zip(out) {
                    *out = value(i);
                }
            }),
        }
    }
}

/// The vocabulary projection, `[vocabulary, hidden]`.
pub enum Head {
    /// The checkpoint's numbers.
    Dense(Arc<DenseMatrix>),
    /// Fewer bits.
    Quantized(QuantizedMatrix),
}

impl Head {
    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Head::Dense(matrix) => [matrix.rows(), matrix.cols()],
            Head::Quantized(matrix) => [matrix.rows(), matrix.cols()],
        }
    }

    /// Bytes that one token reads.
    pub fn size_bytes(&self) -> usize {
        match self {
            Head::Dense(matrix) => matrix.size_bytes(),
            Head::Quantized(matrix) => matrix.size_bytes(),
        }
    }

    /// Its type.
    pub fn head_type(&self) -> HeadType {
        match self {
            Head::Dense(_) => HeadType::Checkpoint,
            Head::Quantized(matrix) => HeadType::Quantized(matrix.quantized_type()),
        }
    }

    /// The name of its numbers.
    pub fn type_name(&self) -> &'static str {
        match self {
            Head::Dense(matrix) => matrix.dense_type().name(),
            Head::Quantized(matrix) => matrix.quantized_type().name(),
        }
    }

    /// `logits = x · headᵀ` for `m` rows.
    pub(super) fn project(
        &self,
        worker: &mut Worker<'_>,
        x: &Buffer<f32>,
        m: usize,
        int8: &Int8Rows,
        logits: &Buffer<f32>,
    ) {
        match self {
            Head::Dense(matrix) => ops::dense_product(worker, matrix.view(), x, m, logits),
            Head::Quantized(matrix) => {
                ops::quantize_rows(worker, x, m, matrix.cols(), int8);
                worker.barrier();
                ops::quantized_product(worker, matrix, int8, m, logits);
            }
        }
    }
}

/// A head in fewer bits from rows that `read(row, values)` gives.
pub(super) fn quantize_head(
    pool: &Pool,
    quantized_type: QuantizedType,
    [rows, cols]: [usize; 2],
    read: impl Fn(usize, &mut [f32]) + Sync,
) -> Head {
    Head::Quantized(QuantizedMatrix::quantize(pool, quantized_type, [rows, cols], |first, values| {
        for (row, values) in (first..).zip(values.chunks_exact_mut(cols)) {
            read(row, values);
        }
    }))
}
