//! An argument that no command has: what was most likely meant, in place of what the parser guesses.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::commands::train;
use crate::failure::{Exit, Failure};
use crate::{foreign_flags, model_argument};

/// Tells why arguments were not understood, and says with what the process should exit.
pub(crate) fn report(error: clap::Error, arguments: &[OsString]) -> ExitCode {
    match explained(error, arguments) {
        Ok(failure) => failure.report(),
        Err(error) => error.exit(),
    }
}

/// The failure in place of an error, or the error with other words.
fn explained(mut error: clap::Error, arguments: &[OsString]) -> Result<Failure, clap::Error> {
    if error.kind() == ErrorKind::InvalidValue {
        suggest_ends(&mut error);
        return Err(error);
    }
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) if error.kind() == ErrorKind::UnknownArgument => {
            argument.clone()
        }
        _ => return Err(error),
    };
    let command = arguments.get(1).and_then(|command| command.to_str()).unwrap_or_default();
    if command == "train" {
        return Err(train::explained(error, arguments));
    }
    let flag = argument.split('=').next().unwrap_or_default();
    if let Some(failure) = foreign_flags::refusal(command, flag, arguments) {
        return Ok(failure);
    }
    if let Some(failure) = negative_number(&argument, arguments) {
        return Ok(failure);
    }
    if argument.starts_with('-') {
        // To pass a flag as a value is what nobody wanted who typed one.
        error.remove(ContextKind::Suggested);
    } else if let Some(tip) = text_meant(command, &argument, arguments) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    Err(error)
}

/// Suggests the values of which what was given is the end, as `i2_s` is of `gguf-i2_s`.
fn suggest_ends(error: &mut clap::Error) {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidValue) else { return };
    let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue) else { return };
    let end = format!("-{}", given.to_lowercase());
    let meant: Vec<String> = valid.iter().filter(|valid| valid.ends_with(&end)).cloned().collect();
    if !given.is_empty() && !meant.is_empty() {
        error.insert(ContextKind::SuggestedValue, ContextValue::Strings(meant));
    }
}

/// The refusal of a number below 0 behind a flag that takes none, which the parser reads as a flag itself.
fn negative_number(argument: &str, arguments: &[OsString]) -> Option<Failure> {
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
    // Of several digits the parser names the first.
    let is_meant =
        |word: &str| word.starts_with(argument) && word.parse::<f64>().is_ok_and(|value| value < 0.0);
    let flag = words.windows(2).find(|pair| pair[0].starts_with('-') && is_meant(&pair[1]))?;
    let message = format!("`{}` is `{}`, expected no negative number", flag[0], flag[1]);
    Some(Failure::message(Exit::Usage, message))
}

/// How the text is given of which an argument without a dash is a part.
fn text_meant(command: &str, argument: &str, arguments: &[OsString]) -> Option<String> {
    let words: Vec<&OsString> = arguments.iter().skip(2).collect();
    // Where flags stand among the words, which of them are their values is not known.
    let are_words = !words.iter().any(|word| word.to_string_lossy().starts_with('-'));
    let text = |from: &[&OsString]| {
        let words: Vec<_> = from.iter().map(|word| word.to_string_lossy()).collect();
        if are_words { words.join(" ") } else { "…".to_owned() }
    };
    match command {
        "run" => {
            let is_model = words.first().is_some_and(|first| model_argument::is_model(first));
            let text = text(&words[usize::from(is_model)..]);
            Some(format!("a text of several words wants quotes: `\"{text}\"`"))
        }
        "chat" => {
            let at = words.iter().position(|word| *word == argument)?;
            Some(format!("one thing is asked by `-p`, in quotes: `-p \"{}\"`", text(&words[at..])))
        }
        _ => None,
    }
}
