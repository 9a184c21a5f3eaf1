//! The flags that say how weights and cache are held in memory.

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use tercet::model::HeadType;
use tercet_kernels::{KvType, Layout, QuantizedType};

/// How the weights of linears lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Weights {
    /// Two bits a weight
    #[value(name = "2bit")]
    TwoBit,
    /// Five weights in a byte
    #[value(name = "1.6bit")]
    BaseThree,
    /// Floats of 16 bits, the full-precision baseline: for random weights (`--preset` of run, serve and bench) only
    #[value(name = "dense-f16")]
    DenseF16,
}

impl Weights {
    /// Those that a model's weights may have: not the one of random weights alone.
    pub(crate) fn of_models() -> impl TypedValueParser<Value = Weights> {
        let name = |weights: Weights| weights.to_possible_value().expect("weights: none is hidden");
        PossibleValuesParser::new([Weights::TwoBit, Weights::BaseThree].map(name))
            .map(|name| Weights::from_str(&name, false).expect("weights: a name is one of the possible ones"))
    }

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
    /// As the model has them, the function that was trained: bf16 in a ternary preset
    #[value(alias = "bf16")]
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

/// Numbers of the cache of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kv {
    /// Nothing is rounded
    F32,
    /// Half the memory
    F16,
    /// A quarter: codes of 8 bits with a scale a position and head
    Int8,
}

impl Kv {
    pub(crate) fn kv_type(self) -> KvType {
        match self {
            Kv::F32 => KvType::F32,
            Kv::F16 => KvType::F16,
            Kv::Int8 => KvType::Int8,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kv::F32 => "f32",
            Kv::F16 => "f16",
            Kv::Int8 => "int8",
        }
    }
}
