//! `tercet run`: continue a text.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tercet::digest::LogitsDigest;
use tercet::generate::{FinishReason, GenerateError, GenerationParams, SamplingParams, generate};
use tercet::model::{Session, SessionSize};
use tercet::presets::Preset;
use tercet::source::{Source, SourceError, has_gguf_extension};
use tercet_kernels::{Isa, Pool};

use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::origin::{self, Origin};
use crate::report::{Report, Speed, last_line};
use crate::sampling_flags::Sampling;
use crate::session_flags::{SessionFlags, room_hint, smaller, tell_about};
use crate::teller::{Stdout, Teller};
use crate::terminal::{note, print_json};
use crate::{fit, model_argument};

/// Continue a text with a model
///
/// One positional argument is a MODEL if it exists, starts with `.`, `/` or `~`, ends in `.gguf`,
/// has a `/` and no white space, or looks like the misspelt file of a model; otherwise it is the PROMPT
/// for the small model inside the binary. `-m` and `-p` are never ambiguous. With no prompt at all, it is
/// read from stdin where that is not a terminal.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Run {
    /// A model's folder, its GGUF file, or its name on the Hub; without one, the small model inside
    #[arg(value_name = "MODEL")]
    first: Option<OsString>,
    /// The text to continue
    #[arg(value_name = "PROMPT")]
    second: Option<OsString>,
    /// A model's folder, its GGUF file, or its name on the Hub
    #[arg(short, long, value_name = "MODEL", help_heading = "Model")]
    model: Option<OsString>,
    /// Random weights in the shape of a known model, for measuring
    #[arg(long, value_name = "P", value_parser = origin::presets(), ignore_case = true, help_heading = "Model")]
    #[arg(conflicts_with = "model")]
    preset: Option<&'static Preset>,
    #[command(flatten)]
    session: SessionFlags,

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

/// A longer prompt fits no model.
const PROMPT_MAX_BYTES: u64 = 64 << 20;
/// What a preset generates: it has no end of text.
const PRESET_TOKENS: usize = 64;

impl Run {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let interrupt = Interrupt::listen();
        let isa = Isa::from_environment()?;
        let (model, prompt) = self.model_and_prompt()?;
        if let (Some(lone), None, None) = (&self.first, &model, self.preset)
            && let Some(what) = model_argument::may_name(lone)
        {
            let name = lone.to_string_lossy();
            let of_file = if what == "file" { format!("`-f {name}` reads a file, ") } else { String::new() };
            note(&format!(
                "found no {what} `{name}`, so it is the text to continue; {of_file}`-m` names a model"
            ));
        }
        if let Some(name) = self.file_as_prompt(prompt.as_deref()) {
            note(&format!("`{name}` is the text to continue; `-f {name}` continues what is in the file"));
        }
        if let Some(failure) = self.file_as_model(model.as_deref()) {
            return Err(failure);
        }
        let prompt = self.prompt_text(prompt)?;
        let (weights, head) = (self.session.weights, self.session.head);
        let origin = match self.preset {
            Some(preset) => Origin::random(preset, weights, head),
            None => Origin::open(model.as_deref(), weights, head)?,
        };
        let tokenizer = origin.tokenizer()?;
        let sampling = self.sampling.params(origin.suggested_sampling()?)?;
        let tokens = origin.prompt_tokens(tokenizer.as_ref(), &prompt)?;

        let kv_type = self.session.kv.kv_type();
        let positions = tokens.len().saturating_add(self.max_tokens());
        let size = self.session.session_size(&origin.config, tokens.len(), positions, self.logits_sha256);
        check_prompt(&tokens, &size, origin.config.max_position_embeddings)?;
        let need = origin.memory_need(&size, kv_type);
        fit::check(&need, &origin.name(), &smaller(&origin, &size, tokens.len(), kv_type))?;
        tell_about(&origin, size.context, isa);
        let pool = Arc::new(Pool::new(isa, self.session.threads(need.weight_bytes)));
        let model = origin.load(&pool, need.weight_bytes)?;

        let params = self.generation_params(sampling);
        let mut session = Session::new(&model, size);
        let mut cache = session.new_cache(kv_type);
        let mut teller = Teller {
            interrupt: &interrupt,
            stdout: (!self.json).then(Stdout::new),
            shows_tokens: tokenizer.is_none(),
            digest: self.logits_sha256.then(LogitsDigest::default),
            text: String::new(),
        };
        interrupt.expect();
        if !self.no_display_prompt && tokenizer.is_some() {
            teller.show_prompt(&prompt);
        }
        let generated = generate(&mut session, &mut cache, tokenizer.as_ref(), &tokens, &params, &mut teller);
        let told = teller.finish()?;
        let generated = generated?;

