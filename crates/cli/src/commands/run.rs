//! `tercet run`: continue a text.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tercet::checkpoint::Checkpoint;
use tercet::config::{Config, Linears, SuggestedSampling};
use tercet::digest::LogitsDigest;
use tercet::embedded;
use tercet::generate::{FinishReason, Generated, GenerationParams, Listener, SamplingParams, generate};
use tercet::model::{MemoryNeed, Model, Session, SessionSize};
use tercet::presets::{PRESETS, Preset};
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvType, Layout, Pool};

use crate::failure::{Exit, Failure};
use crate::interrupt::{INTERRUPTED, Interrupt};
use crate::terminal::{note, printable, while_waiting};
use crate::{ceiling, figures, machine, model_argument};

/// Continue a text with a model
///
/// One positional argument is a MODEL if it exists, starts with `.`, `/` or `~`, ends in `.gguf`,
/// or has no white space and the form `org/name`; otherwise it is the PROMPT for the small model
/// inside the binary. `-m` and `-p` are never ambiguous. With no prompt at all, it is read from
/// stdin where that is not a terminal.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Run {
    /// A model's folder; without one, the small model inside
    #[arg(value_name = "MODEL")]
    first: Option<OsString>,
    /// The text to continue
    #[arg(value_name = "PROMPT")]
    second: Option<OsString>,
    /// A model's folder
    #[arg(short, long, value_name = "MODEL", help_heading = "Model")]
    model: Option<OsString>,
    /// Random weights in the shape of a known model, for measuring; `help` lists them
    #[arg(long, value_name = "P", value_parser = preset, conflicts_with = "model", help_heading = "Model")]
    preset: Option<&'static Preset>,
    /// How ternary weights lie in memory; the text is the same
    #[arg(long, value_name = "BITS", default_value = "2bit", help_heading = "Model")]
    weights: Weights,
    /// Numbers of the cache of keys and values
    #[arg(long, value_name = "TYPE", default_value = "f16", help_heading = "Model")]
    kv: Kv,
    /// Positions there is room for; 0 for all the model was trained for [default: those, at most
    /// 4096]
    #[arg(short, long, value_name = "N", help_heading = "Model")]
    #[arg(value_parser = clap::value_parser!(u32).range(..=CONTEXT_MAX))]
    ctx_size: Option<u32>,
    /// Threads [default: the cores this process may use]
    #[arg(short, long, value_name = "N", help_heading = "Model")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: Option<u16>,
    /// Tokens of the prompt that are computed together; the text is the same
    #[arg(short, long, value_name = "N", default_value_t = 512, help_heading = "Model")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=BATCH_MAX))]
    batch_size: u32,

    /// The text to continue
    #[arg(short, long, value_name = "PROMPT", conflicts_with = "file", help_heading = "Text")]
    prompt: Option<OsString>,
    /// A file with the text to continue, `-` for stdin
    #[arg(short, long, help_heading = "Text")]
    file: Option<PathBuf>,
    /// Tokens to generate at most; -1 for no limit [default: no limit, 64 with `--preset`]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, help_heading = "Text")]
    #[arg(visible_alias = "predict", visible_alias = "max-tokens")]
    #[arg(value_parser = clap::value_parser!(i32).range(-1..))]
    n_predict: Option<i32>,
    /// Text that ends the generation and is left out; may be given several times
    #[arg(short = 'r', long, value_name = "TEXT", visible_alias = "reverse-prompt", help_heading = "Text")]
    stop: Vec<String>,
    /// Go on after the end of the text
    #[arg(long, help_heading = "Text")]
    ignore_eos: bool,
    /// Print the new text only
    #[arg(long, help_heading = "Text")]
    no_display_prompt: bool,
    /// Print one JSON object when all is done, in place of the text
    #[arg(long, help_heading = "Text")]
    json: bool,
    /// End stderr with the SHA-256 over the logits of every position of prompt and text
    #[arg(long, help_heading = "Text")]
    logits_sha256: bool,

    #[command(flatten)]
    sampling: Sampling,
}

const EXAMPLES: &str = "\
Examples:
  tercet run \"Once upon a time\"
  tercet run ./my-model \"Once upon a time\" -n 100 --temp 0
  tercet run -m ./my-model -f prompt.txt --json
  tercet run --preset 2b4t -n 32";

