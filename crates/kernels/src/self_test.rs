//! A check of the chosen kernels against the definition, in well under 50 ms.

use half::{bf16, f16};

use crate::dispatch;
use crate::isa::Isa;
use crate::pool::Pool;
use crate::quantized::{GROUP_COLUMNS, QuantizedMatrix, QuantizedType, group_sums};
use crate::scalar::{BlockSoftmax, KV_BLOCK, KvBlock, Stored};
use crate::ternary::{Layout, TILE_ROWS, TernaryMatrix};

/// An operation whose result differs from the definition on this CPU.
#[derive(Debug, thiserror::Error)]
#[error("instruction set `{isa:?}`: `{operation}` does not give the bits of its definition on this CPU")]
pub struct SelfTestError {
    /// The instruction set that was tried.
    pub isa: Isa,
    /// The operation.
    pub operation: &'static str,
}

/// Runs what a forward pass is made of on fixed numbers, by `isa` and by the definition, and compares the bits.
///
/// # Errors
/// [`SelfTestError`] names the first operation that differs.
pub fn self_test(isa: Isa) -> Result<(), SelfTestError> {
    let inputs = [numbers(WIDTH, 1), numbers(WIDTH, 2)];
    let [x, y] = inputs.each_ref().map(Vec::as_slice);
    for (operation, run) in CASES {
        if bits(&run(isa, x, y)) != bits(&run(Isa::scalar(), x, y)) {
            return Err(SelfTestError { isa, operation });
        }
    }
    Ok(())
}

/// Numbers of a row.
const WIDTH: usize = 100;

/// What an operation gives for two rows.
type Run = fn(Isa, &[f32], &[f32]) -> Vec<f32>;

const CASES: [(&str, Run); 17] = [
    ("rms_norm", |isa, x, y| row(|out| dispatch::rms_norm(isa, x, y, 1e-5, out))),
    ("silu_gate", |isa, x, y| row(|out| dispatch::silu_gate(isa, x, y, out))),
    ("relu2_gate", |isa, x, y| row(|out| dispatch::relu2_gate(isa, x, y, out))),
    ("rotate", |isa, x, y| changed(x, |out| dispatch::rotate(isa, out, &y[..WIDTH / 2], &x[..WIDTH / 2]))),
    ("add_assign", |isa, x, y| changed(x, |out| dispatch::add_assign(isa, out, y))),
    ("absmax", |isa, x, _| {
        let (codes, scale, sum) = quantized(isa, x);
        codes.iter().map(|code| f32::from(*code)).chain([scale, sum as f32]).collect()
    }),
    ("softmax", |isa, x, _| changed(x, |out| _ = dispatch::softmax(isa, out, WIDTH - 3))),
    ("dense_dots", |isa, x, y| {
        let w: Vec<bf16> = y.iter().map(|y| bf16::from_f32(*y)).collect();
        dispatch::dense_dots(isa, [&w[..]; 4], [x]).concat()
    }),
    ("dense_panel", |isa, x, y| {
        // Five tokens: a tile and one more.
        const K: usize = WIDTH / 5;
        let mut sums = [[0.0; 4]; 5];
        let w = std::array::from_fn(|row| &y[row * K..][..K]);
        dispatch::dense_panel(isa, w, x, &mut sums);
        sums.concat()
    }),
    ("attend_block", |isa, _, _| attend_blocks(isa, |x| x)),
    ("attend_block", |isa, _, _| attend_blocks(isa, f16::from_f32)),
    ("attend_block", |isa, _, _| attend_blocks(isa, |x| (x * 127.0) as i8)),
    ("merge_blocks", |isa, x, y| {
        changed(x, |out| {
            let (mut total, block) =
                (BlockSoftmax { max: 0.5, sum: 1.5 }, BlockSoftmax { max: 0.7, sum: 3.0 });
            dispatch::merge_blocks(isa, &mut total, out, block, y);
            out[0] += total.sum + total.max;
        })
    }),
    ("ternary_tiles", |isa, x, _| {
        [Layout::TwoBit, Layout::BaseThree].map(|layout| ternary_tiles(isa, layout, x)).concat()
    }),
    ("quantized_tiles", |isa, x, y| quantized_tiles(isa, QuantizedType::Q8, x, y)),
    ("quantized_tiles", |isa, x, y| quantized_tiles(isa, QuantizedType::Q6, x, y)),
    ("quantized_tiles", |isa, x, y| quantized_tiles(isa, QuantizedType::Q4, x, y)),
];

/// A row that is written.
fn row(f: impl FnOnce(&mut [f32])) -> Vec<f32> {
    changed(&[0.0; WIDTH], f)
}

/// A row that is changed in place.
fn changed(row: &[f32], f: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut out = row.to_vec();
    f(&mut out);
    out
}

/// Codes, padded to whole blocks and groups, with their scale and sum.
fn quantized(isa: Isa, x: &[f32]) -> ([i8; WIDTH + 60], f32, i32) {
    let mut codes = [0; WIDTH + 60];
    let (scale, sum) = dispatch::absmax(isa, x, &mut codes);
    (codes, scale, sum)
}

