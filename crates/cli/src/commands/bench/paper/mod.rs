//! `--paper`: the cost tables of BitNet b1.58 (arXiv:2402.17764) for this machine, ternary beside
//! dense 16-bit, from 700M to 70B.
//!
//! | module | holds |
//! |---|---|
//! | `cost` | what a size costs: memory, time, batch and energy |
//! | `tables` | the tables, in each form |
//! | `figures` | the figures of the paper as an SVG |

mod cost;
mod figures;
mod tables;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tercet::presets::Preset;
use tercet_kernels::{KvType, Pool};

use super::format::Format;
use super::measure::measure;
use super::test::{Kind, Test};
use super::{OF_TESTS, refuse_twice};
use crate::ceilings::Rates;
use crate::failure::{Exit, Failure};
use crate::origin::Origin;
use crate::terminal::note;
use crate::weight_types::{Head, Weights};
use crate::{fit, machine};
use cost::{Cost, Shape, cheaper_than};

/// The sizes of the paper's tables and figures, and those between.
const SIZES: [&str; 8] = ["700m", "1.3b", "3b", "3.9b", "7b", "13b", "30b", "70b"];
/// Tokens of a sequence in the tables of throughput and energy, as in the paper.
const SEQUENCE: usize = 512;
/// Tokens that are decoded to measure the time of one.
const DECODED: Test = Test { kind: Kind::Decode, tokens: 32, depth: 0, parallel: 1 };

/// The arguments of `--paper`.
#[derive(Args)]
#[command(next_help_heading = "Tables of the paper")]
pub(super) struct Paper {
    /// Print the paper's cost tables for this machine, 700M to 70B, ternary beside dense 16-bit:
    /// memory, time per output token (measured where it fits, else computed from the ceilings),
    /// largest batch, and the energy of the arithmetic by the paper's model
    #[arg(long, conflicts_with_all = ["model", "positional", "preset", "compare"])]
    #[arg(conflicts_with_all = OF_TESTS)]
    pub(super) paper: bool,
    /// Memory for the largest batch, in GiB [default: what this machine has available]
    #[arg(long, value_name = "GIB", requires = "paper", value_parser = gibibytes)]
    memory: Option<u64>,
    /// Sizes, as `700m,3b` [default: all of the paper]
    #[arg(long, value_name = "LIST", requires = "paper", value_delimiter = ',', value_parser = size)]
    sizes: Vec<&'static Preset>,
    /// Compute every time from the ceilings and measure none
    #[arg(long, requires = "paper")]
    no_measure: bool,
    /// Draw the paper's figures into this SVG file
    #[arg(long, value_name = "FILE", requires = "paper")]
    svg: Option<PathBuf>,
}

fn gibibytes(text: &str) -> Result<u64, String> {
    const GIB: f64 = (1u64 << 30) as f64;
    match text.parse::<f64>() {
        Ok(gibibytes) if gibibytes > 0.0 && gibibytes < 1e6 => Ok((gibibytes * GIB) as u64),
        _ => Err("expected a number of GiB above 0 and below 1000000".to_owned()),
    }
}

fn size(name: &str) -> Result<&'static Preset, String> {
    Preset::by_name(name)
        .filter(|preset| SIZES.contains(&preset.name))
        .ok_or_else(|| format!("expected one of {}", SIZES.join(", ")))
}

/// What the flags of a run say besides.
pub(super) struct Setting<'a> {
    pub(super) pool: &'a Arc<Pool>,
    pub(super) ceilings: &'a Rates,
    /// How ternary weights lie in memory.
    pub(super) weights: Weights,
    pub(super) kv_type: KvType,
    pub(super) repeats: usize,
}

impl Paper {
    /// Refuses what clap lets through.
    pub(super) fn check(&self, weights: Weights) -> Result<(), Failure> {
        if weights == Weights::DenseF16 {
            let message = "`--paper` sets ternary weights beside dense ones, found `--weights dense-f16`";
            return Err(Failure::message(Exit::Usage, message));
        }
        refuse_twice("--sizes", &self.sizes)
    }

    /// Measures what fits, computes the rest, and writes the tables.
    pub(super) fn run(
        &self,
        out: &mut impl Write,
        format: Format,
        setting: &Setting<'_>,
    ) -> Result<(), Failure> {
        let memory_bytes = self.memory.or_else(|| Some(machine::memory()?.available_bytes));
        let memory_bytes = memory_bytes.ok_or_else(|| {
            let message = "the system does not say how much memory there is";
            Failure::message(Exit::Usage, message).with_hint("give it with `--memory`")
        })?;
        let all = SIZES.iter().filter_map(|name| Preset::by_name(name));
        let sizes = if self.sizes.is_empty() { all.collect() } else { self.sizes.clone() };
        let mut costs = Vec::new();
        for preset in sizes {
            for weights in [setting.weights, Weights::DenseF16] {
                let shape = Shape::new(preset, weights, setting.kv_type);
                let mut cost = Cost::computed(&shape, setting.ceilings, memory_bytes);
                if !self.no_measure {
                    self.measure(&mut cost, &shape, setting)?;
                }
                costs.push(cost);
            }
        }
        cheaper_than(&mut costs);
        if let Some(file) = &self.svg {
            figures::draw(file, &costs)?;
        }
        tables::write(out, format, &costs, memory_bytes)
    }

    /// Puts what this machine does in the place of what was computed, where the model fits.
    fn measure(&self, cost: &mut Cost, shape: &Shape, setting: &Setting<'_>) -> Result<(), Failure> {
        let origin = Origin::random(shape.preset, shape.weights, Head::Model);
        let need = origin.memory_need(&DECODED.session_size(0), setting.kv_type);
        if !fit::fits(&need) {
            return Ok(());
        }
        let model = origin.load(setting.pool, need.weight_bytes)?;
        let measurement =
            measure(&model, &DECODED, 0, setting.kv_type, setting.repeats, || *setting.ceilings)
                .map_err(|error| Failure::new(Exit::Failed, error))?;
        cost.measured(&measurement, setting.repeats * DECODED.tokens);
        note(&format!("{} {}: {:.2} ms a token", shape.preset.name, shape.weights.name(), cost.token_ms));
        Ok(())
    }
}
