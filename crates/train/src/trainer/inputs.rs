//! What a configuration names for a run to read: whether it is there, and what was meant if not.
//!
//! It reads nothing of it.

use std::path::Path;

use tercet::config::CONFIG_FILE as MODEL_CONFIG_FILE;
use tercet::source::{Source, SourceError, has_gguf_extension};

use super::output::{is_run, model_of_run};
use super::{CHECKPOINTS, RUN_CONFIG_FILE, TrainError};
use crate::checkpoint::Store;
use crate::config::TrainConfig;
use crate::data;

/// The field of the model that a run starts from, which must have floats.
pub(super) const FROM: &str = "model.from";
/// The field of the teacher, which may be packed.
pub(super) const TEACHER: &str = "distillation.teacher";

const OF_A_MODEL: &str =
    "the folder of a model has `config.json`, `tokenizer.json` and the weights as `model.safetensors`";

/// Refuses a configuration that names what is not there, with all of it in one error.
pub(super) fn check(config: &TrainConfig) -> Result<(), TrainError> {
    let teacher = config.distillation.as_ref().map(|distillation| &*distillation.teacher);
    let models = [(FROM, config.model.from.as_deref()), (TEACHER, teacher)];
    let models = models.into_iter().filter_map(|(field, path)| Some((field, path?)));
    let mut problems: Vec<_> = models.filter_map(|(field, path)| model_folder(field, path).err()).collect();
    let files = data::missing(&config.data, &config.tokenizer);
    problems.extend(files.into_iter().map(TrainError::from));
    TrainError::of(problems)
}

/// The folder of a model that `field` names.
pub(super) fn model_folder(field: &'static str, path: &Path) -> Result<Source, TrainError> {
    let refused = |found, hint: String| TrainError::NoFolder { field, path: path.to_owned(), found, hint };
    match Source::folder(path) {
        Err(SourceError::NotAFolder { .. }) if has_gguf_extension(path) => {
            Err(TrainError::Gguf { field, path: path.to_owned() })
        }
        Err(SourceError::NotAFolder { .. }) => Err(refused("a file", OF_A_MODEL.to_owned())),
        Err(SourceError::NotFound { .. }) => {
            Err(refused("nothing", checkpoints_instead(field, path).unwrap_or_else(|| OF_A_MODEL.to_owned())))
        }
        Ok(_) if !path.join(MODEL_CONFIG_FILE).exists() && is_run(path) => {
            Err(refused("the folder of a run", model_instead(field, path)))
        }
        source => Ok(source?),
    }
}

/// In words, the model that the folder of a run has for `field`.
fn model_instead(field: &str, run: &Path) -> String {
    let newest = || Store::newest_in(&run.join(CHECKPOINTS));
    match if field == FROM { newest() } else { model_of_run(run) } {
        Some(model) if field == FROM => {
            format!("the newest checkpoint of this run is `{}`", model.display())
        }
        Some(model) => format!("the model of this run is `{}`", model.display()),
        None => "this run has left no checkpoint yet: the command that began it goes on with it".to_owned(),
    }
}

/// In words, the checkpoints that are there in place of one that is not; nothing if the path is that of no checkpoint.
fn checkpoints_instead(field: &str, path: &Path) -> Option<String> {
    const SHOWN: usize = 5;
    let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
    let is_of_a_run = name.starts_with("step-") && folder.file_name().is_some_and(|name| name == CHECKPOINTS);
    let run = folder.parent().filter(|_| is_of_a_run)?;
    let names = Store::names_in(folder);
    let shown: Vec<String> = names.iter().rev().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let there = match shown.as_slice() {
        [] => {
            let run = run.display();
            return Some(format!(
                "a run leaves its checkpoints there: train the run whose `run.output` is `{run}` first"
            ));
        }
        [one] => format!("the checkpoint there is {one}"),
        [newest, others @ ..] => {
            format!("the newest checkpoint there is {newest}, before it {}", others.join(", "))
        }
    };
    let newest = folder.join(names.last()?);
    let ends_it = if is_last_of(name, run) {
        let config = run.join(RUN_CONFIG_FILE);
        format!(", and `tercet train {}` ends the run, which leaves the one that was named", config.display())
    } else {
        String::new()
    };
    Some(format!("{there}; `{field}={}` takes it{ends_it}", newest.display()))
}

/// Whether a checkpoint is the one that a run leaves at its end.
fn is_last_of(checkpoint: &str, run: &Path) -> bool {
    let config = run.join(RUN_CONFIG_FILE);
    let steps = if is_run(run) {
        TrainConfig::read(&config).ok().and_then(|config| config.train.steps)
    } else {
        None
    };
    steps.is_some_and(|steps| Store::name_of(steps) == checkpoint)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[track_caller]
    fn check(field: &'static str, path: &Path, found: &str, hint: &str) {
        let error = model_folder(field, path).unwrap_err();
        let text = format!("{field}: {}: found {found}, expected the folder of a model", path.display());
        assert_eq!((error.to_string(), error.hint()), (text, Some(hint)));
    }

    #[test]
    fn the_folder_of_a_run_is_told_from_that_of_its_model() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::write(run.join("config.toml"), super::super::output::MARK).unwrap();
        let nothing = "this run has left no checkpoint yet: the command that began it goes on with it";
        check(FROM, &run, "the folder of a run", nothing);
        fs::create_dir_all(run.join("checkpoints/step-00000100")).unwrap();
        fs::create_dir_all(run.join("checkpoints/step-00000200")).unwrap();
        fs::create_dir(run.join("model")).unwrap();
        let newest = run.join("checkpoints/step-00000200");
        let newest = format!("the newest checkpoint of this run is `{}`", newest.display());
        check(FROM, &run, "the folder of a run", &newest);
        let model = format!("the model of this run is `{}`", run.join("model").display());
        check(TEACHER, &run, "the folder of a run", &model);
    }

    #[test]
    fn a_checkpoint_that_is_not_there_is_told_those_that_are() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("runs/tiny");
        let missing = run.join("checkpoints/step-00002000");
        let train_first = format!(
            "a run leaves its checkpoints there: train the run whose `run.output` is `{}` first",
            run.display()
        );
        check(FROM, &missing, "nothing", &train_first);
        fs::create_dir_all(run.join("checkpoints/step-00000250")).unwrap();
        let takes = |field: &str, step: &str| {
            format!("; `{field}={}` takes it", run.join("checkpoints").join(step).display())
        };
        let one = format!("the checkpoint there is `step-00000250`{}", takes(FROM, "step-00000250"));
        check(FROM, &missing, "nothing", &one);
        fs::create_dir(run.join("checkpoints/step-00000500")).unwrap();
        let both = format!(
            "the newest checkpoint there is `step-00000500`, before it `step-00000250`{}",
            takes(TEACHER, "step-00000500")
        );
        check(TEACHER, &missing, "nothing", &both);
        let config = include_str!("../../../../examples/tiny.toml");
        fs::write(run.join("config.toml"), format!("{}{config}", super::super::output::MARK)).unwrap();
        let ends = format!(
            "{both}, and `tercet train {}` ends the run, which leaves the one that was named",
            run.join("config.toml").display()
        );
        check(TEACHER, &missing, "nothing", &ends);
        check(TEACHER, &run.join("checkpoints/step-00000501"), "nothing", &both);
        check(FROM, &run.join("checkpoint"), "nothing", OF_A_MODEL);
    }
}