/// A tile over one token and over two.
fn ternary_tiles(isa: Isa, layout: Layout, x: &[f32]) -> Vec<f32> {
    let codes: Vec<u8> = (0..TILE_ROWS * WIDTH).map(|i| (i * i / 7 % 3) as u8).collect();
    let w = TernaryMatrix::from_codes(&codes, [TILE_ROWS, WIDTH], layout).expect("codes are 0, 1 or 2");
    let (row, ..) = quantized(isa, x);
    let quads: &[[i8; 4]] = row.as_chunks().0;
    let pairs: Vec<[[i8; 4]; 2]> = quads.iter().map(|quad| [[1; 4], *quad]).collect();
    let (mut one, mut two) = ([[[0; TILE_ROWS]; 1]; 1], [[[0; TILE_ROWS]; 2]; 1]);
    dispatch::ternary_tiles(isa, layout, [w.tile(0)], quads.as_chunks().0, &mut one);
    dispatch::ternary_tiles(isa, layout, [w.tile(0)], &pairs, &mut two);
    let sums = [one[0][0], two[0][0], two[0][1]];
    let mut out = [[0.0; TILE_ROWS]; 3];
    let rows = out.each_mut().map(|row| &mut row[..]);
    dispatch::scale_sums(isa, &sums, &[17, 18, 19], &[0.3, 0.4, 0.5], rows);
    out.as_flattened().to_vec()
}

fn quantized_tiles(isa: Isa, quantized_type: QuantizedType, x: &[f32], y: &[f32]) -> Vec<f32> {
    let pool = Pool::new(Isa::scalar(), 1);
    let fill = |_: usize, out: &mut [f32]| {
        out.iter_mut().zip(y.iter().cycle()).for_each(|(out, y)| *out = *y);
    };
    let w = QuantizedMatrix::quantize(&pool, quantized_type, [TILE_ROWS, WIDTH], fill);
    let (row, ..) = quantized(isa, x);
    let quads: &[[i8; 4]] = row.as_chunks().0;
    let panel = quads.as_chunks::<1>().0;
    let mut sums = [[0]; WIDTH.div_ceil(GROUP_COLUMNS)];
    group_sums(panel, &mut sums);
    let mut out = [[[0.0; TILE_ROWS]]];
    dispatch::quantized_tiles(isa, quantized_type, [w.tile(0)], panel, &sums, &mut out);
    out[0][0].to_vec()
}

/// Four queries, and then one, over a block whose numbers `store` makes.
fn attend_blocks<T: Stored>(isa: Isa, store: fn(f32) -> T) -> Vec<f32> {
    const HEAD_DIM: usize = 100;
    let q = numbers(5 * HEAD_DIM, 3);
    let [keys, values] =
        [4, 5].map(|seed| -> Vec<T> { numbers(HEAD_DIM * KV_BLOCK, seed).into_iter().map(store).collect() });
    let scales = numbers(2 * KV_BLOCK, 6);
    let scales = scales.as_chunks().0;
    let block = KvBlock { keys: &keys, values: &values, scales: [&scales[0], &scales[1]], to_next: 0 };
    let [a, b, c, d, e] = std::array::from_fn(|g| &q[g * HEAD_DIM..][..HEAD_DIM]);
    let mut out = vec![0.0; 5 * HEAD_DIM];
    let (four_out, one_out) = out.split_at_mut(4 * HEAD_DIM);
    let four = dispatch::attend_block(isa, [a, b, c, d], &block, [36, 37, 37, 38], 0.1, four_out);
    let one = dispatch::attend_block(isa, [e], &block, [17], 0.1, one_out);
    out.extend(four.iter().chain(&one).flat_map(|part| [part.max, part.sum]));
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Fixed numbers in -1..1 of many magnitudes.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    (0..len as u32)
        .map(|i| {
            let mixed = (i + 1).wrapping_mul(0x9e37_79b9).wrapping_add(seed.wrapping_mul(0x85eb_ca6b));
            (mixed ^ mixed >> 15) as i32 as f32 / 2_147_483_648.0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_of_this_machine_passes() {
        for isa in Isa::available() {
            self_test(isa).unwrap();
        }
    }

    #[test]
    fn extreme_sums_do_not_saturate() {
        const COLS: usize = 80 * 200;
        for layout in [Layout::TwoBit, Layout::BaseThree] {
            for (code, x) in [(2, -128), (2, 127), (0, -128), (1, 127)] {
                let w = TernaryMatrix::from_codes(&vec![code; TILE_ROWS * COLS], [TILE_ROWS, COLS], layout)
                    .unwrap();
                let want = i32::from(code) * i32::from(x) * COLS as i32;
                for isa in Isa::available() {
                    let mut sums = [[[0; TILE_ROWS]; 8]; 3];
                    dispatch::ternary_tiles(isa, layout, [w.tile(0); 3], &[[[x; 4]; 8]; COLS / 4], &mut sums);
                    assert_eq!(sums, [[[want; TILE_ROWS]; 8]; 3], "{isa:?}, {layout:?}");
                    let mut sums = [[[0; TILE_ROWS]; 1]; 4];
                    dispatch::ternary_tiles(isa, layout, [w.tile(0); 4], &[[[x; 4]; 1]; COLS / 4], &mut sums);
                    assert_eq!(sums, [[[want; TILE_ROWS]; 1]; 4], "{isa:?}, {layout:?}");
                }
            }
        }
    }
}
