//! Ternary matrices and their two bit layouts.
//!
//! The bit layouts are defined here; beside this file only the products of the kernels decode them. It knows nothing
//! of scales, files or SIMD.
//!
//! ```text
//! weight = code - 1        codes 0, 1, 2; code 3 never occurs
//! matrix = row tiles of 16 rows; a tile is a run of blocks, one stream of bytes
//! block  = 64 bytes = 16 rows x 4 bytes; byte (row, j) holds columns 4d + j of the block
//!
//! two bits     d = 0..4   16 columns a block    byte = c0 | c1 << 2 | c2 << 4 | c3 << 6
//! base three   d = 0..5   20 columns a block    byte = c0 + 3 c1 + 9 c2 + 27 c3 + 84 c4
//! ```
//!
//! The last place of base three is 84 and not 81, so that the six high bits of a byte tell c4.
//!
//! So one decoded digit of a block is 16 lanes of 4 codes: the operand of a 4-way dot product
//! with 4 activations broadcast to every lane, and no horizontal sum is needed. Rows and columns
//! are padded with code 1, which is weight 0; activations are padded with 0.

use crate::aligned::AlignedVec;
use crate::buffer::{Buffer, Writer};
use crate::pool::{Pool, Worker};
use crate::scalar::ternary_code;

/// Rows of a tile: the 32-bit lanes of an AVX-512 register.
pub(crate) const TILE_ROWS: usize = 16;
/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 64;
/// Columns that one digit of a block covers.
const DIGIT_COLUMNS: usize = 4;

/// How weights lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Two bits a weight.
    TwoBit,
    /// Five weights a byte: 1.6 bits a weight.
    BaseThree,
}

impl Layout {
    /// Digits (weights) in a byte.
    pub const fn digits(self) -> usize {
        match self {
            Layout::TwoBit => 4,
            Layout::BaseThree => 5,
        }
    }

    /// Columns of a block.
    pub const fn block_columns(self) -> usize {
        self.digits() * DIGIT_COLUMNS
    }

    /// Code of digit `digit` of a byte.
    pub const fn digit(self, byte: u8, digit: usize) -> u8 {
        match self {
            Layout::TwoBit => byte >> (2 * digit) & 3,
            Layout::BaseThree if digit == 4 => byte / FIFTH_PLACE,
            Layout::BaseThree => byte % FIFTH_PLACE / PLACES[digit] % 3,
        }
    }

    /// Bytes of a matrix `[rows, cols]` in this layout, padding included.
    pub const fn matrix_bytes(self, [rows, cols]: [usize; 2]) -> usize {
        rows.div_ceil(TILE_ROWS) * tile_bytes(cols, self)
    }

    /// Four bytes of codes, -1, 0 and +1 about equally often where the bits are even.
    fn bytes_of_bits(self, bits: u64) -> [u8; 4] {
        match self {
            // Two draws: where the first is 3 the second counts, and where that is 3 too, code 1.
            Layout::TwoBit => {
                let low_of_threes = |codes: u32| codes & codes >> 1 & 0x5555_5555;
                let (first, second) = (bits as u32, (bits >> 32) as u32);
                let threes = 3 * low_of_threes(first);
                let drawn = first & !threes | second & threes;
                (drawn & !(low_of_threes(drawn) << 1)).to_le_bytes()
            }
            Layout::BaseThree => {
                const FOURS: u64 = 3u64.pow(4);
                std::array::from_fn(|i| {
                    let value = ((bits >> (16 * i) & 0xffff) * (3 * FOURS)) >> 16;
                    (value % FOURS) as u8 + FIFTH_PLACE * (value / FOURS) as u8
                })
            }
        }
    }

    const fn place(self, digit: usize) -> u8 {
        match self {
            Layout::TwoBit => 1 << (2 * digit),
            Layout::BaseThree => PLACES[digit],
        }
    }
}

/// Where the fifth digit of base three stands: a multiple of 4 above the 81 values of the others.
pub(crate) const FIFTH_PLACE: u8 = 84;
const PLACES: [u8; 5] = [1, 3, 9, 27, FIFTH_PLACE];

/// The first four digits of base three, two bits each, by a byte less its fifth digit's part.
pub(crate) const PACKED_FOURS: [u8; 128] = {
    let mut table = [0; 128];
    let mut value = 0;
    while value < 81 {
        let v = value as u8;
        table[value] = (v % 3) | ((v / 3 % 3) << 2) | ((v / 9 % 3) << 4) | ((v / 27) << 6);
        value += 1;
    }
    table
};

