//! Dense matrices in 8, 6 or 4 bits with a scale for each 32 columns of a row: the choice of a
//! smaller vocabulary projection.
//!
//! ```text
//! weight = (code - offset) · scale        offset = 2^(bits - 1), scale in f16
//! matrix = tiles of 16 rows; a tile is a run of groups of 32 columns, one stream of bytes
//! group  = 8 digits of 16 rows x 4 columns, as in `ternary`:
//!
//! q8   8 x 64 bytes     byte (row, j) of vector d = code of column 4d + j
//! q4   4 x 64 bytes     vector i: digit 2i in the low nibbles, digit 2i + 1 in the high ones
//! q6   4 x 64 bytes     as q4, the low four bits of each code
//!      2 x 64 bytes     vector j: the high two bits of digits 4j .. 4j + 4, digit s at bit 2s
//! ```
//!
//! The scales of a tile lie apart, `[groups, 16]`. Rows and columns are padded with weight 0. These
//! layouts are defined here; beside this file only the products of the kernels decode them.

use half::f16;

use crate::aligned::AlignedVec;
use crate::buffer::Buffer;
use crate::pool::Pool;
use crate::ternary::TILE_ROWS;

/// Columns that share a scale.
pub(crate) const GROUP_COLUMNS: usize = 32;
/// Vectors of 4 columns in a group.
pub(crate) const GROUP_DIGITS: usize = GROUP_COLUMNS / 4;
const VECTOR_BYTES: usize = 64;

/// How many bits a code has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantizedType {
    /// 8 bits, 8.5 with the scale.
    Q8,
    /// 6 bits, 6.5 with the scale.
    Q6,
    /// 4 bits, 4.5 with the scale.
    Q4,
}

impl QuantizedType {
    /// All of them, the most exact first.
    pub const ALL: [QuantizedType; 3] = [QuantizedType::Q8, QuantizedType::Q6, QuantizedType::Q4];

    /// Its name, as flags have it.
    pub const fn name(self) -> &'static str {
        match self {
            QuantizedType::Q8 => "q8",
            QuantizedType::Q6 => "q6",
            QuantizedType::Q4 => "q4",
        }
    }

    /// Bits of a code.
    pub const fn bits(self) -> usize {
        match self {
            QuantizedType::Q8 => 8,
            QuantizedType::Q6 => 6,
            QuantizedType::Q4 => 4,
        }
    }

    /// The code of weight 0.
    pub const fn offset(self) -> i32 {
        1 << (self.bits() - 1)
    }

    /// The largest magnitude of a code less its offset.
    const fn largest(self) -> f32 {
        (self.offset() - 1) as f32
    }

    /// Bytes of the codes of a group.
    pub(crate) const fn group_bytes(self) -> usize {
        self.bits() * VECTOR_BYTES
    }

    /// Bytes of a matrix of this shape, scales and padding included.
    pub const fn matrix_bytes(self, [rows, cols]: [usize; 2]) -> usize {
        let groups = rows.div_ceil(TILE_ROWS) * cols.div_ceil(GROUP_COLUMNS);
        groups * (self.group_bytes() + TILE_ROWS * size_of::<f16>())
    }

    /// The code of (`row`, `column`) of a group, by the definition of the layout.
    pub(crate) fn code(self, group: &[u8], row: usize, column: usize) -> u8 {
        let (digit, lane) = (column / 4, row * 4 + column % 4);
        let nibble = |digit: usize| group[digit / 2 * VECTOR_BYTES + lane] >> (digit % 2 * 4) & 15;
        match self {
            QuantizedType::Q8 => group[digit * VECTOR_BYTES + lane],
            QuantizedType::Q4 => nibble(digit),
            QuantizedType::Q6 => {
                let high = group[(4 + digit / 4) * VECTOR_BYTES + lane] >> (digit % 4 * 2) & 3;
                nibble(digit) | high << 4
            }
        }
    }

    /// Adds a code to a group of zero bytes.
    fn set(self, group: &mut [u8], row: usize, column: usize, code: u8) {
        let (digit, lane) = (column / 4, row * 4 + column % 4);
        if self == QuantizedType::Q8 {
            group[digit * VECTOR_BYTES + lane] = code;
            return;
        }
        group[digit / 2 * VECTOR_BYTES + lane] |= (code & 15) << (digit % 2 * 4);
        if self == QuantizedType::Q6 {
            group[(4 + digit / 4) * VECTOR_BYTES + lane] |= code >> 4 << (digit % 4 * 2);
        }
    }
}

/// A matrix `[rows, cols]` of quantized weights.
pub struct QuantizedMatrix {
    rows: usize,
    cols: usize,
    quantized_type: QuantizedType,
    codes: AlignedVec<u8>,
    scales: AlignedVec<f16>,
}

