//! What a model of one size costs: memory, time of a token, the largest batch, energy.

use serde::Serialize;
use tercet::config::{Config, Linears, linear_shape};
use tercet::model::{Layer, MemoryNeed, Operations};
use tercet::presets::Preset;
use tercet_kernels::KvType;

use super::super::measure::Measurement;
use super::super::row::{median, stddev};
use super::super::test::{Kind, ModelSizes, Need, Test};
use super::{DECODED, SEQUENCE};
use crate::ceilings::Rates;
use crate::weight_types::Weights;

/// Bytes of a dense number: bf16 or f16.
const NUMBER_BYTES: u64 = 2;
const JOULES_PER_PICOJOULE: f64 = 1e-12;

/// A size in one kind of weights.
pub(super) struct Shape {
    pub(super) preset: &'static Preset,
    pub(super) weights: Weights,
    config: Config,
    kv_type: KvType,
}

/// Whether a time was taken or worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Origin {
    Measured,
    Computed,
}

/// A row of the tables.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Cost {
    pub(super) size: &'static str,
    pub(super) weights: &'static str,
    pub(super) is_dense: bool,
    pub(super) params: u64,
    pub(super) weight_bytes: u64,
    /// Keys and values of a sequence of 512 tokens.
    pub(super) cache_bytes: u64,
    /// What the process had resident when the time was measured.
    pub(super) resident_bytes: Option<u64>,
    /// Milliseconds of one decoded token.
    pub(super) token_ms: f64,
    pub(super) token_ms_origin: Origin,
    /// The standard deviation, where it was measured.
    pub(super) token_ms_stddev: Option<f64>,
    /// Milliseconds of one decoded token at the ceilings of this machine.
    pub(super) token_ms_limit: f64,
    /// Sequences of 512 tokens that fit into memory together; 0 if the weights alone do not.
    pub(super) batch: u64,
    /// Tokens a second of so many sequences at the ceilings of this machine, computed.
    pub(super) batch_tokens_per_s: f64,
    /// Arithmetic energy of 512 tokens by the paper's model.
    pub(super) energy_j: f64,
    /// The same of the layers' linears alone.
    pub(super) linear_energy_j: f64,
    /// What the processor's counter says that a token took.
    pub(super) measured_j_per_token: Option<f64>,
    /// The smallest dense size that takes more memory, time and energy than this ternary one.
    pub(super) cheaper_than: Option<&'static str>,
}

impl Shape {
    pub(super) fn new(preset: &'static Preset, weights: Weights, kv_type: KvType) -> Self {
        let config = match weights {
            Weights::DenseF16 => preset.dense_config(),
            Weights::TwoBit | Weights::BaseThree => preset.config(),
        };
        Shape { preset, weights, config, kv_type }
    }

    /// Bytes of weights that one pass reads: linears, head and a row of the embedding.
    fn pass_bytes(&self) -> u64 {
        let config = &self.config;
        let linear_bytes = |name: &str| {
            let [rows, cols] = linear_shape(config, name);
            match config.linears {
                Linears::Dense => (rows * cols) as u64 * NUMBER_BYTES,
                _ => self.weights.layout().matrix_bytes([rows, cols]) as u64,
            }
        };
        let layer: u64 = Layer::LINEARS.into_iter().map(linear_bytes).sum();
        let table_rows = config.vocab_size as u64 + 1;
        layer * config.num_hidden_layers as u64 + table_rows * config.hidden_size as u64 * NUMBER_BYTES
    }