/// How a token is chosen; the model's `generation_config.json` may change the defaults
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
struct Sampling {
    /// Higher is more surprising, 0 takes the likeliest token [default: 0.8]
    #[arg(long, value_name = "T", visible_alias = "temperature", allow_negative_numbers = true)]
    temp: Option<f32>,
    /// Choose among so many of the likeliest tokens, 0 for all [default: 40]
    #[arg(long, value_name = "N")]
    top_k: Option<u32>,
    /// Choose among the likeliest tokens that together have this probability [default: 0.95]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Leave out tokens less likely than this share of the likeliest [default: 0.05]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Make tokens of prompt and text less likely by this factor [default: 1, off]
    #[arg(long, value_name = "X", visible_alias = "repetition-penalty", allow_negative_numbers = true)]
    repeat_penalty: Option<f32>,
    /// Make tokens of the text less likely, by this much each time they came [default: 0, off]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// Make tokens of the text less likely, once they came [default: 0, off]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// The same seed gives the same text; -1 for a random one [default: random]
    #[arg(short, long, value_parser = seed, allow_negative_numbers = true)]
    seed: Option<Seed>,
}

/// As the help says; wide enough for any model.
const CONTEXT_MAX: i64 = 1 << 27;
const THREADS_MAX: i64 = 1024;
const BATCH_MAX: i64 = 1 << 16;
/// Where a model was trained for more, its cache would be needlessly large.
const CONTEXT_DEFAULT: usize = 4096;
/// A longer prompt fits no model.
const PROMPT_MAX_BYTES: u64 = 64 << 20;
/// What a preset generates: it has no end of text.
const PRESET_TOKENS: usize = 64;
/// Tokens of a preset's prompt, where none is given.
const PRESET_PROMPT_TOKENS: usize = 16;
/// Loading less than this is not worth a spinner.
const SPINNER_BYTES: u64 = 64 << 20;

#[derive(Clone, Copy, ValueEnum)]
enum Weights {
    /// Two bits a weight
    #[value(name = "2bit")]
    TwoBit,
    /// Five weights in a byte
    #[value(name = "1.6bit")]
    BaseThree,
}

