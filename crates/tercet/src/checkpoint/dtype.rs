//! The element types of safetensors files, and the block types of GGUF files that are read.
//!
//! All of them, so that a file that merely holds an exotic tensor can be opened; whoever uses a
//! tensor says which types it takes.

use std::fmt;

use crate::gguf::TensorType;

/// The type of a tensor's elements, named as safetensors and GGUF name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the file format's own")]
pub enum Dtype {
    Bool,
    F4,
    F6E2M3,
    F6E3M2,
    U8,
    I8,
    F8E5M2,
    F8E4M3,
    F8E8M0,
    F8E4M3Fnuz,
    F8E5M2Fnuz,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    C64,
    F64,
    I64,
    U64,
    /// A type of GGUF that no safetensors file has.
    Block(TensorType),
}

impl Dtype {
    /// Whether this is one of the floating types a model's weights are kept in.
    pub fn is_weight_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// Whether these are blocks of ternary codes with their scales.
    pub fn is_ternary_block(self) -> bool {
        matches!(self, Self::Block(tensor_type) if tensor_type.is_ternary())
    }

    /// Whether these are blocks of other numbers in few bits.
    pub fn is_quantized_block(self) -> bool {
        matches!(self, Self::Block(tensor_type) if !tensor_type.is_ternary())
    }

    /// Bytes of one element; `None` for types of less than a byte and for blocks.
    pub fn size_bytes(self) -> Option<u64> {
        match self {
            Self::F4 | Self::F6E2M3 | Self::F6E3M2 | Self::Block(_) => None,
            Self::Bool | Self::U8 | Self::I8 => Some(1),
            Self::F8E5M2 | Self::F8E4M3 | Self::F8E8M0 | Self::F8E4M3Fnuz | Self::F8E5M2Fnuz => Some(1),
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => Some(2),
            Self::I32 | Self::U32 | Self::F32 => Some(4),
            Self::C64 | Self::F64 | Self::I64 | Self::U64 => Some(8),
        }
    }

    /// Our name for a type of the `safetensors` crate; `None` for one added to it later.
    pub(super) fn from_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype as Theirs;
        Some(match dtype {
            Theirs::BOOL => Self::Bool,
            Theirs::F4 => Self::F4,
            Theirs::F6_E2M3 => Self::F6E2M3,
            Theirs::F6_E3M2 => Self::F6E3M2,
            Theirs::U8 => Self::U8,
            Theirs::I8 => Self::I8,
            Theirs::F8_E5M2 => Self::F8E5M2,
            Theirs::F8_E4M3 => Self::F8E4M3,
            Theirs::F8_E8M0 => Self::F8E8M0,
            Theirs::F8_E4M3FNUZ => Self::F8E4M3Fnuz,
            Theirs::F8_E5M2FNUZ => Self::F8E5M2Fnuz,
            Theirs::I16 => Self::I16,
            Theirs::U16 => Self::U16,
            Theirs::F16 => Self::F16,
            Theirs::BF16 => Self::BF16,
            Theirs::I32 => Self::I32,
            Theirs::U32 => Self::U32,
            Theirs::F32 => Self::F32,
            Theirs::C64 => Self::C64,
            Theirs::F64 => Self::F64,
            Theirs::I64 => Self::I64,
            Theirs::U64 => Self::U64,
            _ => return None,
        })
    }

    /// Our name for a type of GGUF.
    pub(crate) fn from_gguf(tensor_type: TensorType) -> Self {
        match tensor_type {
            TensorType::F32 => Self::F32,
            TensorType::F16 => Self::F16,
            TensorType::Bf16 => Self::BF16,
            block => Self::Block(block),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "BOOL",
            Self::F4 => "F4",
            Self::F6E2M3 => "F6_E2M3",
            Self::F6E3M2 => "F6_E3M2",
            Self::U8 => "U8",
            Self::I8 => "I8",
            Self::F8E5M2 => "F8_E5M2",
            Self::F8E4M3 => "F8_E4M3",
            Self::F8E8M0 => "F8_E8M0",
            Self::F8E4M3Fnuz => "F8_E4M3FNUZ",
            Self::F8E5M2Fnuz => "F8_E5M2FNUZ",
            Self::I16 => "I16",
            Self::U16 => "U16",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I32 => "I32",
            Self::U32 => "U32",
            Self::F32 => "F32",
            Self::C64 => "C64",
            Self::F64 => "F64",
            Self::I64 => "I64",
            Self::U64 => "U64",
            Self::Block(tensor_type) => return tensor_type.fmt(f),
        })
    }
}
