//! How long a run will take and what room it needs, from a short probe before it begins.
//!
//! One pass of a network of one layer and one of two, on some rows, give the time of a layer and
//! of the rest; the optimizer's time is that of a pass over its memory.

use std::sync::Arc;
use std::time::Instant;

use tercet::config::Config;
use tercet_kernels::{Pool, read_bandwidth};

use super::{CHECKPOINTS, Prepared};
use crate::checkpoint::Store;
use crate::measure::random_network;
use crate::model::{LossSettings, MemoryNeed, NetworkSize, ParameterLayout};

/// Tokens that the probe runs at most.
const PROBE_ROWS: usize = 512;
/// Passes of the probe, the best of which counts.
const PROBE_PASSES: usize = 2;
/// Memory that the probe of the bandwidth reads: well above any cache.
const BANDWIDTH_BYTES: usize = 1 << 28;
/// Reads and writes of a parameter in one step of the optimizer and the quantization: weight,
/// gradient and two moments in, weight and two moments out, and the weight twice for its codes.
const OPTIMIZER_BYTES_PER_PARAMETER: f64 = 4.0 * 9.0;

/// What a run will take.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Numbers that are trained.
    pub parameters: u64,
    /// Those of them that become ternary.
    pub ternary_parameters: u64,
    /// Optimizer steps of the whole run.
    pub steps: u64,
    /// Those of them that its newest checkpoint has done.
    pub steps_done: u64,
    /// Tokens of a step.
    pub tokens_per_step: u64,
    /// Memory.
    pub memory: MemoryNeed,
    /// Tokens a second.
    pub tokens_per_s: f64,
    /// Seconds of the steps that are left, without validations, samples and a teacher's passes.
    pub seconds: f64,
    /// Bytes of one checkpoint.
    pub checkpoint_bytes: u64,
    /// Bytes of all checkpoints that are kept, the best and that of a stop among them, while one more is written, of
    /// the finished model and of the tokens.
    pub disk_bytes: u64,
}

/// Runs the probe.
pub fn estimate(prepared: &Prepared, pool: &Arc<Pool>) -> Estimate {
    let layout = ParameterLayout::new(&prepared.model);
    let size = prepared.network_size(pool.isa());
    let rows = size.rows.min(PROBE_ROWS);
    let context = size.context.min(rows);
    let probe_size = NetworkSize { rows, context, ..size };
    let [one, two] = [1, 2].map(|layers| {
        let model = Config { num_hidden_layers: layers, ..prepared.model.clone() };
        pass_seconds(&model, pool, probe_size)
    });
    let layer = (two - one).max(0.0);
    let rest = (one - layer).max(0.0);
    let again = if size.recompute { 4.0 / 3.0 } else { 1.0 };
    let seconds_per_token = (rest + layer * again * prepared.model.num_hidden_layers as f64) / rows as f64;
    let bandwidth = read_bandwidth(pool, BANDWIDTH_BYTES, PROBE_PASSES);
    let optimizer = layout.count() as f64 * OPTIMIZER_BYTES_PER_PARAMETER / bandwidth;
    let tokens_per_step = prepared.config.tokens_per_step();
    let step_seconds = tokens_per_step as f64 * seconds_per_token + optimizer;

    let checkpoint_bytes = 12 * layout.count();
    let kept = (prepared.config.watch.keep as u64 + 3).saturating_mul(checkpoint_bytes);
    let steps_done =
        Store::newest_step_in(&prepared.output().join(CHECKPOINTS)).unwrap_or(0).min(prepared.steps);
    let tokens = prepared.dataset.train_tokens() + prepared.dataset.validation_tokens();
    Estimate {
        parameters: layout.count(),
        ternary_parameters: prepared.model.ternary_parameters(),
        steps: prepared.steps,
        steps_done,
        tokens_per_step,
        memory: prepared.memory_need(pool.isa()),
        tokens_per_s: tokens_per_step as f64 / step_seconds,
        seconds: step_seconds * (prepared.steps - steps_done) as f64,
        checkpoint_bytes,
        disk_bytes: kept.saturating_add(4 * (layout.count() + tokens)),
    }
}

/// Seconds of one micro-batch, forward and backward.
fn pass_seconds(model: &Config, pool: &Arc<Pool>, size: NetworkSize) -> f64 {
    let (mut network, batch) = random_network(model.clone(), Arc::clone(pool), size);
    let mut best = f64::INFINITY;
    for _ in 0..PROBE_PASSES {
        let started = Instant::now();
        network.accumulate(&batch, &LossSettings::hard(1.0), None);
        best = best.min(started.elapsed().as_secs_f64());
    }
    best * size.rows as f64 / batch.tokens.len() as f64
}
