//! AdamW, and Muon for the matrices of the layers.
//!
//! It keeps the moments in the layout of the parameters and knows neither schedule nor loss.
//! Weight decay is decoupled and acts on matrices (linears, embedding, head), not on gains.

use tercet::config::TensorKind;
use tercet_kernels::ops::{self, MuonStep, Region};
use tercet_kernels::{AdamwStep, Buffer, Pool};

use crate::config::{OptimizerConfig, OptimizerKind};
use crate::model::{Network, ParameterLayout, Stage};
use crate::schedule::StepRates;

/// The least denominator of the clipping: as PyTorch's `clip_grad_norm_` has it.
const CLIP_EPS: f64 = 1e-6;

/// The optimizer of one network, with its moments.
pub struct Optimizer {
    config: OptimizerConfig,
    layout: ParameterLayout,
    /// First moments of AdamW; momenta of Muon.
    first_moments: Buffer<f32>,
    /// Second moments of AdamW; 0 where Muon works.
    second_moments: Buffer<f32>,
    /// Steps that were taken.
    steps: u64,
}

impl Optimizer {
    /// An optimizer that has taken no step.
    pub fn new(config: &OptimizerConfig, network: &Network) -> Self {
        let layout = network.layout().clone();
        let moments = || Buffer::zeroed(network.pool(), layout.len());
        Optimizer {
            config: config.clone(),
            first_moments: moments(),
            second_moments: moments(),
            layout,
            steps: 0,
        }
    }

    /// First and second moments, as the parameters are laid out.
    pub(crate) fn moments(&mut self) -> [&mut [f32]; 2] {
        [self.first_moments.as_mut_slice(), self.second_moments.as_mut_slice()]
    }

    /// Declares that so many steps were taken, when the moments have been read from a checkpoint.
    pub(crate) fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// The global norm of the gradients.
    pub fn gradient_norm(&self, network: &Network) -> f64 {
        let (_, gradients) = network.buffers();
        let ranges: Vec<_> =
            self.layout.parameters().iter().map(|parameter| parameter.range.clone()).collect();
        ops::sum_of_squares(network.pool(), gradients, &ranges).sqrt()
    }

    /// Changes the parameters by their gradients, clipped to the global norm `clip` (0: not at
    /// all), of which `norm` is the present one.
    pub fn step(&mut self, network: &Network, rates: &StepRates, norm: f64, clip: f32) {
        self.steps += 1;
        let clip = f64::from(clip);
        let gradient_scale = if clip > 0.0 { (clip / (norm + CLIP_EPS)).min(1.0) as f32 } else { 1.0 };
        let regions = self.regions(rates, gradient_scale);
        let (parameters, gradients) = network.buffers();
        let moments = [&self.first_moments, &self.second_moments];
        let pool: &Pool = network.pool();
        pool.run(|worker| {
            ops::adamw(worker, &regions, gradients, [moments[0], moments[1], parameters]);
        });
        if self.config.kind == OptimizerKind::Muon {
            let learning_rate = rates.learning_rate * self.config.muon_scale;
            let step = MuonStep {
                gradient_scale,
                momentum: self.config.momentum,
                learning_rate,
                keep: 1.0 - learning_rate * rates.weight_decay,
            };
            let matrices = self.muon_matrices();
            pool.run(|worker| ops::muon(worker, &step, &matrices, gradients, [moments[0], parameters]));
        }
        network.clock().end_outside(Stage::Optimizer);
    }

    /// What AdamW updates, and how.
    fn regions(&self, rates: &StepRates, gradient_scale: f32) -> Vec<Region> {
        let [beta1, beta2] = self.config.betas;
        let correction = |beta: f32| 1.0 - libm::pow(f64::from(beta), self.steps as f64);
        let learning_rate = f64::from(rates.learning_rate);
        let step = AdamwStep {
            gradient_scale,
            beta1,
            beta2,
            eps: self.config.eps,
            step_size: (learning_rate / correction(beta1)) as f32,
            inv_root_correction: (1.0 / libm::sqrt(correction(beta2))) as f32,
            keep: 1.0,
        };
        let decayed =
            AdamwStep { keep: (1.0 - learning_rate * f64::from(rates.weight_decay)) as f32, ..step };
        let is_left_to_muon = |kind| self.config.kind == OptimizerKind::Muon && kind == TensorKind::Linear;
        let parameters = self.layout.parameters().iter();
        parameters
            .filter(|parameter| !is_left_to_muon(parameter.kind))
            .map(|parameter| Region {
                range: parameter.range.clone(),
                step: if parameter.kind == TensorKind::Norm { step } else { decayed },
            })
            .collect()
    }

    fn muon_matrices(&self) -> Vec<(usize, [usize; 2])> {
        let linears = self.layout.parameters().iter().filter(|p| p.kind == TensorKind::Linear);
        linears.map(|linear| (linear.range.start, [linear.shape[0], linear.shape[1]])).collect()
    }
}
