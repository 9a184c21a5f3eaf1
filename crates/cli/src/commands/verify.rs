//! `tercet verify`: whether two models are the same.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use tercet::config::Linears;
use tercet::model::{MemoryNeed, Model, SessionSize};
use tercet::tokenizer::{TOKENIZER_FILE, Tokenizer, TokenizerError};
use tercet::verify::{
    Check, OnDisk, Outcome, compare_logits, compare_sampling, compare_shapes, compare_templates,
    compare_tokenizers, compare_weights, logits_need, logits_of, prompts,
};
use tercet_kernels::{Isa, KvType, Layout, Pool};

use crate::failure::{Exit, Failure};
use crate::flag_bounds::THREADS_MAX;
use crate::table::Table;
use crate::terminal::{print_json, while_loading};
use crate::{figures, fit, machine, model_argument, origin};

const LAYOUT: Layout = Layout::TwoBit;

/// Compare two models: shape, codes, scales, other numbers, tokenizer, templates, sampling and logits
///
/// The second may differ from the first by the rounding of the numbers it is stored in, and by nothing else. Exit code
/// 1 if they are not the same.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Verify {
    /// A model's folder or `.gguf` file
    first: OsString,
    /// Another, made from the first perhaps
    second: OsString,
    /// Threads [default: the cores this process may use]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: Option<u16>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  tercet verify ./my-model my-model.gguf
  tercet verify microsoft/bitnet-b1.58-2B-4T microsoft/bitnet-b1.58-2B-4T-gguf --json";

#[derive(Serialize)]
struct Report<'a> {
    first: String,
    second: String,
    is_same: bool,
    /// Whether they would be the same in the other order, but for rounding.
    is_rounded_first: bool,
    checks: &'a [Check],
}

impl Verify {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let isa = Isa::from_environment()?;
        tercet_kernels::self_test(isa)?;
        let first = OnDisk::open(model_argument::open(&self.first)?)?;
        let second = OnDisk::open(model_argument::open(&self.second)?)?;
        let threads = origin::all_threads(self.threads);
        let pool = Arc::new(Pool::new(isa, threads));
        let Comparison { checks, is_rounded_first } = compare(&pool, &first, &second)?;
        let is_same = !checks.iter().any(Check::is_wrong);
        if self.json {
            let (first, second) = (first.source.name(), second.source.name());
            print_json(&Report { first, second, is_same, is_rounded_first, checks: &checks })?;
        } else {
            write_checks(&mut io::stdout().lock(), &checks, is_rounded_first)?;
        }
        Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) })
    }
}

/// What was found of two models.
pub(super) struct Comparison {
    pub(super) checks: Vec<Check>,
    /// Whether nothing but numbers differs, and these by no more than the first model's rounding of the second's.
    pub(super) is_rounded_first: bool,
}

/// Whether numbers alone differ, of which the first model's are the second's, rounded.
fn is_rounded_first(pool: &Pool, checks: &[Check], [first, second]: [&OnDisk; 2]) -> Result<bool, Failure> {
    if !are_numbers_alone_wrong(checks) {
        return Ok(false);
    }
    Ok(!compare_weights(pool, second, first)?.iter().any(Check::is_wrong))
}

fn are_numbers_alone_wrong(checks: &[Check]) -> bool {
    let mut wrong = checks.iter().filter(|check| check.is_wrong()).peekable();
    wrong.peek().is_some() && wrong.all(|check| matches!(check.name, "scales" | "floats"))
}

/// All comparisons of two models, and a conclusion.
pub(super) fn write_checks(out: &mut impl Write, checks: &[Check], is_rounded_first: bool) -> io::Result<()> {
    let mut table = Table::new(&["compared", "", ""]);
    for check in checks {
        let outcome = match check.outcome {
            Outcome::Equal => "equal",
            Outcome::Rounded => "rounded",
            Outcome::Close => "close",
            Outcome::Differs => "DIFFERS",
            Outcome::Skipped => "not compared",
        };
        table.push(vec![check.name.to_owned(), outcome.to_owned(), check.detail.clone()]);
    }
    table.write(out)?;
    let is = |outcome| checks.iter().any(|check| check.outcome == outcome);
    let conclusion = if is_rounded_first {
        "not the same model: the first has the second's numbers rounded, and the other way round they differ by \
         rounding alone"
    } else if is(Outcome::Differs) {
        "not the same model"
    } else if is(Outcome::Rounded) || is(Outcome::Close) {
        "the same model, but for what was rounded"
    } else {
        "the same model"
    };
    writeln!(out, "{conclusion}")
}

