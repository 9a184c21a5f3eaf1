//! `tercet doctor`: whether this machine computes what it should, and how fast it reads.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use tercet::embedded::{self, STORIES_LOGITS_SHA256};
use tercet_kernels::{Isa, Pool, self_test};

use crate::ceilings::Rates;
use crate::failure::{Exit, Failure};
use crate::flag_bounds::THREADS_MAX;
use crate::machine::{self, Memory};
use crate::table::Table;
use crate::terminal::{print_json, printable};
use crate::{ceilings, figures, origin};

/// Check this machine: CPU, memory, and that every instruction set gives the published digits
///
/// The model inside continues a text with every instruction set of this CPU. The digest of its
/// logits is the same on every machine; where it is not, this command fails. The ceilings, which
/// `tercet run` and `tercet bench` compare themselves with, are measured anew: memory bandwidth, and
/// operations a second of each kind of arithmetic.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Doctor {
    /// Threads [default: the cores this process may use]
    #[arg(short, long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: Option<u16>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  tercet doctor
  tercet doctor --threads 4 --json
  TERCET_ISA=scalar tercet doctor";

/// Enough to meet at barriers; the model inside has no work for more.
const DIGEST_THREADS: usize = 2;

impl Doctor {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let chosen = Isa::from_environment()?;
        let threads = origin::all_threads(self.threads);
        let diagnosis = Diagnosis {
            version: env!("CARGO_PKG_VERSION"),
            cpu: machine::cpu_name(),
            architecture: std::env::consts::ARCH,
            cores: Pool::default_threads(),
            threads,
            memory: machine::memory(),
            ceilings: ceilings::measure(&Pool::new(chosen, threads).keep_whole_team()).now,
            published_logits_sha256: STORIES_LOGITS_SHA256,
            instruction_sets: Isa::available()
                .into_iter()
                .map(|isa| InstructionSet::examine(isa, isa == chosen, threads))
                .collect(),
        };
        match self.json {
            true => print_json(&diagnosis)?,
            false => diagnosis.write(&mut io::stdout().lock())?,
        }
        let ill: Vec<_> = diagnosis.instruction_sets.iter().filter(|set| !set.is_well()).collect();
        if ill.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let names: Vec<_> = ill.iter().map(|set| format!("`{}`", set.name)).collect();
        let message = format!("{}: not what every other machine computes", names.join(", "));
        let hint = if ill.len() < diagnosis.instruction_sets.len() {
            "set TERCET_ISA to an instruction set that is well, and report this CPU"
        } else {
            "report this CPU and this version"
        };
        Err(Failure::message(Exit::Failed, message).with_hint(hint))
    }
}

/// What was found.
#[derive(Serialize)]
struct Diagnosis {
    version: &'static str,
    cpu: String,
    architecture: &'static str,
    /// Cores that this process may use.
    cores: usize,
    threads: usize,
    memory: Option<Memory>,
    ceilings: Rates,
    published_logits_sha256: &'static str,
    instruction_sets: Vec<InstructionSet>,
}

/// What was found of one instruction set.
#[derive(Serialize)]
struct InstructionSet {
    name: &'static str,
    is_chosen: bool,
    /// What the self-test found wrong; null if it passed.
    self_test_error: Option<String>,
    logits_sha256: Option<String>,
    /// Why there is no digest; null if there is.
    digest_error: Option<String>,
    is_digest_published: bool,
}

impl InstructionSet {
    fn examine(isa: Isa, is_chosen: bool, threads: usize) -> Self {
        let pool = Arc::new(Pool::new(isa, threads.min(DIGEST_THREADS)));
        let digest = embedded::logits_digest(&pool);
        let (logits_sha256, digest_error) = match digest {
            Ok(digest) => (Some(digest), None),
            Err(error) => (None, Some(error.to_string())),
        };
        InstructionSet {
            name: isa.name(),
            is_chosen,
            self_test_error: self_test(isa).err().map(|error| error.to_string()),
            is_digest_published: logits_sha256.as_deref() == Some(STORIES_LOGITS_SHA256),
            logits_sha256,
            digest_error,
        }
    }

    fn is_well(&self) -> bool {
        self.self_test_error.is_none() && self.is_digest_published
    }
}

impl Diagnosis {
    /// Writes it for people.
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut line = |name: &str, value: &str| writeln!(out, "{name:<16}{}", printable(value));
        line("tercet", self.version)?;
        line("CPU", &format!("{} ({})", self.cpu, self.architecture))?;
        line("cores", &format!("{} for this process", self.cores))?;
        let memory = self.memory.map_or_else(
            || "not known".to_owned(),
            |memory| {
                let [total, available] = [memory.total_bytes, memory.available_bytes].map(figures::bytes);
                format!("{total}, {available} available")
            },
        );
        line("memory", &memory)?;
        let bandwidth = figures::bytes_per_second(self.ceilings.read_bytes_per_s);
        line("read bandwidth", &format!("{bandwidth} with {}", figures::threads(self.threads)))?;
        line("arithmetic", &self.ceilings.arithmetic())?;
        line("logits digest", self.published_logits_sha256)?;
        writeln!(out)?;

        let mut table = Table::new(&["instruction set", "self-test", "logits digest", ""]);
        for set in &self.instruction_sets {
            let found = set.logits_sha256.as_ref().or(set.digest_error.as_ref());
            table.push(vec![
                set.name.to_owned(),
                set.self_test_error.clone().unwrap_or_else(|| "ok".to_owned()),
                match found {
                    Some(found) if !set.is_digest_published => found.clone(),
                    _ => "ok".to_owned(),
                },
                if set.is_chosen { "chosen" } else { "" }.to_owned(),
            ]);
        }
        table.write(out)
    }
}
