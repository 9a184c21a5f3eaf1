//! `--train`: the speed of a training step, beside the least time that its parts can take.

use std::io::Write;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tercet::config::{Config, Linears};
use tercet::presets::Preset;
use tercet_kernels::Pool;
use tercet_kernels::ops::backward::GradientPrecision;
use tercet_train::measure::{MeasuredRun, TrainingNeed};
use tercet_train::model::{MemoryNeed, NetworkSize, ParameterLayout, Stage};

use super::format::{Format, write_csv, write_json};
use super::refuse_twice;
use super::row::{median, stddev, with_spread};
use crate::ceilings::{self, Rates};
use crate::failure::{Exit, Failure};
use crate::table::Table;
use crate::terminal::note;
use crate::{figures, machine};

/// Sequences and tokens of a step, by preset: those of `tools/peers/torch_train.py`.
const STEPS: [(&str, [usize; 2]); 3] = [("s", [8, 256]), ("m", [4, 512]), ("l", [2, 512])];
/// Steps before the first that counts: buffers are there and clocks are up.
const WARM_UP: usize = 2;

/// A size that can be trained here.
pub(super) fn size(name: &str) -> Result<&'static Preset, String> {
    let names = STEPS.map(|(name, _)| name);
    Preset::by_name(name)
        .filter(|preset| names.contains(&preset.name))
        .ok_or_else(|| format!("expected one of {}", names.join(", ")))
}

/// How fast the steps of one size are: what two runs are compared by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TrainSpeed {
    pub(super) test: String,
    pub(super) preset: String,
    pub(super) linears: String,
    pub(super) threads: usize,
    pub(super) isa: String,
    pub(super) gradients: String,
    /// The median of the samples, a step each.
    pub(super) tokens_per_s: f64,
    pub(super) stddev: Option<f64>,
    pub(super) samples: Vec<f64>,
    /// The median of the steps' fractions of the budget by the ceilings beside them.
    pub(super) fraction: f64,
}

/// The results of one size. Times and amounts are of a token.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct TrainRow {
    #[serde(flatten)]
    speed: TrainSpeed,
    params: u64,
    tokens_per_step: usize,
    int8_ops_per_token: f64,
    gradient_ops_per_token: f64,
    float_ops_per_token: f64,
    bytes_per_token: f64,
    /// Microseconds that a token takes if every operation runs at its ceiling, one after another.
    budget_us: f64,
    /// Shares of the time.
    stages: Stages,
    /// What the process had resident after the last step.
    rss_bytes: Option<u64>,
    cpu: String,
    version: &'static str,
}

/// The columns of CSV, by their names in JSON; the stages follow each in its own.
const COLUMNS: [&str; 21] = [
    "test",
    "preset",
    "linears",
    "threads",
    "isa",
    "gradients",
    "params",
    "tokens_per_step",
    "tokens_per_s",
    "stddev",
    "samples",
    "int8_ops_per_token",
    "gradient_ops_per_token",
    "float_ops_per_token",
    "bytes_per_token",
    "budget_us",
    "fraction",
    "stages",
    "rss_bytes",
    "cpu",
    "version",
];

/// Each stage's share of a step.
#[derive(Debug, Clone, PartialEq)]
struct Stages([f64; Stage::ALL.len()]);

impl Serialize for Stages {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Stage::ALL.iter().map(|stage| stage.name()).zip(self.0))
    }
}

