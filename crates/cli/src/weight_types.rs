//! The flags that say how weights and cache are held in memory.

use clap::ValueEnum;
use tercet_kernels::{KvType, Layout};

/// How the weights of linears lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Weights {
    /// Two bits a weight
    #[value(name = "2bit")]
    TwoBit,
    /// Five weights in a byte
    #[value(name = "1.6bit")]
    BaseThree,
    /// Floats of 16 bits, the full-precision baseline: with `--preset` only
    #[value(name = "dense-f16")]
    DenseF16,
}

impl Weights {
    /// The layout of ternary weights; dense linears have none, and take any.
    pub(crate) fn layout(self) -> Layout {
        match self {
            Weights::TwoBit | Weights::DenseF16 => Layout::TwoBit,
            Weights::BaseThree => Layout::BaseThree,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Weights::TwoBit => "2bit",
            Weights::BaseThree => "1.6bit",
            Weights::DenseF16 => "dense-f16",
        }
    }
}

/// The numbers of the vocabulary projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Head {
    /// As the model has them: bf16 in a ternary preset
    #[value(alias = "bf16")]
    Model,
}

/// Numbers of the cache of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kv {
    /// Nothing is rounded
    F32,
    /// Half the memory
    F16,
}

impl Kv {
    pub(crate) fn kv_type(self) -> KvType {
        match self {
            Kv::F32 => KvType::F32,
            Kv::F16 => KvType::F16,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kv::F32 => "f32",
            Kv::F16 => "f16",
        }
    }
}
