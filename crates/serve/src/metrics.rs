//! What the server counts and measures, in Prometheus' text form.
//!
//! Names are vLLM's under the prefix `tercet:`, so that dashboards need no more than another prefix. It knows numbers
//! and a model's name: no prompt, answer or key ever comes here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::engine::{Finished, Reason, Status, SubmitError};

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds until something begins, or between two tokens.
const SHORT_BUCKETS: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 40.0,
    160.0,
];
/// Seconds of a whole request.
const LONG_BUCKETS: [f64; 18] = [
    0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 480.0, 1920.0, 7680.0,
];

/// All that is measured, of one model.
pub struct Metrics {
    registry: Registry,
    running: Gauge,
    waiting: Gauge,
    cache_usage: Gauge<f64, AtomicU64>,
    prefix_queries: Counter,
    prefix_hits: Counter,
    prompt_tokens: Counter,
    generation_tokens: Counter,
    passes: Counter,
    successes: Family<FinishedReason, Counter>,
    refusals: Family<RefusedReason, Counter>,
    first_token: Histogram,
    between_tokens: Histogram,
    whole: Histogram,
    queued: Histogram,
    prefill: Histogram,
    decode: Histogram,
    joules: Counter<f64, AtomicU64>,
    answers: Family<Answered, Counter>,
    resident_bytes: Gauge,
    open_files: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FinishedReason {
    finished_reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedReason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

impl Metrics {
    /// Nothing has happened yet; `model_name` is a label of everything.
    pub fn new(model_name: &str) -> Self {
        let labels = [("model_name".into(), model_name.to_owned().into())];
        let mut registry = Registry::with_labels(labels.into_iter());
        Metrics {
            running: add(
                &mut registry,
                "num_requests_running",
                "Sequences that are worked on",
                Gauge::default(),
            ),
            waiting: add(&mut registry, "num_requests_waiting", "Sequences that wait", Gauge::default()),
            cache_usage: add(
                &mut registry,
                "kv_cache_usage_perc",
                "The part of the cache's pages that requests hold, 1 for all",
                Gauge::default(),
            ),
            prefix_queries: add(
                &mut registry,
                "prefix_cache_queries",
                "Tokens of prompts that were looked up in the cache",
                Counter::default(),
            ),
            prefix_hits: add(
                &mut registry,
                "prefix_cache_hits",
                "Tokens of prompts that were found in the cache",
                Counter::default(),
            ),
            prompt_tokens: add(&mut registry, "prompt_tokens", "Tokens of prompts", Counter::default()),
            generation_tokens: add(
                &mut registry,
                "generation_tokens",
                "Tokens generated",
                Counter::default(),
            ),
            passes: add(&mut registry, "passes", "Passes through the model", Counter::default()),
            successes: add(
                &mut registry,
                "request_success",
                "Requests done, by how they ended",
                Family::default(),
            ),
            refusals: add(
                &mut registry,
                "request_refused",
                "Requests that were not taken",
                Family::default(),
            ),
            first_token: add(
                &mut registry,
                "time_to_first_token_seconds",
                "From a request to its first token",
                short(),
            ),
            between_tokens: add(
                &mut registry,
                "inter_token_latency_seconds",
                "From one token to the next",
                short(),
            ),
            whole: add(&mut registry, "e2e_request_latency_seconds", "From a request to its end", long()),
            queued: add(
                &mut registry,
                "request_queue_time_seconds",
                "From a request to its first pass",
                short(),
            ),
            prefill: add(
                &mut registry,
                "request_prefill_time_seconds",
                "From the first pass to the first token",
                short(),
            ),
            decode: add(
                &mut registry,
                "request_decode_time_seconds",
                "From the first token to the last",
                long(),
            ),
            joules: add(
                &mut registry,
                "energy_joules",
                "What the processor used for requests that are done, where it has a counter",
                Counter::default(),
            ),
            answers: add(
                &mut registry,
                "http_requests",
                "Answers by method, route and status",
                Family::default(),
            ),
            resident_bytes: process(
                &mut registry,
                "process_resident_memory_bytes",
                "Memory that the process has resident",
            ),
            open_files: process(&mut registry, "process_open_fds", "Files and connections that it has open"),
            registry,
        }
    }

    /// A token was generated, so long after the one before.
    pub fn token(&self, gap: Duration) {
        self.between_tokens.observe(gap.as_secs_f64());
    }

    /// A request is done.
    pub fn finished(&self, finished: &Finished) {
        let reason = match finished.reason {
            Reason::Stop | Reason::StopText(_) => "stop",
            Reason::Length => "length",
        };
        self.ended(reason);
        let usage = &finished.usage;
        if usage.completion_tokens > 0 {
            self.first_token.observe((usage.queued + usage.prefill).as_secs_f64());
            self.decode.observe(usage.decode.as_secs_f64());
        }
        self.queued.observe(usage.queued.as_secs_f64());
        self.prefill.observe(usage.prefill.as_secs_f64());
        self.whole.observe((usage.queued + usage.prefill + usage.decode).as_secs_f64());
        if let Some(joules) = usage.joules.filter(|joules| joules.is_finite() && *joules >= 0.0) {
            self.joules.inc_by(joules);
        }
    }

    /// A request was taken and failed.
    pub fn failed(&self) {
        self.ended("error");
    }

    /// A client left before its answer was whole.
    pub fn cancelled(&self) {
        self.ended("abort");
    }

    fn ended(&self, finished_reason: &'static str) {
        self.successes.get_or_create(&FinishedReason { finished_reason }).inc();
    }

    /// The engine did not take a request.
    pub fn refused(&self, error: &SubmitError) {
        let reason = match error {
            SubmitError::Full { .. } => "queue_full",
            SubmitError::Draining => "draining",
            SubmitError::Stopped => "stopped",
            SubmitError::TooLong { .. } => "too_long",
        };
        self.refusals.get_or_create(&RefusedReason { reason }).inc();
    }

    /// An HTTP request was answered. `route` is a pattern of the router's, and never what a client wrote.
    pub fn answered(&self, method: &'static str, route: &str, status: u16) {
        self.answers.get_or_create(&Answered { method, route: route.to_owned(), status }).inc();
    }

    /// All of it as text, with the engine as it is now.
    pub fn text(&self, status: Option<&Status>) -> String {
        let status = status.copied().unwrap_or_default();
        self.running.set(status.running as i64);
        self.waiting.set(status.waiting as i64);
        let pages = status.total_pages.max(1) as f64;
        self.cache_usage.set(status.used_pages as f64 / pages);
        set(&self.prefix_queries, status.queried_tokens);
        set(&self.prefix_hits, status.cached_tokens);
        set(&self.prompt_tokens, status.prompt_tokens);
        set(&self.generation_tokens, status.generated_tokens);
        set(&self.passes, status.passes);
        self.resident_bytes.set(resident_bytes().unwrap_or(0));
        self.open_files.set(open_files().unwrap_or(0));
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("Metrics::text: a string takes what is written to it");
        out
    }
}

/// Registers a metric of the server under our prefix.
fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(format!("tercet:{name}"), help, metric.clone());
    metric
}

/// Registers a metric of the process, whose names all servers share.
fn process(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn short() -> Histogram {
    Histogram::new(SHORT_BUCKETS)
}

fn long() -> Histogram {
    Histogram::new(LONG_BUCKETS)
}

/// The engine counts; here its count is only shown, which never falls.
fn set(counter: &Counter, total: u64) {
    counter.inner().fetch_max(total, Ordering::Relaxed);
}

/// Memory that the process has resident, where Linux says it.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Files that the process has open, where Linux says it; the one that lists them is not counted.
fn open_files() -> Option<i64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(count).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Usage;

    fn finished() -> Finished {
        let usage = Usage {
            prompt_tokens: 7,
            completion_tokens: 3,
            queued: Duration::from_millis(1),
            prefill: Duration::from_millis(20),
            decode: Duration::from_millis(300),
            joules: Some(0.5),
            ..Usage::default()
        };
        Finished { text: "canary".to_owned(), reason: Reason::Length, usage }
    }

    #[test]
    fn names_and_labels_are_those_of_dashboards() {
        let metrics = Metrics::new("stories");
        metrics.token(Duration::from_millis(4));
        metrics.finished(&finished());
        metrics.cancelled();
        metrics.refused(&SubmitError::Full { waiting: 256, asked: 1, expected: 256 });
        metrics.answered("POST", "/v1/completions", 200);
        let status = Status {
            running: 2,
            waiting: 1,
            total_pages: 8,
            used_pages: 2,
            prompt_tokens: 7,
            queried_tokens: 6,
            cached_tokens: 4,
            generated_tokens: 3,
            ..Status::default()
        };
        let text = metrics.text(Some(&status));
        for line in [
            "tercet:num_requests_running{model_name=\"stories\"} 2",
            "tercet:num_requests_waiting{model_name=\"stories\"} 1",
            "tercet:kv_cache_usage_perc{model_name=\"stories\"} 0.25",
            "tercet:prefix_cache_queries_total{model_name=\"stories\"} 6",
            "tercet:prefix_cache_hits_total{model_name=\"stories\"} 4",
            "tercet:prompt_tokens_total{model_name=\"stories\"} 7",
            "tercet:generation_tokens_total{model_name=\"stories\"} 3",
            "tercet:request_success_total{model_name=\"stories\",finished_reason=\"length\"} 1",
            "tercet:request_success_total{model_name=\"stories\",finished_reason=\"abort\"} 1",
            "tercet:request_refused_total{model_name=\"stories\",reason=\"queue_full\"} 1",
            "tercet:time_to_first_token_seconds_count{model_name=\"stories\"} 1",
            "tercet:time_to_first_token_seconds_bucket{model_name=\"stories\",le=\"0.025\"} 1",
            "tercet:inter_token_latency_seconds_count{model_name=\"stories\"} 1",
            "tercet:e2e_request_latency_seconds_sum{model_name=\"stories\"} 0.321",
            "tercet:energy_joules_total{model_name=\"stories\"} 0.5",
        ] {
            assert!(text.lines().any(|found| found == line), "`{line}` is not in\n{text}");
        }
        assert!(text.contains("tercet:http_requests_total{"), "{text}");
        assert!(!text.contains("canary"), "no text of an answer is in\n{text}");
    }

    #[test]
    fn counters_never_fall() {
        let metrics = Metrics::new("stories");
        let status = Status { prompt_tokens: 9, ..Status::default() };
        metrics.text(Some(&status));
        assert!(metrics.text(None).contains("tercet:prompt_tokens_total{model_name=\"stories\"} 9"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_knows_itself() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(open_files().unwrap() > 0);
    }
}