impl Weights {
    fn layout(self) -> Layout {
        match self {
            Weights::TwoBit => Layout::TwoBit,
            Weights::BaseThree => Layout::BaseThree,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Weights::TwoBit => "2bit",
            Weights::BaseThree => "1.6bit",
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Kv {
    /// Nothing is rounded
    F32,
    /// Half the memory
    F16,
}

impl Kv {
    fn kv_type(self) -> KvType {
        match self {
            Kv::F32 => KvType::F32,
            Kv::F16 => KvType::F16,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kv::F32 => "f32",
            Kv::F16 => "f16",
        }
    }
}

#[derive(Clone, Copy)]
enum Seed {
    Random,
    Fixed(u64),
}

fn seed(text: &str) -> Result<Seed, String> {
    match text {
        "-1" => Ok(Seed::Random),
        text => text.parse().map(Seed::Fixed).map_err(|_| "expected a whole number, or -1".to_owned()),
    }
}

fn preset(name: &str) -> Result<&'static Preset, String> {
    Preset::by_name(name).ok_or_else(|| {
        let mut list = "expected one of".to_owned();
        for preset in PRESETS {
            let config = preset.config();
            let ternary = figures::count(config.ternary_parameters());
            list += &format!("\n  {:<5} {ternary:>6} ternary weights, {}", preset.name, preset.source);
        }
        list
    })
}

/// What is run: files, or a shape with random weights.
enum Origin {
    Files { source: Source, checkpoint: Checkpoint, tokenizer: Tokenizer },
    Random(&'static Preset),
}

impl Origin {
    fn name(&self) -> String {
        match self {
            Origin::Files { source, .. } => source.name(),
            Origin::Random(preset) => format!("preset {}", preset.name),
        }
    }

    fn tokenizer(&self) -> Option<&Tokenizer> {
        match self {
            Origin::Files { tokenizer, .. } => Some(tokenizer),
            Origin::Random(_) => None,
        }
    }
}

impl Run {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let interrupt = Interrupt::listen();
        let isa = Isa::from_environment()?;
        let (model, prompt) = self.model_and_prompt()?;
        let prompt = self.prompt_text(prompt)?;
        let (origin, config) = self.open(model.as_deref())?;
        let sampling = self.sampling.params(&origin)?;
        let tokens = prompt_tokens(&origin, &config, &prompt)?;

        let threads = self.threads.map_or_else(Pool::default_threads, usize::from);
        let size = self.session_size(&config, &tokens);
        check_memory(&self.memory_need(&origin, &config, &size), &origin.name())?;
        self.tell_about(&origin, &config, model.is_none());
        let pool = Arc::new(Pool::new(isa, threads));
        let model = self.load(&origin, config, &pool, &size)?;

        let params = GenerationParams {
            max_tokens: self.max_tokens(),
            sampling,
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            all_logits: self.logits_sha256,
        };
        let mut session = Session::new(&model, size);
        let mut cache = session.new_cache(self.kv.kv_type());
        let mut teller = Teller::new(&interrupt, &self);
        interrupt.expect();
        if !self.no_display_prompt && origin.tokenizer().is_some() {
            // What is written fails again with the first token, and is then seen to.
            let _ = teller.show(&prompt);
        }
        let generated =
            generate(&mut session, &mut cache, origin.tokenizer(), &tokens, &params, &mut teller)?;
        let told = teller.finish()?;

        // A probe that was not asked for must not keep anyone waiting.
        let is_cut_off = generated.finish_reason == FinishReason::Cancelled;
        let speed = Speed::of(&generated, &pool, !is_cut_off);
        if self.json {
            let object = self.report(&origin, &model, &prompt, &params, &generated, &told, &speed);
            let mut out = io::stdout().lock();
            serde_json::to_writer(&mut out, &object)?;
            writeln!(out)?;
        }
        note(&last_line(&generated, &speed, &sampling));
        if let Some(digest) = told.digest {
            note(&format!("logits-sha256 {digest}"));
        }
        Ok(ExitCode::from(if interrupt.is_pending() { INTERRUPTED } else { 0 }))
    }

    /// Which arguments are MODEL and PROMPT.
    fn model_and_prompt(&self) -> Result<(Option<OsString>, Option<OsString>), Failure> {
        let has_model = self.model.is_some() || self.preset.is_some();
        let has_prompt = self.prompt.is_some() || self.file.is_some();
        let usage = |message: &str| Err(Failure::message(Exit::Usage, message));
        let (model, prompt) = match (&self.first, &self.second) {
            (Some(_), Some(_)) if has_model => return usage("the model is given twice"),
            (Some(_), Some(_)) if has_prompt => return usage("the prompt is given twice"),
            (Some(model), Some(prompt)) => (Some(model), Some(prompt)),
            (Some(_), None) if has_model && has_prompt => {
                return usage("model and prompt are given, and a positional argument besides");
            }
            (Some(prompt), None) if has_model => (None, Some(prompt)),
            (Some(model), None) if model_argument::is_model(model) => (Some(model), None),
            (Some(_), None) if has_prompt => return usage("the prompt is given twice"),
            (Some(prompt), None) => (None, Some(prompt)),
            (None, _) => (None, None),
        };
        Ok((model.or(self.model.as_ref()).cloned(), prompt.or(self.prompt.as_ref()).cloned()))
    }

    /// The text to continue: from an argument, a file or stdin, in this order.
    fn prompt_text(&self, argument: Option<OsString>) -> Result<String, Failure> {
        if let Some(argument) = argument {
            let text = argument.into_string();
            return text.map_err(|_| Failure::message(Exit::Usage, "the prompt is not UTF-8"));
        }
        match &self.file {
            Some(file) if file == Path::new("-") => read_text("stdin", io::stdin()),
            Some(file) => match std::fs::File::open(file) {
                Ok(opened) => read_text(&file.display().to_string(), opened),
                Err(error) => Err(unreadable(&file.display().to_string(), error)),
            },
            None if self.preset.is_none() && !io::stdin().is_terminal() => read_text("stdin", io::stdin()),
            None => Ok(String::new()),
        }
    }

    fn open(&self, model: Option<&OsStr>) -> Result<(Origin, Config), Failure> {
        if let Some(preset) = self.preset {
            return Ok((Origin::Random(preset), preset.config()));
        }
        let source = model.map_or_else(|| Ok(embedded::stories()), model_argument::open)?;
        let checkpoint = Checkpoint::open(&source)?;
        let config = Config::read(&source, &checkpoint)?;
        let tokenizer = Tokenizer::read(&source, &config)?;
        Ok((Origin::Files { source, checkpoint, tokenizer }, config))
    }

    fn max_tokens(&self) -> usize {
        match self.n_predict {
            None if self.preset.is_some() => PRESET_TOKENS,
            Some(count @ 0..) => count as usize,
            Some(_) | None => usize::MAX,
        }
    }

    /// Room for no more positions than this run can reach.
    fn session_size(&self, config: &Config, prompt: &[u32]) -> SessionSize {
        let trained = config.max_position_embeddings;
        let context = match self.ctx_size {
            None => trained.min(CONTEXT_DEFAULT),
            Some(0) => trained,
            Some(context) => context as usize,
        };
        if context > trained {
            note(&format!("{context} positions are more than the {trained} that the model was trained for"));
        }
        let max_rows = prompt.len().min(self.batch_size as usize).max(1);
        SessionSize {
            context: context.min(prompt.len().saturating_add(self.max_tokens())),
            max_rows,
            max_logit_rows: if self.logits_sha256 { max_rows } else { 1 },
        }
    }

    fn memory_need(&self, origin: &Origin, config: &Config, size: &SessionSize) -> MemoryNeed {
        let (layout, kv_type) = (self.weights.layout(), self.kv.kv_type());
        match origin {
            Origin::Files { checkpoint, .. } => {
                MemoryNeed::of_checkpoint(config, checkpoint, layout, size, kv_type)
            }
            Origin::Random(_) => MemoryNeed::of_random(config, layout, size, kv_type),
        }
    }

    fn tell_about(&self, origin: &Origin, config: &Config, is_embedded: bool) {
        match origin {
            Origin::Random(preset) => {
                note(&format!("preset {}: random weights: the text is noise", preset.name));
            }
            Origin::Files { .. } if is_embedded => {
                let parameters = config.ternary_parameters() + config.embedding_parameters();
                let parameters = figures::count(parameters);
                note(&format!(
                    "the small model inside, {parameters} parameters, continues children's stories"
                ));
            }
            Origin::Files { .. } => {}
        }
        if config.linears == Linears::Dense {
            note("dense model: runs in full precision");
        }
    }

    fn load(
        &self,
        origin: &Origin,
        config: Config,
        pool: &Arc<Pool>,
        size: &SessionSize,
    ) -> Result<Model, Failure> {
        const SEED: u64 = 0;
        let layout = self.weights.layout();
        let weight_bytes = self.memory_need(origin, &config, size).weight_bytes;
        let load = || match origin {
            Origin::Files { checkpoint, .. } => {
                Ok(Model::from_checkpoint(checkpoint, config, Arc::clone(pool), layout)?)
            }
            Origin::Random(_) => {
                tercet_kernels::self_test(pool.isa())?;
                Ok(Model::random(config, Arc::clone(pool), layout, SEED))
            }
        };
        if weight_bytes < SPINNER_BYTES {
            return load();
        }
        while_waiting(format!("loading {}, {}", origin.name(), figures::bytes(weight_bytes)), load)
    }

    /// The object that `--json` prints; the timings have llama.cpp's names.
    #[expect(clippy::too_many_arguments, reason = "it reports on all of a run")]
    fn report(
        &self,
        origin: &Origin,
        model: &Model,
        prompt: &str,
        params: &GenerationParams,
        generated: &Generated,
        told: &Told,
        speed: &Speed,
    ) -> Value {
        let sampling = &params.sampling;
        let text = origin.tokenizer().map(|_| &told.text);
        json!({
            "model": origin.name(),
            "family": model.config().family.description(),
            "prompt": prompt,
            "text": text,
            "tokens": generated.tokens,
            "finish_reason": finish_reason(generated.finish_reason),
            "seed": sampling.seed,
            "sampling": {
                "temperature": sampling.temperature,
                "top_k": sampling.top_k,
                "top_p": sampling.top_p,
                "min_p": sampling.min_p,
                "repeat_penalty": sampling.repetition_penalty,
                "frequency_penalty": sampling.frequency_penalty,
                "presence_penalty": sampling.presence_penalty,
            },
            "timings": {
                "prompt_n": generated.prompt_tokens,
                "prompt_ms": milliseconds(generated.prompt_time),
                "prompt_per_second": speed.prompt_per_second,
                "predicted_n": generated.tokens.len(),
                "predicted_ms": milliseconds(generated.decode_time),
                "predicted_per_second": speed.text_per_second,
            },
            "bandwidth": {
                "read_bytes_per_second": speed.read_bytes_per_second,
                "ceiling_bytes_per_second": speed.ceiling_bytes_per_second,
                "fraction": speed.fraction(),
            },
            "isa": model.pool().isa().name(),
            "threads": model.pool().threads(),
            "weights": self.weights.name(),
            "kv": self.kv.name(),
            "logits_sha256": told.digest,
            "version": env!("CARGO_PKG_VERSION"),
        })
    }
}

impl Sampling {
    /// What was asked for, else what the model's makers suggest, else llama.cpp's defaults.
    fn params(&self, origin: &Origin) -> Result<SamplingParams, Failure> {
        let suggested = match origin {
            Origin::Files { source, .. } => SuggestedSampling::read(source)?,
            Origin::Random(_) => SuggestedSampling::default(),
        };
        let seed = match self.seed {
            Some(Seed::Fixed(seed)) => seed,
            // Half the bits, so that people can copy it.
            Some(Seed::Random) | None => RandomState::new().build_hasher().finish() >> 32,
        };
        let params = SamplingParams {
            temperature: self.temp.or(suggested.temperature).unwrap_or(0.8),
            top_k: self.top_k.map(|count| count as usize).or(suggested.top_k).unwrap_or(40),
            top_p: self.top_p.or(suggested.top_p).unwrap_or(0.95),
            min_p: self.min_p.or(suggested.min_p).unwrap_or(0.05),
            repetition_penalty: self.repeat_penalty.or(suggested.repetition_penalty).unwrap_or(1.0),
            frequency_penalty: self.frequency_penalty.unwrap_or(0.0),
            presence_penalty: self.presence_penalty.unwrap_or(0.0),
            seed,
        };
        params.check()?;
        Ok(params)
    }
}

/// Reads a prompt, without the end of its last line.
fn read_text(name: &str, from: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    from.take(PROMPT_MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| unreadable(name, error))?;
    if text.len() as u64 > PROMPT_MAX_BYTES {
        let message = format!("{name}: found more than {PROMPT_MAX_BYTES} bytes, expected a prompt");
        return Err(Failure::message(Exit::Failed, message));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn unreadable(name: &str, error: io::Error) -> Failure {
    Failure::message(Exit::Failed, format!("{name}: cannot be read: {error}"))
}

/// The prompt as tokens; for a preset pseudo-random ones, as many as the prompt has words.
fn prompt_tokens(origin: &Origin, config: &Config, prompt: &str) -> Result<Vec<u32>, Failure> {
    let Origin::Files { tokenizer, .. } = origin else {
        // Knuth's multiplicative hashing: spread over the vocabulary, and always the same.
        const MULTIPLIER: usize = 2_654_435_761;
        let words = prompt.split_whitespace().count();
        let count = if words == 0 { PRESET_PROMPT_TOKENS } else { words };
        let token = |i: usize| (i.wrapping_mul(MULTIPLIER) % config.vocab_size) as u32;
        return Ok((1..=count).map(token).collect());
    };
    let mut tokens = tokenizer.encode(prompt, true).map_err(|error| Failure::new(Exit::Failed, error))?;
    if tokens.is_empty() {
        tokens.extend(config.bos_token_id);
    }
    Ok(tokens)
}

/// Refuses what would not fit, before any of it is loaded.
fn check_memory(need: &MemoryNeed, name: &str) -> Result<(), Failure> {
    let Some(memory) = machine::memory() else { return Ok(()) };
    if need.total_bytes() <= memory.available_bytes {
        return Ok(());
    }
    let message = format!(
        "{name}: needs {} of memory ({} weights, {} cache, {} buffers), but {} of {} are available",
        figures::bytes(need.total_bytes()),
        figures::bytes(need.weight_bytes),
        figures::bytes(need.cache_bytes),
        figures::bytes(need.scratch_bytes),
        figures::bytes(memory.available_bytes),
        figures::bytes(memory.total_bytes),
    );
    let hint = if need.cache_bytes > need.weight_bytes {
        "a smaller `--ctx-size` makes the cache smaller"
    } else {
        "free memory, or take a smaller model; `--weights 1.6bit` packs ternary weights tighter"
    };
    Err(Failure::message(Exit::Memory, message).with_hint(hint))
}

/// Takes the text of a generation to where it belongs.
struct Teller<'a> {
    interrupt: &'a Interrupt,
    /// Where text goes at once; nowhere if it is kept for a JSON object.
    out: Option<io::Stdout>,
    /// Whether text must not steer a terminal.
    is_terminal: bool,
    text: String,
    digest: Option<LogitsDigest>,
    /// Whether stdout is within a line.
    is_within_line: bool,
    /// What went wrong when text was written.
    error: Option<io::Error>,
    /// Whether there is no text, so that tokens are shown as numbers.
    shows_tokens: bool,
}

/// What a [`Teller`] has kept.
struct Told {
    text: String,
    digest: Option<String>,
}

impl<'a> Teller<'a> {
    fn new(interrupt: &'a Interrupt, run: &Run) -> Self {
        Teller {
            interrupt,
            out: (!run.json).then(io::stdout),
            is_terminal: io::stdout().is_terminal(),
            text: String::new(),
            digest: run.logits_sha256.then(LogitsDigest::default),
            is_within_line: false,
            error: None,
            shows_tokens: run.preset.is_some(),
        }
    }

    /// Writes text to stdout, if it goes there.
    fn show(&mut self, text: &str) -> ControlFlow<()> {
        if let Some(out) = &mut self.out {
            let shown = if self.is_terminal { printable(text) } else { text.into() };
            let written = out.write_all(shown.as_bytes()).and_then(|()| out.flush());
            if let Err(error) = written {
                self.error.get_or_insert(error);
            }
            self.is_within_line =
                !text.is_empty() && !text.ends_with('\n') || text.is_empty() && self.is_within_line;
        }
        self.go_on()
    }

    fn go_on(&self) -> ControlFlow<()> {
        if self.error.is_some() || self.interrupt.is_pending() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Ends the last line; a closed pipe is not an error, and nothing else was wanted.
    fn finish(mut self) -> Result<Told, Failure> {
        if self.is_within_line {
            let _ = self.show("\n");
        }
        match self.error {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(Told { text: self.text, digest: self.digest.map(LogitsDigest::finish) }),
        }
    }
}

impl Listener for Teller<'_> {
    fn text(&mut self, text: &str) -> ControlFlow<()> {
        self.text.push_str(text);
        self.show(text)
    }

    fn token(&mut self, token: u32) {
        if self.shows_tokens {
            // What fails here is seen after the next pass.
            let _ = self.show(&format!("{token} "));
        }
    }

    fn logits(&mut self, logits: &[f32]) -> ControlFlow<()> {
        if let Some(digest) = &mut self.digest {
            digest.update(logits);
        }
        self.go_on()
    }
}

/// How fast a run was, as far as that can be said.
struct Speed {
    prompt_per_second: Option<f64>,
    text_per_second: Option<f64>,
    read_bytes_per_second: Option<f64>,
    ceiling_bytes_per_second: Option<f64>,
}

impl Speed {
    fn of(generated: &Generated, pool: &Pool, may_measure: bool) -> Self {
        let per_second = |count: u64, time: Duration| {
            (count > 0 && !time.is_zero()).then(|| count as f64 / time.as_secs_f64())
        };
        let read_bytes_per_second = per_second(generated.decode_bytes, generated.decode_time);
        let ceiling_bytes_per_second = match read_bytes_per_second {
            Some(_) if may_measure => Some(ceiling::recall_or_measure(pool)),
            Some(_) => ceiling::recall(pool),
            None => None,
        };
        Speed {
            prompt_per_second: per_second(generated.prompt_tokens as u64, generated.prompt_time),
            text_per_second: per_second(generated.decode_steps as u64, generated.decode_time),
            read_bytes_per_second,
            ceiling_bytes_per_second,
        }
    }

    fn fraction(&self) -> Option<f64> {
        Some(self.read_bytes_per_second? / self.ceiling_bytes_per_second?)
    }
}

/// `prompt 5 tokens 812.3/s · text 200 tokens 310.2/s · 0.55 GB/s, 1 % of 43.1 GB/s · seed 42`.
fn last_line(generated: &Generated, speed: &Speed, sampling: &SamplingParams) -> String {
    let tokens = |name: &str, count: usize, per_second: Option<f64>| {
        let rate = per_second.map(|rate| format!(" {rate:.1}/s")).unwrap_or_default();
        format!("{name} {count} tokens{rate}")
    };
    let mut parts = vec![
        tokens("prompt", generated.prompt_tokens, speed.prompt_per_second),
        tokens("text", generated.tokens.len(), speed.text_per_second),
    ];
    if let Some(read) = speed.read_bytes_per_second {
        let of_ceiling = speed.ceiling_bytes_per_second.zip(speed.fraction()).map(|(ceiling, fraction)| {
            format!(", {} of {}", figures::percent(fraction), figures::bytes_per_second(ceiling))
        });
        parts.push(figures::bytes_per_second(read) + &of_ceiling.unwrap_or_default());
    }
    if sampling.temperature > 0.0 {
        parts.push(format!("seed {}", sampling.seed));
    }
    if generated.finish_reason == FinishReason::Context {
        parts.push("the context is full".to_owned());
    }
    parts.join(" · ")
}

fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Context => "context",
        FinishReason::Cancelled => "interrupted",
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