/// A block of base three as one of four digits of two bits, and the fifth digits alone.
pub(crate) fn expand_base_three(block: &[u8; BLOCK_BYTES]) -> [[u8; BLOCK_BYTES]; 2] {
    [block.map(|byte| PACKED_FOURS[usize::from(byte % FIFTH_PLACE)]), block.map(|byte| byte / FIFTH_PLACE)]
}

/// A code outside 0, 1, 2.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row}, column {column}: code {code}, expected 0, 1 or 2")]
pub struct CodeError {
    /// Row of the first such code.
    pub row: usize,
    /// Its column.
    pub column: usize,
    /// The code.
    pub code: u8,
}

/// A matrix of weights -1, 0, +1 without a scale, in tiles for the kernels.
pub struct TernaryMatrix {
    rows: usize,
    cols: usize,
    layout: Layout,
    bytes: AlignedVec<u8>,
}

impl TernaryMatrix {
    /// Packs `codes` (`[rows, cols]`, row-major; 0, 1, 2 for -1, 0, +1).
    ///
    /// # Errors
    /// [`CodeError`] at the first other value.
    ///
    /// # Panics
    /// If `codes` has not `rows * cols` elements.
    pub fn from_codes(codes: &[u8], [rows, cols]: [usize; 2], layout: Layout) -> Result<Self, CodeError> {
        assert_eq!(codes.len(), rows * cols, "TernaryMatrix::from_codes: one code a weight");
        let tile_bytes = tile_bytes(cols, layout);
        let mut bytes = AlignedVec::zeroed_weights(layout.matrix_bytes([rows, cols]));
        for (tile, tile_bytes) in bytes.chunks_exact_mut(tile_bytes.max(1)).enumerate() {
            let first = tile * TILE_ROWS;
            let last = (first + TILE_ROWS).min(rows);
            pack_tile(tile_bytes, &codes[first * cols..last * cols], cols, layout)
                .map_err(|error| CodeError { row: first + error.row, ..error })?;
        }
        Ok(TernaryMatrix { rows, cols, layout, bytes })
    }

    /// Outputs: the rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs: the columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The bit layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Bytes that one pass over the matrix reads.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Tiles of 16 rows.
    pub fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// The blocks of one tile, in the order of columns.
    pub fn tile(&self, tile: usize) -> &[[u8; BLOCK_BYTES]] {
        let tile_bytes = tile_bytes(self.cols, self.layout);
        self.bytes[tile * tile_bytes..][..tile_bytes].as_chunks().0
    }

    /// The weights -1, 0, +1 of the rows of one tile, row-major.
    pub(crate) fn read_tile(&self, tile: usize, weights: &mut [f32]) {
        let columns = self.layout.block_columns();
        let blocks = self.tile(tile);
        for (row, weights) in weights.chunks_exact_mut(self.cols.max(1)).enumerate() {
            for (block, weights) in blocks.iter().zip(weights.chunks_mut(columns)) {
                let bytes = &block[row * DIGIT_COLUMNS..][..DIGIT_COLUMNS];
                for (digit, weights) in weights.chunks_mut(DIGIT_COLUMNS).enumerate() {
                    for (weight, byte) in weights.iter_mut().zip(bytes) {
                        *weight = f32::from(self.layout.digit(*byte, digit)) - 1.0;
                    }
                }
            }
        }
    }

    /// The code at (`row`, `column`), by the definition of the layout.
    pub fn code(&self, row: usize, column: usize) -> u8 {
        assert!(row < self.rows && column < self.cols, "TernaryMatrix::code: inside the matrix");
        let (block, within) = (column / self.layout.block_columns(), column % self.layout.block_columns());
        let byte =
            self.tile(row / TILE_ROWS)[block][row % TILE_ROWS * DIGIT_COLUMNS + within % DIGIT_COLUMNS];
        self.layout.digit(byte, within / DIGIT_COLUMNS)
    }

