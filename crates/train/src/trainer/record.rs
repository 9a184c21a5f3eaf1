//! What a step, a validation and a sample leave in the record, and what is told of them.

use tercet::config::Linears;

use super::{Observer, Run, Step, StepNews, TrainError, WeightGrid, mean, sample};
use crate::log::{SampleRecord, StepRecord, TernaryShares, TimingRecord, ValidationRecord};
use crate::model::{CodeStatistics, Losses};
use crate::schedule::lambda;

/// Rows and columns of the weights that are shown.
const GRID: [usize; 2] = [12, 48];
/// The linear that is shown: `q_proj` of the middle layer.
const GRID_LINEAR: usize = 0;
/// Weight of the newest step in the time of a step.
const TIME_SMOOTHING: f64 = 0.1;

impl Run<'_> {
    pub(super) fn record(
        &mut self,
        step: &Step,
        statistics: &CodeStatistics,
        seconds: f64,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let (prepared, done) = (self.prepared, self.state.step);
        let rates = prepared.schedule.at(done - 1);
        let losses = &step.losses;
        let teacher_loss = prepared.config.distillation.as_ref().filter(|teacher| teacher.weight > 0.0);
        let teacher_loss = teacher_loss.map(|teacher| {
            let weight = f64::from(teacher.weight);
            let part = (losses.loss - (1.0 - weight) * losses.cross_entropy) / weight;
            mean(part, losses.tokens) as f32
        });
        let total: u64 = statistics.counts.iter().sum();
        let share = |count: u64| (count as f64 / total as f64) as f32;
        let [minus, zero, plus] = statistics.counts.map(share);
        let shares = TernaryShares { flips: share(statistics.flips), minus, zero, plus };
        let sequences = self.state.tokens / prepared.config.data.sequence_length as u64;
        let record = StepRecord {
            step: done,
            tokens: self.state.tokens,
            epoch: sequences as f64 / prepared.dataset.sequences_per_epoch() as f64,
            loss: mean(losses.loss, losses.tokens) as f32,
            teacher_loss,
            learning_rate: rates.learning_rate,
            weight_decay: rates.weight_decay,
            gradient_norm: step.gradient_norm as f32,
            lambda: lambda(&prepared.config.quantization, done - 1),
            ternary: (prepared.model.linears != Linears::Dense).then_some(shares),
        };
        let average = self.seconds_per_step.unwrap_or(seconds);
        let average = average + TIME_SMOOTHING * (seconds - average);
        self.seconds_per_step = Some(average);
        let tokens_per_s = prepared.config.tokens_per_step() as f64 / seconds;
        let ceiling_share = self.operations_per_token * tokens_per_s / self.ceiling;
        if done.is_multiple_of(prepared.config.watch.log_every.max(1)) || done == prepared.steps {
            self.recorder.step(&record)?;
            self.recorder.timing(&TimingRecord {
                step: done,
                seconds,
                tokens_per_s,
                ceiling_share: Some(ceiling_share),
            })?;
        }
        observer.step(&StepNews {
            record: &record,
            steps: prepared.steps,
            tokens_per_s,
            ceiling_share,
            seconds_left: average * (prepared.steps - done) as f64,
            weights: self.grid(),
        });
        Ok(())
    }

    pub(super) fn grid(&self) -> Option<WeightGrid> {
        let layer = self.prepared.model.num_hidden_layers / 2;
        let codes = self.network.codes(layer, GRID_LINEAR, GRID)?;
        let name = format!("layers.{layer}.{}", tercet::model::Layer::LINEARS[GRID_LINEAR]);
        let columns = GRID[1].min(self.prepared.model.hidden_size);
        Some(WeightGrid { name, columns, codes })
    }

    pub(super) fn validate(&mut self) -> Result<ValidationRecord, TrainError> {
        let (prepared, config) = (self.prepared, &self.prepared.config);
        let mut losses = Losses::default();
        let batches =
            prepared.dataset.validation_batches(config.train.micro_batch, config.watch.validation_sequences);
        for batch in batches {
            losses = losses.plus(self.network.evaluate(&batch));
        }
        let loss = mean(losses.cross_entropy, losses.tokens);
        let bytes_per_token = prepared.dataset.validation_bytes_per_token();
        let bits_per_byte = loss / std::f64::consts::LN_2 / bytes_per_token;
        let validation = ValidationRecord {
            step: self.state.step,
            loss,
            perplexity: libm::exp(loss),
            bits_per_byte: (bytes_per_token > 0.0).then_some(bits_per_byte),
        };
        self.recorder.validation(&validation)?;
        self.validation = Some(validation);
        Ok(validation)
    }

    pub(super) fn sample(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        match sample::sample(self.prepared, &mut self.network, self.state.step, observer) {
            Ok(text) => {
                observer.sampled(self.state.step, &text);
                self.recorder.sample(&SampleRecord { step: self.state.step, text })?;
            }
            Err(error) => observer.warning(&format!("no sample: {error}")),
        }
        Ok(())
    }
}
