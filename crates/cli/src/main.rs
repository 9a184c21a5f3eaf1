//! `tercet`: ternary language models (BitNet b1.58) on the command line.
//!
//! This file parses, dispatches and sets the exit code; each subcommand is a file of its own in
//! `commands`. Results go to stdout, everything else to stderr.

mod ceilings;
mod chat_template;
mod commands;
#[cfg(all(test, feature = "completions"))]
mod documented;
mod drafts;
mod failure;
mod figures;
mod fit;
mod flag_bounds;
mod foreign_flags;
mod hub;
mod interrupt;
mod machine;
mod model_argument;
mod origin;
mod progress;
mod report;
mod sampling_flags;
mod session_flags;
mod table;
mod teller;
mod terminal;
mod unknown_argument;
mod weight_types;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{bench, chat, convert, doctor, eval, inspect, ls, pull, rm, run, serve, train, verify};
#[cfg(feature = "completions")]
use commands::{completions, man};
use failure::Failure;

/// Train, run, evaluate, inspect and check ternary language models (BitNet b1.58)
#[derive(Parser)]
#[command(name = "tercet", version, max_term_width = 100, after_long_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed
  2    wrong usage, a place for the result that holds something, or an instruction set in TERCET_ISA
       that this CPU lacks
  3    the model, text, data or another file to read is missing or was refused
  4    the model is not in the cache, and there is no network or HF_HUB_OFFLINE is set
  5    the model would not fit into memory
  130  interrupted (143: by SIGTERM, 129: by SIGHUP)

Environment:
  TERCET_ISA  the instruction set to use, one that `tercet doctor` lists; the fastest without it
  NO_COLOR    if set and not empty, messages have no colours
  HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE and others: see `tercet pull --help`";

#[derive(Subcommand)]
enum Command {
    Run(Box<run::Run>),
    Chat(Box<chat::Chat>),
    Serve(Box<serve::Serve>),
    Train(train::Train),
    Eval(Box<eval::Eval>),
    Bench(Box<bench::Bench>),
    Convert(convert::Convert),
    Verify(verify::Verify),
    Inspect(inspect::Inspect),
    Pull(pull::Pull),
    Ls(ls::Ls),
    Rm(rm::Rm),
    Doctor(doctor::Doctor),
    #[cfg(feature = "completions")]
    Completions(completions::Completions),
    #[cfg(feature = "completions")]
    Man(man::Man),
}

fn main() -> ExitCode {
    let given: Vec<OsString> = std::env::args_os().collect();
    if let Err(failure) = foreign_flags::check(&given) {
        return failure.report();
    }
    let arguments: Vec<OsString> = arguments(given.into_iter()).collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return unknown_argument::report(error, &arguments),
    };
    let result = match cli.command {
        Command::Run(run) => run.run(),
        Command::Chat(chat) => chat.run(),
        Command::Serve(serve) => serve.run(),
        Command::Train(train) => train.run(),
        Command::Eval(eval) => eval.run(),
        Command::Bench(bench) => bench.run(),
        Command::Convert(convert) => convert.run(),
        Command::Verify(verify) => verify.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Pull(pull) => pull.run(),
        Command::Ls(ls) => ls.run(),
        Command::Rm(rm) => rm.run(),
        Command::Doctor(doctor) => doctor.run(),
        #[cfg(feature = "completions")]
        Command::Completions(completions) => completions.run(),
        #[cfg(feature = "completions")]
        Command::Man(man) => man.run(),
    };
    result.unwrap_or_else(Failure::report)
}

/// Flags of bitnet.cpp and llama.cpp that are understood, in a form that clap knows.
const ALIASES: [(&str, &str); 3] = [("-temp", "--temp"), ("-sys", "--system"), ("-np", "--parallel")];

/// The arguments, with the [`ALIASES`] among the options replaced.
fn arguments(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut are_options = true;
    arguments.map(move |argument| {
        are_options &= argument != "--";
        let alias = ALIASES.iter().find(|(alias, _)| are_options && argument == *alias);
        alias.map_or(argument, |(_, name)| name.into())
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lines_after_a_help_text_are_not_broken() {
        for command in Cli::command().get_subcommands() {
            let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest.is_none_or(|columns| columns <= 100), "{}: {text}", command.get_name());
        }
    }

    #[test]
    fn long_names_with_one_dash_are_understood_before_the_end_of_options() {
        let given = ["tercet", "-temp", "0", "-np", "8", "-sys", "a", "--", "-temp"].map(OsString::from);
        let want =
            ["tercet", "--temp", "0", "--parallel", "8", "--system", "a", "--", "-temp"].map(OsString::from);
        assert_eq!(arguments(given.into_iter()).collect::<Vec<_>>(), want);
    }
}