        // Whoever ends a run does not want to wait for a probe.
        let may_measure = generated.finish_reason != FinishReason::Cancelled;
        let speed = Speed::of(&generated, &pool, may_measure);
        if self.json {
            let kv = self.session.kv;
            print_json(&Report::new(&origin, &pool, kv, &prompt, &sampling, &generated, &told, &speed))?;
        }
        note(&last_line(&generated, &speed, &sampling));
        if let Some(digest) = told.digest {
            note(&format!("logits-sha256 {digest}"));
        }
        Ok(ExitCode::from(interrupt.exit_code().unwrap_or(0)))
    }

    fn generation_params(&self, sampling: SamplingParams) -> GenerationParams {
        GenerationParams {
            max_tokens: self.max_tokens(),
            sampling,
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            all_logits: self.logits_sha256,
            speculative: self.session.speculative.into(),
        }
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

    /// The positional argument that is the text to continue, if a file has its name.
    fn file_as_prompt(&self, prompt: Option<&OsStr>) -> Option<String> {
        let is_positional = self.prompt.is_none();
        let file = prompt.filter(|prompt| is_positional && Path::new(prompt).is_file());
        file.map(|file| file.to_string_lossy().into_owned())
    }

    /// The refusal of a lone argument that is a file, and hardly that of a model.
    fn file_as_model(&self, model: Option<&OsStr>) -> Option<Failure> {
        let lone = model.filter(|_| self.first.is_some() && self.second.is_none() && self.model.is_none())?;
        let may_be_text = self.prompt.is_none() && self.file.is_none();
        let path = model_argument::expand_home(lone);
        if !may_be_text || has_gguf_extension(&path) {
            return None;
        }
        let refused = Source::folder(&path).err();
        let refused = refused.filter(|error| matches!(error, SourceError::NotAFolder { .. }))?;
        let hint = format!("`tercet run -f {}` continues the text that is in it", path.display());
        Some(Failure::from(refused).with_hint(hint))
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

    fn max_tokens(&self) -> usize {
        match self.n_predict {
            None if self.preset.is_some() => PRESET_TOKENS,
            Some(count @ 0..) => count as usize,
            Some(_) | None => usize::MAX,
        }
    }
}

/// Refuses what [`generate`] would refuse, before anything is loaded or shown.
fn check_prompt(tokens: &[u32], size: &SessionSize, trained: usize) -> Result<(), Failure> {
    match tokens.len() {
        0 => Err(GenerateError::EmptyPrompt.into()),
        found if found > size.context => {
            let error = GenerateError::PromptTooLong { found, expected: size.context };
            Err(Failure::from(error).with_hint(room_hint("shorten the prompt", found, trained)))
        }
        _ => Ok(()),
    }
}

/// Reads a prompt, without the end of its last line.
fn read_text(name: &str, from: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    from.take(PROMPT_MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| unreadable(name, error))?;
    if text.len() as u64 > PROMPT_MAX_BYTES {
        let message = format!("{name}: found more than {PROMPT_MAX_BYTES} bytes, expected a prompt");
        return Err(Failure::message(Exit::Model, message));
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
    Failure::message(Exit::Model, format!("{name}: cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{Cli, Command};

    fn parse(arguments: &str) -> Run {
        let arguments = arguments.split(' ').map(|argument| argument.replace('_', " "));
        let cli = Cli::parse_from(["tercet".to_owned(), "run".to_owned()].into_iter().chain(arguments));
        match cli.command {
            Command::Run(run) => *run,
            _ => unreachable!("the arguments are those of `run`"),
        }
    }

    /// MODEL and PROMPT as found, or the usage error.
    fn found(arguments: &str) -> Result<[Option<String>; 2], String> {
        let text = |argument: Option<OsString>| argument.map(|argument| argument.into_string().unwrap());
        match parse(arguments).model_and_prompt() {
            Ok((model, prompt)) => Ok([text(model), text(prompt)]),
            Err(failure) => Err(format!("{failure:?}")),
        }
    }

    #[test]
    fn model_and_prompt_are_told_apart() {
        for (arguments, model, prompt) in [
            ("Once_upon", None, Some("Once upon")),
            ("./m", Some("./m"), None),
            ("org/name", Some("org/name"), None),
            ("src", Some("src"), None),
            ("src Once", Some("src"), Some("Once")),
            ("Once upon", Some("Once"), Some("upon")),
            ("-m m ./p", Some("m"), Some("./p")),
            ("-m m -p p", Some("m"), Some("p")),
            ("-p ./p", None, Some("./p")),
            ("-p p ./m", Some("./m"), Some("p")),
            ("-f p ./m", Some("./m"), None),
            ("--preset s ./p", None, Some("./p")),
            ("-n 1", None, None),
        ] {
            let want = [model, prompt].map(|argument| argument.map(str::to_owned));
            assert_eq!(found(arguments), Ok(want), "`{arguments}`");
        }
    }

    #[test]
    fn what_is_given_twice_is_wrong_usage() {
        for (arguments, want) in [
            ("-m m a b", "the model is given twice"),
            ("-p p a b", "the prompt is given twice"),
            ("-p p Once_upon", "the prompt is given twice"),
            ("-f p Once_upon", "the prompt is given twice"),
            ("-m m -p p a", "and a positional argument besides"),
        ] {
            let message = found(arguments).unwrap_err();
            assert!(message.contains(want) && message.contains("Usage"), "`{arguments}`: {message}");
        }
    }

    #[test]
    fn the_session_has_room_for_what_the_run_can_reach() {
        let mut config = tercet::presets::PRESETS[0].config();
        config.max_position_embeddings = 10_000;
        let size = |arguments| {
            let run = parse(arguments);
            let positions = 600usize.saturating_add(run.max_tokens());
            let size = run.session.session_size(&config, 600, positions, run.logits_sha256);
            (size.context, size.max_rows, size.max_logit_rows)
        };
        assert_eq!(size("-m m"), (4096, 128, 1));
        assert_eq!(size("-c 0"), (10_000, 128, 1));
        assert_eq!(size("-n 5 -b 7 --logits-sha256"), (605, 7, 7));
        assert_eq!(size("--preset s -b 1000"), (664, 600, 1));
        assert_eq!(size("-n -1 -c 20000"), (20_000, 128, 1));
        assert_eq!(size("-n 5 -b 7 --speculative lookup"), (605, 8, 8));
    }

    #[test]
    fn the_last_line_end_of_a_prompt_is_not_part_of_it() {
        for (text, want) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("", ""), ("\r", "\r")] {
            assert_eq!(read_text("t", text.as_bytes()).unwrap(), want);
        }
        let message = format!("{:?}", read_text("t", &b"a\xff"[..]).unwrap_err());
        assert!(message.contains("t: cannot be read"), "{message}");
    }
}
