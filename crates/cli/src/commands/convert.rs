//! `tercet convert`: a model in another form, and the proof that it is the same model.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use tercet::convert::{Change, Conversion, ConvertError, Options, TableType, Target};
use tercet::embedded;
use tercet::source::{Source, has_gguf_extension};
use tercet::verify::{Check, OnDisk};
use tercet_kernels::{Isa, Pool};

use super::verify::{compare, write_checks};
use crate::failure::{Exit, Failure};
use crate::flag_bounds::THREADS_MAX;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::terminal::{note, print_json, printable};
use crate::{figures, model_argument, origin};

/// Convert a model to another form: a Hugging Face folder or a GGUF file
///
/// Codes and scales survive where the form can hold them; what it has no place for is refused, and what it rounds is
/// said. Then both models are compared: weight by weight, and by what they compute.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Convert {
    /// A model's folder or `.gguf` file, and where the result goes; with one path, that of the result, the small model
    /// inside is converted
    #[arg(required = true, num_args = 1..=2, value_names = ["SRC", "DST"])]
    paths: Vec<OsString>,
    /// The form of the result
    #[arg(long, value_name = "FORM", value_parser = PossibleValuesParser::new(Target::ALL.map(|(name, _)| name)))]
    to: String,
    /// The numbers of embedding and head in a GGUF file; those of the source without it
    #[arg(long, value_name = "TYPE", value_parser = PossibleValuesParser::new(TableType::ALL.map(|(name, _)| name)))]
    head: Option<String>,
    /// Round a dense model to ternary weights, though it was not trained for them
    #[arg(long)]
    force: bool,
    /// Do not compare the result with the source
    #[arg(long)]
    no_verify: bool,
    /// Threads [default: the cores this process may use]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: Option<u16>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  tercet convert ./my-model my-model.gguf --to gguf-i2_s
  tercet convert my-model.gguf ./my-folder --to hf-packed
  tercet convert microsoft/bitnet-b1.58-2B-4T 2b4t.gguf --to gguf-tq2_0 --head q6_k
  tercet convert stories.gguf --to gguf-tq1_0";

/// What was done.
#[derive(Serialize)]
struct Report {
    source: String,
    destination: PathBuf,
    form: String,
    /// Of the file, or of all files of the folder.
    bytes: u64,
    /// What is not as it was.
    changes: Vec<String>,
    /// Null where nothing was compared.
    checks: Option<Vec<Check>>,
}

impl Convert {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let options = self.options()?;
        let (source, destination) = match self.paths.as_slice() {
            [destination] => (embedded::stories(), lone_destination(destination, &options)?),
            [source, destination, ..] => {
                (model_argument::open(source)?, destination_path(destination, &options)?)
            }
            [] => unreachable!("clap wants a path"),
        };
        if self.json && destination.to_str().is_none() {
            let shown = destination.display();
            let message =
                format!("{shown}: found bytes that are not UTF-8, expected a path that JSON can hold");
            return Err(Failure::message(Exit::Usage, message)
                .with_hint("leave out `--json`, or name another place for the result"));
        }
        let isa = Isa::from_environment()?;
        tercet_kernels::self_test(isa)?;
        let threads = origin::all_threads(self.threads);
        let pool = Arc::new(Pool::new(isa, threads));
        let model = OnDisk::open(source)?;

        let interrupt = Interrupt::listen();
        let OnDisk { source, checkpoint, config } = &model;
        let mut progress = Progress::begin("planning", checkpoint.size_bytes());
        let conversion = Conversion::new(&pool, source, checkpoint, config, &options, &mut |done_bytes| {
            progress.set(done_bytes);
        });
        drop(progress);
        let mut conversion = conversion?;
        if self.paths.len() == 1 {
            note("converting the model inside; for another one, name it first: `tercet convert SRC DST`");
        }
        interrupt.expect();
        let mut progress = Progress::begin("converting", conversion.size_bytes());
        let written = conversion.write(&destination, &mut |done_bytes| {
            progress.set(done_bytes);
            interrupt.flow()
        });
        drop(progress);
        if let (Err(ConvertError::Stopped), Some(exit_code)) = (&written, interrupt.exit_code()) {
            note("stopped; nothing was written");
            return Ok(ExitCode::from(exit_code));
        }
        written?;
        interrupt.no_longer_expect();
        let changes = conversion.changes().to_vec();
        drop(conversion);

