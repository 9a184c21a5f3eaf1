//! A flag that `tercet train` has not: what it would set is a value of the configuration.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use tercet_train::config::key_meant;

/// The error of the command line, with the key that an unknown flag of `tercet train` was most likely meant to set.
pub(crate) fn explained(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let is_of_train = arguments.get(1).is_some_and(|command| command == "train");
    if !is_of_train || error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error };
    let Some(name) = flag.strip_prefix("--") else { return error };
    let name = name.split('=').next().unwrap_or_default().replace('-', "_");
    let key = key_meant(&name);
    // A flag that is much like one that exists was meant as that one, unless it is a key to the letter.
    let is_key = key.is_some_and(|key| key.rsplit('.').next() == Some(&*name));
    if error.get(ContextKind::SuggestedArg).is_some() && !is_key {
        return error;
    }
    let value = value_of(flag, arguments).unwrap_or_else(|| "…".to_owned());
    let tip = match key {
        Some(key) => {
            format!("values of the configuration are given after it, without dashes: `{key}={value}`")
        }
        None => "values of the configuration are given after it as `KEY=VALUE`, such as `train.steps=1000`"
            .to_owned(),
    };
    error.remove(ContextKind::SuggestedArg);
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

/// What was given with a flag: after a `=`, or as the next argument.
fn value_of(flag: &str, arguments: &[OsString]) -> Option<String> {
    let (flag, within) = flag.split_once('=').map_or((flag, None), |(flag, value)| (flag, Some(value)));
    if let Some(value) = within {
        return Some(value.to_owned());
    }
    let mut arguments = arguments.iter().filter_map(|argument| argument.to_str());
    let found = arguments.find(|argument| argument.split('=').next() == Some(flag))?;
    match found.split_once('=') {
        Some((_, value)) => Some(value.to_owned()),
        None => arguments.next().filter(|next| !next.starts_with('-')).map(str::to_owned),
    }
}
