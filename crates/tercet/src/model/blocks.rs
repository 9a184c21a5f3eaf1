//! The ternary matrices of GGUF files: blocks of codes with their scales.
//!
//! It knows tensors, and not which a model has.

use crate::checkpoint::{Dtype, TensorRef};
use crate::gguf::TensorType;
use crate::gguf::ternary::{self, TQ_BLOCK};

/// The scale of a tensor of ternary blocks: I2_S has one, of the others the first block that is not 0 throughout.
/// Nothing where all weights are 0 and so the scale is too; in I2_S it is their greatest magnitude.
pub(super) fn ternary_scale(tensor: &TensorRef<'_>) -> Option<f32> {
    fn first<const BYTES: usize>(
        bytes: &[u8],
        read: impl Fn(&[u8; BYTES]) -> ([u8; TQ_BLOCK], half::f16),
    ) -> Option<f32> {
        let blocks = bytes.as_chunks().0.iter().map(read);
        blocks.map(|(_, scale)| scale.to_f32()).find(|scale| *scale != 0.0)
    }
    match tensor.dtype {
        Dtype::Block(TensorType::I2S) => {
            let scale = ternary::i2_s_scale(tensor.bytes);
            (scale != 0.0 || !ternary::i2_s_is_zero(tensor.bytes)).then_some(scale)
        }
        Dtype::Block(TensorType::Tq1_0) => first(tensor.bytes, ternary::tq1_0_block),
        Dtype::Block(TensorType::Tq2_0) => first(tensor.bytes, ternary::tq2_0_block),
        other => unreachable!("ternary_scale: {other} is no type of ternary blocks"),
    }
}

/// The codes from element `first` on, where a block begins or the type has no blocks of rows; the scale of a block
/// that has another.
pub(super) fn ternary_codes(
    tensor: &TensorRef<'_>,
    first: usize,
    codes: &mut [u8],
    scale: f32,
) -> Result<(), f32> {
    fn of_blocks<const BYTES: usize>(
        bytes: &[u8],
        codes: &mut [u8],
        scale: f32,
        read: impl Fn(&[u8; BYTES]) -> ([u8; TQ_BLOCK], half::f16),
    ) -> Result<(), f32> {
        for (block, codes) in bytes.as_chunks().0.iter().zip(codes.as_chunks_mut().0) {
            let (own, own_scale) = read(block);
            // A block of zeros is stored with the scale 0, and another may say -1 for 0 times anything.
            *codes = if own_scale.to_f32() == 0.0 { [1; TQ_BLOCK] } else { own };
            if own_scale.to_f32() != 0.0 && own_scale.to_f32() != scale {
                return Err(own_scale.to_f32());
            }
        }
        Ok(())
    }
    let blocks = |block_bytes: usize| &tensor.bytes[first / TQ_BLOCK * block_bytes..];
    match tensor.dtype {
        Dtype::Block(TensorType::I2S) => {
            ternary::i2_s_codes(tensor.bytes, first, codes);
            Ok(())
        }
        Dtype::Block(TensorType::Tq1_0) => {
            of_blocks(blocks(ternary::TQ1_0_BYTES), codes, scale, ternary::tq1_0_block)
        }
        Dtype::Block(TensorType::Tq2_0) => {
            of_blocks(blocks(ternary::TQ2_0_BYTES), codes, scale, ternary::tq2_0_block)
        }
        other => unreachable!("ternary_codes: {other} is no type of ternary blocks"),
    }
}
