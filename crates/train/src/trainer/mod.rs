//! The loop of a run: batch, forward, backward, clip, step, record; and what is rare.
//!
//! | module | holds |
//! |---|---|
//! | `prepare` | from a configuration to data and model |
//! | `observer` | what a run tells whoever watches |
//! | `state` | what a checkpoint holds |
//! | `spike` | whether a loss is one |
//! | `sample` | text from a model in training |
//! | `finish` | the folder that a run leaves |
//! | `estimate` | how long it will take, from a short probe |
//!
//! ```text
//! OUTPUT/config.toml  log.jsonl  log.csv  timings.csv  curves.svg  trainer_state.json  tensorboard/
//! OUTPUT/cache/                  tokens and tokenizer
//! OUTPUT/checkpoints/step-…/     masters and optimizer: what a run goes on from
//! OUTPUT/model/                  the finished model, packed
//! ```
//!
//! Everything but `timings.csv` and TensorBoard's files is a function of configuration and data: a
//! run that was interrupted and resumed leaves the same bytes as one that was not.

mod error;
mod estimate;
mod finish;
mod observer;
mod output;
mod prepare;
mod sample;
mod spike;
mod state;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tercet::config::{Linears, TensorKind};
use tercet_kernels::{Pool, float_rate};

pub use error::TrainError;
pub use estimate::{Estimate, estimate};
pub use observer::{Observer, StepNews, WeightGrid};
pub use prepare::{Prepared, prepare};

use crate::checkpoint::{Checkpoint, Stage, Store};
use crate::config::{OnSpike, Reduction};
use crate::log::{
    EventRecord, Recorder, SampleRecord, StepRecord, TernaryShares, TimingRecord, ValidationRecord,
};
use crate::model::{CodeStatistics, LossSettings, Losses, ModelTeacher, Network, Teacher};
use crate::optimizer::Optimizer;
use crate::schedule::lambda;
use crate::start;
use state::State;

/// The folder of a run's checkpoints.
const CHECKPOINTS: &str = "checkpoints";
/// How often a run goes back to one checkpoint before it gives up.
const TIMES_BACK_MAX: u32 = 10;
/// Rows and columns of the weights that are shown.
const GRID: [usize; 2] = [12, 48];
/// The linear that is shown: `q_proj` of the middle layer.
const GRID_LINEAR: usize = 0;
/// Weight of the newest step in the time of a step.
const TIME_SMOOTHING: f64 = 0.1;

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Steps that are done.
    pub steps_done: u64,
    /// Whether these are all.
    pub is_finished: bool,
    /// The finished model, or the last checkpoint.
    pub folder: PathBuf,
    /// The last validation of this session.
    pub validation: Option<ValidationRecord>,
    /// The step of the best checkpoint, where that is not the last one of a finished run.
    pub better_step: Option<u64>,
}

/// Trains until the last step, or until the observer wants it to stop; goes on from the last
/// checkpoint where there is one.
///
/// `on_stage` hears of the stages of saving.
///
/// # Errors
/// [`TrainError`]; what was saved before is intact.
pub fn train(
    prepared: &Prepared,
    pool: &Arc<Pool>,
    observer: &mut dyn Observer,
    on_stage: Option<Box<dyn FnMut(Stage) + Send>>,
) -> Result<Outcome, TrainError> {
    let output = prepared.output();
    let mut store = Store::open(&output.join(CHECKPOINTS), prepared.config.watch.keep)?;
    store.on_stage = on_stage;
    let found = store.latest()?;
    for damaged in &found.damaged {
        observer.warning(&format!("{damaged}; going back to the checkpoint before"));
    }
    let state = match &found.checkpoint {
        Some(checkpoint) => {
            check_same_run(prepared, checkpoint)?;
            state::read_state(&checkpoint.path)?
        }
        None => {
            output::check_unused(&output)?;
            State::new(prepared)
        }
    };
    output::write_config(prepared, &output)?;

    let teacher = prepared.teacher(pool)?;
    let size = prepared.network_size(pool.isa());
    let network = Network::new(prepared.model.clone(), Arc::clone(pool), size);
    let optimizer = Optimizer::new(&prepared.config.optimizer, &network);
    let mut run = Run {
        prepared,
        ceiling: float_rate(pool, CEILING_PASSES),
        network,
        optimizer,
        teacher: teacher.as_ref().map(|model| ModelTeacher::new(model, size.rows, size.context)),
        store,
        recorder: open_record(&output, &state, observer)?,
        state,
        last_saved: None,
        seconds_per_step: None,
        validation: None,
    };
    run.load(found.checkpoint.as_ref())?;
    run.train(observer)
}