    /// How many weights are -1, 0 and +1.
    ///
    /// Equal bytes are counted together, and the zeros that pad rows and columns taken off.
    pub fn count(&self) -> [u64; 3] {
        // Four tables, so that equal bytes in a row do not wait for one counter.
        let mut bytes = [[0u64; 256]; 4];
        for four in self.bytes.as_chunks::<4>().0 {
            for (table, byte) in bytes.iter_mut().zip(four) {
                table[usize::from(*byte)] += 1;
            }
        }
        let mut counts = [0; 3];
        for byte in 0..=u8::MAX {
            let times: u64 = bytes.iter().map(|table| table[usize::from(byte)]).sum();
            if times > 0 {
                for digit in 0..self.layout.digits() {
                    counts[usize::from(self.layout.digit(byte, digit))] += times;
                }
            }
        }
        let stored = self.bytes.len() * self.layout.digits();
        counts[1] -= (stored - self.rows * self.cols) as u64;
        counts
    }
}

/// What became of the codes of some rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CodeChanges {
    /// Codes of weight -1.
    pub(crate) minus: u64,
    /// Codes of weight +1.
    pub(crate) plus: u64,
    /// Codes that are others than before.
    pub(crate) changed: u64,
}

/// Packs up to 16 rows of masters (`[rows, cols]`, row-major) into the blocks of a tile of two bits a
/// weight, `code - 1 = clip(rte(w · inv_scale), -1, 1)`, and tells what changed.
///
/// Blocks must have held codes before; what pads them stays.
#[inline(always)]
pub(crate) fn pack_masters(
    masters: &[f32],
    cols: usize,
    inv_scale: f32,
    blocks: &mut [[u8; BLOCK_BYTES]],
) -> CodeChanges {
    /// Columns of a block.
    const COLUMNS: usize = Layout::TwoBit.block_columns();
    /// The lower bit of each code.
    const LOW_BITS: u32 = 0x5555_5555;
    let mut changes = CodeChanges::default();
    for (row, masters) in masters.chunks_exact(cols.max(1)).enumerate() {
        for (block, masters) in blocks.iter_mut().zip(masters.chunks(COLUMNS)) {
            let mut codes = [1u8; COLUMNS];
            if let Some(masters) = masters.first_chunk::<COLUMNS>() {
                for i in 0..COLUMNS {
                    codes[i] = ternary_code(masters[i], inv_scale) as u8;
                }
            } else {
                for (code, master) in codes.iter_mut().zip(masters) {
                    *code = ternary_code(*master, inv_scale) as u8;
                }
            }
            // The codes of a digit stand in the bytes where they will be, each to be shifted in it.
            let digits = codes.as_chunks::<DIGIT_COLUMNS>().0;
            let mut new = 0;
            for (digit, codes) in digits.iter().enumerate() {
                new |= u32::from_le_bytes(*codes) << (2 * digit);
            }
            let place = &mut block.as_chunks_mut::<DIGIT_COLUMNS>().0[row];
            let different = u32::from_le_bytes(*place) ^ new;
            *place = new.to_le_bytes();
            let plus = new >> 1 & LOW_BITS;
            changes.plus += u64::from(plus.count_ones());
            changes.minus += u64::from((!(new | plus) & LOW_BITS).count_ones());
            changes.changed += u64::from(((different | different >> 1) & LOW_BITS).count_ones());
        }
    }
    changes
}

/// A matrix that the workers of a pool fill tile by tile.
pub struct TernaryBuilder {
    rows: usize,
    cols: usize,
    layout: Layout,
    bytes: Buffer<u8>,
}

impl TernaryBuilder {
    /// Memory for a matrix of this shape.
    pub fn new(pool: &Pool, [rows, cols]: [usize; 2], layout: Layout) -> Self {
        let bytes = Buffer::zeroed_weights(pool, layout.matrix_bytes([rows, cols]));
        TernaryBuilder { rows, cols, layout, bytes }
    }

    /// A matrix that is filled anew, with the codes that it has.
    pub(crate) fn again(pool: &Pool, matrix: TernaryMatrix) -> Self {
        let TernaryMatrix { rows, cols, layout, bytes } = matrix;
        TernaryBuilder { rows, cols, layout, bytes: Buffer::holding(pool, bytes) }
    }