    fn sizes(&self) -> ModelSizes<'_> {
        ModelSizes { config: &self.config, weight_bytes: self.pass_bytes(), kv_type: self.kv_type }
    }

    fn memory_need(&self, positions: usize) -> MemoryNeed {
        let size = Test { tokens: positions, ..DECODED }.session_size(0);
        MemoryNeed::of_random(&self.config, self.weights.layout(), &size, self.kv_type)
    }

    /// Joules of the arithmetic of a sequence, whose tokens attend to 1, 2 … [`SEQUENCE`] positions:
    /// that of all kinds of layers, and of linears alone.
    ///
    /// Additions and multiplications are counted as in arXiv:2310.11453, section 3.2, with the
    /// energies of a 7 nm process of arXiv:2402.17764, section 3; see [`Operations`]. In the number
    /// of positions the energy is a straight line, so two of its points give the sum.
    fn energy_j(&self) -> [f64; 2] {
        let energy_pj = |positions: usize, is_counted: fn(&Operations) -> bool| -> f64 {
            let operations = Operations::of_config(&self.config, positions);
            operations.iter().filter(|kind| is_counted(kind)).map(Operations::energy_pj).sum()
        };
        let is_linear = |kind: &Operations| Layer::LINEARS.contains(&kind.name);
        let kinds: [fn(&Operations) -> bool; 2] = [|_| true, is_linear];
        kinds.map(|is_counted| {
            let mean_pj = f64::midpoint(energy_pj(1, is_counted), energy_pj(SEQUENCE, is_counted));
            SEQUENCE as f64 * mean_pj * JOULES_PER_PICOJOULE
        })
    }
}

impl Cost {
    /// All of it from the shape and the ceilings.
    pub(super) fn computed(shape: &Shape, ceilings: &Rates, memory_bytes: u64) -> Self {
        let config = &shape.config;
        let need = shape.memory_need(SEQUENCE);
        let sequence_bytes = need.cache_bytes + MemoryNeed::activation_bytes_per_token(config);
        let batch = memory_bytes.saturating_sub(need.weight_bytes) / sequence_bytes;
        let together = Test { kind: Kind::Decode, tokens: SEQUENCE, depth: 0, parallel: batch as usize };
        let seconds = |test: &Test| Need::of(test, &shape.sizes()).seconds(ceilings);
        let token_ms = 1e3 * seconds(&DECODED);
        let [energy_j, linear_energy_j] = shape.energy_j();
        Cost {
            size: shape.preset.name,
            weights: shape.weights.name(),
            is_dense: config.linears == Linears::Dense,
            params: config.parameters(),
            weight_bytes: need.weight_bytes,
            cache_bytes: need.cache_bytes,
            resident_bytes: None,
            token_ms,
            token_ms_origin: Origin::Computed,
            token_ms_stddev: None,
            token_ms_limit: token_ms,
            batch,
            batch_tokens_per_s: if batch == 0 { 0.0 } else { 1.0 / seconds(&together) },
            energy_j,
            linear_energy_j,
            measured_j_per_token: None,
            cheaper_than: None,
        }
    }

    /// Takes what was measured of `tokens` decoded tokens in the place of what was computed.
    pub(super) fn measured(&mut self, measurement: &Measurement, tokens: usize) {
        let times: Vec<f64> = measurement.samples.iter().map(|rate| 1e3 / rate).collect();
        self.token_ms = median(&times);
        self.token_ms_stddev = stddev(&times);
        self.token_ms_origin = Origin::Measured;
        self.resident_bytes = measurement.rss_bytes;
        self.measured_j_per_token = measurement.joules.map(|joules| joules / tokens as f64);
    }

    /// Memory of the weights and of one sequence.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.weight_bytes + self.cache_bytes
    }
}

