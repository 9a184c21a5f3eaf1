//! Quantized activations, laid out for the products.
//!
//! ```text
//! m tokens are cut into panels of 8, then one each of 4, 2 and 1 as the rest needs
//! panel of w tokens = for each 4 columns: 4 codes of token 0, 4 of token 1, … of token w - 1
//! ```
//!
//! So the 4 codes that a 4-way dot product broadcasts lie beside those of the next token, and a
//! single token is simply a row. Codes are padded with 0 to whole blocks and groups of every layout.

use crate::buffer::{Buffer, Writer};
use crate::dispatch;
use crate::isa::Isa;
use crate::pool::{Pool, Worker};
use crate::quantized::GROUP_COLUMNS;
use crate::ternary::Layout;

/// Tokens of the widest panel.
pub(super) const PANEL_TOKENS: usize = 8;
/// Columns whose codes lie together: those of one 4-way dot product.
const QUAD: usize = 4;

/// Quantized activations: int8 codes, a scale and a code sum a token.
pub struct Int8Rows {
    codes: Buffer<i8>,
    scales: Buffer<f32>,
    code_sums: Buffer<i32>,
    /// A row of codes for each worker, before it goes into its panel.
    quads: Buffer<i8>,
    /// Two rows of floats for each worker.
    floats: Buffer<f32>,
    /// A sum of each group of columns of a panel, for each worker.
    group_sums: Buffer<i32>,
    stride: usize,
}

impl Int8Rows {
    /// Room for `max_rows` tokens of at most `max_width` values.
    pub fn new(pool: &Pool, max_rows: usize, max_width: usize) -> Self {
        let stride = padded_width(max_width);
        Int8Rows {
            codes: Buffer::zeroed(pool, max_rows * stride),
            scales: Buffer::zeroed(pool, max_rows),
            code_sums: Buffer::zeroed(pool, max_rows),
            quads: Buffer::zeroed(pool, pool.threads() * stride),
            floats: Buffer::zeroed(pool, pool.threads() * 2 * stride),
            group_sums: Buffer::zeroed(pool, pool.threads() * group_sums_len(stride)),
            stride,
        }
    }

    /// Whether a row of `width` values fits.
    pub(super) fn fits(&self, width: usize) -> bool {
        padded_width(width) <= self.stride
    }

    /// All rows, to read until the next barrier. `m` is what they were quantized with.
    pub(super) fn read<'a>(&'a self, worker: &'a Worker<'_>, m: usize) -> ReadRows<'a> {
        ReadRows {
            codes: self.codes.read(worker),
            scales: self.scales.read(worker),
            code_sums: self.code_sums.read(worker),
            stride: self.stride,
            m,
        }
    }

    /// Begins writing `m` rows in `operation`.
    pub(super) fn write<'a>(&'a self, worker: &'a Worker<'_>, operation: u32, m: usize) -> RowWriter<'a> {
        RowWriter {
            isa: worker.isa(),
            worker: worker.index(),
            m,
            stride: self.stride,
            codes: self.codes.write(worker, operation),
            scales: self.scales.write(worker, operation),
            code_sums: self.code_sums.write(worker, operation),
            quads: self.quads.write(worker, operation),
        }
    }

    /// Two rows of `width` floats for each worker, from `worker.index() * 2 * width` on.
    pub(super) fn scratch<'a>(&'a self, worker: &'a Worker<'_>, operation: u32) -> Writer<'a, f32> {
        self.floats.write(worker, operation)
    }

    /// Room of each worker for the sums of the groups of a panel, `[groups, tokens]`, from
    /// `worker.index() * len` on, and that `len`.
    pub(super) fn group_sums<'a>(
        &'a self,
        worker: &'a Worker<'_>,
        operation: u32,
    ) -> (Writer<'a, i32>, usize) {
        (self.group_sums.write(worker, operation), group_sums_len(self.stride))
    }

    /// The codes of one of `m` tokens, outside a run.
    pub fn codes_of(&mut self, row: usize, m: usize, width: usize) -> Vec<i8> {
        let mut codes = vec![0; width];
        copy_row(self.codes.as_mut_slice(), self.stride, m, row, &mut codes);
        codes
    }
}

/// Quantized rows that are being read.
pub(super) struct ReadRows<'a> {
    codes: &'a [i8],
    scales: &'a [f32],
    code_sums: &'a [i32],
    stride: usize,
    m: usize,
}