    /// The blocks of the whole matrix, to write in an operation.
    pub(crate) fn write<'a>(&'a self, worker: &'a Worker<'_>, operation: u32) -> Writer<'a, u8> {
        self.bytes.write(worker, operation)
    }

    /// Packs the whole matrix tile by tile, all workers together.
    ///
    /// `fill(first_row, codes)` writes the codes of up to 16 rows from `first_row` on (`[rows,
    /// cols]`, row-major). `on_bad_code` hears of the first code of a tile that is not 0, 1 or 2.
    pub fn pack(
        &self,
        worker: &Worker<'_>,
        mut fill: impl FnMut(usize, &mut [u8]),
        on_bad_code: impl Fn(CodeError),
    ) {
        let tile_bytes = tile_bytes(self.cols, self.layout);
        let operation = worker.begin_operation();
        let mut packed = self.bytes.write(worker, operation);
        let mut codes = vec![1; TILE_ROWS * self.cols];
        while let Some(tile) = worker.claim(operation, self.rows.div_ceil(TILE_ROWS)) {
            let first_row = tile * TILE_ROWS;
            let codes = &mut codes[..TILE_ROWS.min(self.rows - first_row) * self.cols];
            fill(first_row, codes);
            let packed = packed.slice(tile * tile_bytes, tile_bytes);
            if let Err(error) = pack_tile(packed, codes, self.cols, self.layout) {
                on_bad_code(CodeError { row: first_row + error.row, ..error });
            }
        }
    }

    /// Fills the whole matrix with codes made of bits, all workers together, for models with random
    /// weights: no code ever stands by itself.
    ///
    /// `bits(i)` is 64 even bits, the same for the same `i`.
    pub fn fill_random(&self, worker: &Worker<'_>, bits: impl Fn(u64) -> u64) {
        let tile_bytes = tile_bytes(self.cols, self.layout);
        let operation = worker.begin_operation();
        let mut packed = self.bytes.write(worker, operation);
        while let Some(tile) = worker.claim(operation, self.rows.div_ceil(TILE_ROWS)) {
            let packed = packed.slice(tile * tile_bytes, tile_bytes);
            let groups = packed.as_chunks_mut::<4>().0;
            for (i, bytes) in ((tile * groups.len()) as u64..).zip(groups) {
                *bytes = self.layout.bytes_of_bits(bits(i));
            }
            pad_tile(packed, [TILE_ROWS.min(self.rows - tile * TILE_ROWS), self.cols], self.layout);
        }
    }

    /// The finished matrix. Tiles that were never packed hold weight -1.
    pub fn finish(self) -> TernaryMatrix {
        let TernaryBuilder { rows, cols, layout, bytes } = self;
        TernaryMatrix { rows, cols, layout, bytes: bytes.into_values() }
    }
}

pub(crate) const fn tile_bytes(cols: usize, layout: Layout) -> usize {
    cols.div_ceil(layout.block_columns()) * BLOCK_BYTES
}

/// Packs up to 16 rows of codes into the blocks of one tile, with code 1 where there is no weight.
fn pack_tile(bytes: &mut [u8], codes: &[u8], cols: usize, layout: Layout) -> Result<(), CodeError> {
    let zero_weights = (0..layout.digits()).map(|digit| layout.place(digit)).sum();
    bytes.fill(zero_weights);
    let columns = layout.block_columns();
    for (row, codes) in codes.chunks_exact(cols.max(1)).enumerate() {
        for (block, codes) in codes.chunks(columns).enumerate() {
            let bytes = &mut bytes[block * BLOCK_BYTES + row * DIGIT_COLUMNS..][..DIGIT_COLUMNS];
            if let Some(bad) = codes.iter().position(|code| *code > 2) {
                return Err(CodeError { row, column: block * columns + bad, code: codes[bad] });
            }
            for (digit, codes) in codes.chunks(DIGIT_COLUMNS).enumerate() {
                for (byte, code) in bytes.iter_mut().zip(codes) {
                    *byte = *byte - layout.place(digit) + code * layout.place(digit);
                }
            }
        }
    }
    Ok(())
}