        let is_compared = !self.no_verify && !changes.contains(&Change::Quantized);
        if is_compared && !self.json {
            note("written; comparing it with its source");
        }
        let compared =
            is_compared.then(|| compare(&pool, &model, &OnDisk::open(opened(&destination)?)?)).transpose()?;
        let checks = compared.map(|compared| compared.checks);
        let is_wrong = checks.iter().flatten().any(Check::is_wrong);
        let report = Report {
            source: model.source.name(),
            bytes: size_bytes(&destination)?,
            destination,
            form: options.target.name().to_owned(),
            changes: changes.iter().map(Change::to_string).collect(),
            checks,
        };
        if self.json {
            print_json(&report)?;
        } else {
            report.write(&mut io::stdout().lock())?;
        }
        if is_wrong {
            let message = "the result is not the model that was converted; it was left where it is";
            return Err(Failure::message(Exit::Failed, message));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn options(&self) -> Result<Options, Failure> {
        let of = |name: &str| Target::ALL.iter().find(|(own, _)| *own == name).map(|(_, target)| *target);
        let target = of(&self.to).expect("clap lets only names of targets through");
        let table =
            |name: &String| TableType::ALL.iter().find(|(own, _)| own == name).map(|(_, table)| *table);
        let head = self.head.as_ref().and_then(table);
        if head.is_some() && target.gguf_type().is_none() {
            let message = format!("`--head` is for GGUF files, found `--to {target}`");
            return Err(Failure::message(Exit::Usage, message));
        }
        Ok(Options { target, head, force: self.force })
    }
}

/// Where the result goes, before anything is done for it.
fn destination_path(argument: &OsStr, options: &Options) -> Result<PathBuf, Failure> {
    let path = model_argument::expand_home(argument);
    let shown = path.display();
    if path.as_os_str().is_empty() {
        let message = "found an empty path, expected a place for the result";
        return Err(Failure::message(Exit::Usage, message));
    }
    let is_file = has_gguf_extension(&path);
    if options.target.gguf_type().is_none() && is_file {
        let message =
            format!("{shown}: found `.gguf` at the end, expected a folder for `--to {}`", options.target);
        let hint = format!("a folder would be `{}`", path.with_extension("").display());
        return Err(Failure::message(Exit::Usage, message).with_hint(hint));
    }
    if options.target.gguf_type().is_some() && !is_file {
        let message =
            format!("{shown}: found no `.gguf` at the end, expected it for `--to {}`", options.target);
        let hint = format!("a file would be `{}`", path.with_extension("gguf").display());
        return Err(Failure::message(Exit::Usage, message).with_hint(hint));
    }
    if path.symlink_metadata().is_ok() {
        return Err(ConvertError::Exists { path }.into());
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            let message = format!("{}: found no such folder, expected one for the result", parent.display());
            let hint = format!("it is not made: `mkdir -p {}` first", parent.display());
            Err(Failure::message(Exit::Failed, message).with_hint(hint))
        }
        _ => Ok(path),
    }
}

/// Where the model inside goes. What cannot be such a place may have been meant as a model.
fn lone_destination(argument: &OsStr, options: &Options) -> Result<PathBuf, Failure> {
    let path = model_argument::expand_home(argument);
    let hint = format!(
        "one path is where the model inside goes; for another model name both: `tercet convert SRC DST --to {}`",
        options.target
    );
    if model_argument::is_on_disk(&path) {
        let message = format!("{}: found a model, expected the place of the result after it", path.display());
        return Err(Failure::message(Exit::Usage, message).with_hint(hint));
    }
    let is_in_no_folder =
        path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
    let has_other_hint = path.symlink_metadata().is_ok() || is_in_no_folder;
    let destination = destination_path(argument, options);
    destination.map_err(|failure| if has_other_hint { failure } else { failure.with_hint(hint) })
}

/// The result, as anybody would open it.
fn opened(destination: &Path) -> Result<Source, Failure> {
    if destination.is_dir() { Ok(Source::folder(destination)?) } else { Ok(Source::gguf(destination)?) }
}

/// Bytes of a file, or of all files in a folder.
fn size_bytes(path: &Path) -> io::Result<u64> {
    if !path.is_dir() {
        return Ok(path.metadata()?.len());
    }
    fs::read_dir(path)?.map(|entry| size_bytes(&entry?.path())).sum()
}

impl Report {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let size = figures::bytes(self.bytes);
        writeln!(out, "{}: {}, {size}", printable(&self.destination.display().to_string()), self.form)?;
        for change in &self.changes {
            writeln!(out, "not as it was: {change}")?;
        }
        match &self.checks {
            Some(checks) => write_checks(out, checks, false),
            None => writeln!(out, "not compared with its source"),
        }
    }
}
