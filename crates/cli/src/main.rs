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
mod hub;
mod interrupt;
mod llama_cpp;
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
    if let Err(failure) = llama_cpp::check(&given) {
        return failure.report();
    }
    let arguments: Vec<OsString> = arguments(given.into_iter()).collect();
    let cli =
        Cli::try_parse_from(&arguments).unwrap_or_else(|error| train::explained(error, &arguments).exit());
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

/// The arguments, with bitnet.cpp's `-temp` and llama.cpp's `-np` and `-sys` in a form that clap knows.
fn arguments(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut are_options = true;
    arguments.map(move |argument| {
        are_options &= argument != "--";
        match argument.to_str() {
            Some("-temp") if are_options => "--temp".into(),
            Some("-sys") if are_options => "--system".into(),
            Some("-np") if are_options => "--parallel".into(),
            _ => argument,
        }
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
    fn long_names_with_one_dash_are_understood_before_the_end_of_options() {
        let given = ["tercet", "-temp", "0", "-np", "8", "-sys", "a", "--", "-temp"].map(OsString::from);
        let want =
            ["tercet", "--temp", "0", "--parallel", "8", "--system", "a", "--", "-temp"].map(OsString::from);
        assert_eq!(arguments(given.into_iter()).collect::<Vec<_>>(), want);
    }
}