/// Says of each ternary size which dense one costs more in every way.
///
/// Times are those at the ceilings, so that what was measured is not set against what was not.
pub(super) fn cheaper_than(costs: &mut [Cost]) {
    let dense: Vec<Cost> = costs.iter().filter(|cost| cost.is_dense).cloned().collect();
    for cost in costs.iter_mut().filter(|cost| !cost.is_dense) {
        let costs_more = |dense: &&Cost| {
            dense.memory_bytes() > cost.memory_bytes()
                && dense.token_ms_limit > cost.token_ms_limit
                && dense.energy_j > cost.energy_j
        };
        // The cheapest of those that cost more: every larger one does too.
        let cheapest = dense.iter().filter(costs_more).min_by_key(|dense| dense.params);
        cost.cheaper_than = cheapest.map(|dense| dense.size);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use tercet::model::Model;
    use tercet_kernels::{Isa, Pool};

    use super::*;

    const CEILINGS: Rates =
        Rates { read_bytes_per_s: 50e9, int8_ops_per_s: 2e12, bf16_ops_per_s: None, f32_ops_per_s: 5e11 };

    /// Costs of some sizes, ternary and dense, in 80 GB.
    pub(crate) fn costs(sizes: &[&str]) -> Vec<Cost> {
        let cost = |size: &&str, weights| {
            let shape = Shape::new(Preset::by_name(size).unwrap(), weights, KvType::F16);
            Cost::computed(&shape, &CEILINGS, 80_000_000_000)
        };
        let mut costs: Vec<_> = sizes
            .iter()
            .flat_map(|size| [cost(size, Weights::BaseThree), cost(size, Weights::DenseF16)])
            .collect();
        cheaper_than(&mut costs);
        costs
    }

    #[test]
    fn a_pass_reads_what_a_model_says() {
        let pool = Arc::new(Pool::new(Isa::best(), 1));
        for weights in [Weights::TwoBit, Weights::BaseThree, Weights::DenseF16] {
            let shape = Shape::new(Preset::by_name("s").unwrap(), weights, KvType::F16);
            let model = Model::random(shape.config.clone(), Arc::clone(&pool), weights.layout(), 0);
            assert_eq!(shape.pass_bytes(), model.weight_bytes_per_token() as u64, "{weights:?}");
        }
    }

    #[test]
    fn energies_are_those_of_the_papers_figure_3() {
        // Read off its curves. In smaller models head and attention, which the paper does not say how
        // it counts, are a larger part.
        for (size, ternary_j, dense_j) in [("13b", 0.0993, 3.275), ("70b", 0.404, 16.66)] {
            let found = costs(&[size]);
            for (cost, want) in found.iter().zip([ternary_j, dense_j]) {
                let ratio = cost.energy_j / want;
                assert!((0.85..1.2).contains(&ratio), "{size}: found {} J, expected {want} J", cost.energy_j);
            }
            let linears = found[1].linear_energy_j / found[0].linear_energy_j;
            assert!((70.0..71.43).contains(&linears), "{size}: {linears}");
        }
    }

    #[test]
    fn what_was_measured_takes_the_place_of_what_was_computed() {
        let mut cost = costs(&["3b"]).remove(0);
        let limit = cost.token_ms_limit;
        let measurement = Measurement {
            samples: vec![10.0, 20.0, 40.0],
            ceilings: Vec::new(),
            work_times: None,
            rss_bytes: Some(7),
            joules: Some(6.0),
        };
        cost.measured(&measurement, 3);
        assert_eq!((cost.token_ms, cost.token_ms_origin), (50.0, Origin::Measured));
        assert_eq!((cost.token_ms_limit, cost.resident_bytes), (limit, Some(7)));
        assert_eq!(cost.measured_j_per_token, Some(2.0));
    }

    #[test]
    fn a_batch_fills_the_memory() {
        let found = costs(&["13b", "70b"]);
        assert_eq!(found[3].batch, 0, "70b does not fit in 16 bits");
        assert_eq!(found[3].batch_tokens_per_s, 0.0);
        for cost in found.iter().filter(|cost| cost.batch > 0) {
            let taken = cost.weight_bytes + cost.batch * cost.cache_bytes;
            assert!(taken <= 80_000_000_000 && taken + 2 * cost.cache_bytes > 80_000_000_000, "{cost:?}");
            assert!(cost.batch_tokens_per_s > 1e3 / cost.token_ms_limit, "{cost:?}");
        }
        assert!(found[0].batch > found[1].batch);
    }

    #[test]
    fn a_ternary_size_is_set_against_dense_ones_of_less() {
        let found = costs(&["700m", "3b", "7b", "13b"]);
        let cheaper: Vec<_> =
            found.iter().filter(|cost| !cost.is_dense).map(|cost| cost.cheaper_than).collect();
        assert_eq!(cheaper, [Some("700m"), Some("700m"), Some("3b"), Some("3b")]);
        assert!(found.iter().filter(|cost| cost.is_dense).all(|cost| cost.cheaper_than.is_none()));
    }
}
