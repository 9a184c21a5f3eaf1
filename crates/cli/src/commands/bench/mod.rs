//! `tercet bench`: how fast this machine runs a model, as fractions of what it can do.

mod compare;
mod format;
mod list;
mod measure;
mod output;
mod paper;
mod row;
mod test;
mod train;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use tercet::model::{MemoryNeed, Model};
use tercet::presets::Preset;
use tercet_kernels::{Isa, Pool};

use crate::ceilings::{self, Measured};
use crate::failure::{Exit, Failure};
use crate::flag_bounds::{CONTEXT_MAX, THREADS_MAX};
use crate::origin::{self, Origin};
use crate::terminal::note;
use crate::weight_types::{Head, Kv, Weights};
use crate::{figures, fit, machine};
use format::Format;
use list::{List, counts, list};
use measure::measure;
use paper::Paper;
use row::{Row, Setting};
use test::{ModelSizes, Need, Test};

/// Measure the speed of a model, as fractions of what this machine can do
///
/// First the ceilings are measured with the threads of the run: bytes a second read from memory, and
/// operations a second of int8, bf16 and f32. Then each test: `pp512` is a prompt of 512 tokens,
/// `tg128` the decoding of 128, `tg128 @ d3968` the same after 3968 positions. Each row says what
/// bounds it, and what fraction of that ceiling it reached. No token is chosen and no text made.
///
/// The speed is the median of the repetitions. A machine that others share changes from second to second,
/// so the ceilings are probed again between the repetitions, and a row's fraction is the median of each
/// repetition's own. A row is noisy where the ceiling that bounds it was at any time below 95 % of the
/// best that this machine has ever shown.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Bench {
    /// A model's folder, its GGUF file, or its name on the Hub; without one, the small model inside
    #[arg(value_name = "MODEL")]
    positional: Option<OsString>,
    /// A model's folder, its GGUF file, or its name on the Hub
    #[arg(short, long, value_name = "MODEL", conflicts_with = "positional", help_heading = "Model")]
    model: Option<OsString>,
    /// Random weights in the shape of a known model
    #[arg(long, value_name = "P", value_parser = origin::presets(), ignore_case = true, help_heading = "Model")]
    #[arg(conflicts_with_all = ["model", "positional"])]
    preset: Option<&'static Preset>,
    /// How weights lie in memory
    #[arg(long, value_name = "TYPE", default_value = "2bit", help_heading = "Model")]
    weights: Weights,
    /// Numbers of the vocabulary projection
    #[arg(long, value_name = "TYPE", default_value = "model", help_heading = "Model")]
    head: Head,
    /// Numbers of the cache of keys and values
    #[arg(long, value_name = "TYPE", default_value = "f16", help_heading = "Model")]
    kv: Kv,
    /// Threads [default: the cores this process may use]
    #[arg(short, long, value_name = "N", help_heading = "Model")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: Option<u16>,

    /// Tokens of prompts, as `512,128`; 0 for none
    #[arg(short = 'p', long, value_name = "LIST", default_value = "512", value_parser = list, help_heading = "Tests")]
    n_prompt: List,
    /// Tokens to decode, as `128`; 0 for none
    #[arg(short = 'n', long, value_name = "LIST", default_value = "128", value_parser = list, help_heading = "Tests")]
    n_gen: List,
    /// Positions that are filled before a test, as `0,3968`
    #[arg(short = 'd', long, value_name = "LIST", default_value = "0", value_parser = list, help_heading = "Tests")]
    n_depth: List,
    /// Sequences that are decoded together, as `1,4,8,16`
    #[arg(long, value_name = "LIST", default_value = "1", value_parser = counts, help_heading = "Tests")]
    parallel: List,
    /// Positions a cache has room for [default: those of the test]
    #[arg(
        short,
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Tests"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(..=CONTEXT_MAX))]
    ctx_size: u32,
    /// Repetitions of each test
    #[arg(short, long, value_name = "N", default_value_t = 5, help_heading = "Tests")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    repetitions: u16,

    /// Measure training steps of these sizes instead, as `s,m,l`: forward, backward, clipping, AdamW
    /// and quantisation
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = train::size, help_heading = "Training")]
    #[arg(conflicts_with_all = ["model", "positional", "preset", "weights", "kv", "paper", "compare"])]
    #[arg(conflicts_with_all = OF_TESTS)]
    train: Vec<&'static Preset>,
    /// Train the dense baseline of these sizes
    #[arg(long, requires = "train", help_heading = "Training")]
    dense: bool,

    #[command(flatten)]
    paper: Paper,
    /// Tell which rows of two files, written with `-o json`, differ by more than the noise: by more
    /// than two standard errors of the difference, and by more than 2 %
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], help_heading = "Results")]
    #[arg(conflicts_with_all = ["model", "positional", "preset", "weights", "kv", "threads", "repetitions"])]
    #[arg(conflicts_with_all = OF_TESTS)]
    compare: Option<Vec<PathBuf>>,
    /// How results are written
    #[arg(short, long, value_name = "FORMAT", default_value = "md", help_heading = "Results")]
    output: Format,
}

