//! `tercet`: ternary language models (BitNet b1.58) on the command line.
//!
//! This file parses, dispatches and sets the exit code; each subcommand is a file of its own in
//! `commands`. Results go to stdout, everything else to stderr.

mod ceilings;
mod commands;
mod energy_counter;
mod failure;
mod figures;
mod fit;
mod flag_bounds;
mod hub;
mod interrupt;
mod machine;
mod model_argument;
mod origin;
mod progress;
mod table;
mod terminal;
mod weight_types;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{bench, convert, doctor, eval, inspect, ls, pull, rm, run, train, verify};
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
  2    wrong usage, or an instruction set in TERCET_ISA that this CPU lacks
  3    the model or data is missing or was refused
  4    the model is not in the cache, and there is no network or HF_HUB_OFFLINE is set
  5    the model would not fit into memory
  130  interrupted (143: by SIGTERM)

Environment:
  TERCET_ISA  the instruction set to use, one that `tercet doctor` lists; the fastest without it
  NO_COLOR    if set, messages have no colours
  HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE and others: see `tercet pull --help`";

#[derive(Subcommand)]
enum Command {
    Run(Box<run::Run>),
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
    let cli = Cli::parse_from(arguments(std::env::args_os()));
    let result = match cli.command {
        Command::Run(run) => run.run(),
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

/// The arguments, with bitnet.cpp's `-temp` in a form that clap knows.
fn arguments(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut are_options = true;
    arguments.map(move |argument| {
        are_options &= argument != "--";
        if are_options && argument == "-temp" { "--temp".into() } else { argument }
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
    fn the_short_temp_is_understood_before_the_end_of_options() {
        let given = ["tercet", "run", "-temp", "0", "--", "-temp"].map(OsString::from);
        let want = ["tercet", "run", "--temp", "0", "--", "-temp"].map(OsString::from);
        assert_eq!(arguments(given.into_iter()).collect::<Vec<_>>(), want);
    }
}
