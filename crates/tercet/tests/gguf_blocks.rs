//! The blocks of GGUF's types against gguf-py, whose blocks and values `tools/reference_gguf.py` wrote.

use half::f16;
use proptest::prelude::*;
use serde_json::Value;
use tercet::gguf::{quantized, ternary};

const BLOCK: usize = 256;

/// The blocks of a type, and the values that gguf-py reads from them.
fn golden(tensor_type: &str) -> (Vec<u8>, Vec<f32>) {
    let cases: Value = serde_json::from_str(include_str!("data/gguf/blocks.json")).unwrap();
    let bytes = |field: &str| -> Vec<u8> {
        let hex = cases[tensor_type][field].as_str().unwrap().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        hex.chunks(2).map(byte).collect()
    };
    (bytes("blocks"), bytes("values").as_chunks().0.iter().map(|bits| f32::from_le_bytes(*bits)).collect())
}

/// Every block of a type gives the values of gguf-py, to the last bit.
#[track_caller]
fn check<const BYTES: usize, const VALUES: usize>(
    tensor_type: &str,
    values_of: impl Fn(&[u8; BYTES]) -> [f32; VALUES],
) {
    let (blocks, want) = golden(tensor_type);
    let (blocks, rest) = blocks.as_chunks();
    assert!(rest.is_empty() && !blocks.is_empty());
    let got: Vec<f32> = blocks.iter().flat_map(values_of).collect();
    assert_eq!(got, want, "{tensor_type}");
}

fn weights(codes: [u8; BLOCK], scale: f16) -> [f32; BLOCK] {
    codes.map(|code| (f32::from(code) - 1.0) * scale.to_f32())
}

#[test]
fn values_are_those_of_gguf_py() {
    check("Q8_0", quantized::q8_0_block);
    check("Q4_0", quantized::q4_0_block);
    check("Q6_K", quantized::q6_k_block);
}

#[test]
fn ternary_weights_are_those_of_gguf_py_and_so_are_blocks_made_of_them() {
    check("TQ1_0", |block| {
        let (codes, scale) = ternary::tq1_0_block(block);
        assert_eq!(&ternary::to_tq1_0_block(&codes, scale), block);
        weights(codes, scale)
    });
    check("TQ2_0", |block| {
        let (codes, scale) = ternary::tq2_0_block(block);
        assert_eq!(&ternary::to_tq2_0_block(&codes, scale), block);
        weights(codes, scale)
    });
}

/// A reading of `quantize_i2_s` of bitnet.cpp, for codes `(7 i + floor(i / 5)) mod 3`.
#[test]
fn i2_s_has_its_first_plane_in_the_top_bits() {
    let codes: [u8; BLOCK] = std::array::from_fn(|i| ((i * 7 + i / 5) % 3) as u8);
    let want = "2542940950254294095025429409502542940950254294095025429409502542\
                0950254294095025429409502542940950254294095025429409502542940950";
    let (halves, _) = codes.as_chunks();
    let bytes: Vec<u8> = halves.iter().flat_map(ternary::to_i2_s_block).collect();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, want);
    let mut tensor = bytes;
    tensor.extend(ternary::to_i2_s_tail(0.75));
    assert_eq!(ternary::i2_s_scale(&tensor), 0.75);
    // From any element on, across the ends of planes and blocks.
    for first in [0, 1, 31, 32, 127, 128, 200] {
        let mut got = vec![9; BLOCK - first];
        ternary::i2_s_codes(&tensor, first, &mut got);
        assert_eq!(got, codes[first..], "from {first}");
    }
}

#[test]
fn every_byte_of_tq1_0_gives_codes_in_range() {
    for byte in 0..=u8::MAX {
        let (codes, _) = ternary::tq1_0_block(&[byte; 54]);
        assert!(codes.iter().all(|code| *code <= 2), "{byte}");
    }
}

/// Blocks as gguf-py makes them, and the values that it made them of.
#[test]
fn q8_0_is_made_as_gguf_py_makes_it() {
    let (want, values) = golden("Q8_0 of values");
    let (values, rest) = values.as_chunks();
    assert!(rest.is_empty() && values.len() >= 6);
    let got: Vec<u8> = values.iter().flat_map(quantized::to_q8_0_block).collect();
    assert_eq!(got, want);
}

/// The block of Q6_K with this scale, a scale for each 16 values, and these levels.
fn q6_k_block(scale: f16, group_scales: &[i8], levels: &[i8]) -> [u8; 210] {
    let mut block = [0; 210];
    for (i, level) in levels.iter().enumerate() {
        let (code, at) = ((level + 32) as u8, i / 128 * 64 + i % 64);
        block[at] |= (code & 15) << (i % 128 / 64 * 4);
        block[128 + i / 128 * 32 + i % 32] |= (code >> 4) << (i % 128 / 32 * 2);
    }
    for (byte, group_scale) in block[192..].iter_mut().zip(group_scales) {
        *byte = group_scale.cast_unsigned();
    }
    block[208..].copy_from_slice(&scale.to_le_bytes());
    block
}

