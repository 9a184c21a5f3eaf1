//! The codes of masters, made anew after every step of a training, all matrices together.
//!
//! The scale is that of `quantize.rs`, the layout that of `ternary.rs`.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::buffer::Buffer;
use crate::dispatch;
use crate::ops::rows::for_rows;
use crate::pool::Pool;
use crate::quantize::{self, ABSMEAN_BLOCK, QuantizeError};
use crate::ternary::{
    BLOCK_BYTES, CodeChanges, Layout, TILE_ROWS, TernaryBuilder, TernaryMatrix, tile_bytes,
};

/// Blocks whose sums a worker adds side by side.
const BLOCKS_TOGETHER: usize = 8;

/// Where a matrix of masters lies in a long buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterMatrix {
    /// Its first element.
    pub first: usize,
    /// Outputs and inputs.
    pub shape: [usize; 2],
}

impl MasterMatrix {
    fn range(&self) -> Range<usize> {
        self.first..self.first + self.shape[0] * self.shape[1]
    }
}

/// What masters become.
pub struct QuantizedMaster {
    /// Their codes, two bits each.
    pub matrix: TernaryMatrix,
    /// Their scale.
    pub scale: f32,
}

/// What the masters of all matrices became.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodeStatistics {
    /// Weights that are -1, 0 and +1.
    pub counts: [u64; 3],
    /// Weights whose code differs from that of the step before.
    pub flips: u64,
}

/// A master is NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFiniteMaster {
    /// The number of the matrix.
    pub matrix: usize,
    /// The element in it.
    pub index: usize,
}

/// Codes and scales of `matrices` in `masters`.
///
/// `before` are those of the step before, whose memory is used again, or none in the first step.
///
/// # Errors
/// [`NotFiniteMaster`]: the first. The codes of the step before are then lost.
///
/// # Panics
/// If `before` has some matrices and not all.
pub fn quantize_masters(
    pool: &Pool,
    masters: &Buffer<f32>,
    matrices: &[MasterMatrix],
    before: Vec<QuantizedMaster>,
) -> Result<(Vec<QuantizedMaster>, CodeStatistics), NotFiniteMaster> {
    let is_first = before.is_empty();
    assert!(is_first || before.len() == matrices.len(), "quantize_masters: the codes of all matrices");
    let scales = scales(pool, masters, matrices)?;
    let builders: Vec<_> = if is_first {
        matrices.iter().map(|place| TernaryBuilder::new(pool, place.shape, Layout::TwoBit)).collect()
    } else {
        before.into_iter().map(|before| TernaryBuilder::again(pool, before.matrix)).collect()
    };
    if is_first {
        // Nothing pads them yet.
        for builder in &builders {
            pool.run(|worker| {
                builder.pack(worker, |_, codes| codes.fill(1), |_| unreachable!("1 is a code"))
            });
        }
    }
    let changes = pack(pool, masters, matrices, &scales, &builders);
    let weights: u64 = matrices.iter().map(|place| place.range().len() as u64).sum();
    let counts = [changes.minus, weights - changes.minus - changes.plus, changes.plus];
    let flips = if is_first { 0 } else { changes.changed };
    let finished = builders.into_iter().zip(scales);
    let finished = finished.map(|(builder, scale)| QuantizedMaster { matrix: builder.finish(), scale });
    Ok((finished.collect(), CodeStatistics { counts, flips }))
}

/// The scale of each matrix.
fn scales(
    pool: &Pool,
    masters: &Buffer<f32>,
    matrices: &[MasterMatrix],
) -> Result<Vec<f32>, NotFiniteMaster> {
    const CLAIM: usize = BLOCKS_TOGETHER * ABSMEAN_BLOCK;
    let claims = claims(matrices.iter().map(|place| place.range().len().div_ceil(CLAIM)));
    let collected = Mutex::new(Vec::new());
    pool.run(|worker| {
        let operation = worker.begin_operation();
        let masters = masters.read(worker);
        let mut mine = Vec::new();
        for_rows(worker, operation, claims.len(), |claim| {
            let (matrix, part) = claims[claim];
            let values = &masters[matrices[matrix].range()];
            let values = &values[part * CLAIM..values.len().min((part + 1) * CLAIM)];
            if let Some(values) = values.first_chunk::<CLAIM>() {
                let blocks = std::array::from_fn(|b| &values[b * ABSMEAN_BLOCK..][..ABSMEAN_BLOCK]);
                mine.push((claim, quantize::statistics_of::<BLOCKS_TOGETHER>(blocks).to_vec()));
            } else {
                let blocks = values.chunks(ABSMEAN_BLOCK).map(quantize::block_statistics);
                mine.push((claim, blocks.collect()));
            }
        });
        collected.lock().unwrap_or_else(PoisonError::into_inner).append(&mut mine);
    });
    let mut collected = collected.into_inner().unwrap_or_else(PoisonError::into_inner);
    collected.sort_unstable_by_key(|(claim, _)| *claim);
    let mut blocks = vec![Vec::new(); matrices.len()];
    for (claim, mut statistics) in collected {
        blocks[claims[claim].0].append(&mut statistics);
    }
    let scale = |(matrix, blocks): (usize, &Vec<_>)| {
        quantize::scale(blocks, matrices[matrix].range().len())
            .map_err(|QuantizeError::NotFinite { index }| NotFiniteMaster { matrix, index })
    };
    blocks.iter().enumerate().map(scale).collect()
}

/// The codes of each matrix, into its builder.
fn pack(
    pool: &Pool,
    masters: &Buffer<f32>,
    matrices: &[MasterMatrix],
    scales: &[f32],
    builders: &[TernaryBuilder],
) -> CodeChanges {
    let claims = claims(matrices.iter().map(|place| place.shape[0].div_ceil(TILE_ROWS)));
    let total = Mutex::new(CodeChanges::default());
    pool.run(|worker| {
        let operation = worker.begin_operation();
        let masters = masters.read(worker);
        let mut outs: Vec<_> = builders.iter().map(|builder| builder.write(worker, operation)).collect();
        let mut mine = CodeChanges::default();
        for_rows(worker, operation, claims.len(), |claim| {
            let (matrix, tile) = claims[claim];
            let [rows, cols] = matrices[matrix].shape;
            let first = tile * TILE_ROWS;
            let masters = &masters[matrices[matrix].range()];
            let masters = &masters[first * cols..rows.min(first + TILE_ROWS) * cols];
            let tile_bytes = tile_bytes(cols, Layout::TwoBit);
            let blocks = outs[matrix].slice(tile * tile_bytes, tile_bytes);
            let blocks = blocks.as_chunks_mut::<BLOCK_BYTES>().0;
            let changes = dispatch::pack_masters(worker.isa(), masters, cols, 1.0 / scales[matrix], blocks);
            mine.minus += changes.minus;
            mine.plus += changes.plus;
            mine.changed += changes.changed;
        });
        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        total.minus += mine.minus;
        total.plus += mine.plus;
        total.changed += mine.changed;
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The parts of every matrix: its number, and that of the part.
fn claims(parts: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    parts.enumerate().flat_map(|(matrix, parts)| (0..parts).map(move |part| (matrix, part))).collect()
}
