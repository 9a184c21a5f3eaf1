//! The limits of `tercet_serve` as flags and variables.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;
use tercet_serve::limits::Limits;

use super::bytes::bytes_in;

/// Requests that may wait.
const QUEUE: u32 = 256;
/// A client's wait of a second to an hour.
const SECONDS: RangeInclusive<i64> = 1..=3600;

#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitFlags {
    /// Requests that may wait; the next gets 429
    #[arg(long, value_name = "N", env = "TERCET_MAX_QUEUE", hide_env_values = true, default_value_t = QUEUE)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_queue: u32,
    /// Connections at once; one that shows no request makes place for a new one
    #[arg(long, value_name = "N", env = "TERCET_MAX_CONNECTIONS", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().connections as u32)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_connections: u32,
    /// Bytes of a request's body
    #[arg(long, value_name = "BYTES", env = "TERCET_MAX_BODY_BYTES", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().body_bytes as u32)]
    #[arg(value_parser = bytes_in(1024..=1 << 30))]
    max_body_bytes: u32,
    /// Bytes of a request's headers
    #[arg(long, value_name = "BYTES", env = "TERCET_MAX_HEADER_BYTES", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().header_bytes as u32)]
    #[arg(value_parser = bytes_in(8192..=1 << 20))]
    max_header_bytes: u32,
    /// Headers of a request
    #[arg(long, value_name = "N", env = "TERCET_MAX_HEADERS", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().headers as u16)]
    #[arg(value_parser = clap::value_parser!(u16).range(16..=1024))]
    max_headers: u16,
    /// Seconds for a request's headers to come
    #[arg(long, value_name = "S", env = "TERCET_HEADER_TIMEOUT", hide_env_values = true)]
    #[arg(default_value_t = seconds(Limits::default().header_time))]
    #[arg(value_parser = clap::value_parser!(u32).range(SECONDS))]
    header_timeout: u32,
    /// Seconds for a request's body to come
    #[arg(long, value_name = "S", env = "TERCET_BODY_TIMEOUT", hide_env_values = true)]
    #[arg(default_value_t = seconds(Limits::default().body_time))]
    #[arg(value_parser = clap::value_parser!(u32).range(SECONDS))]
    body_timeout: u32,
    /// Seconds in which a client must take a part of its answer, or it is cut off
    #[arg(long, value_name = "S", env = "TERCET_WRITE_TIMEOUT", hide_env_values = true)]
    #[arg(default_value_t = seconds(Limits::default().write_time))]
    #[arg(value_parser = clap::value_parser!(u32).range(SECONDS))]
    write_timeout: u32,
    /// Seconds for the requests in work after SIGTERM or Ctrl-C
    #[arg(long, value_name = "S", env = "TERCET_DRAIN_TIMEOUT", hide_env_values = true)]
    #[arg(default_value_t = seconds(Limits::default().drain_time))]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=86_400))]
    drain_timeout: u32,
    /// `n` and `best_of` of a request
    #[arg(long, value_name = "N", env = "TERCET_MAX_CHOICES", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().choices as u16)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_choices: u16,
    /// Prompts of a request
    #[arg(long, value_name = "N", env = "TERCET_MAX_PROMPTS", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().prompts as u16)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=4096))]
    max_prompts: u16,
    /// Stop texts of a request
    #[arg(long, value_name = "N", env = "TERCET_MAX_STOPS", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().stops as u16)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=1024))]
    max_stops: u16,
    /// Bytes of a stop text
    #[arg(long, value_name = "BYTES", env = "TERCET_MAX_STOP_BYTES", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().stop_bytes as u32)]
    #[arg(value_parser = bytes_in(1..=16_384))]
    max_stop_bytes: u32,
    /// `top_logprobs` of a request, and `logprobs` of completions
    #[arg(long, value_name = "N", env = "TERCET_MAX_LOGPROBS", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().top_logprobs as u16)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=1024))]
    max_logprobs: u16,
    /// Entries of `logit_bias`
    #[arg(long, value_name = "N", env = "TERCET_MAX_LOGIT_BIAS", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().logit_bias as u32)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    max_logit_bias: u32,
    /// Bytes of a JSON schema, and of all tools together
    #[arg(long, value_name = "BYTES", env = "TERCET_MAX_SCHEMA_BYTES", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().schema_bytes as u32)]
    #[arg(value_parser = bytes_in(64..=1 << 24))]
    max_schema_bytes: u32,
    /// Levels of a JSON schema
    #[arg(long, value_name = "N", env = "TERCET_MAX_SCHEMA_DEPTH", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().schema_depth as u16)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=128))]
    max_schema_depth: u16,
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

impl LimitFlags {
    pub(super) fn limits(&self) -> Limits {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Limits {
            body_bytes: self.max_body_bytes as usize,
            header_bytes: self.max_header_bytes as usize,
            headers: self.max_headers.into(),
            header_time: seconds(self.header_timeout),
            body_time: seconds(self.body_timeout),
            write_time: seconds(self.write_timeout),
            connections: self.max_connections as usize,
            drain_time: seconds(self.drain_timeout),
            choices: self.max_choices.into(),
            stops: self.max_stops.into(),
            stop_bytes: self.max_stop_bytes as usize,
            top_logprobs: self.max_logprobs.into(),
            logit_bias: self.max_logit_bias as usize,
            schema_bytes: self.max_schema_bytes as usize,
            schema_depth: self.max_schema_depth.into(),
            prompts: self.max_prompts.into(),
        }
    }

    /// Requests that may wait.
    pub(super) fn queue(&self) -> usize {
        self.max_queue as usize
    }
}