#[test]
fn blocks_of_zeros_stay_zeros() {
    let block = quantized::to_q6_k_block(&[0.0; BLOCK]);
    assert!(quantized::q6_k_block(&block).iter().all(|value| *value == 0.0));
    assert_eq!(quantized::to_q8_0_block(&[0.0; 32]), [0; 34]);
    // What is too little for a scale in f16 is zero too.
    let block = quantized::to_q6_k_block(&std::array::from_fn(|i| i as f32 * 1e-12));
    assert!(quantized::q6_k_block(&block).iter().all(|value| *value == 0.0));
}

#[test]
fn values_that_are_not_finite_are_a_broken_promise() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let with_bad = |i: usize| if i == 17 { bad } else { 1.0 };
        let q8_0 = std::panic::catch_unwind(|| quantized::to_q8_0_block(&std::array::from_fn(with_bad)));
        let q6_k = std::panic::catch_unwind(|| quantized::to_q6_k_block(&std::array::from_fn(with_bad)));
        assert!(q8_0.is_err() && q6_k.is_err(), "{bad}");
    }
}

/// Values of very different sizes.
fn floats<const N: usize>() -> impl Strategy<Value = [f32; N]> {
    let values = proptest::collection::vec((-1f32..1.0, 0usize..3), N);
    (values, -10i32..4).prop_map(|(values, power)| {
        let size = 10f32.powi(power);
        let values: Vec<f32> =
            values.into_iter().map(|(value, small)| value * size * [1.0, 0.1, 0.001][small]).collect();
        values.try_into().expect("N values")
    })
}

fn absmax(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |greatest, value| greatest.max(value.abs()))
}

proptest! {
    #[test]
    fn q8_0_is_near_and_made_again_the_same(values in floats::<32>()) {
        let block = quantized::to_q8_0_block(&values);
        let got = quantized::q8_0_block(&block);
        let scale = f16::from_le_bytes([block[0], block[1]]);
        // Half a step, and what rounding the scale to f16 makes of 127 steps.
        let rounding = (absmax(&values) - 127.0 * scale.to_f32()).abs();
        for (value, got) in values.iter().zip(got) {
            prop_assert!((value - got).abs() <= 0.5001 * scale.to_f32() + rounding, "{value} became {got}");
        }
        if scale.to_f32() > 0.0 {
            prop_assert_eq!(quantized::to_q8_0_block(&got), block);
        }
    }

    /// With a step of a group that is its greatest value over 31, no error is above half of it.
    #[test]
    fn a_group_of_q6_k_is_as_near_as_its_steps_allow(values in floats::<BLOCK>()) {
        let block = quantized::to_q6_k_block(&values);
        let got = quantized::q6_k_block(&block);
        let scale = f16::from_le_bytes([block[208], block[209]]).to_f32().abs();
        // Near 0 the scale of a block is what f16 has there.
        let lost = (absmax(&values) - 31.0 * 127.0 * scale).max(0.0);
        for (values, got) in values.chunks(16).zip(got.chunks(16)) {
            let squares = values.iter().zip(got).map(|(value, got)| (value - got).powi(2));
            let error = (squares.sum::<f32>() / 16.0).sqrt();
            let step = absmax(values) / 31.0 + scale;
            prop_assert!(error <= 0.5001 * step + lost, "{error} with steps of {step}: {values:?}");
        }
    }

    #[test]
    fn values_of_a_block_of_q6_k_are_kept(
        bits in any::<u16>(),
        group_scales in proptest::collection::vec(any::<i8>(), 16),
        levels in proptest::collection::vec(-32i8..32, BLOCK),
        // Levels that have a factor in common do not tell the scale of their group.
        factors in proptest::collection::vec(1i8..12, 16),
    ) {
        let scale = f16::from_bits(bits & 0xfbff);
        let levels: Vec<i8> =
            levels.iter().enumerate().map(|(i, level)| level / factors[i / 16] * factors[i / 16]).collect();
        let want = quantized::q6_k_block(&q6_k_block(scale, &group_scales, &levels));
        prop_assert_eq!(quantized::q6_k_block(&quantized::to_q6_k_block(&want)), want);
    }

    #[test]
    fn codes_survive(codes in proptest::collection::vec(0u8..3, BLOCK), bits in any::<u16>()) {
        let codes: [u8; BLOCK] = codes.try_into().unwrap();
        let scale = f16::from_bits(bits & 0x7bff);
        prop_assert_eq!(ternary::tq1_0_block(&ternary::to_tq1_0_block(&codes, scale)), (codes, scale));
        prop_assert_eq!(ternary::tq2_0_block(&ternary::to_tq2_0_block(&codes, scale)), (codes, scale));
    }
}
