//! Additions, multiplications and bytes of one token, and the energy that they stand for.
//!
//! Counted as in the paper (arXiv:2402.17764, arXiv:2310.11453): a product of a row of `k` values
//! with a matrix `[n, k]` is
//!
//! ```text
//! ternary   n (k - 1) additions of int8,   k + n multiplications (to int8, and back from it)
//! dense     n (k - 1) additions,           n k   multiplications
//! ```
//!
//! and attention of one token over `p` positions with `h` heads of `d` values is
//! `h p (d - 1) + h d (p - 1)` additions and `2 h p d` multiplications. The energy is that of the
//! paper, of arithmetic in a 7 nm process and of nothing else: neither memory nor anything that is
//! linear in the width (norms, rotation, activations, softmax) is in it. Floats are taken as FP16
//! there, whatever they are here. It is an estimate and no measurement.

use tercet_kernels::KvType;

use super::{Layer, MemoryNeed, Model};
use crate::config::{Config, Linears, linear_shape};

/// Energy of one addition of int8 at 7 nm, in picojoules.
const INT8_ADDITION_PJ: f64 = 0.007;
/// Energy of one addition of FP16 at 7 nm, in picojoules.
const FP16_ADDITION_PJ: f64 = 0.16;
/// Energy of one multiplication of FP16 at 7 nm, in picojoules.
const FP16_MULTIPLICATION_PJ: f64 = 0.34;

/// How many times the energy of an int8 addition, which is what a ternary weight takes, the product
/// with a dense FP16 weight takes: an addition and a multiplication. The 71.4 of the paper's figure 3.
pub const PRODUCT_ENERGY_RATIO: f64 = (FP16_ADDITION_PJ + FP16_MULTIPLICATION_PJ) / INT8_ADDITION_PJ;

/// The operations of one kind of layer for one token, all layers of the model together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operations {
    /// What it is: a linear by its name, `attention`, `lm_head`, `embed_tokens`.
    pub name: &'static str,
    /// How many of these the model has.
    pub layers: usize,
    /// Additions of int8.
    pub int8_additions: u64,
    /// Additions of floats.
    pub float_additions: u64,
    /// Multiplications of floats.
    pub float_multiplications: u64,
    /// Bytes read: weights, or keys and values.
    pub bytes: u64,
    /// Additions, were every weight a float.
    pub dense_additions: u64,
    /// Multiplications, were every weight a float.
    pub dense_multiplications: u64,
}

impl Operations {
    /// What the arithmetic takes by the paper's model, in picojoules.
    pub fn energy_pj(&self) -> f64 {
        self.int8_additions as f64 * INT8_ADDITION_PJ
            + float_pj(self.float_additions, self.float_multiplications)
    }

    /// What the same layers take in FP16, in picojoules.
    pub fn dense_energy_pj(&self) -> f64 {
        float_pj(self.dense_additions, self.dense_multiplications)
    }

    /// Several kinds together.
    pub fn sum<'a>(name: &'static str, parts: impl IntoIterator<Item = &'a Operations>) -> Self {
        parts.into_iter().fold(Operations::none(name), |sum, part| Operations {
            name,
            layers: sum.layers + part.layers,
            int8_additions: sum.int8_additions + part.int8_additions,
            float_additions: sum.float_additions + part.float_additions,
            float_multiplications: sum.float_multiplications + part.float_multiplications,
            bytes: sum.bytes + part.bytes,
            dense_additions: sum.dense_additions + part.dense_additions,
            dense_multiplications: sum.dense_multiplications + part.dense_multiplications,
        })
    }

    fn none(name: &'static str) -> Self {
        Operations {
            name,
            layers: 0,
            int8_additions: 0,
            float_additions: 0,
            float_multiplications: 0,
            bytes: 0,
            dense_additions: 0,
            dense_multiplications: 0,
        }
    }
}

impl Operations {
    /// The operations of one token of a model of this shape that attends to `positions` positions,
    /// itself among them, kind by kind in the order of their use; no bytes are counted.
    ///
    /// # Panics
    /// If there are no positions.
    pub fn of_config(config: &Config, positions: usize) -> Vec<Operations> {
        assert!(positions > 0, "Operations::of_config: a token attends to itself");
        let mut kinds = vec![Operations { layers: 1, ..Operations::none("embed_tokens") }];
        for name in Layer::LINEARS {
            let one = of_linear(name, linear_shape(config, name), config.linears != Linears::Dense);
            kinds.push(Operations::sum(name, &vec![one; config.num_hidden_layers]));
            if name == "self_attn.v_proj" {
                kinds.push(attention(config, positions));
            }
        }
        kinds.push(dense("lm_head", [config.vocab_size, config.hidden_size]));
        kinds
    }
}

