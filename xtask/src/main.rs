//! The project's own commands, as `cargo xtask TASK`.

mod arm64;
mod check;
mod dist;
mod golden;
mod interop;
mod load;
mod make_model;
mod process;
mod report;
mod scaling;
mod soak;
mod test;
mod venv;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, golden files and set-up of the tercet project")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs every test that needs only Rust and the clone, and counts them.
    Test,
    /// Runs what CI runs: format, lints, documentation, licences, then `test`.
    Check,
    /// Builds the kernels' battery and the digests for aarch64 and runs them under QEMU.
    Arm64(arm64::Arguments),
    /// Makes a tarball of the program for a release: static, with manual pages, completions and a bill of materials.
    Dist(dist::Arguments),
    /// Makes the golden files anew and wants them unchanged.
    Golden,
    /// Asks other software whether it reads what tercet writes.
    Interop(interop::Arguments),
    /// Writes a model folder with random weights.
    MakeModel(make_model::Arguments),
    /// Trains ternary and dense models of five sizes and compares them, for docs/scaling.md.
    Scaling(scaling::Arguments),
    /// Runs what takes long: the fuzzers, killed training runs, and a server under load.
    Soak(soak::Arguments),
}

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let result = match Arguments::parse().task {
        Task::Test => test::run(),
        Task::Check => check::run(),
        Task::Arm64(arguments) => arm64::run(&arguments).map(done),
        Task::Dist(arguments) => dist::run(&arguments).map(done),
        Task::Golden => golden::run().map(done),
        Task::Interop(arguments) => interop::run(&arguments),
        Task::MakeModel(arguments) => make_model::run(&arguments).map(done),
        Task::Scaling(arguments) => scaling::run(&arguments).map(done),
        Task::Soak(arguments) => soak::run(&arguments).map(done),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
