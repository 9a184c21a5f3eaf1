//! An argument that no command has: what was most likely meant, in place of what the parser guesses.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::commands::train;
use crate::failure::Failure;
use crate::foreign_flags;

/// Tells why arguments were not understood, and says with what the process should exit.
pub(crate) fn report(error: clap::Error, arguments: &[OsString]) -> ExitCode {
    match explained(error, arguments) {
        Ok(failure) => failure.report(),
        Err(error) => error.exit(),
    }
}

/// The failure in place of an error, or the error with other words.
fn explained(mut error: clap::Error, arguments: &[OsString]) -> Result<Failure, clap::Error> {
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
    if argument.starts_with('-') {
        // To pass a flag as a value is what nobody wanted who typed one.
        error.remove(ContextKind::Suggested);
    }
    Err(error)
}