/// Measures each size and writes a row for each.
///
/// # Errors
/// Exit code 2, if a size is given twice.
pub(super) fn run(
    out: &mut impl Write,
    format: Format,
    sizes: &[&'static Preset],
    is_dense: bool,
    pool: &Arc<Pool>,
    repeats: usize,
) -> Result<(), Failure> {
    refuse_twice("--train", sizes)?;
    let mut rows = Vec::new();
    for preset in sizes {
        let row = measure(preset, is_dense, pool, repeats)?;
        note(&format!("{}: {:.1} tokens/s", row.speed.test, row.speed.tokens_per_s));
        rows.push(row);
    }
    write(out, format, &rows)
}

fn measure(
    preset: &'static Preset,
    is_dense: bool,
    pool: &Arc<Pool>,
    repeats: usize,
) -> Result<TrainRow, Failure> {
    let [sequences, length] =
        STEPS.iter().find(|(name, _)| *name == preset.name).expect("a size that `size` has let through").1;
    let config = if is_dense {
        preset.dense_config()
    } else {
        Config { linears: Linears::Masters, ..preset.config() }
    };
    let precision = GradientPrecision::fastest(pool.isa());
    let rows = sequences * length;
    let size = NetworkSize { rows, context: length, recompute: false, precision };
    check_memory(&config, &size, preset.name)?;
    let need = TrainingNeed::per_token(&config, rows, length);
    let mut run = MeasuredRun::new(config.clone(), Arc::clone(pool), [sequences, length]);
    for _ in 0..WARM_UP {
        run.step();
    }
    let (mut samples, mut fractions) = (Vec::with_capacity(repeats), Vec::with_capacity(repeats));
    let mut budgets = Vec::with_capacity(repeats);
    let mut times = [0.0; Stage::ALL.len()];
    let mut rss_bytes = None;
    let mut before = ceilings::glance(pool);
    for _ in 0..repeats {
        let (step, stages) = run.step();
        rss_bytes = machine::resident_bytes();
        let after = ceilings::glance(pool);
        let budget = least_seconds(&need, &before.max(after), precision);
        before = after;
        let seconds = step.as_secs_f64();
        samples.push(rows as f64 / seconds);
        budgets.push(budget);
        fractions.push(budget * rows as f64 / seconds);
        for (sum, stage) in times.iter_mut().zip(stages) {
            *sum += stage.as_secs_f64();
        }
    }
    let all: f64 = times.iter().sum();
    Ok(TrainRow {
        speed: TrainSpeed {
            test: format!("train {}", preset.name),
            preset: preset.name.to_owned(),
            linears: if is_dense { "dense" } else { "ternary" }.to_owned(),
            threads: pool.threads(),
            isa: pool.isa().name().to_owned(),
            gradients: name(precision).to_owned(),
            tokens_per_s: median(&samples),
            stddev: stddev(&samples),
            samples,
            fraction: median(&fractions),
        },
        params: ParameterLayout::new(&config).count(),
        tokens_per_step: rows,
        int8_ops_per_token: need.int8_ops,
        gradient_ops_per_token: need.gradient_ops,
        float_ops_per_token: need.float_ops,
        bytes_per_token: need.bytes,
        budget_us: median(&budgets) * 1e6,
        stages: Stages(times.map(|time| time / all)),
        rss_bytes,
        cpu: machine::cpu_name(),
        version: env!("CARGO_PKG_VERSION"),
    })
}

fn check_memory(config: &Config, size: &NetworkSize, name: &str) -> Result<(), Failure> {
    let need = MemoryNeed::new(config, size).total_bytes();
    let Some(memory) = machine::memory().filter(|memory| need > memory.available_bytes) else {
        return Ok(());
    };
    let [need, available] = [need, memory.available_bytes].map(figures::bytes);
    Err(Failure::message(
        Exit::Memory,
        format!("training of `{name}`: needs {need} of memory, but {available} are available"),
    ))
}

/// Seconds of a token whose parts follow each other, each at its ceiling.
fn least_seconds(need: &TrainingNeed, rates: &Rates, precision: GradientPrecision) -> f64 {
    let gradient_rate = match precision {
        GradientPrecision::Bf16 => rates.bf16_ops_per_s.unwrap_or(rates.f32_ops_per_s),
        GradientPrecision::F32 => rates.f32_ops_per_s,
    };
    need.int8_ops / rates.int8_ops_per_s
        + need.gradient_ops / gradient_rate
        + need.float_ops / rates.f32_ops_per_s
        + need.bytes / rates.read_bytes_per_s
}

fn name(precision: GradientPrecision) -> &'static str {
    match precision {
        GradientPrecision::F32 => "f32",
        GradientPrecision::Bf16 => "bf16",
    }
}

