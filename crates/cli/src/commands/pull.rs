//! `tercet pull`: download a model.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use glob::Pattern;
use tercet_hub::RepositoryId;

use crate::failure::Failure;
use crate::hub::{Cached, Hub, Patterns, PullError, pattern};
use crate::interrupt::Interrupt;
use crate::terminal::note;

/// Download a model of the Hugging Face Hub
///
/// It comes into the cache that all software of the Hub shares, and only what it takes to run it: its
/// configuration, tokenizer and card, and the weights as safetensors, or one GGUF file. What is there
/// already is not downloaded again; what was interrupted goes on where it stopped. Every file is checked
/// against its digest before it has its name.
///
/// The path of the model is printed; `tercet run org/name` finds it by itself.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Pull {
    /// The model, with a branch, tag or commit if it is not the newest of `main` that is wanted
    #[arg(value_name = "ORG/NAME[@REV]")]
    model: RepositoryId,
    /// Download the files that match, in place of what the model takes; may be given several times
    #[arg(long, value_name = "GLOB", value_parser = pattern)]
    include: Vec<Pattern>,
    /// Leave out the files that match; may be given several times
    #[arg(long, value_name = "GLOB", value_parser = pattern)]
    exclude: Vec<Pattern>,
    /// Print the path and nothing else
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  tercet pull microsoft/bitnet-b1.58-2B-4T
  tercet pull microsoft/bitnet-b1.58-2B-4T-gguf --include '*i2_s.gguf'
  tercet run \"$(tercet pull -q org/name@v1.0)\" \"Once upon a time\"

Environment, as everywhere with the Hub:
  HF_HOME, HF_HUB_CACHE         where the cache is (~/.cache/huggingface/hub)
  HF_TOKEN, HF_TOKEN_PATH       what opens private and gated models
  HF_HUB_DISABLE_IMPLICIT_TOKEN=1   send no token
  HF_ENDPOINT                   a mirror in place of https://huggingface.co
  HF_HUB_OFFLINE=1              use the cache only
  HF_HUB_DISABLE_PROGRESS_BARS=1    lines in place of a bar
  HF_HUB_DOWNLOAD_TIMEOUT       seconds of silence after which a connection is given up (20)
  HTTPS_PROXY, NO_PROXY         the way out of a closed network";

impl Pull {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let interrupt = Interrupt::listen();
        let hub = Hub::open()?;
        let patterns = Patterns { include: self.include, exclude: self.exclude };
        let path = if let Some(variable) = hub.offline_variable() {
            match hub.cached_files(&self.model, &patterns)? {
                Cached::Whole(path) => path,
                other => return Err(hub.offline(&self.model, &other, variable)),
            }
        } else {
            interrupt.expect();
            let stopped = || interrupt.is_pending();
            match hub.pull(&self.model, &patterns, self.quiet, &stopped) {
                Ok(path) => path,
                Err(PullError::Failed(failure)) => return Err(failure),
                Err(PullError::Stopped) => {
                    note("stopped; the same command goes on from here");
                    return Ok(ExitCode::from(interrupt.exit_code().unwrap_or(1)));
                }
            }
        };
        writeln!(io::stdout().lock(), "{}", path.display())?;
        Ok(ExitCode::SUCCESS)
    }
}