/// What only tests of one model ask for.
const OF_TESTS: [&str; 6] = ["head", "n_prompt", "n_gen", "n_depth", "parallel", "ctx_size"];

const EXAMPLES: &str = "\
Examples:
  tercet bench ./my-model
  tercet bench --preset 2b4t --weights 1.6bit -t 2 -p 512 -n 128 -o json
  tercet bench --preset 2b4t -p 0 --parallel 1,4,8,16
  tercet bench --preset 700m -p 512 -n 128 -d 0,1536
  tercet bench --train s,m,l -t 2 -o json
  tercet bench --compare old.json new.json
  tercet bench --paper --weights 1.6bit --svg costs.svg";

impl Bench {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let out = &mut io::stdout().lock();
        if let Some([old, new]) = self.compare.as_deref() {
            compare::compare(out, self.output, old, new)?;
            return Ok(ExitCode::SUCCESS);
        }
        let isa = Isa::from_environment()?;
        let threads = origin::all_threads(self.threads);
        let pool = Arc::new(Pool::new(isa, threads).keep_whole_team());
        if self.paper.paper {
            return self.run_paper(out, &pool);
        }
        if !self.train.is_empty() {
            let repeats = usize::from(self.repetitions);
            train::run(out, self.output, &self.train, self.dense, &pool, repeats)?;
            return Ok(ExitCode::SUCCESS);
        }
        let tests = self.tests()?;
        let origin = match self.preset {
            Some(preset) => Origin::random(preset, self.weights, self.head),
            None => Origin::open(
                self.positional.as_ref().or(self.model.as_ref()).map(|m| &**m),
                self.weights,
                self.head,
            )?,
        };
        let need = self.largest_need(&origin, &tests);
        check_memory(&need, &origin)?;
        let positions = tests.iter().map(Test::positions).max().unwrap_or(0);
        let trained = origin.config.max_position_embeddings;
        if positions > trained {
            note(&format!(
                "{positions} positions are more than the {trained} that the model was trained for"
            ));
        }
        let of_runs = origin::threads(None, need.weight_bytes);
        if self.threads.is_none() && of_runs < threads {
            note(&format!(
                "`tercet run` and `serve` take {} for a model as small as this; `-t {of_runs}` measures that",
                figures::threads(of_runs)
            ));
        }
        let before = ceilings::measure(&pool);
        tell_ceilings("before the tests", &before, &pool);

