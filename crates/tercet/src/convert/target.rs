//! The forms that a model is converted to. It knows their names and what they hold, and writes nothing.

use std::fmt;

use crate::gguf::TensorType;

/// A form of a model on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A folder of codes, four a byte, with one scale a linear, as the makers of the model's family publish it.
    HfPacked,
    /// The same, and the scales always multiply (`linear_class` is `autobitlinear`).
    HfAutoBitLinear,
    /// A folder of bf16 weights from which the codes and scales are made when it is loaded.
    HfBf16,
    /// A folder of dense LLaMA in bf16, for software that knows no ternary linears.
    HfDequantized,
    /// A GGUF file with linears of I2_S.
    GgufI2S,
    /// A GGUF file with linears of TQ1_0.
    GgufTq1_0,
    /// A GGUF file with linears of TQ2_0.
    GgufTq2_0,
    /// A GGUF file with linears of F16.
    GgufF16,
    /// A GGUF file with linears of BF16.
    GgufBf16,
}

impl Target {
    /// All of them, with their names on the command line.
    pub const ALL: [(&'static str, Target); 9] = [
        ("hf-packed", Self::HfPacked),
        ("hf-autobitlinear", Self::HfAutoBitLinear),
        ("hf-bf16", Self::HfBf16),
        ("hf-dequantized", Self::HfDequantized),
        ("gguf-i2_s", Self::GgufI2S),
        ("gguf-tq1_0", Self::GgufTq1_0),
        ("gguf-tq2_0", Self::GgufTq2_0),
        ("gguf-f16", Self::GgufF16),
        ("gguf-bf16", Self::GgufBf16),
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        let named = Self::ALL.iter().find(|(_, target)| *target == self);
        named.expect("Target::ALL has every target").0
    }

    /// The type of the linears, where the form is a GGUF file.
    pub fn gguf_type(self) -> Option<TensorType> {
        match self {
            Self::HfPacked | Self::HfAutoBitLinear | Self::HfBf16 | Self::HfDequantized => None,
            Self::GgufI2S => Some(TensorType::I2S),
            Self::GgufTq1_0 => Some(TensorType::Tq1_0),
            Self::GgufTq2_0 => Some(TensorType::Tq2_0),
            Self::GgufF16 => Some(TensorType::F16),
            Self::GgufBf16 => Some(TensorType::Bf16),
        }
    }

    /// Whether a dense model has this form too.
    pub(super) fn takes_dense(self) -> bool {
        matches!(self, Self::HfBf16 | Self::HfDequantized | Self::GgufF16 | Self::GgufBf16)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The numbers of the embedding and the head in a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the file format's own")]
pub enum TableType {
    F16,
    Bf16,
    Q8_0,
    Q6K,
}

impl TableType {
    /// All of them, with their names on the command line.
    pub const ALL: [(&'static str, TableType); 4] =
        [("f16", Self::F16), ("bf16", Self::Bf16), ("q8_0", Self::Q8_0), ("q6_k", Self::Q6K)];
}
