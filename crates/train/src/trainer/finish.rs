//! What a run leaves when it is done: the packed model with its card, and the last plots.

use std::fs;
use std::path::Path;

use tercet::config::Linears;

use super::{Observer, Outcome, Prepared, Run, TrainError};
use crate::checkpoint::Checkpoint;
use crate::config::{LinearKind, OptimizerKind, ScheduleKind};
use crate::export::{Export, Form};
use crate::log::{CURVES_FILE, Row, TRAINER_STATE_FILE, TrainerState, draw_curves, write_trainer_state};

/// The folder of the finished model.
pub const MODEL: &str = "model";
/// The model card.
const CARD: &str = "README.md";

/// Writes the finished model and the summaries of the run.
pub(super) fn finish(mut run: Run<'_>, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
    let prepared = run.prepared;
    let output = prepared.output();
    // The weights are there: a record that cannot be read back is no reason to withhold the model.
    let rows = match run.recorder.rows() {
        Ok(rows) => Some(rows),
        Err(error) => {
            observer.warning(&format!(
                "{error}; the card has no figures, and curves and summary stay as they are"
            ));
            None
        }
    };
    let validations = rows.iter().flatten().rev().filter_map(|row| match row {
        Row::Validation(validation) => Some(*validation),
        _ => None,
    });
    let validation = run.validation.or_else(|| validations.into_iter().next());
    let folder = output.join(MODEL);
    write_model(&mut run, &folder, rows.as_deref().unwrap_or_default())?;
    let best = run.store.best().ok().and_then(|found| found.checkpoint);
    if let Some(rows) = &rows {
        let state = trainer_state(prepared, best.as_ref());
        for result in [
            draw_curves(&output.join(CURVES_FILE), &prepared.name(), rows),
            write_trainer_state(&output.join(TRAINER_STATE_FILE), &state, rows),
        ] {
            // The model is there; a summary that fails is no reason to say that the run did.
            if let Err(error) = result {
                observer.warning(&error.to_string());
            }
        }
    }
    let better_step = best.map(|best| best.step).filter(|step| *step != run.state.step);
    Ok(Outcome { steps_done: run.state.step, is_finished: true, folder, validation, better_step })
}

/// Writes the packed model beside its place and moves it there.
fn write_model(run: &mut Run<'_>, folder: &Path, rows: &[Row]) -> Result<(), TrainError> {
    let prepared = run.prepared;
    let (config, layout) = (run.network.config().clone(), run.network.layout().clone());
    let parameters = layout.count();
    let mut files = prepared.tokenizer.files.clone();
    files.insert(CARD.to_owned(), card(prepared, parameters, rows)?.into_bytes());
    let export = Export::new(Form::Packed, &config, &layout, run.network.parameters(), &files);
    let io = |path: &Path, action| {
        let path = path.to_owned();
        move |source| TrainError::Io { path, action, source }
    };
    let partial = folder.with_extension("partial");
    super::output::remove(&partial)?;
    fs::create_dir(&partial).map_err(io(&partial, "made"))?;
    export.write(&partial).map_err(|(path, source)| TrainError::Io { path, action: "written", source })?;
    super::output::replace_folder(&partial, folder)
}

fn trainer_state(prepared: &Prepared, best: Option<&Checkpoint>) -> TrainerState {
    let (config, watch) = (&prepared.config, &prepared.config.watch);
    let sequences = (config.train.micro_batch * config.train.accumulation) as u64;
    TrainerState {
        max_steps: prepared.steps,
        num_train_epochs: prepared.passes(),
        train_batch_size: sequences,
        logging_steps: watch.log_every,
        eval_steps: watch.validate_every,
        save_steps: watch.save_every,
        best_model_checkpoint: best.map(|checkpoint| checkpoint.path.display().to_string()),
    }
}

