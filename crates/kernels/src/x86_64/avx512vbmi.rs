//! AVX-512 with VNNI and the byte permutes of VBMI, which decode base three in registers.
//!
//! It knows no threads, allocation or errors.

use std::arch::x86_64::{
    __m512i, _mm512_and_si512, _mm512_dpbusd_epi32, _mm512_permutex2var_epi8, _mm512_permutexvar_epi8,
    _mm512_set1_epi8, _mm512_setzero_si512, _mm512_srli_epi16, _mm512_sub_epi8,
};

pub(crate) use super::attention::attend_block_avx512 as attend_block;
use super::avx512vnni::{self, broadcast, digit_masks, load, store, store_sums, sum_of_digits};
use crate::prefetch::prefetch_stream;
use crate::ternary::{BLOCK_BYTES, FIFTH_PLACE, Layout, PACKED_FOURS, TILE_ROWS};

pub(crate) use super::avx512_quantized::quantized_tiles;
pub(crate) use super::probe::vpdpbusd_dots as int8_dots;

compile_definitions!("avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c");

/// See [`scalar::ternary_tiles`].
///
/// `vpdpbusd` wraps only past i32, which `MAX_COLUMNS` in `ops` excludes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(crate) fn ternary_tiles<const R: usize, const M: usize>(
    layout: Layout,
    tiles: [&[[u8; BLOCK_BYTES]]; R],
    x: &[[[i8; 4]; M]],
    sums: &mut [[[i32; TILE_ROWS]; M]; R],
) {
    match layout {
        Layout::TwoBit => avx512vnni::ternary_tiles(layout, tiles, x, sums),
        Layout::BaseThree if M == 1 => base_three_row(tiles, x, sums),
        Layout::BaseThree => base_three_panel(tiles, x, sums),
    }
}

/// Registers that hold what a byte of base three means.
#[derive(Clone, Copy)]
struct Tables {
    /// The fifth digit, by the six high bits of a byte.
    fifth: __m512i,
    /// What the fifth digit adds to a byte, by the same.
    fifth_part: __m512i,
    /// Four digits of two bits, by what is left.
    fours: [__m512i; 2],
}

impl Tables {
    #[target_feature(enable = "avx512f")]
    fn new() -> Self {
        const FIFTH: [u8; 64] = by_high_bits(1);
        const FIFTH_PART: [u8; 64] = by_high_bits(FIFTH_PLACE);
        let fours = PACKED_FOURS.as_chunks().0;
        Tables {
            fifth: load(&FIFTH),
            fifth_part: load(&FIFTH_PART),
            fours: [load(&fours[0]), load(&fours[1])],
        }
    }

    /// Four digits of two bits in each byte, and the fifth.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn decode(&self, bytes: __m512i) -> [__m512i; 2] {
        // A permute looks at six bits of an index, so what else the shift moves in does not matter.
        let high = _mm512_srli_epi16::<2>(bytes);
        let rest = _mm512_sub_epi8(bytes, _mm512_permutexvar_epi8(high, self.fifth_part));
        let four = _mm512_permutex2var_epi8(self.fours[0], rest, self.fours[1]);
        [four, _mm512_permutexvar_epi8(high, self.fifth)]
    }
}

/// The fifth digit times `factor`, by the six high bits of a byte.
const fn by_high_bits(factor: u8) -> [u8; 64] {
    let mut table = [0; 64];
    let mut high = 0;
    while high < 64 {
        let digit = (high as u8 * 4) / FIFTH_PLACE;
        table[high] = digit * factor;
        high += 1;
    }
    table
}

/// One token: see `two_bit_row` in `avx512vnni`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn base_three_row<const R: usize, const M: usize>(
    tiles: [&[[u8; BLOCK_BYTES]]; R],
    x: &[[[i8; 4]; M]],
    sums: &mut [[[i32; TILE_ROWS]; M]; R],
) {
    let (tables, masks) = (Tables::new(), digit_masks());
    let mut chains = [[_mm512_setzero_si512(); 4]; R];
    let count = tiles[0].len();
    let tiles = tiles.map(|tile| &tile[..count]);
    for (b, x) in x.as_chunks::<5>().0[..count].iter().enumerate() {
        let x: [__m512i; 5] = std::array::from_fn(|digit| broadcast(x[digit][0]));
        for r in 0..R {
            prefetch_stream(&tiles[r][b]);
            let [four, fifth] = tables.decode(load(&tiles[r][b]));
            for digit in 0..4 {
                let codes = _mm512_and_si512(four, masks[digit]);
                chains[r][digit] = _mm512_dpbusd_epi32(chains[r][digit], codes, x[digit]);
            }
            chains[r][0] = _mm512_dpbusd_epi32(chains[r][0], fifth, x[4]);
        }
    }
    for r in 0..R {
        store(&mut sums[r][0], sum_of_digits(chains[r]));
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn base_three_panel<const R: usize, const M: usize>(
    tiles: [&[[u8; BLOCK_BYTES]]; R],
    x: &[[[i8; 4]; M]],
    sums: &mut [[[i32; TILE_ROWS]; M]; R],
) {
    let (tables, digit_mask) = (Tables::new(), _mm512_set1_epi8(3));
    let mut chains = [[_mm512_setzero_si512(); M]; R];
    let count = tiles[0].len();
    let tiles = tiles.map(|tile| &tile[..count]);
    for (b, x) in x.as_chunks::<5>().0[..count].iter().enumerate() {
        let decoded: [[__m512i; 2]; R] = std::array::from_fn(|r| tables.decode(load(&tiles[r][b])));
        let mut fours = decoded.map(|[four, _]| four);
        for (digit, x) in x.iter().enumerate() {
            let codes = if digit < 4 {
                fours.map(|four| _mm512_and_si512(four, digit_mask))
            } else {
                decoded.map(|[_, fifth]| fifth)
            };
            fours = fours.map(|four| _mm512_srli_epi16::<2>(four));
            for t in 0..M {
                let x = broadcast(x[t]);
                for r in 0..R {
                    chains[r][t] = _mm512_dpbusd_epi32(chains[r][t], codes[r], x);
                }
            }
        }
    }
    store_sums(chains, sums);
}
