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

proptest! {
    #[test]
    fn codes_survive(codes in proptest::collection::vec(0u8..3, BLOCK), bits in any::<u16>()) {
        let codes: [u8; BLOCK] = codes.try_into().unwrap();
        let scale = f16::from_bits(bits & 0x7bff);
        prop_assert_eq!(ternary::tq1_0_block(&ternary::to_tq1_0_block(&codes, scale)), (codes, scale));
        prop_assert_eq!(ternary::tq2_0_block(&ternary::to_tq2_0_block(&codes, scale)), (codes, scale));
    }
}