/// The model card: what it is, what it was trained on and how, and what came of it.
fn card(prepared: &Prepared, parameters: u64, rows: &[Row]) -> Result<String, TrainError> {
    let (config, model) = (&prepared.config, &prepared.model);
    let is_ternary = model.linears != Linears::Dense;
    let kind = if is_ternary { "ternary (BitNet b1.58)" } else { "dense" };
    let mut lines = vec![
        "---".to_owned(),
        format!("tags: [{}text-generation]", if is_ternary { "bitnet, ternary, " } else { "" }),
        "---".to_owned(),
        format!("# {}", prepared.name()),
        String::new(),
        format!(
            "A {kind} language model of {parameters} parameters, {} of them ternary: {} layers, hidden size {}, \
             {} tokens, sequences of {}. Norms: {}; activation: {}. Trained with tercet {}.",
            model.ternary_parameters(),
            model.num_hidden_layers,
            model.hidden_size,
            model.vocab_size,
            config.data.sequence_length,
            norms(model),
            model.hidden_act.name(),
            env!("CARGO_PKG_VERSION"),
        ),
        String::new(),
        "| | |".to_owned(),
        "|---|---|".to_owned(),
        format!("| data | {} |", data_names(&config.data.train)),
        format!("| split | {} |", prepared.dataset.description()),
    ];
    if let Some(from) = &config.model.from {
        lines.push(format!("| started from | {} |", name_of(from)));
    }
    if let Some(distillation) = &config.distillation {
        lines.push(format!(
            "| teacher | {}, {} of the loss, temperature {} |",
            name_of(&distillation.teacher),
            distillation.weight,
            distillation.temperature
        ));
    }
    lines.push(format!("| training | {} |", recipe(prepared)));
    if let Some(Row::Step(last)) = rows.iter().rev().find(|row| matches!(row, Row::Step(_))) {
        let (tokens, epoch) = (last.tokens, last.epoch);
        lines.push(format!("| tokens | {tokens} ({epoch:.2} passes), last loss {:.4} nats |", last.loss));
        if let Some(shares) = last.ternary {
            let percent = |share: f32| 100.0 * share;
            lines.push(format!(
                "| weights | {:.1} % are -1, {:.1} % are 0, {:.1} % are +1 |",
                percent(shares.minus),
                percent(shares.zero),
                percent(shares.plus)
            ));
        }
    }
    if let Some(Row::Validation(last)) = rows.iter().rev().find(|row| matches!(row, Row::Validation(_))) {
        let bits = last.bits_per_byte.map(|bits| format!(", {bits:.4} bits a byte")).unwrap_or_default();
        lines.push(format!(
            "| validation | {:.4} nats a token, perplexity {:.2}{bits} |",
            last.loss, last.perplexity
        ));
    }
    lines.extend([
        String::new(),
        "The codes and scales come from the f32 masters that were trained; activations are quantised to \
         int8 per token, embedding and norms are f32. It has not been filtered or aligned in any way."
            .to_owned(),
        String::new(),
        "The configuration of the run:".to_owned(),
        String::new(),
        "```toml".to_owned(),
        config.to_toml()?.trim_end().to_owned(),
        "```".to_owned(),
    ]);
    Ok(lines.join("\n") + "\n")
}

fn norms(model: &tercet::config::Config) -> &'static str {
    match (model.norms.pre, model.norms.sub, model.norms.in_linear_eps) {
        (_, Some(_), _) => "before attention and MLP, and before `o_proj` and `down_proj`",
        (true, None, Some(_)) => "before attention and MLP, and inside every linear",
        (false, None, Some(_)) => "inside every linear",
        (_, None, None) => "before attention and MLP",
    }
}

/// Patterns by their last part: where files lay on one machine is nobody's business.
fn data_names(patterns: &[String]) -> String {
    patterns.iter().map(|pattern| name_of(Path::new(pattern))).collect::<Vec<_>>().join(", ")
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn recipe(prepared: &Prepared) -> String {
    let config = &prepared.config;
    let optimizer = match config.optimizer.kind {
        OptimizerKind::Adamw => "AdamW",
        OptimizerKind::Muon => "Muon for the layers' matrices, AdamW for the rest",
    };
    let schedule = match config.schedule.kind {
        ScheduleKind::TwoStage => "two-stage learning rate and weight decay",
        ScheduleKind::Cosine => "cosine learning rate",
        ScheduleKind::WarmupStableDecay => "warm-up, stable, decay",
        ScheduleKind::Constant => "constant learning rate",
    };
    let start = match (&config.model.from, config.model.linear_kind()) {
        (None, LinearKind::Ternary) => "quantisation-aware from scratch",
        (None, LinearKind::Dense) => "from scratch",
        (Some(_), LinearKind::Ternary) => "quantisation-aware from existing weights",
        (Some(_), LinearKind::Dense) => "from existing weights",
    };
    let peak = (0..prepared.steps).map(|step| prepared.schedule.at(step).learning_rate).fold(0.0, f32::max);
    format!(
        "{start}; {} steps of {} tokens; {optimizer}; {schedule}, peak {peak:e}, {} steps of warm-up",
        prepared.steps,
        config.tokens_per_step(),
        prepared.schedule.warmup_steps(),
    )
}
