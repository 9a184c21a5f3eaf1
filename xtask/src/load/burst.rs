//! More clients in one second than there is room for: each is answered, or told to come again.

use std::fmt;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::percentile::percentile;
use super::requests::COMPLETIONS;
use super::server::Server;

/// The time in which all come.
const SPREAD: Duration = Duration::from_secs(1);
/// Bytes of a client's stack: it does little.
const STACK: usize = 256 << 10;

/// What came of it.
#[derive(Default)]
pub(crate) struct Figures {
    /// Times to the whole answer, sorted.
    answered: Vec<Duration>,
    /// Times to the refusal, sorted.
    refused: Vec<Duration>,
    failures: Vec<String>,
}

/// Runs so many clients.
///
/// # Errors
/// Any got another status, or none.
pub(crate) fn run(server: &Server, clients: usize) -> Result<Figures> {
    let figures = Mutex::new(Figures::default());
    let started = Instant::now();
    thread::scope(|scope| -> Result<()> {
        for number in 0..clients {
            let figures = &figures;
            let client = move || {
                let at = SPREAD.mul_f64(number as f64 / clients as f64);
                thread::sleep(at.saturating_sub(started.elapsed()));
                let asked = Instant::now();
                let outcome = ask(server, number);
                let mut figures = figures.lock().expect("no holder panics");
                match outcome {
                    Ok(200) => figures.answered.push(asked.elapsed()),
                    Ok(_) => figures.refused.push(asked.elapsed()),
                    Err(error) => figures.failures.push(format!("client {number}: {error:#}")),
                }
            };
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, client)?;
        }
        Ok(())
    })?;
    let mut figures = figures.into_inner().expect("no holder panics");
    let failures = &figures.failures;
    ensure!(
        failures.is_empty(),
        "{} of {clients} clients got neither an answer nor a refusal; {}",
        failures.len(),
        failures[..failures.len().min(3)].join("; ")
    );
    ensure!(figures.answered.len() + figures.refused.len() == clients, "a client was not counted");
    figures.answered.sort_unstable();
    figures.refused.sort_unstable();
    Ok(figures)
}

/// Asks for a whole answer; 200 or 429.
fn ask(server: &Server, number: usize) -> Result<u16> {
    let mut connection = server.connect()?;
    let request = json!({"prompt": "Once upon a time", "max_tokens": 16, "seed": number, "ignore_eos": true});
    let head = connection.post(COMPLETIONS, &request)?;
    let body: serde_json::Value = serde_json::from_slice(&connection.body(&head)?)?;
    match head.status {
        200 => ensure!(body["usage"]["completion_tokens"] == 16, "an answer of another length: {body}"),
        429 => {
            head.header("retry-after").context("a refusal has no `retry-after`")?;
            ensure!(body["error"]["type"] == "rate_limit_error", "another error: {body}");
        }
        status => bail!("status {status}: {body}"),
    }
    Ok(head.status)
}

impl Figures {
    pub(crate) fn refused(&self) -> usize {
        self.refused.len()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} clients in {SPREAD:.0?}: {} answered in {:.0?} (p99 {:.0?}), {} refused with 429 in {:.1?} (p99 {:.1?})",
            self.answered.len() + self.refused.len(),
            self.answered.len(),
            percentile(&self.answered, 50),
            percentile(&self.answered, 99),
            self.refused(),
            percentile(&self.refused, 50),
            percentile(&self.refused, 99),
        )
    }
}