        let started = Instant::now();
        let model = origin.load(&pool, need.weight_bytes)?;
        let setting = self.setting(&origin, &model, started.elapsed().as_secs_f64());
        let mut measured = Vec::new();
        for test in &tests {
            let context = self.ctx_size as usize;
            let repeats = usize::from(self.repetitions);
            let probe = || ceilings::glance(&pool);
            let measurement = measure(&model, test, context, self.kv.kv_type(), repeats, probe)
                .map_err(|error| Failure::new(Exit::Failed, error))?;
            let last = measurement.samples.last().copied().unwrap_or_default();
            note(&format!("{test}, {} together: {last:.2} tokens/s", test.parallel));
            measured.push((test, measurement));
        }
        let after = ceilings::measure(&pool);
        tell_ceilings("after the tests", &after, &pool);
        let weight_bytes = model.weight_bytes_per_token() as u64;
        let sizes = ModelSizes { config: &origin.config, weight_bytes, kv_type: self.kv.kv_type() };
        let rows: Vec<Row> = measured
            .into_iter()
            .map(|(test, measurement)| {
                let need = Need::of(test, &sizes);
                let setting = setting.clone();
                Row::new(setting, test.to_string(), test.parallel, &need, measurement, [&before, &after])
            })
            .collect();
        output::write(out, self.output, &rows)?;
        Ok(ExitCode::SUCCESS)
    }

    fn run_paper(&self, out: &mut impl Write, pool: &Arc<Pool>) -> Result<ExitCode, Failure> {
        self.paper.check(self.weights)?;
        let ceilings = ceilings::measure(pool);
        tell_ceilings("now", &ceilings, pool);
        let setting = paper::Setting {
            pool,
            ceilings: &ceilings.now,
            weights: self.weights,
            kv_type: self.kv.kv_type(),
            repeats: usize::from(self.repetitions),
        };
        self.paper.run(out, self.output, &setting)?;
        Ok(ExitCode::SUCCESS)
    }

    fn tests(&self) -> Result<Vec<Test>, Failure> {
        let tests = Test::all(&self.n_prompt.0, &self.n_gen.0, &self.n_depth.0, &self.parallel.0);
        if tests.is_empty() {
            return Err(Failure::message(Exit::Usage, "found no test: `-p` and `-n` are both 0"));
        }
        Ok(tests)
    }

    /// Memory of the test that takes most.
    fn largest_need(&self, origin: &Origin, tests: &[Test]) -> MemoryNeed {
        let need = |test: &Test| {
            let size = test.session_size(self.ctx_size as usize);
            let need = origin.memory_need(&size, self.kv.kv_type());
            MemoryNeed { cache_bytes: need.cache_bytes.saturating_mul(test.parallel as u64), ..need }
        };
        tests.iter().map(need).max_by_key(MemoryNeed::total_bytes).expect("Bench: there is a test")
    }

    fn setting(&self, origin: &Origin, model: &Model, load_s: f64) -> Setting {
        Setting {
            preset: self.preset.map(|preset| preset.name.to_owned()),
            model: origin.name(),
            weights: origin.weights().to_owned(),
            head: model.lm_head().type_name().to_owned(),
            kv: self.kv.name().to_owned(),
            threads: model.pool().threads(),
            isa: model.pool().isa().name().to_owned(),
            cpu: machine::cpu_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            size_bytes: model.resident_bytes() as u64,
            params: origin.config.parameters(),
            load_s,
        }
    }
}

/// A size that is given twice would only be measured twice.
fn refuse_twice(flag: &str, sizes: &[&'static Preset]) -> Result<(), Failure> {
    match (1..sizes.len()).find(|at| sizes[..*at].contains(&sizes[*at])) {
        Some(twice) => {
            let message = format!("`{flag}`: `{}` is given twice", sizes[twice].name);
            Err(Failure::message(Exit::Usage, message))
        }
        None => Ok(()),
    }
}

fn check_memory(need: &MemoryNeed, origin: &Origin) -> Result<(), Failure> {
    fit::check(need, &origin.name(), &[]).map_err(|failure| {
        failure
            .with_hint("take a smaller model or fewer bits (`--weights`), or less of `--parallel` and `-d`")
    })
}

fn tell_ceilings(when: &str, measured: &Measured, pool: &Pool) {
    let bandwidth = figures::bytes_per_second(measured.now.read_bytes_per_s);
    let arithmetic = measured.now.arithmetic();
    note(&format!(
        "ceilings of {}, {}, {when}: {bandwidth}, {arithmetic}",
        figures::threads(pool.threads()),
        pool.isa().name()
    ));
}
