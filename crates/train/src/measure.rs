//! What a training step costs: whole steps on tokens without meaning, and the least that a token
//! can take on a machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tercet::config::{Config, Linears};
use tercet::random;
use tercet_kernels::Pool;
use tercet_kernels::ops::backward::GradientPrecision;

use crate::config::{LinearKind, OptimizerConfig, ScheduleConfig};
use crate::data::Batch;
use crate::model::{LossSettings, Network, NetworkSize, ParameterLayout, StageTimes};
use crate::optimizer::Optimizer;
use crate::schedule::{Schedule, StepRates};
use crate::start::{INITIALIZER_RANGE, initialize};

/// The global norm that gradients are clipped to.
const CLIP: f32 = 1.0;

/// A model in training, with one batch that it sees again and again.
pub struct MeasuredRun {
    network: Network,
    optimizer: Optimizer,
    batch: Batch,
    rates: StepRates,
}

impl MeasuredRun {
    /// A model with random masters, and a batch of `sequences` of `length` tokens; a step has one.
    ///
    /// # Panics
    /// If the linears are packed.
    pub fn new(config: Config, pool: Arc<Pool>, [sequences, length]: [usize; 2]) -> Self {
        let rows = sequences * length;
        let precision = GradientPrecision::fastest(pool.isa());
        let size = NetworkSize { rows, context: length, recompute: false, precision };
        let schedule = Schedule::new(&ScheduleConfig::default(), 2, config.hidden_size, LinearKind::Ternary);
        let (network, batch) = random_network(config, pool, size);
        let optimizer = Optimizer::new(&OptimizerConfig::default(), &network);
        MeasuredRun { network, optimizer, batch, rates: schedule.at(1) }
    }

    /// Tokens of a step.
    pub fn tokens_per_step(&self) -> usize {
        self.batch.tokens.len()
    }

    /// One step: forward, backward, clipping, optimizer, codes; how long it took, and where.
    pub fn step(&mut self) -> (Duration, StageTimes) {
        let started = Instant::now();
        self.network.clock().start();
        self.network.clear_gradients();
        self.network.accumulate(&self.batch, &LossSettings::hard(1.0 / self.batch.tokens.len() as f32), None);
        let norm = self.optimizer.gradient_norm(&self.network);
        self.optimizer.step(&self.network, &self.rates, norm, CLIP);
        self.network.quantize().expect("the parameters stay finite");
        (started.elapsed(), self.network.clock().times())
    }
}

/// A model with random masters, and as many tokens as it has room for in whole sequences.
pub(crate) fn random_network(config: Config, pool: Arc<Pool>, size: NetworkSize) -> (Network, Batch) {
    let vocab_size = config.vocab_size;
    let mut network = Network::new(config, pool, size);
    let layout = network.layout().clone();
    initialize(&layout, 0, INITIALIZER_RANGE, network.parameters());
    network.quantize().expect("initial parameters are finite");
    let token = |number: usize| random::token(number, vocab_size);
    let sequences = size.rows / size.context;
    let rows = sequences * size.context;
    let batch = Batch {
        tokens: (0..rows).map(token).collect(),
        targets: (1..=rows).map(token).collect(),
        counts: vec![true; rows],
        segments: vec![size.context; sequences],
    };
    (network, batch)
}

/// What a token of a step needs, one forward and one backward pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingNeed {
    /// int8 operations: the forward products with ternary weights.
    pub int8_ops: f64,
    /// Operations of backward products, in bf16 where the machine has it.
    pub gradient_ops: f64,
    /// f32 operations: attention, the vocabulary's forward product, dense forward products.
    pub float_ops: f64,
    /// Bytes of parameters, gradients and moments that clipping, AdamW and quantisation touch.
    pub bytes: f64,
}

/// The least that clipping (gradient read), AdamW (gradient, moments and master read; moments and
/// master written) and the making of codes (master read) touch.
const BYTES_PER_PARAMETER: f64 = 4.0 * (1.0 + 4.0 + 3.0 + 1.0);

impl TrainingNeed {
    /// All operations, of whatever kind.
    pub(crate) fn operations(&self) -> f64 {
        self.int8_ops + self.gradient_ops + self.float_ops
    }

    /// Of a step of so many tokens in sequences of `length`.
    pub fn per_token(config: &Config, tokens_per_step: usize, length: usize) -> Self {
        let linears = config.linear_parameters() as f64;
        let head = (config.vocab_size * config.hidden_size) as f64;
        // A token sees half of its sequence, with two products forward and five backward.
        let seen = length as f64 / 2.0;
        let product = 2.0 * seen * (config.num_hidden_layers * config.attention_size()) as f64;
        let is_dense = config.linears == Linears::Dense;
        TrainingNeed {
            int8_ops: if is_dense { 0.0 } else { 2.0 * linears },
            gradient_ops: 4.0 * (linears + head),
            float_ops: 2.0 * head + 7.0 * product + if is_dense { 2.0 * linears } else { 0.0 },
            bytes: ParameterLayout::new(config).count() as f64 * BYTES_PER_PARAMETER / tokens_per_step as f64,
        }
    }
}
