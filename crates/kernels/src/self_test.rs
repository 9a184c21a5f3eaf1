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

/// Runs every operation of `isa` once on fixed numbers and compares it with the definition.
///
/// # Errors
/// [`SelfTestError`] names the first operation that differs.
pub fn self_test(isa: Isa) -> Result<(), SelfTestError> {
    const WIDTH: usize = 100;
    let x = numbers(WIDTH, 1);
    let y = numbers(WIDTH, 2);
    let check =
        |operation, is_equal: bool| if is_equal { Ok(()) } else { Err(SelfTestError { isa, operation }) };

    let both = |f: &dyn Fn(Isa) -> Vec<f32>| bits(&f(isa)) == bits(&f(Isa::scalar()));
    let row = |f: &dyn Fn(Isa, &mut [f32])| {
        both(&|isa| {
            let mut out = vec![0.0; WIDTH];
            f(isa, &mut out);
            out
        })
    };
    check("rms_norm", row(&|isa, out| dispatch::rms_norm(isa, &x, &y, 1e-5, out)))?;
    check("silu_gate", row(&|isa, out| dispatch::silu_gate(isa, &x, &y, out)))?;
    check("relu2_gate", row(&|isa, out| dispatch::relu2_gate(isa, &x, &y, out)))?;
    check(
        "rotate",
        row(&|isa, out| {
            out.copy_from_slice(&x);
            dispatch::rotate(isa, out, &y[..WIDTH / 2], &x[..WIDTH / 2]);
        }),
    )?;
    check(
        "add_assign",
        row(&|isa, out| {
            out.copy_from_slice(&x);
            dispatch::add_assign(isa, out, &y);
        }),
    )?;
    check(
        "absmax",
        both(&|isa| {
            let mut codes = [0i8; WIDTH + 60];
            let (scale, sum) = dispatch::absmax(isa, &x, &mut codes);
            codes.iter().map(|code| f32::from(*code)).chain([scale, sum as f32]).collect()
        }),
    )?;
    check(
        "dense_dots",
        both(&|isa| {
            let w: Vec<bf16> = y.iter().map(|y| bf16::from_f32(*y)).collect();
            dispatch::dense_dots(isa, [&w[..]; 4], [&x[..]]).concat()
        }),
    )?;
    check(
        "dense_panel",
        both(&|isa| {
            // Five tokens: a tile and one more.
            const K: usize = WIDTH / 5;
            let mut sums = [[0.0; 4]; 5];
            let w = std::array::from_fn(|row| &y[row * K..][..K]);
            dispatch::dense_panel(isa, w, &x, &mut sums);
            sums.concat()
        }),
    )?;
    check("attend_block", both(&|isa| attend_blocks(isa, |x| x)))?;
    check("attend_block", both(&|isa| attend_blocks(isa, f16::from_f32)))?;
    check("attend_block", both(&|isa| attend_blocks(isa, |x| (x * 127.0) as i8)))?;
    check(
        "merge_blocks",
        row(&|isa, out| {
            out.copy_from_slice(&x);
            let (mut total, block) =
                (BlockSoftmax { max: 0.5, sum: 1.5 }, BlockSoftmax { max: 0.7, sum: 3.0 });
            dispatch::merge_blocks(isa, &mut total, out, block, &y);
            out[0] += total.sum + total.max;
        }),
    )?;
    for layout in [Layout::TwoBit, Layout::BaseThree] {
        check(
            "ternary_tiles",
            both(&|isa| {
                let codes: Vec<u8> = (0..TILE_ROWS * WIDTH).map(|i| (i * i / 7 % 3) as u8).collect();
                let w = TernaryMatrix::from_codes(&codes, [TILE_ROWS, WIDTH], layout)
                    .expect("codes are 0, 1 or 2");
                let mut row = [0i8; WIDTH + 60];
                dispatch::absmax(isa, &x, &mut row);
                let row = row.as_chunks().0;
                let pairs: Vec<[[i8; 4]; 2]> = row.iter().map(|quad| [[1; 4], *quad]).collect();
                let (mut one, mut two) = ([[[0; TILE_ROWS]; 1]; 1], [[[0; TILE_ROWS]; 2]; 1]);
                dispatch::ternary_tiles(isa, layout, [w.tile(0)], row.as_chunks().0, &mut one);
                dispatch::ternary_tiles(isa, layout, [w.tile(0)], &pairs, &mut two);
                let sums = [one[0][0], two[0][0], two[0][1]];
                let mut out = [[0.0; TILE_ROWS]; 3];
                let rows = out.each_mut().map(|row| &mut row[..]);
                dispatch::scale_sums(isa, &sums, &[17, 18, 19], &[0.3, 0.4, 0.5], rows);
                out.as_flattened().to_vec()
            }),
        )?;
    }
    for quantized_type in QuantizedType::ALL {
        check(
            "quantized_tiles",
            both(&|isa| {
                let pool = Pool::new(Isa::scalar(), 1);
                let fill = |_: usize, out: &mut [f32]| {
                    out.iter_mut().zip(y.iter().cycle()).for_each(|(out, y)| *out = *y);
                };
                let w = QuantizedMatrix::quantize(&pool, quantized_type, [TILE_ROWS, WIDTH], fill);
                let mut row = [0i8; WIDTH + 60];
                dispatch::absmax(isa, &x, &mut row);
                let row = row.as_chunks().0.as_chunks().0;
                let sums = group_sums::<1>(row, WIDTH.div_ceil(GROUP_COLUMNS));
                let mut out = [[[0.0; TILE_ROWS]]];
                dispatch::quantized_tiles(isa, quantized_type, [w.tile(0)], row, &sums, &mut out);
                out[0][0].to_vec()
            }),
        )?;
    }
    Ok(())
}

/// Four queries, and then one, over a block whose numbers `store` makes.
fn attend_blocks<T: Stored>(isa: Isa, store: fn(f32) -> T) -> Vec<f32> {
    const HEAD_DIM: usize = 100;
    let q = numbers(5 * HEAD_DIM, 3);
    let [keys, values] =
        [4, 5].map(|seed| -> Vec<T> { numbers(HEAD_DIM * KV_BLOCK, seed).into_iter().map(store).collect() });
    let scales = numbers(2 * KV_BLOCK, 6);
    let scales = scales.as_chunks().0;
    let block = KvBlock { keys: &keys, values: &values, scales: [&scales[0], &scales[1]], stride: 0 };
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