/// Passes of the probe of this machine's arithmetic.
const CEILING_PASSES: usize = 5;

/// A checkpoint is gone on from with the configuration and data that it was made with.
fn check_same_run(prepared: &Prepared, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    let began_with = state::read_config(&checkpoint.path)?;
    let differences = prepared.config.differences(&began_with)?;
    if !differences.is_empty() {
        return Err(TrainError::OtherConfig { folder: prepared.output(), differences });
    }
    let (found, expected) = (State::new(prepared).data, state::read_state(&checkpoint.path)?.data);
    if found != expected {
        return Err(TrainError::OtherData { folder: prepared.output(), found, expected });
    }
    Ok(())
}

/// The record of a run from its state on.
fn open_record(output: &Path, state: &State, observer: &mut dyn Observer) -> Result<Recorder, TrainError> {
    let (recorder, shorter) = Recorder::resume(output, &state.positions, state.step)?;
    for lost in shorter {
        observer.warning(&lost.to_string());
    }
    Ok(recorder)
}

/// A run in progress.
struct Run<'a> {
    prepared: &'a Prepared,
    /// f32 operations a second that this machine can do.
    ceiling: f64,
    network: Network,
    optimizer: Optimizer,
    teacher: Option<ModelTeacher<'a>>,
    store: Store,
    recorder: Recorder,
    state: State,
    last_saved: Option<u64>,
    seconds_per_step: Option<f64>,
    validation: Option<ValidationRecord>,
}

/// What one step has computed.
struct Step {
    losses: Losses,
    gradient_norm: f64,
}

