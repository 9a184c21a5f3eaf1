//! What is in a model: each linear of each layer, and how many of its weights are -1, 0 and +1.
//!
//! It knows no form in which this is shown.

use super::{Layer, Linear, Model};

/// How many weights are -1, 0 and +1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TernaryCounts {
    /// Those that are -1.
    pub minus: u64,
    /// Those that are 0.
    pub zero: u64,
    /// Those that are +1.
    pub plus: u64,
}

impl TernaryCounts {
    /// Those of several matrices together.
    pub fn sum(all: impl IntoIterator<Item = TernaryCounts>) -> Self {
        all.into_iter().fold(TernaryCounts::default(), |sum, counts| TernaryCounts {
            minus: sum.minus + counts.minus,
            zero: sum.zero + counts.zero,
            plus: sum.plus + counts.plus,
        })
    }

    /// The parts that are -1, 0 and +1, together 1. Of no weights each is 0.
    pub fn shares(&self) -> [f64; 3] {
        let TernaryCounts { minus, zero, plus } = *self;
        let total = (minus + zero + plus).max(1) as f64;
        [minus, zero, plus].map(|count| count as f64 / total)
    }
}

/// One linear of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearContents {
    /// The layer's number, from 0.
    pub layer: usize,
    /// The linear's name in the layer, such as `self_attn.q_proj`.
    pub name: &'static str,
    /// Outputs and inputs.
    pub shape: [usize; 2],
    /// Bytes that it takes in memory.
    pub bytes: usize,
    /// real = weight × scale; none for a dense linear.
    pub scale: Option<f32>,
    /// None for a dense linear.
    pub counts: Option<TernaryCounts>,
}

impl LinearContents {
    fn of(layer: usize, name: &'static str, linear: &Linear) -> Self {
        let (scale, counts) = match linear {
            Linear::Ternary(linear) => {
                let [minus, zero, plus] = linear.matrix.count();
                (Some(linear.scale), Some(TernaryCounts { minus, zero, plus }))
            }
            Linear::Dense(_) => (None, None),
        };
        LinearContents { layer, name, shape: linear.shape(), bytes: linear.size_bytes(), scale, counts }
    }
}

impl Model {
    /// Every linear, layer after layer. Each is counted when it is asked for, which reads all of its bytes.
    pub fn linear_contents(&self) -> impl Iterator<Item = LinearContents> {
        let of_layer = |(i, layer): (usize, &Layer)| {
            layer.linears().map(|(name, linear)| LinearContents::of(i, name, linear))
        };
        self.layers.iter().enumerate().flat_map(of_layer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tercet_kernels::{Isa, Layout, Pool};

    use super::*;
    use crate::embedded::stories;

    #[test]
    fn shares_are_parts_of_all_weights() {
        let counts = TernaryCounts { minus: 1, zero: 2, plus: 1 };
        assert_eq!(counts.shares(), [0.25, 0.5, 0.25]);
        assert_eq!(TernaryCounts::sum([counts, counts]), TernaryCounts { minus: 2, zero: 4, plus: 2 });
        assert_eq!(TernaryCounts::default().shares(), [0.0; 3]);
    }

    #[test]
    fn every_weight_of_every_linear_is_counted_in_both_layouts() {
        let contents = |layout| {
            let model = Model::load(&stories(), Arc::new(Pool::new(Isa::best(), 1)), layout).unwrap();
            let expected = model.config().num_hidden_layers * Layer::LINEARS.len();
            let found: Vec<LinearContents> = model.linear_contents().collect();
            assert_eq!(found.len(), expected);
            found
        };
        let two_bit = contents(Layout::TwoBit);
        for linear in &two_bit {
            let counts = linear.counts.unwrap();
            let weights = (linear.shape[0] * linear.shape[1]) as u64;
            assert_eq!(counts.minus + counts.zero + counts.plus, weights, "{linear:?}");
            assert!(counts.minus > 0 && counts.zero > 0 && counts.plus > 0, "{linear:?}");
        }
        let base_three = contents(Layout::BaseThree);
        for (a, b) in two_bit.iter().zip(&base_three) {
            assert_eq!((a.layer, a.name, a.counts), (b.layer, b.name, b.counts));
        }
    }
}