impl<'a> ReadRows<'a> {
    /// Copies the codes of one token and gives their scale.
    pub(super) fn copy_row(&self, row: usize, codes: &mut [i8]) -> f32 {
        copy_row(self.codes, self.stride, self.m, row, codes);
        self.scales[row]
    }

    /// The scale of each token.
    pub(super) fn scales(&self) -> &'a [f32] {
        self.scales
    }

    /// The sum of each token's codes.
    pub(super) fn code_sums(&self) -> &'a [i32] {
        self.code_sums
    }

    /// The panel of `W` tokens that begins with token `first`.
    pub(super) fn panel<const W: usize>(&self, first: usize) -> &'a [[[i8; QUAD]; W]] {
        let bytes = &self.codes[first * self.stride..][..W * self.stride];
        bytes.as_chunks().0.as_chunks().0
    }
}

/// First token and width of the panel that holds token `row` of `m`.
pub(super) fn panel_of(row: usize, m: usize) -> (usize, usize) {
    let mut first = row - row % PANEL_TOKENS;
    let mut width = PANEL_TOKENS;
    while first + width > m || row >= first + width {
        if row >= first + width {
            first += width;
        }
        width /= 2;
    }
    (first, width)
}

/// Int8 rows that one worker writes in one operation, whole panels at a time.
pub(super) struct RowWriter<'a> {
    isa: Isa,
    worker: usize,
    m: usize,
    stride: usize,
    codes: Writer<'a, i8>,
    scales: Writer<'a, f32>,
    code_sums: Writer<'a, i32>,
    quads: Writer<'a, i8>,
}

impl RowWriter<'_> {
    /// Quantizes a row into its panel.
    pub(super) fn write_row(&mut self, row: usize, x: &[f32]) {
        let (stride, padded) = (self.stride, padded_width(x.len()));
        let (first, panel_width) = panel_of(row, self.m);
        let (scale, sum) = if panel_width == 1 {
            dispatch::absmax(self.isa, x, self.codes.slice(first * stride, padded))
        } else {
            let quads = self.quads.slice(self.worker * stride, padded);
            let result = dispatch::absmax(self.isa, x, quads);
            let panel = self.codes.slice(first * stride, panel_width * padded);
            let places = panel.as_chunks_mut::<QUAD>().0.iter_mut();
            let places = places.skip(row - first).step_by(panel_width);
            for (place, quad) in places.zip(quads.as_chunks::<QUAD>().0) {
                *place = *quad;
            }
            result
        };
        self.scales.slice(row, 1)[0] = scale;
        self.code_sums.slice(row, 1)[0] = sum;
    }
}

fn copy_row(panels: &[i8], stride: usize, m: usize, row: usize, codes: &mut [i8]) {
    let (first, width) = panel_of(row, m);
    let quads = panels[first * stride..].as_chunks::<QUAD>().0;
    let mut quads = quads.iter().skip(row - first).step_by(width);
    let (whole, rest) = codes.as_chunks_mut::<QUAD>();
    for (codes, quad) in whole.iter_mut().zip(&mut quads) {
        *codes = *quad;
    }
    if let Some(quad) = quads.next() {
        rest.copy_from_slice(&quad[..rest.len()]);
    }
}

/// Sums of the groups of the widest panel.
fn group_sums_len(stride: usize) -> usize {
    stride / GROUP_COLUMNS * PANEL_TOKENS
}

/// Width after padding to whole blocks and groups of every layout.
fn padded_width(width: usize) -> usize {
    const BLOCKS: usize = 160;
    const _: () = assert!(BLOCKS.is_multiple_of(GROUP_COLUMNS));
    const _: () = assert!(BLOCKS.is_multiple_of(Layout::TwoBit.block_columns()));
    const _: () = assert!(BLOCKS.is_multiple_of(Layout::BaseThree.block_columns()));
    width.next_multiple_of(BLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_follow_each_other_from_wide_to_narrow() {
        for m in 1..40 {
            let mut first = 0;
            let mut widest = PANEL_TOKENS;
            while first < m {
                let (start, width) = panel_of(first, m);
                assert_eq!(start, first, "{m}");
                assert!(width <= widest && first + width <= m, "{m}");
                for row in first..first + width {
                    assert_eq!(panel_of(row, m), (start, width), "row {row} of {m}");
                }
                (first, widest) = (first + width, width);
            }
        }
    }
}
