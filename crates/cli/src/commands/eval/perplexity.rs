//! `tercet eval --perplexity`: of a text file, by the rules of papers, transformers or llama.cpp.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tercet::tokenizer::{Tokenizer, TokenizerError};
use tercet_eval::perplexity::{Method, Paragraphs, PieceError, Pieces, Total, Windows};
use tercet_eval::score::{Encoder, ScoredTokens};
use tercet_eval::{Progress as Listener, Respondent};

use super::How;
use super::subject::{Loaded, Subject};
use crate::failure::{Exit, Failure};
use crate::figures;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::terminal::{note, print_json};

#[derive(Args)]
pub(super) struct Perplexity {
    /// The perplexity of this text file
    #[arg(long, value_name = "FILE", help_heading = "Perplexity")]
    pub(super) perplexity: Option<PathBuf>,
    /// Tokens of a window [default: 2048, or what the model was trained for]
    #[arg(long, value_name = "N", requires = "perplexity", help_heading = "Perplexity")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..))]
    window: Option<u32>,
    /// Tokens from one window to the next, with `--method strided` [default: half a window]
    #[arg(long, value_name = "N", requires = "perplexity", help_heading = "Perplexity")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    stride: Option<u32>,
    /// Which tokens are scored [default: papers; strided if there is a `--stride`]
    #[arg(long, value_name = "METHOD", requires = "perplexity", help_heading = "Perplexity")]
    method: Option<Way>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Windows side by side, all but the first token of each: GPTQ and most papers
    Papers,
    /// Windows that overlap, each scores what none before it did: transformers
    Strided,
    /// The second half of each window: llama.cpp
    #[value(name = "llama.cpp")]
    LlamaCpp,
    /// What lies between empty lines, each by itself
    Paragraphs,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Papers => "papers",
            Way::Strided => "strided",
            Way::LlamaCpp => "llama.cpp",
            Way::Paragraphs => "paragraphs",
        }
    }
}

/// Tokens that are gathered before they are scored: many windows, and little memory.
const BATCH_TOKENS: usize = 1 << 16;
/// What papers take, where a model was trained for as much.
const WINDOW_DEFAULT: usize = 2048;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    model: String,
    file: String,
    method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stride: Option<usize>,
    windows: u64,
    tokens: u64,
    /// Those whose scores were known from before.
    kept_tokens: u64,
    bytes: u64,
    loss: f64,
    loss_stderr: f64,
    perplexity: f64,
    perplexity_stderr: f64,
    bits_per_byte: f64,
    kv: &'static str,
    head: &'static str,
    seconds: f64,
    version: &'static str,
}

impl Perplexity {
    pub(super) fn run(
        &self,
        path: &Path,
        model: Option<&OsStr>,
        (how, limit): (&How, Option<usize>),
        interrupt: &Interrupt,
        json: bool,
    ) -> Result<ExitCode, Failure> {
        let way = self.method.unwrap_or(if self.stride.is_some() { Way::Strided } else { Way::Papers });
        let file = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = file.map_err(|error| at(path, &error.into()))?;
        let subject = Subject::open(model, how)?;
        let encoder = subject.encoder();
        let window = self.window.map_or(WINDOW_DEFAULT.min(encoder.max_length()), |window| window as usize);
        let method = self.windows_method(way, window, &encoder)?;
        let positions = if way == Way::Paragraphs { encoder.max_length() } else { window };
        let mut store = Subject::store(how, subject.digest(how)?.as_deref())?;
        let loaded = subject.load(how, positions)?;
        let mut session = loaded.session();
        interrupt.expect();
        let started = Instant::now();
        let mut scoring = Scoring {
            respondent: Respondent {
                session: &mut session,
                kv_type: how.kv.kv_type(),
                lanes: loaded.lanes,
                store: &mut store,
            },
            batch: Vec::new(),
            batch_tokens: 0,
            kept_tokens: 0,
            total: Total::default(),
            left: limit.unwrap_or(usize::MAX),
            shown: Shown {
                progress: Progress::begin("scoring", metadata.len()),
                done_bytes: 0,
                read_bytes: 0,
                interrupt,
            },
        };
        let reader = BufReader::with_capacity(1 << 16, file);
        let outcome = match method {
            None => scoring.paragraphs(reader, &encoder),
            Some(method) => scoring.windows(reader, &subject, &encoder, (method, window)),
        };
        let is_whole = outcome.map_err(|error| error.into_failure(path))?.is_continue();
        let (total, kept_tokens) = (scoring.total, scoring.kept_tokens);
        drop(scoring);
        if let Some(exit_code) = interrupt.exit_code().filter(|_| !is_whole) {
            note("stopped; what was scored is kept, the same command goes on from there");
            return Ok(ExitCode::from(exit_code));
        }
        if total.tokens == 0 {
            return Err(nothing_to_score(path, method.map(|_| window)));
        }
        let report =
            Report::new(&subject, path, way, method.map(|method| (method, window)), how, &total, started);
        let report = Report { kept_tokens, ..report };
        if json { print_json(&report) } else { Ok(report.write(&loaded, &mut io::stdout().lock())?) }?;
        Ok(ExitCode::SUCCESS)
    }

