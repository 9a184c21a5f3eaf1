//! The flags that say how weights are held in memory.

use clap::ValueEnum;
use tercet::model::HeadType;
use tercet_kernels::{Layout, QuantizedType};

/// How ternary weights lie in memory.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Weights {
    /// Two bits a weight
    #[value(name = "2bit")]
    TwoBit,
    /// Five weights in a byte
    #[value(name = "1.6bit")]
    BaseThree,
}

impl Weights {
    pub(crate) fn layout(self) -> Layout {
        match self {
            Weights::TwoBit => Layout::TwoBit,
            Weights::BaseThree => Layout::BaseThree,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Weights::TwoBit => "2bit",
            Weights::BaseThree => "1.6bit",
        }
    }
}

/// The numbers of the vocabulary projection.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Head {
    /// As the checkpoint has them: the function that was trained
    Model,
    /// 8.5 bits a weight, with int8 activations
    Q8,
    /// 6.5 bits
    Q6,
    /// 4.5 bits
    Q4,
}

impl Head {
    pub(crate) fn head_type(self) -> HeadType {
        match self {
            Head::Model => HeadType::Checkpoint,
            Head::Q8 => HeadType::Quantized(QuantizedType::Q8),
            Head::Q6 => HeadType::Quantized(QuantizedType::Q6),
            Head::Q4 => HeadType::Quantized(QuantizedType::Q4),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Head::Model => "model",
            Head::Q8 => "q8",
            Head::Q6 => "q6",
            Head::Q4 => "q4",
        }
    }
}