impl QuantizedMatrix {
    /// Quantizes a matrix, all workers of `pool` together.
    ///
    /// `fill(first_row, values)` writes up to 16 rows from `first_row` on (`[rows, cols]`). A
    /// group's scale is its largest magnitude over the largest code, rounded to f16.
    pub fn quantize(
        pool: &Pool,
        quantized_type: QuantizedType,
        [rows, cols]: [usize; 2],
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Self {
        let groups = cols.div_ceil(GROUP_COLUMNS);
        let group_bytes = quantized_type.group_bytes();
        let tiles = rows.div_ceil(TILE_ROWS);
        let codes = Buffer::zeroed_weights(pool, tiles * groups * group_bytes);
        let scales = Buffer::zeroed_weights(pool, tiles * groups * TILE_ROWS);
        pool.run(|worker| {
            let operation = worker.begin_operation();
            let (mut codes, mut scales) = (codes.write(worker, operation), scales.write(worker, operation));
            let mut values = vec![0.0; TILE_ROWS * cols];
            while let Some(tile) = worker.claim(operation, tiles) {
                let first_row = tile * TILE_ROWS;
                let values = &mut values[..TILE_ROWS.min(rows - first_row) * cols];
                fill(first_row, values);
                let codes = codes.slice(tile * groups * group_bytes, groups * group_bytes);
                let scales = scales.slice(tile * groups * TILE_ROWS, groups * TILE_ROWS);
                quantize_tile(quantized_type, values, cols, codes, scales);
            }
        });
        let (codes, scales) = (codes.into_values(), scales.into_values());
        QuantizedMatrix { rows, cols, quantized_type, codes, scales }
    }

    /// Outputs: the rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs: the columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The bits.
    pub fn quantized_type(&self) -> QuantizedType {
        self.quantized_type
    }

    /// Bytes that one pass over the matrix reads.
    pub fn size_bytes(&self) -> usize {
        self.codes.len() + self.scales.len() * size_of::<f16>()
    }

    pub(crate) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// Codes and scales of one tile.
    pub(crate) fn tile(&self, tile: usize) -> QuantizedTile<'_> {
        let groups = self.cols.div_ceil(GROUP_COLUMNS);
        let group_bytes = self.quantized_type.group_bytes();
        QuantizedTile {
            codes: &self.codes[tile * groups * group_bytes..][..groups * group_bytes],
            scales: self.scales[tile * groups * TILE_ROWS..][..groups * TILE_ROWS].as_chunks().0,
        }
    }
}

/// Sixteen rows of a [`QuantizedMatrix`].
#[derive(Clone, Copy)]
pub(crate) struct QuantizedTile<'a> {
    /// `[groups, group_bytes]`.
    pub(crate) codes: &'a [u8],
    /// `[groups, 16]`.
    pub(crate) scales: &'a [[f16; TILE_ROWS]],
}

/// Quantizes up to 16 rows into zeroed `codes` and `scales`.
fn quantize_tile(
    quantized_type: QuantizedType,
    values: &[f32],
    cols: usize,
    codes: &mut [u8],
    scales: &mut [f16],
) {
    let (offset, largest) = (quantized_type.offset(), quantized_type.largest());
    let groups = codes.chunks_exact_mut(quantized_type.group_bytes());
    for (index, (codes, scales)) in groups.zip(scales.chunks_exact_mut(TILE_ROWS)).enumerate() {
        for (row, scale) in scales.iter_mut().enumerate() {
            let values = values.chunks_exact(cols).nth(row).unwrap_or_default();
            let values = values.chunks(GROUP_COLUMNS).nth(index).unwrap_or_default();
            let absmax = values.iter().fold(0.0f32, |max, value| max.max(value.abs()));
            *scale = f16::from_f32((absmax / largest).min(f16::MAX.to_f32()));
            let divisor = scale.to_f32();
            for column in 0..GROUP_COLUMNS {
                let value = values.get(column).copied().unwrap_or_default();
                let level = if divisor == 0.0 { 0.0 } else { (value / divisor).round_ties_even() };
                let code = level.clamp(-largest, largest) as i32 + offset;
                quantized_type.set(codes, row, column, code as u8);
            }
        }
    }
}

/// The sum of each group's activations, for as many groups as `sums` has room for.
pub(crate) fn group_sums<const M: usize>(x: &[[[i8; 4]; M]], sums: &mut [[i32; M]]) {
    for (sums, digits) in sums.iter_mut().zip(x.chunks_exact(GROUP_DIGITS)) {
        *sums = std::array::from_fn(|t| digits.iter().flat_map(|digit| digit[t]).map(i32::from).sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn weights_come_back_within_half_a_step() {
        let [rows, cols] = [19, 45];
        let value = |row: usize, column: usize| ((row * 31 + column * 17) % 97) as f32 / 50.0 - 1.0;
        let pool = Pool::new(Isa::scalar(), 2);
        for quantized_type in QuantizedType::ALL {
            let matrix = QuantizedMatrix::quantize(&pool, quantized_type, [rows, cols], |first, values| {
                for (i, out) in values.iter_mut().enumerate() {
                    *out = value(first + i / cols, i % cols);
                }
            });
            assert_eq!(matrix.size_bytes(), quantized_type.matrix_bytes([rows, cols]));
            for row in 0..rows {
                for column in 0..cols {
                    let tile = matrix.tile(row / TILE_ROWS);
                    let group = column / GROUP_COLUMNS;
                    let bytes = &tile.codes[group * quantized_type.group_bytes()..];
                    let code = quantized_type.code(bytes, row % TILE_ROWS, column % GROUP_COLUMNS);
                    let scale = tile.scales[group][row % TILE_ROWS].to_f32();
                    let got = (i32::from(code) - quantized_type.offset()) as f32 * scale;
                    let error = (got - value(row, column)).abs();
                    assert!(error <= scale * 0.51, "{quantized_type:?} {row} {column}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_group_of_zeros_and_one_beyond_f16_are_finite() {
        let pool = Pool::new(Isa::scalar(), 1);
        for value in [0.0, 1e-12, 1e30] {
            let fill = |_: usize, values: &mut [f32]| values.fill(value);
            let matrix = QuantizedMatrix::quantize(&pool, QuantizedType::Q4, [1, 32], fill);
            assert!(matrix.tile(0).scales[0][0].is_finite());
        }
    }
}
