//! `tercet inspect`: what is in a model.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use tercet::checkpoint::Checkpoint;
use tercet::config::{Config, Linears, ScaleRule};
use tercet::embedded;
use tercet::model::{LinearContents, MemoryNeed, Model, Operations, SessionSize, TernaryCounts};
use tercet_kernels::{Isa, KvType, Layout, Pool};

use crate::failure::Failure;
use crate::figures::{bytes, count};
use crate::flag_bounds::CONTEXT_MAX;
use crate::table::Table;
use crate::terminal::{print_json, printable, while_loading};
use crate::{fit, model_argument};

/// Show what is in a model: its family, tensors, scales and shares of -1, 0 and +1
///
/// The weights are loaded as `tercet run` loads them, so what is shown is what is computed with.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Inspect {
    /// A model's folder, its GGUF file, or its name on the Hub; without one, the small model inside
    #[arg(value_name = "MODEL")]
    positional: Option<OsString>,
    /// The same
    #[arg(short, long, value_name = "MODEL", conflicts_with = "positional")]
    model: Option<OsString>,
    /// Show additions, multiplications, bytes and energy of a token, by the paper's model
    #[arg(long)]
    ops: bool,
    /// Positions that the token of `--ops` attends to
    #[arg(long, value_name = "N", default_value_t = 512, requires = "ops")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=CONTEXT_MAX))]
    positions: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  tercet inspect
  tercet inspect my-model.gguf
  tercet inspect ./my-model --ops --positions 2048
  tercet inspect microsoft/bitnet-b1.58-2B-4T --json";

impl Inspect {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        const LAYOUT: Layout = Layout::TwoBit;
        let isa = Isa::from_environment()?;
        let model = self.model.as_deref().or(self.positional.as_deref());
        let source = model.map_or_else(|| Ok(embedded::stories()), model_argument::open)?;
        let checkpoint = Checkpoint::open(&source)?;
        let config = Config::read(&source, &checkpoint)?;
        let need = MemoryNeed::of_checkpoint(&config, &checkpoint, LAYOUT, &SessionSize::NONE, KvType::F16);
        fit::check(&need, &source.name(), &[])?;
        let pool = Arc::new(Pool::new(isa, Pool::default_threads()));
        let model = while_loading(&source.name(), need.weight_bytes, || {
            Model::from_checkpoint(&checkpoint, config, pool, LAYOUT)
        })?;

