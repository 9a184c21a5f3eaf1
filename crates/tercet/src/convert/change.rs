//! What is not as it was after a conversion, in words.

use std::fmt;

use crate::config::GENERATION_CONFIG_FILE;
use crate::json::shown;

/// What a form cannot hold as it was; the name of a number type says what it is rounded to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A dense model's linears were rounded to -1, 0 and +1.
    Quantized,
    /// Ternary linears are stored as floats of a dense model.
    Dequantized,
    /// The scales of the linears.
    Scales(&'static str),
    /// The linears of a dense model.
    Linears(&'static str),
    /// Embedding and head.
    Tables(&'static str),
    /// Fields of `generation_config.json` that a GGUF file has no key for.
    Suggestions(Vec<String>),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantized => f.write_str(
                "the weights of a dense model were rounded to -1, 0 and +1, which it was not trained for: \
                 expect gibberish",
            ),
            Self::Dequantized => f.write_str(
                "the linears are floats now, so other software computes with float activations where the model \
                 was trained with 8-bit ones: its output is close, and not the same",
            ),
            Self::Scales(number) => write!(f, "the scale of each linear was rounded to {number}; the codes are exact"),
            Self::Linears(number) => write!(f, "the linears were rounded to {number}"),
            Self::Suggestions(fields) => {
                let fields: Vec<String> = fields.iter().map(|field| format!("`{}`", shown(field))).collect();
                let fields = fields.join(", ");
                write!(f, "`{GENERATION_CONFIG_FILE}` has what no key of a GGUF file holds: {fields}")
            }
            Self::Tables(number) => write!(f, "embedding and head were rounded to {number}"),
        }
    }
}