/// Puts code 1 where a tile of `rows` rows has no weight.
fn pad_tile(bytes: &mut [u8], [rows, cols]: [usize; 2], layout: Layout) {
    let columns = layout.block_columns();
    for (block, bytes) in bytes.chunks_exact_mut(BLOCK_BYTES).enumerate() {
        let cols = cols - block * columns;
        if rows == TILE_ROWS && cols >= columns {
            continue;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            let (row, column) = (at / DIGIT_COLUMNS, at % DIGIT_COLUMNS);
            let code = |digit| {
                let is_weight = row < rows && column + digit * DIGIT_COLUMNS < cols;
                if is_weight { layout.digit(*byte, digit) } else { 1 }
            };
            *byte = (0..layout.digits()).map(|digit| code(digit) * layout.place(digit)).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use proptest::prelude::*;

    fn codes(rows: usize, cols: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        (0..rows * cols)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((state >> 33) % 3) as u8
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_code_comes_back(rows in 1usize..40, cols in 1usize..90, seed in any::<u64>()) {
            let codes = codes(rows, cols, seed);
            for layout in [Layout::TwoBit, Layout::BaseThree] {
                let matrix = TernaryMatrix::from_codes(&codes, [rows, cols], layout).unwrap();
                let mut counts = [0; 3];
                for (i, code) in codes.iter().enumerate() {
                    prop_assert_eq!(matrix.code(i / cols, i % cols), *code);
                    counts[usize::from(*code)] += 1;
                }
                prop_assert_eq!(matrix.count(), counts);
                let mut weights = vec![0.0; TILE_ROWS.min(rows) * cols];
                matrix.read_tile(0, &mut weights);
                let want = codes[..weights.len()].iter().map(|code| f32::from(*code) - 1.0);
                prop_assert!(weights.into_iter().eq(want));
            }
        }
    }

    #[test]
    fn the_first_block_has_the_documented_bytes() {
        // Row 0 is 2 2 2 2 0 0 0 0 1 1 1 1 2 2 2 2 and 1 1 1 1: digits 2, 0, 1, 2, 1.
        let row = [2, 2, 2, 2, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1];
        let two_bit = TernaryMatrix::from_codes(&row, [1, 20], Layout::TwoBit).unwrap();
        assert_eq!(two_bit.tile(0)[0][..4], [2 | 1 << 4 | 2 << 6; 4]);
        assert_eq!(two_bit.tile(0)[0][4..], [0b0101_0101; 60]);
        let base_three = TernaryMatrix::from_codes(&row, [1, 20], Layout::BaseThree).unwrap();
        assert_eq!(base_three.tile(0)[0][..4], [2 + 9 + 2 * 27 + 84; 4]);
    }

    #[test]
    fn a_code_3_is_an_error_with_its_place() {
        let mut codes = vec![0; 20 * 33];
        codes[18 * 33 + 32] = 3;
        let error = TernaryMatrix::from_codes(&codes, [20, 33], Layout::TwoBit).err();
        assert_eq!(error, Some(CodeError { row: 18, column: 32, code: 3 }));
    }

    #[test]
    fn random_bits_become_even_codes_and_padding_zeros() {
        let pool = Pool::new(Isa::scalar(), 2);
        // SplitMix64's multiplications, for bits that look even.
        let bits = |i: u64| {
            let x = (i + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (x ^ x >> 31).wrapping_mul(0x94d0_49bb_1331_11eb)
        };
        for (layout, shape) in [
            (Layout::TwoBit, [33, 67]),
            (Layout::BaseThree, [33, 67]),
            (Layout::TwoBit, [64, 640]),
            (Layout::BaseThree, [64, 640]),
        ] {
            let builder = TernaryBuilder::new(&pool, shape, layout);
            pool.run(|worker| builder.fill_random(worker, bits));
            let matrix = builder.finish();
            let [rows, cols] = shape;
            let codes: Vec<u8> = (0..rows * cols).map(|i| matrix.code(i / cols, i % cols)).collect();
            // Packing the codes again gives every byte again, padding included.
            let again = TernaryMatrix::from_codes(&codes, shape, layout).unwrap();
            assert!(*matrix.bytes == *again.bytes, "{layout:?} {shape:?}");
            let shares = matrix.count().map(|count| count as f64 / (rows * cols) as f64);
            assert!(shares.iter().all(|share| (0.28..0.41).contains(share)), "{layout:?}: {shares:?}");
        }
    }

    #[test]
    fn a_pool_builds_the_same_matrix() {
        let codes = codes(70, 33, 5);
        let want = TernaryMatrix::from_codes(&codes, [70, 33], Layout::TwoBit).unwrap();
        let pool = Pool::new(Isa::scalar(), 2);
        let builder = TernaryBuilder::new(&pool, [70, 33], Layout::TwoBit);
        pool.run(|worker| {
            let fill = |first: usize, out: &mut [u8]| {
                out.copy_from_slice(&codes[first * 33..][..out.len()]);
            };
            builder.pack(worker, fill, |error| panic!("{error}"));
        });
        assert!(*want.bytes == *builder.finish().bytes);
    }
}