impl Run<'_> {
    /// The loop.
    fn train(mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let steps = self.prepared.steps;
        observer.begun(self.state.step, steps);
        while self.state.step < steps {
            if observer.wants_stop() {
                return self.stop(observer);
            }
            let started = Instant::now();
            let step = self.accumulate();
            if let Some(trouble) = self.trouble(&step) {
                match (self.prepared.config.train.on_spike, trouble) {
                    (OnSpike::Report, Trouble::Spike(message)) => self.tell(&message, observer)?,
                    (OnSpike::Report, Trouble::NotFinite { what, found }) => {
                        let step = self.state.step + 1;
                        return Err(TrainError::NotFinite { step, what, found });
                    }
                    (OnSpike::Skip, trouble) => {
                        self.go_back(&trouble, observer)?;
                        continue;
                    }
                }
            }
            let statistics = self.update(&step)?;
            self.record(&step, &statistics, started.elapsed().as_secs_f64(), observer)?;
            self.rare(observer)?;
        }
        finish::finish(self, observer)
    }

    /// Forward and backward of all micro-batches of the next step.
    fn accumulate(&mut self) -> Step {
        let config = &self.prepared.config;
        let accumulation = config.train.accumulation as u64;
        let first = (self.state.step + self.state.skipped_steps) * accumulation;
        let batches: Vec<_> = (first..first + accumulation)
            .map(|index| self.prepared.dataset.batch(config.train.micro_batch, index))
            .collect();
        let counted: usize = batches.iter().flat_map(|batch| &batch.counts).filter(|counts| **counts).count();
        let reduction = config.data.chat.as_ref().map_or(Reduction::Mean, |chat| chat.reduction);
        let settings = LossSettings {
            scale: match reduction {
                Reduction::Mean => 1.0 / counted.max(1) as f32,
                Reduction::Sum => 1.0,
            },
            teacher_weight: config.distillation.as_ref().map_or(0.0, |teacher| teacher.weight),
            temperature: config.distillation.as_ref().map_or(1.0, |teacher| teacher.temperature),
        };
        self.network.set_lambda(lambda(&config.quantization, self.state.step));
        self.network.clear_gradients();
        let mut losses = Losses::default();
        for batch in &batches {
            let teacher = self.teacher.as_mut().map(|teacher| teacher as &mut dyn Teacher);
            losses = losses.plus(self.network.accumulate(batch, &settings, teacher));
        }
        Step { losses, gradient_norm: self.optimizer.gradient_norm(&self.network) }
    }

    /// What is wrong with a step, if anything is.
    fn trouble(&mut self, step: &Step) -> Option<Trouble> {
        let loss = mean(step.losses.loss, step.losses.tokens);
        for (what, found) in [("loss", loss), ("gradient norm", step.gradient_norm)] {
            if !found.is_finite() {
                return Some(Trouble::NotFinite { what, found });
            }
        }
        let deviations = self.prepared.config.train.spike_deviations;
        let is_spike = self.state.recent_losses.is_spike(loss, deviations);
        is_spike.then(|| Trouble::Spike(format!("loss spike: {loss:.4}")))
    }

    /// Changes the weights.
    fn update(&mut self, step: &Step) -> Result<CodeStatistics, TrainError> {
        let config = &self.prepared.config;
        let rates = self.prepared.schedule.at(self.state.step);
        let clip = config.train.gradient_clip;
        self.optimizer.step(&self.network, &rates, step.gradient_norm, clip);
        let next = self.state.step + 1;
        let statistics =
            self.network.quantize().map_err(|source| TrainError::NoCodes { step: next, source })?;
        self.state.step = next;
        self.state.tokens += config.tokens_per_step();
        Ok(statistics)
    }

    fn record(
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
        let ceiling_share = self.operations_per_token() * tokens_per_s / self.ceiling;
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

    /// f32 operations of one token, forward and backward: six a weight that multiplies, and those
    /// of attention.
    fn operations_per_token(&self) -> f64 {
        let model = &self.prepared.model;
        let parameters = self.network.layout().parameters().iter();
        let is_product = |kind| kind == TensorKind::Linear || kind == TensorKind::Head;
        let weights: usize =
            parameters.filter(|parameter| is_product(parameter.kind)).map(|p| p.range.len()).sum();
        let tied = if model.tie_word_embeddings { model.vocab_size * model.hidden_size } else { 0 };
        // A token attends to half of its sequence, with two products, three times over.
        let attention =
            model.num_hidden_layers * model.attention_size() * self.prepared.config.data.sequence_length * 6;
        (6 * (weights + tied) + attention) as f64
    }

    fn grid(&self) -> Option<WeightGrid> {
        let layer = self.prepared.model.num_hidden_layers / 2;
        let codes = self.network.codes(layer, GRID_LINEAR, GRID)?;
        let name = format!("layers.{layer}.{}", tercet::model::Layer::LINEARS[GRID_LINEAR]);
        let columns = GRID[1].min(self.prepared.model.hidden_size);
        Some(WeightGrid { name, columns, codes })
    }

    /// Validates, samples and saves where it is time.
    fn rare(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let (step, watch) = (self.state.step, &self.prepared.config.watch);
        let is_last = step == self.prepared.steps;
        let is_due = |every: u64| is_last || (every > 0 && step.is_multiple_of(every));
        let saves = is_due(watch.save_every);
        let mut metric = None;
        if is_due(watch.validate_every) || saves {
            let validation = self.validate()?;
            observer.validated(&validation);
            metric = Some(validation.loss);
        }
        if watch.sample_every > 0 && is_due(watch.sample_every) {
            self.sample(observer)?;
        }
        if saves {
            self.save(metric, observer)?;
        }
        Ok(())
    }

    fn validate(&mut self) -> Result<ValidationRecord, TrainError> {
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
        self.state.best = Some(self.state.best.map_or(loss, |best| best.min(loss)));
        self.validation = Some(validation);
        Ok(validation)
    }

    fn sample(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        match sample::sample(self.prepared, &mut self.network, self.state.step) {
            Ok(text) => {
                observer.sampled(self.state.step, &text);
                self.recorder.sample(&SampleRecord { step: self.state.step, text })?;
            }
            Err(error) => observer.warning(&format!("no sample: {error}")),
        }
        Ok(())
    }

    /// Saves a checkpoint; the record and the curves are then on disk too.
    fn save(&mut self, metric: Option<f64>, observer: &mut dyn Observer) -> Result<(), TrainError> {
        self.recorder.sync()?;
        self.state.times_back = 0;
        self.state.positions = self.recorder.positions();
        let Run { prepared, network, optimizer, store, state, .. } = self;
        let saved = store
            .save(state.step, metric, |folder| state::write(folder, prepared, network, optimizer, state))?;
        self.last_saved = Some(saved.step);
        observer.saved(saved.step, &saved.path);
        // A plot that fails is no reason to lose a run.
        if let Err(error) = self.recorder.draw(&self.prepared.name()) {
            observer.warning(&error.to_string());
        }
        Ok(())
    }

    /// Saves and ends early.
    fn stop(mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        if self.last_saved != Some(self.state.step) {
            self.save(None, observer)?;
        }
        let checkpoints = self.prepared.output().join(CHECKPOINTS);
        Ok(Outcome {
            steps_done: self.state.step,
            is_finished: false,
            folder: checkpoints,
            validation: self.validation,
            better_step: None,
        })
    }

    /// The tensors of a checkpoint, or those of step 0.
    fn load(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), TrainError> {
        let Run { prepared, network, optimizer, state, .. } = self;
        match checkpoint {
            Some(checkpoint) => state::read_tensors_of(&checkpoint.path, network, optimizer, state.step)?,
            None => {
                *optimizer = Optimizer::new(&prepared.config.optimizer, network);
                let layout = network.layout().clone();
                match &prepared.start {
                    Some(start) => start.read(&layout, network.parameters())?,
                    None => {
                        let range = prepared.config.model.initializer_range;
                        let range = range.unwrap_or(start::INITIALIZER_RANGE);
                        start::initialize(&layout, prepared.config.run.seed, range, network.parameters());
                    }
                }
            }
        }
        let step = self.state.step;
        self.network.quantize().map_err(|source| TrainError::NoCodes { step, source })?;
        self.last_saved = checkpoint.map(|checkpoint| checkpoint.step);
        Ok(())
    }

    /// Goes back to the last checkpoint and leaves out the batches since then.
    fn go_back(&mut self, trouble: &Trouble, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let step = self.state.step + 1;
        let (skipped_steps, times_back) = (self.state.skipped_steps, self.state.times_back + 1);
        if times_back > TIMES_BACK_MAX {
            return Err(TrainError::Stuck { step, times: TIMES_BACK_MAX });
        }
        let checkpoint = self.store.latest()?.checkpoint;
        self.state = match &checkpoint {
            Some(checkpoint) => state::read_state(&checkpoint.path)?,
            None => State::new(self.prepared),
        };
        self.load(checkpoint.as_ref())?;
        self.recorder = open_record(&self.prepared.output(), &self.state, observer)?;
        let left_out = step - self.state.step;
        self.state.skipped_steps = skipped_steps + left_out;
        self.state.times_back = times_back;
        let message = format!(
            "step {step}: {trouble}; back to step {}, the batches of {left_out} steps left out",
            self.state.step
        );
        self.tell(&message, observer)
    }

    /// Records something that happened, and says it.
    fn tell(&mut self, message: &str, observer: &mut dyn Observer) -> Result<(), TrainError> {
        observer.warning(message);
        let event = EventRecord { step: self.state.step, message: message.to_owned() };
        Ok(self.recorder.event(&event)?)
    }
}

/// What is wrong with a step.
enum Trouble {
    NotFinite { what: &'static str, found: f64 },
    Spike(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NotFinite { what, found } => write!(f, "the {what} is {found}"),
            Trouble::Spike(message) => f.write_str(message),
        }
    }
}

fn mean(sum: f64, count: u64) -> f64 {
    sum / count.max(1) as f64
}