fn write(out: &mut impl Write, format: Format, rows: &[TrainRow]) -> Result<(), Failure> {
    match format {
        Format::Json => write_json(out, rows)?,
        Format::Csv => write_csv(out, &COLUMNS, rows)?,
        Format::Md => {
            if let Some(row) = rows.first() {
                let TrainSpeed { linears, gradients, threads, isa, .. } = &row.speed;
                let heading = format!("**Training**, {linears}, gradients in {gradients}");
                writeln!(out, "{heading} · {}, {isa}\n", figures::threads(*threads))?;
            }
            table(rows).write_markdown(out)?;
        }
    }
    out.flush()?;
    Ok(())
}

fn table(rows: &[TrainRow]) -> Table {
    let mut table = Table::new(&[
        "test",
        ">parameters",
        ">t/s",
        ">µs a token",
        ">least µs",
        ">fraction",
        "time",
        ">resident",
    ]);
    for row in rows {
        let shares = Stage::ALL.iter().zip(row.stages.0);
        let shares: Vec<_> =
            shares.map(|(stage, share)| format!("{} {}", stage.name(), figures::percent(share))).collect();
        let speed = &row.speed;
        table.push(vec![
            speed.test.clone(),
            figures::count(row.params),
            with_spread(speed.tokens_per_s, speed.stddev, 1),
            format!("{:.1}", 1e6 / speed.tokens_per_s),
            format!("{:.1}", row.budget_us),
            figures::percent(speed.fraction),
            shares.join(", "),
            row.rss_bytes.map(figures::bytes).unwrap_or_default(),
        ]);
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::format::tests::check_columns;
    use super::*;

    /// What two threads do with `s`.
    pub(crate) fn speed(samples: &[f64]) -> TrainSpeed {
        TrainSpeed {
            test: "train s".to_owned(),
            preset: "s".to_owned(),
            linears: "ternary".to_owned(),
            threads: 2,
            isa: "avx2".to_owned(),
            gradients: "bf16".to_owned(),
            tokens_per_s: median(samples),
            stddev: stddev(samples),
            samples: samples.to_vec(),
            fraction: 0.5,
        }
    }

    fn row() -> TrainRow {
        TrainRow {
            speed: speed(&[12_000.0, 12_100.0, 11_900.0]),
            params: 7_400_000,
            tokens_per_step: 2048,
            int8_ops_per_token: 1.0,
            gradient_ops_per_token: 1.0,
            float_ops_per_token: 1.0,
            bytes_per_token: 1.0,
            budget_us: 40.0,
            stages: Stages([0.125; 8]),
            rss_bytes: Some(1 << 30),
            cpu: "a CPU".to_owned(),
            version: "1",
        }
    }

    #[test]
    fn every_form_has_the_row() {
        check_columns(&COLUMNS, &row());
        let written = |format| {
            let mut out = Vec::new();
            write(&mut out, format, &[row()]).unwrap();
            String::from_utf8(out).unwrap()
        };
        let table = written(Format::Md);
        assert!(table.contains("12000.0 ± 100.0") && table.contains("· 2 threads, avx2\n"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&written(Format::Json)).unwrap();
        assert_eq!(json[0]["stages"]["packing"], 0.125);
        assert_eq!(json[0]["tokens_per_s"], 12_000.0);
    }

    #[test]
    fn the_least_time_is_that_of_all_parts() {
        let need = TrainingNeed { int8_ops: 2e6, gradient_ops: 4e6, float_ops: 1e6, bytes: 1e5 };
        let rates = Rates {
            read_bytes_per_s: 5e10,
            int8_ops_per_s: 2e12,
            bf16_ops_per_s: Some(1e12),
            f32_ops_per_s: 5e11,
        };
        let micros = |precision| least_seconds(&need, &rates, precision) * 1e6;
        assert!((micros(GradientPrecision::Bf16) - (1.0 + 4.0 + 2.0 + 2.0)).abs() < 1e-9);
        assert!((micros(GradientPrecision::F32) - (1.0 + 8.0 + 2.0 + 2.0)).abs() < 1e-9);
    }
}
