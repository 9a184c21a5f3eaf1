//! The types of tensors, by their numbers.
//!
//! Two programs have given some numbers to different types, so those are refused by name.

use std::fmt;

use super::quantized::{Q4_0_BYTES, Q6_K_BLOCK, Q6_K_BYTES, Q8_0_BYTES, Q32_BLOCK};
use super::ternary::{I2_S_BLOCK, I2_S_BYTES, I2_S_TAIL_BYTES, TQ_BLOCK, TQ1_0_BYTES, TQ2_0_BYTES};

/// A type that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the file format's own")]
pub enum TensorType {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q8_0,
    Q6K,
    Tq1_0,
    Tq2_0,
    I2S,
}

impl TensorType {
    /// All types, and the numbers that files give them.
    pub const ALL: [(u32, TensorType); 9] = [
        (0, Self::F32),
        (1, Self::F16),
        (2, Self::Q4_0),
        (8, Self::Q8_0),
        (14, Self::Q6K),
        (30, Self::Bf16),
        (34, Self::Tq1_0),
        (35, Self::Tq2_0),
        (36, Self::I2S),
    ];

    /// The type of a number; otherwise what is known of it.
    pub(super) fn of(number: u32) -> Result<Self, Refused> {
        match Self::ALL.iter().find(|(own, _)| *own == number) {
            Some((_, tensor_type)) => Ok(*tensor_type),
            None => Err(Refused::of(number)),
        }
    }

    /// Whether its blocks are ternary codes with their scales.
    pub fn is_ternary(self) -> bool {
        matches!(self, Self::Tq1_0 | Self::Tq2_0 | Self::I2S)
    }

    /// Its number in a file.
    pub fn number(self) -> u32 {
        let of_type = Self::ALL.iter().find(|(_, tensor_type)| *tensor_type == self);
        of_type.expect("TensorType::ALL has every type").0
    }

    /// Elements and bytes of a block.
    pub fn block(self) -> [usize; 2] {
        match self {
            Self::F32 => [1, 4],
            Self::F16 | Self::Bf16 => [1, 2],
            Self::Q4_0 => [Q32_BLOCK, Q4_0_BYTES],
            Self::Q8_0 => [Q32_BLOCK, Q8_0_BYTES],
            Self::Q6K => [Q6_K_BLOCK, Q6_K_BYTES],
            Self::Tq1_0 => [TQ_BLOCK, TQ1_0_BYTES],
            Self::Tq2_0 => [TQ_BLOCK, TQ2_0_BYTES],
            Self::I2S => [I2_S_BLOCK, I2_S_BYTES],
        }
    }

    /// Bytes of the blocks of so many elements, all of them in whole blocks.
    pub(crate) fn block_bytes(self, elements: usize) -> usize {
        let [block, block_bytes] = self.block();
        elements / block * block_bytes
    }

    /// What must be a multiple of a block: I2_S runs over the ends of rows.
    pub(super) fn is_blocked_by_row(self) -> bool {
        self != Self::I2S
    }

    /// Bytes of a tensor of so many elements, all of them in whole blocks.
    pub(super) fn size_bytes(self, elements: u64) -> Option<u64> {
        let [block, block_bytes] = self.block().map(|size| size as u64);
        let tail = if self == Self::I2S { I2_S_TAIL_BYTES as u64 } else { 0 };
        (elements / block).checked_mul(block_bytes)?.checked_add(tail)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q8_0 => "Q8_0",
            Self::Q6K => "Q6_K",
            Self::Tq1_0 => "TQ1_0",
            Self::Tq2_0 => "TQ2_0",
            Self::I2S => "I2_S",
        })
    }
}

/// A type that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// What programs call it.
    pub name: &'static str,
    /// Why.
    pub reason: RefusedReason,
}

/// Why a type is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedReason {
    /// Its layout was generated for one shape and machine.
    Unportable,
    /// Types of another program.
    OtherProgram,
    /// Weights of a dense model in few bits.
    DenseInFewBits,
    /// Two programs mean different types by its number.
    Ambiguous,
    /// Not a type of weights, or of no program that is known.
    Unknown,
}

impl Refused {
    fn of(number: u32) -> Self {
        use RefusedReason::{Ambiguous, DenseInFewBits, OtherProgram, Unportable};
        let (name, reason) = match number {
            3 => ("Q4_1", DenseInFewBits),
            6 => ("Q5_0", DenseInFewBits),
            7 => ("Q5_1", DenseInFewBits),
            9 => ("Q8_1", DenseInFewBits),
            10 => ("Q2_K", DenseInFewBits),
            11 => ("Q3_K", DenseInFewBits),
            12 => ("Q4_K", DenseInFewBits),
            13 => ("Q5_K", DenseInFewBits),
            15 => ("Q8_K", DenseInFewBits),
            16 => ("IQ2_XXS", DenseInFewBits),
            17 => ("IQ2_XS", DenseInFewBits),
            18 => ("IQ3_XXS", DenseInFewBits),
            19 => ("IQ1_S", DenseInFewBits),
            20 => ("IQ4_NL", DenseInFewBits),
            21 => ("IQ3_S", DenseInFewBits),
            22 => ("IQ2_S", DenseInFewBits),
            23 => ("IQ4_XS", DenseInFewBits),
            29 => ("IQ1_M", DenseInFewBits),
            37 => ("bitnet.cpp's I8_S", Ambiguous),
            38 => ("bitnet.cpp's TL1", Unportable),
            39 => ("bitnet.cpp's TL2 or llama.cpp's MXFP4", Ambiguous),
            40 => ("llama.cpp's NVFP4", DenseInFewBits),
            41 => ("llama.cpp's Q1_0", DenseInFewBits),
            42 => ("llama.cpp's Q2_0 or PrismML's type of the same number", Ambiguous),
            134 => ("ik_llama.cpp's IQ1_BN", OtherProgram),
            135 => ("ik_llama.cpp's IQ2_BN", OtherProgram),
            335 => ("ik_llama.cpp's IQ2_BN_R4", OtherProgram),
            142 => ("PrismML's PQ2_0", OtherProgram),
            143 => ("PrismML's PTQ1_0", OtherProgram),
            _ => ("an unknown type", RefusedReason::Unknown),
        };
        Self { name, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_are_each_others_inverse() {
        for (number, tensor_type) in TensorType::ALL {
            assert_eq!(TensorType::of(number), Ok(tensor_type));
            assert_eq!(tensor_type.number(), number);
        }
    }

    #[test]
    fn types_that_are_refused_have_names() {
        for (number, want) in [(12, "Q4_K"), (38, "TL1"), (39, "TL2"), (134, "IQ1_BN"), (77, "unknown")] {
            let refused = TensorType::of(number).unwrap_err();
            assert!(refused.name.contains(want), "{number}: {refused:?}");
        }
    }

    #[test]
    fn a_tensor_has_its_blocks_and_i2_s_a_tail() {
        assert_eq!(TensorType::I2S.size_bytes(256), Some(64 + 32));
        assert_eq!(TensorType::Tq1_0.size_bytes(512), Some(108));
        assert_eq!(TensorType::Q6K.size_bytes(256), Some(210));
        assert_eq!(TensorType::F32.size_bytes(u64::MAX), None);
    }
}