    /// How windows are cut, unless there are none.
    fn windows_method(
        &self,
        way: Way,
        window: usize,
        encoder: &Encoder<'_>,
    ) -> Result<Option<Method>, Failure> {
        let usage = |message| Err(Failure::message(Exit::Usage, message));
        if self.stride.is_some() && way != Way::Strided {
            return usage(format!("`--stride` is of `--method strided`, found `--method {}`", way.name()));
        }
        let method = match way {
            Way::Paragraphs => return Ok(None),
            Way::Papers => Method::Papers,
            Way::Strided => {
                let stride = self.stride.map_or(window.div_ceil(2), |stride| stride as usize);
                if stride > window {
                    return usage(format!(
                        "a stride of {stride} tokens, expected at most the window's {window}"
                    ));
                }
                Method::Strided { stride }
            }
            // Of a tokenizer that begins texts by itself.
            Way::LlamaCpp => Method::LlamaCpp { bos: encoder.text("")?.first().copied() },
        };
        if window < method.window_min() {
            let (name, least) = (way.name(), method.window_min());
            return usage(format!(
                "a window of {window} tokens, expected {least} at least with `--method {name}`"
            ));
        }
        Ok(Some(method))
    }
}

impl Report {
    fn new(
        subject: &Subject,
        path: &Path,
        way: Way,
        windows: Option<(Method, usize)>,
        how: &How,
        total: &Total,
        started: Instant,
    ) -> Self {
        let stride = match windows {
            Some((Method::Strided { stride }, _)) => Some(stride),
            _ => None,
        };
        Report {
            model: subject.origin.name(),
            file: path.display().to_string(),
            method: way.name(),
            window: windows.map(|(_, window)| window),
            stride,
            windows: total.windows,
            tokens: total.tokens,
            kept_tokens: 0,
            bytes: total.bytes,
            loss: total.loss(),
            loss_stderr: total.loss_stderr(),
            perplexity: total.perplexity(),
            perplexity_stderr: total.perplexity_stderr(),
            bits_per_byte: total.bits_per_byte(),
            kv: how.kv.name(),
            head: how.head.name(),
            seconds: started.elapsed().as_secs_f64(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn write(&self, loaded: &Loaded, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "perplexity     {:.4} ± {:.4}", self.perplexity, self.perplexity_stderr)?;
        writeln!(out, "loss           {:.4} ± {:.4} nats a token", self.loss, self.loss_stderr)?;
        writeln!(out, "bits per byte  {:.4}", self.bits_per_byte)?;
        let windows = |word| figures::number_of(self.windows as usize, word);
        let what = match (self.window, self.stride) {
            (Some(window), Some(stride)) => {
                format!("{} of {window} tokens, {stride} apart", windows("window"))
            }
            (Some(window), None) => format!("{} of {window} tokens", windows("window")),
            (None, _) => windows("paragraph"),
        };
        let (method, tokens) = (self.method, figures::number_of(self.tokens as usize, "token"));
        let threads = loaded.model.pool().threads();
        note(&format!("{tokens} of {what} ({method}), {} bytes, {}", self.bytes, self.computed(threads)));
        Ok(())
    }

    /// How long it took; what was known from before is no speed.
    fn computed(&self, threads: usize) -> String {
        let (kept, seconds) = (self.kept_tokens, self.seconds);
        let rate = (self.tokens - kept) as f64 / seconds;
        let speed = format!("in {seconds:.1} s: {rate:.0} tokens/s on {}", figures::threads(threads));
        match kept {
            0 => speed,
            _ if kept == self.tokens => "all of them known from before: nothing was computed".to_owned(),
            _ => format!("{kept} of the tokens known from before, the others {speed}"),
        }
    }
}

/// A text that is too short.
fn nothing_to_score(path: &Path, window: Option<usize>) -> Failure {
    let path = path.display();
    let Some(window) = window else {
        return Failure::message(Exit::Failed, format!("{path}: found no paragraph, expected one at least"));
    };
    let message = format!("{path}: found no {window} tokens, expected at least one window");
    Failure::message(Exit::Failed, message).with_hint("a smaller `--window`, or `--method paragraphs`")
}

/// Why a text was not scored.
enum Error {
    Piece(PieceError),
    Failure(Failure),
}

impl<E: Into<Failure>> From<E> for Error {
    fn from(error: E) -> Self {
        Error::Failure(error.into())
    }
}

impl Error {
    fn into_failure(self, path: &Path) -> Failure {
        match self {
            Error::Piece(error) => at(path, &error),
            Error::Failure(failure) => failure,
        }
    }
}

fn at(path: &Path, error: &PieceError) -> Failure {
    Failure::message(Exit::Model, format!("{}: {error}", path.display()))
}

/// A text that is being scored.
struct Scoring<'a, 'model> {
    respondent: Respondent<'a, 'model>,
    batch: Vec<ScoredTokens>,
    batch_tokens: usize,
    /// Tokens whose scores were in the store.
    kept_tokens: u64,
    total: Total,
    /// Windows or paragraphs that may still be scored.
    left: usize,
    shown: Shown<'a>,
}

impl Scoring<'_, '_> {
    fn windows(
        &mut self,
        reader: impl io::BufRead,
        subject: &Subject,
        encoder: &Encoder<'_>,
        (method, window): (Method, usize),
    ) -> Result<ControlFlow<()>, Error> {
        let mut windows = Windows::new(method, window);
        // What begins a text by itself.
        let mut before = encoder.text("")?;
        // Where the next window ends, and how much of the text was read, in tokens with what begins it.
        let (mut end, mut read) = (window, before.len());
        let mut pieces = Pieces::new(reader, &subject.tokenizer);
        while let Some((tokens, bytes)) = pieces.next_piece().map_err(Error::Piece)? {
            before.extend(&tokens);
            for full in windows.push(&std::mem::take(&mut before)) {
                self.left -= 1;
                self.shown.read_bytes =
                    self.total.bytes + share(bytes, end.saturating_sub(read), tokens.len());
                if self.take(full)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                if self.left == 0 {
                    // What comes after is none of what was scored.
                    let covered = end.saturating_sub(read).min(tokens.len());
                    self.total.bytes +=
                        bytes.saturating_sub(bytes_of(&subject.tokenizer, &tokens[covered..]));
                    self.total.text_tokens += covered as u64;
                    return self.flush();
                }
                end += method.step(window);
            }
            read += tokens.len();
            self.total.bytes += bytes;
            self.total.text_tokens += tokens.len() as u64;
        }
        self.shown.read_bytes = self.total.bytes;
        if let Some(rest) = windows.finish()
            && self.take(rest)?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        self.flush()
    }

    fn paragraphs(
        &mut self,
        reader: impl io::BufRead,
        encoder: &Encoder<'_>,
    ) -> Result<ControlFlow<()>, Error> {
        let mut paragraphs = Paragraphs::new(reader);
        let mut count = 0;
        while self.left > 0 {
            let Some(paragraph) = paragraphs.next() else { break };
            let paragraph = paragraph.map_err(Error::Piece)?;
            self.left -= 1;
            count += 1;
            self.total.bytes += paragraph.len() as u64;
            self.shown.read_bytes = paragraphs.bytes_read();
            for window in paragraph_windows(encoder, &paragraph)? {
                self.total.text_tokens += window.targets.len() as u64;
                if self.take(window)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        let end = self.flush()?;
        // One that is longer than the context went in several windows.
        self.total.windows = count;
        Ok(end)
    }

    /// Takes a window, and scores when there are enough.
    fn take(&mut self, window: ScoredTokens) -> Result<ControlFlow<()>, Error> {
        self.batch_tokens += window.input.len();
        self.batch.push(window);
        if self.batch_tokens < BATCH_TOKENS {
            return Ok(ControlFlow::Continue(()));
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<ControlFlow<()>, Error> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_tokens = 0;
        self.kept_tokens += self.respondent.known_tokens(&batch);
        let stretches: Vec<&ScoredTokens> = batch.iter().collect();
        let Some(scores) = self.respondent.scores(&stretches, &mut self.shown)? else {
            return Ok(ControlFlow::Break(()));
        };
        for (window, score) in batch.iter().zip(&scores) {
            self.total.add(window, score);
        }
        self.shown.done_bytes = self.shown.read_bytes;
        Ok(ControlFlow::Continue(()))
    }
}

/// So much of `bytes` as `part` tokens of `whole` have, about.
fn share(bytes: u64, part: usize, whole: usize) -> u64 {
    (bytes as f64 * part.min(whole) as f64 / whole.max(1) as f64) as u64
}

/// Bytes of the text that these tokens are, in the middle of a text.
fn bytes_of(tokenizer: &Tokenizer, tokens: &[u32]) -> u64 {
    tokens.iter().map(|token| tokenizer.token_bytes(*token).map_or(0, |bytes| bytes.len() as u64)).sum()
}

/// A paragraph in windows, the token before it not scored.
fn paragraph_windows(encoder: &Encoder<'_>, paragraph: &str) -> Result<Vec<ScoredTokens>, TokenizerError> {
    let tokens = encoder.text(paragraph)?;
    let mut windows =
        Windows::new(Method::Strided { stride: encoder.max_length() }, encoder.max_length() + 1);
    let begins = encoder.prefix().filter(|prefix| tokens.first() != Some(prefix));
    let tokens: Vec<u32> = begins.into_iter().chain(tokens).collect();
    let mut all: Vec<ScoredTokens> = windows.push(&tokens).collect();
    all.extend(windows.finish());
    Ok(all)
}

/// Shows progress in bytes, and hears a wish to stop.
struct Shown<'a> {
    progress: Progress,
    /// Bytes of the text before the batch.
    done_bytes: u64,
    /// And with it.
    read_bytes: u64,
    interrupt: &'a Interrupt,
}

impl Listener for Shown<'_> {
    fn progress(&mut self, tokens: usize, total_tokens: usize) -> ControlFlow<()> {
        let share = tokens as f64 / total_tokens as f64;
        let batch_bytes = self.read_bytes - self.done_bytes;
        self.progress.set(self.done_bytes + (share * batch_bytes as f64) as u64);
        self.interrupt.flow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_what_was_scored() {
        // A quarter of a piece of a megabyte.
        assert_eq!(share(1_000_000, 65_536, 262_144), 250_000);
        assert_eq!(share(1_000_000, 300_000, 262_144), 1_000_000);
        assert_eq!(share(10, 0, 0), 0);
    }
}
