//! Many clients who stream at once, in loops, each answer compared with the one it has alone.

use std::fmt;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::percentile::percentile;
use super::requests::{Known, Times};
use super::server::Server;

/// How many clients, and for how long; every client asks at least once.
pub(crate) struct Streams {
    pub(crate) clients: usize,
    pub(crate) time: Duration,
}

/// What came of it.
pub(crate) struct Figures {
    clients: usize,
    answers: usize,
    time: Duration,
    /// Sorted.
    first: Vec<Duration>,
    /// Sorted.
    gaps: Vec<Duration>,
}

/// Runs them.
///
/// # Errors
/// The first answers that were not whole, or not those of the same request alone.
pub(crate) fn run(server: &Server, known: &Known, streams: &Streams) -> Result<Figures> {
    let started = Instant::now();
    let (all, failures) = (Mutex::new(Vec::<Times>::new()), Mutex::new(Vec::<String>::new()));
    let client = |number: usize| -> Result<()> {
        let mut connection = server.connect()?;
        // Each starts elsewhere, so that requests meet in ever other company.
        for at in 0.. {
            let times = known.check(&mut connection, number + at * (number % 3 + 1))?;
            all.lock().expect("no holder panics").push(times);
            if started.elapsed() >= streams.time {
                break;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        for number in 0..streams.clients {
            let (client, failures) = (&client, &failures);
            scope.spawn(move || {
                if let Err(error) = client(number) {
                    failures.lock().expect("no holder panics").push(format!("client {number}: {error:#}"));
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no holder panics");
    ensure!(
        failures.is_empty(),
        "{} clients failed; {}",
        failures.len(),
        failures[..failures.len().min(3)].join("; ")
    );
    let time = started.elapsed();
    let all = all.into_inner().expect("no holder panics");
    let mut first: Vec<Duration> = all.iter().map(|times| times.first).collect();
    let mut gaps: Vec<Duration> = all.iter().flat_map(|times| times.gaps.iter().copied()).collect();
    first.sort_unstable();
    gaps.sort_unstable();
    Ok(Figures { clients: streams.clients, answers: all.len(), time, first, gaps })
}

impl Figures {
    pub(crate) fn median_gap(&self) -> Duration {
        percentile(&self.gaps, 50)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces = self.gaps.len() + self.first.len();
        write!(
            f,
            "{} clients, {} answers in {:.0} s, each as it is alone; {:.0} pieces/s; first piece {:.0?} (p99 {:.0?}), \
             between pieces {:.1?} (p99 {:.1?})",
            self.clients,
            self.answers,
            self.time.as_secs_f64(),
            pieces as f64 / self.time.as_secs_f64(),
            percentile(&self.first, 50),
            percentile(&self.first, 99),
            percentile(&self.gaps, 50),
            percentile(&self.gaps, 99),
        )
    }
}