        let mut contents = Contents::of(&checkpoint, &model, need.weight_bytes);
        if self.ops {
            let kinds = model.operations(self.positions as usize, KvType::F16);
            let total = Operations::sum("all", &kinds);
            let rows = kinds.iter().chain([&total]).map(OperationsRow::from).collect();
            contents.operations = Some(OperationsTable { positions: self.positions, rows });
        }
        match self.json {
            true => print_json(&contents)?,
            false => contents.write(&mut io::stdout().lock())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is in a model.
#[derive(Serialize)]
struct Contents {
    model: String,
    family: &'static str,
    #[serde(skip)]
    description: &'static str,
    evidence: String,
    config: Shape,
    parameters: Parameters,
    bytes: Bytes,
    /// All ternary weights together; null for a dense model.
    ternary: Option<Shares>,
    linears: Vec<LinearRow>,
    tensors: Vec<TensorRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operations: Option<OperationsTable>,
}

/// The configuration, with the names of `config.json`.
#[derive(Serialize)]
struct Shape {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    rope_theta: f64,
    tie_word_embeddings: bool,
    hidden_act: &'static str,
    linears: &'static str,
    bos_token_id: Option<u32>,
    eos_token_ids: Vec<u32>,
}

impl From<&Config> for Shape {
    fn from(config: &Config) -> Self {
        Shape {
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            num_key_value_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            vocab_size: config.vocab_size,
            max_position_embeddings: config.max_position_embeddings,
            rms_norm_eps: config.rms_norm_eps,
            rope_theta: config.rope_theta,
            tie_word_embeddings: config.tie_word_embeddings,
            hidden_act: config.hidden_act.name(),
            linears: match config.linears {
                Linears::Dense => "dense",
                Linears::Packed { scale: ScaleRule::Multiply } => {
                    "ternary, packed, multiplied by their scale"
                }
                Linears::Packed { scale: ScaleRule::Divide } => "ternary, packed, divided by their scale",
                Linears::Masters => "ternary, quantised from floats when loaded",
                Linears::Blocks => "ternary, blocks of a GGUF file",
            },
            bos_token_id: config.bos_token_id,
            eos_token_ids: config.eos_token_ids.clone(),
        }
    }
}

/// How many weights there are, each counted once.
#[derive(Serialize)]
struct Parameters {
    total: u64,
    ternary: u64,
    dense_linears: u64,
    /// The embedding, and the head where it is not tied to it.
    embedding: u64,
    norms: u64,
}

#[derive(Serialize)]
struct Bytes {
    /// Of the tensors in the files.
    stored: u64,
    /// Of the weights in memory.
    resident: u64,
    /// Of the weights that one token reads.
    read_per_token: u64,
}

/// How many weights are -1, 0 and +1.
#[derive(Clone, Copy, Serialize)]
struct Shares {
    minus: u64,
    zero: u64,
    plus: u64,
    minus_share: f64,
    zero_share: f64,
    plus_share: f64,
}

impl From<TernaryCounts> for Shares {
    fn from(counts: TernaryCounts) -> Self {
        let TernaryCounts { minus, zero, plus } = counts;
        let [minus_share, zero_share, plus_share] = counts.shares();
        Shares { minus, zero, plus, minus_share, zero_share, plus_share }
    }
}

impl Shares {
    /// Percentages.
    fn cells(&self) -> [String; 3] {
        [self.minus_share, self.zero_share, self.plus_share].map(|share| format!("{:.1}", 100.0 * share))
    }
}

/// One linear of one layer.
#[derive(Serialize)]
struct LinearRow {
    layer: usize,
    name: &'static str,
    shape: [usize; 2],
    bytes: usize,
    /// real = weight × scale; null for a dense linear.
    scale: Option<f32>,
    ternary: Option<Shares>,
}

impl From<&LinearContents> for LinearRow {
    fn from(contents: &LinearContents) -> Self {
        let LinearContents { layer, name, shape, bytes, scale, counts } = *contents;
        LinearRow { layer, name, shape, bytes, scale, ternary: counts.map(Shares::from) }
    }
}

/// One tensor of the files.
#[derive(Serialize)]
struct TensorRow {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    bytes: usize,
    file: String,
}

impl TensorRow {
    fn of(checkpoint: &Checkpoint, name: &str) -> Option<Self> {
        let tensor = checkpoint.get(name)?;
        let file = Path::new(tensor.file).file_name().unwrap_or_default();
        Some(TensorRow {
            name: name.to_owned(),
            dtype: tensor.dtype.to_string(),
            shape: tensor.shape.to_vec(),
            bytes: tensor.bytes.len(),
            file: file.to_string_lossy().into_owned(),
        })
    }
}

/// Operations of a token, and what they would be in FP16.
#[derive(Serialize)]
struct OperationsTable {
    positions: u32,
    rows: Vec<OperationsRow>,
}

#[derive(Serialize)]
struct OperationsRow {
    name: &'static str,
    int8_additions: u64,
    float_additions: u64,
    float_multiplications: u64,
    bytes: u64,
    energy_pj: f64,
    fp16_energy_pj: f64,
}

impl From<&Operations> for OperationsRow {
    fn from(operations: &Operations) -> Self {
        OperationsRow {
            name: operations.name,
            int8_additions: operations.int8_additions,
            float_additions: operations.float_additions,
            float_multiplications: operations.float_multiplications,
            bytes: operations.bytes,
            energy_pj: operations.energy_pj(),
            fp16_energy_pj: operations.dense_energy_pj(),
        }
    }
}

impl Contents {
    fn of(checkpoint: &Checkpoint, model: &Model, resident_bytes: u64) -> Self {
        let config = model.config();
        let contents: Vec<LinearContents> = model.linear_contents().collect();
        let tensors: Vec<TensorRow> =
            checkpoint.names().filter_map(|name| TensorRow::of(checkpoint, name)).collect();

        let weights = |is_ternary: bool| {
            let linears = contents.iter().filter(|linear| linear.counts.is_some() == is_ternary);
            linears.map(|linear| (linear.shape[0] * linear.shape[1]) as u64).sum()
        };
        let (ternary, dense_linears): (u64, u64) = (weights(true), weights(false));
        let counts = TernaryCounts::sum(contents.iter().filter_map(|linear| linear.counts));
        Contents {
            model: checkpoint.name().to_owned(),
            family: config.family.name(),
            description: config.family.description(),
            evidence: config.family_evidence.clone(),
            config: config.into(),
            parameters: Parameters {
                total: config.parameters(),
                ternary,
                dense_linears,
                embedding: config.embedding_parameters(),
                norms: config.norm_parameters(),
            },
            bytes: Bytes {
                stored: tensors.iter().map(|tensor| tensor.bytes as u64).sum(),
                resident: resident_bytes,
                read_per_token: model.weight_bytes_per_token() as u64,
            },
            ternary: (ternary > 0).then(|| counts.into()),
            linears: contents.iter().map(LinearRow::from).collect(),
            tensors,
            operations: None,
        }
    }

    /// Writes it for people.
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        self.write_summary(out)?;
        writeln!(out)?;
        self.linears_table().write(out)?;
        if let Some(operations) = &self.operations {
            writeln!(out, "\none token at position {}, all layers together:", operations.positions)?;
            operations.table().write(out)?;
        }
        writeln!(out)?;
        self.tensors_table().write(out)
    }

    fn write_summary(&self, out: &mut impl Write) -> io::Result<()> {
        let (config, parameters, sizes) = (&self.config, &self.parameters, &self.bytes);
        let mut line = |name: &str, value: String| writeln!(out, "{name:<12}{}", printable(&value));
        line("model", self.model.clone())?;
        line("family", format!("{} ({})", self.description, self.family))?;
        line("why", self.evidence.clone())?;
        line(
            "shape",
            format!(
                "{} layers, hidden size {}, intermediate size {}, {} heads of {}, {} for keys and values",
                config.num_hidden_layers,
                config.hidden_size,
                config.intermediate_size,
                config.num_attention_heads,
                config.head_dim,
                config.num_key_value_heads,
            ),
        )?;
        line(
            "text",
            format!(
                "{} tokens, {} positions, head {}",
                config.vocab_size,
                config.max_position_embeddings,
                if config.tie_word_embeddings { "tied to the embedding" } else { "of its own" },
            ),
        )?;
        line("linears", config.linears.to_owned())?;
        line("activation", config.hidden_act.to_owned())?;
        line(
            "parameters",
            format!(
                "{}: {} ternary, {} in dense linears, {} embedding and head, {} norms",
                count(parameters.total),
                count(parameters.ternary),
                count(parameters.dense_linears),
                count(parameters.embedding),
                count(parameters.norms),
            ),
        )?;
        line(
            "memory",
            format!(
                "{} as stored, {} as run, {} read for a token",
                bytes(sizes.stored),
                bytes(sizes.resident),
                bytes(sizes.read_per_token),
            ),
        )?;
        if let Some(shares) = self.ternary {
            let [minus, zero, plus] = shares.cells();
            line("weights", format!("-1: {minus} %, 0: {zero} %, +1: {plus} %"))?;
        }
        Ok(())
    }

    fn linears_table(&self) -> Table {
        let mut table =
            Table::new(&[">layer", "linear", ">shape", ">bytes", ">scale", ">-1 %", ">0 %", ">+1 %"]);
        for row in &self.linears {
            let [minus, zero, plus] = row.ternary.map(|shares| shares.cells()).unwrap_or_default();
            table.push(vec![
                row.layer.to_string(),
                row.name.to_owned(),
                shape(&row.shape),
                bytes(row.bytes as u64),
                row.scale.map(|scale| format!("{scale:.6}")).unwrap_or_default(),
                minus,
                zero,
                plus,
            ]);
        }
        table
    }

    fn tensors_table(&self) -> Table {
        let mut table = Table::new(&["tensor", "type", ">shape", ">bytes", "file"]);
        for row in &self.tensors {
            table.push(vec![
                row.name.clone(),
                row.dtype.clone(),
                shape(&row.shape),
                bytes(row.bytes as u64),
                row.file.clone(),
            ]);
        }
        table
    }
}

impl OperationsTable {
    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "layer",
            ">int8 additions",
            ">float additions",
            ">multiplications",
            ">bytes",
            ">energy µJ",
            ">in FP16 µJ",
            ">ratio",
        ]);
        const PICOJOULES: f64 = 1e-6;
        for row in &self.rows {
            let has_arithmetic = row.energy_pj > 0.0;
            let ratio = has_arithmetic.then(|| format!("{:.1}", row.fp16_energy_pj / row.energy_pj));
            table.push(vec![
                row.name.to_owned(),
                count(row.int8_additions),
                count(row.float_additions),
                count(row.float_multiplications),
                bytes(row.bytes),
                format!("{:.4}", row.energy_pj * PICOJOULES),
                format!("{:.4}", row.fp16_energy_pj * PICOJOULES),
                ratio.unwrap_or_default(),
            ]);
        }
        table
    }
}

/// `128 × 384`.
fn shape(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "scalar".to_owned();
    }
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}