impl Model {
    /// The operations of one token that attends to `positions` positions, itself among them, kind
    /// by kind in the order of their use.
    ///
    /// # Panics
    /// If there are no positions.
    pub fn operations(&self, positions: usize, kv_type: KvType) -> Vec<Operations> {
        let mut kinds = Operations::of_config(&self.config, positions);
        for kind in &mut kinds {
            kind.bytes = self.bytes_of(kind.name, positions, kv_type);
        }
        kinds
    }

    fn bytes_of(&self, kind: &str, positions: usize, kv_type: KvType) -> u64 {
        match kind {
            "embed_tokens" => self.embed_tokens.row_bytes() as u64,
            "attention" => positions as u64 * MemoryNeed::cache_bytes_per_position(&self.config, kv_type),
            "lm_head" => self.lm_head().size_bytes() as u64,
            linear => {
                let linears = self.layers.iter().flat_map(Layer::linears);
                let named = linears.filter(|(name, _)| *name == linear);
                named.map(|(_, linear)| linear.size_bytes() as u64).sum()
            }
        }
    }
}

fn attention(config: &Config, positions: usize) -> Operations {
    let layers = config.num_hidden_layers;
    let [h, d, p] = [config.num_attention_heads, config.head_dim, positions].map(|size| size as u64);
    let additions = layers as u64 * (h * p * (d - 1) + h * d * (p - 1));
    let multiplications = layers as u64 * 2 * h * p * d;
    Operations {
        layers,
        float_additions: additions,
        float_multiplications: multiplications,
        dense_additions: additions,
        dense_multiplications: multiplications,
        ..Operations::none("attention")
    }
}

fn of_linear(name: &'static str, shape: [usize; 2], is_ternary: bool) -> Operations {
    let as_dense = dense(name, shape);
    if !is_ternary {
        return as_dense;
    }
    let [n, k] = shape.map(|size| size as u64);
    Operations {
        int8_additions: as_dense.dense_additions,
        float_additions: 0,
        float_multiplications: k + n,
        ..as_dense
    }
}

/// A dense product, which is its own dense counterpart.
fn dense(name: &'static str, shape: [usize; 2]) -> Operations {
    let [n, k] = shape.map(|size| size as u64);
    Operations {
        layers: 1,
        float_additions: n * (k - 1),
        float_multiplications: n * k,
        dense_additions: n * (k - 1),
        dense_multiplications: n * k,
        ..Operations::none(name)
    }
}

fn float_pj(additions: u64, multiplications: u64) -> f64 {
    additions as f64 * FP16_ADDITION_PJ + multiplications as f64 * FP16_MULTIPLICATION_PJ
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tercet_kernels::{Isa, Layout, Pool};

    use super::*;
    use crate::tiny_model::{Kind, TinyModel};

    fn operations(kind: Kind) -> Vec<Operations> {
        let pool = Arc::new(Pool::new(Isa::scalar(), 1));
        let model = Model::load(&TinyModel::new(kind).source(), pool, Layout::TwoBit).unwrap();
        let operations = model.operations(10, KvType::F16);
        let read: u64 = operations.iter().filter(|o| o.name != "attention").map(|o| o.bytes).sum();
        assert_eq!(read, model.weight_bytes_per_token() as u64, "all weights of a token are counted");
        operations
    }

    fn named(operations: &[Operations], name: &str) -> Operations {
        *operations.iter().find(|operations| operations.name == name).unwrap()
    }

    #[test]
    fn products_are_counted_as_the_module_says() {
        // Two layers; k_proj is [8, 16], four heads and two for keys and values, of four values.
        let ternary = operations(Kind::Bitnet);
        let k_proj = named(&ternary, "self_attn.k_proj");
        assert_eq!((k_proj.int8_additions, k_proj.float_additions), (2 * 8 * 15, 0));
        assert_eq!((k_proj.float_multiplications, k_proj.dense_multiplications), (2 * 24, 2 * 128));
        let attention = named(&ternary, "attention");
        assert_eq!(attention.float_additions, 2 * (4 * 10 * 3 + 4 * 4 * 9));
        assert_eq!(attention.float_multiplications, 2 * 2 * 4 * 10 * 4);
        assert_eq!(attention.bytes, 2 * 2 * 10 * 8 * 2);

        let dense = named(&operations(Kind::Dense), "self_attn.k_proj");
        assert_eq!((dense.int8_additions, dense.float_additions), (0, 2 * 8 * 15));
        assert_eq!(dense.energy_pj(), dense.dense_energy_pj());
    }

    #[test]
    fn a_large_ternary_linear_takes_the_papers_share_of_energy() {
        assert_eq!(format!("{PRODUCT_ENERGY_RATIO:.1}"), "71.4");
        let ternary = of_linear("", [50_000, 50_000], true);
        let times = ternary.dense_energy_pj() / ternary.energy_pj();
        assert!((times - 71.4).abs() < 0.2, "found {times}, expected the 71.4 of the paper's figure 3");
    }
}
