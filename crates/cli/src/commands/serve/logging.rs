//! What the server tells on stderr: a line a request, and what goes wrong.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::terminal::wants_colors;

#[derive(Args)]
#[command(next_help_heading = "Log")]
pub(super) struct Logging {
    /// What is logged
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        env = "TERCET_LOG_LEVEL",
        hide_env_values = true
    )]
    log_level: Level,
    /// Log one JSON object a line
    #[arg(long)]
    log_json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    /// Nothing
    Off,
    /// What is broken
    Error,
    /// A line for each request, too, but for those of the page and of monitors that were answered well
    Info,
    /// A line for these and connections that failed, too
    Debug,
}

impl Logging {
    /// Logs from now on. A panic is logged by its place only: its message may hold a part of somebody's text.
    pub(super) fn start(&self) {
        let level = match self.log_level {
            Level::Off => LevelFilter::OFF,
            Level::Error => LevelFilter::ERROR,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
        };
        // Only what this project logs: other crates may show headers, and the key is one.
        let ours = Targets::new().with_target("tercet", level);
        let colours = io::stderr().is_terminal() && wants_colors();
        let lines = fmt::layer().with_writer(io::stderr).with_target(false);
        let lines = if self.log_json {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        } else {
            lines.with_ansi(colours).boxed()
        };
        // One of another owner stays, such as that of a test.
        let _ = registry().with(lines.with_filter(ours)).try_init();
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "panicked");
        }));
    }
}