/// Compares two models; one of them at a time is loaded, where it fits into memory.
pub(super) fn compare(pool: &Arc<Pool>, a: &OnDisk, b: &OnDisk) -> Result<Comparison, Failure> {
    let shape = compare_shapes(&a.config, &b.config);
    if shape.is_wrong() {
        return Ok(Comparison { checks: vec![shape], is_rounded_first: false });
    }
    let stored_bytes =
        MemoryNeed::of_checkpoint(&a.config, &a.checkpoint, LAYOUT, &SessionSize::NONE, KvType::F32)
            .weight_bytes;
    let weights = while_loading("both models", stored_bytes, || compare_weights(pool, a, b))?;
    let is_rounded_first = is_rounded_first(pool, &weights, [a, b])?;
    let may_be_close = is_rounded_first || may_be_close(&weights, [a, b]);
    let mut checks = vec![shape];
    checks.extend(weights);
    let tokenizers = [tokenizer(a), tokenizer(b)];
    checks.push(match &tokenizers {
        [Ok(Some(own)), Ok(Some(other))] => compare_tokenizers(own, other, a.config.vocab_size)?,
        [Ok(None), Ok(None)] => Check::skipped("tokenizer", "neither has one"),
        [Ok(None), _] => Check::skipped("tokenizer", "the first has none"),
        [Err(error), _] => Check::skipped("tokenizer", format!("that of the first cannot be read: {error}")),
        [_, Ok(None)] => Check::missing("tokenizer", "the second has none"),
        [_, Err(error)] => Check::missing("tokenizer", format!("that of the second cannot be read: {error}")),
    });
    checks.push(compare_templates(&a.source, &b.source)?);
    checks.push(compare_sampling(&a.source, &b.source)?);
    let [own, _] = &tokenizers;
    let own = own.as_ref().ok().and_then(Option::as_ref);
    checks.push(logits(pool, a, b, own, may_be_close)?);
    let is_rounded_first = is_rounded_first && are_numbers_alone_wrong(&checks);
    Ok(Comparison { checks, is_rounded_first })
}

/// Whether what two models compute need only be close: their weights are the same, but for rounding or for the numbers
/// that they are multiplied with. Where weights differ by more, nothing is expected of the logits.
fn may_be_close(weights: &[Check], models: [&OnDisk; 2]) -> bool {
    let [own, other] = models.map(|model| model.config.linears != Linears::Dense);
    let is_rounded = weights.iter().any(|check| check.outcome == Outcome::Rounded);
    (own != other || is_rounded) && !weights.iter().any(Check::is_wrong)
}

/// Compares what both compute.
fn logits(
    pool: &Arc<Pool>,
    a: &OnDisk,
    b: &OnDisk,
    tokenizer: Option<&Tokenizer>,
    may_be_close: bool,
) -> Result<Check, Failure> {
    let prompts = prompts(tokenizer, &a.config)?;
    for model in [a, b] {
        let need = logits_need(model, LAYOUT, &prompts);
        if !fit::fits(&need) {
            let available = machine::memory().map_or(0, |memory| memory.available_bytes);
            let [need, available] = [need.total_bytes(), available].map(figures::bytes);
            return Ok(Check::skipped(
                "logits",
                format!("{need} of memory are needed, {available} are available"),
            ));
        }
    }
    let [own, other] = [a, b].map(|model| -> Result<Vec<f32>, Failure> {
        let OnDisk { source, checkpoint, config } = model;
        let weight_bytes = logits_need(model, LAYOUT, &prompts).weight_bytes;
        let loaded = while_loading(&source.name(), weight_bytes, || {
            Model::from_checkpoint(checkpoint, config.clone(), Arc::clone(pool), LAYOUT)
        })?;
        logits_of(&loaded, &prompts).map_err(|error| Failure::new(Exit::Failed, error))
    });
    Ok(compare_logits(&own?, &other?, a.config.vocab_size, may_be_close))
}

/// A model's tokenizer, if it has one.
fn tokenizer(model: &OnDisk) -> Result<Option<Tokenizer>, TokenizerError> {
    let has_one = model.source.has(TOKENIZER_FILE);
    has_one.then(|| Tokenizer::read(&model.source, &model.config)).transpose()
}
