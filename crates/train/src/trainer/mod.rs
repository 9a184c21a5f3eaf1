//! The loop of a run: batch, forward, backward, clip, step, record; and what is rare.
//!
//! | module | holds |
//! |---|---|
//! | `prepare` | from a configuration to data and model |
//! | `inputs` | whether all is there that a configuration names for a run to read |
//! | `resume` | whether a run can go on in its folder |
//! | `observer` | what a run tells whoever watches |
//! | `state` | what a checkpoint holds |
//! | `record` | what steps, validations and samples leave in the record |
//! | `spike`, `trouble` | whether a loss is a spike; what is wrong with a step, and going back |
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
mod inputs;
mod observer;
mod output;
mod prepare;
mod record;
mod resume;
mod sample;
mod spike;
mod state;
mod trouble;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tercet_kernels::{Pool, float_rate};

pub use error::TrainError;
pub use estimate::{Estimate, estimate};
pub use finish::MODEL as MODEL_FOLDER;
pub use observer::{Observer, StepNews, WeightGrid};
pub use output::{is_run, model_of_run};
pub use prepare::{Prepared, prepare};
pub use state::CONFIG_FILE as RUN_CONFIG_FILE;

use crate::checkpoint::{Checkpoint, Moment, Stage, Store};
use crate::config::{OnSpike, Reduction};
use crate::log::{Recorder, ValidationRecord};
use crate::measure::TrainingNeed;
use crate::model::{CodeStatistics, LossSettings, Losses, ModelTeacher, Network, Teacher};
use crate::optimizer::Optimizer;
use crate::schedule::lambda;
use crate::start;
use state::State;
use trouble::{SKIPPING, Trouble};

/// The folder of a run's checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// The folder of its tokens, where the configuration names no other.
const CACHE: &str = "cache";
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
            resume::check_same_run(prepared, checkpoint)?;
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
        operations_per_token: TrainingNeed::per_token(
            &prepared.model,
            prepared.config.tokens_per_step() as usize,
            prepared.config.data.sequence_length,
        )
        .operations(),
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
    operations_per_token: f64,
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
                        let (step, hint) = (self.state.step + 1, self.way_out(SKIPPING));
                        return Err(TrainError::NotFinite { step, what, found, hint });
                    }
                    (OnSpike::Skip, trouble) => {
                        self.go_back(&trouble, observer)?;
                        continue;
                    }
                }
            }
            self.state.recent_losses.remember(mean(step.losses.loss, step.losses.tokens));
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

    /// Changes the weights.
    fn update(&mut self, step: &Step) -> Result<CodeStatistics, TrainError> {
        let config = &self.prepared.config;
        let rates = self.prepared.schedule.at(self.state.step);
        let clip = config.train.gradient_clip;
        self.optimizer.step(&self.network, &rates, step.gradient_norm, clip);
        let next = self.state.step + 1;
        let quantized = self.network.quantize();
        let statistics = quantized.map_err(|source| self.no_codes(next, source))?;
        self.state.step = next;
        self.state.tokens += config.tokens_per_step();
        Ok(statistics)
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
            self.state.times_back = 0;
            self.save(Moment { step, metric, is_scheduled: true }, observer)?;
        }
        Ok(())
    }

    /// Saves a checkpoint; the record and the curves are then on disk too.
    fn save(&mut self, moment: Moment, observer: &mut dyn Observer) -> Result<(), TrainError> {
        self.recorder.sync()?;
        self.state.positions = self.recorder.positions();
        let Run { prepared, network, optimizer, store, state, .. } = self;
        let saved = store.save(moment, |folder| state::write(folder, prepared, network, optimizer, state))?;
        self.last_saved = Some(saved.step);
        observer.saved(saved.step, &saved.path);
        // A plot that fails is no reason to lose a run.
        if let Err(error) = self.recorder.draw(&self.prepared.name()) {
            observer.warning(&error.to_string());
        }
        Ok(())
    }

    /// Saves and ends early. Before the first step there is nothing that a new beginning would not make.
    fn stop(mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        if self.state.step > 0 && self.last_saved != Some(self.state.step) {
            self.save(Moment { step: self.state.step, metric: None, is_scheduled: false }, observer)?;
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
        let quantized = self.network.quantize();
        quantized.map_err(|source| self.no_codes(self.state.step, source))?;
        self.last_saved = checkpoint.map(|checkpoint| checkpoint.step);
        Ok(())
    }
}

fn mean(sum: f64, count: u64) -> f64 {
    sum / count.max(1) as f64
}
