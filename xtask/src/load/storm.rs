//! Requests of which half are cut at a random byte, and what the server holds when all have gone.

use std::fmt;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tercet::random::mix;

use super::client::{Connection, post};
use super::requests::{COMPLETIONS, Known};
use super::server::Server;

/// How often memory is looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// What resident memory may grow in the last third: a share of itself, and bytes.
const GROWTH: f64 = 0.05;
const GROWTH_BYTES: u64 = 8 << 20;
/// An answer is cut within so many bytes; some end before.
const CUT_WITHIN: u64 = 12_000;

/// How many requests, and by how many clients at once.
pub(crate) struct Storm {
    pub(crate) clients: usize,
    pub(crate) requests: usize,
    /// Seeds the cuts.
    pub(crate) seed: u64,
}

/// What came of it.
pub(crate) struct Figures {
    requests: usize,
    cut_request: usize,
    cut_answer: usize,
    whole: usize,
    time: Duration,
    settled: Duration,
    /// The most of each third.
    resident_bytes: [u64; 3],
    sockets: [usize; 2],
}

#[derive(Default)]
struct Counts {
    next: AtomicUsize,
    cut_request: AtomicUsize,
    cut_answer: AtomicUsize,
    whole: AtomicUsize,
}

/// Runs it.
///
/// # Errors
/// A whole answer was not the known one, pages or requests are still held afterwards, or memory or sockets grew.
pub(crate) fn run(server: &Server, known: &Known, storm: &Storm) -> Result<Figures> {
    server.settle()?;
    let sockets = server.sockets()?;
    let started = Instant::now();
    let (counts, failures, is_over) = (Counts::default(), Mutex::new(Vec::new()), AtomicBool::new(false));
    let mut resident_bytes = [server.resident_bytes()?; 3];
    thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..storm.clients)
            .map(|_| {
                scope.spawn(|| {
                    if let Err(error) = client(server, known, storm, &counts) {
                        failures.lock().expect("no holder panics").push(format!("{error:#}"));
                    }
                })
            })
            .collect();
        let watcher = scope.spawn(|| -> Result<[u64; 3]> {
            let mut most = [0; 3];
            while !is_over.load(Ordering::Acquire) {
                let done = counts.next.load(Ordering::Relaxed).min(storm.requests - 1);
                let third = &mut most[done * 3 / storm.requests];
                *third = server.resident_bytes()?.max(*third);
                thread::sleep(GLANCE);
            }
            Ok(most)
        });
        for client in clients {
            client.join().expect("a client does not panic");
        }
        is_over.store(true, Ordering::Release);
        resident_bytes = watcher.join().expect("the watcher does not panic")?;
        Ok(())
    })?;
    let failures = failures.into_inner().expect("no holder panics");
    ensure!(
        failures.is_empty(),
        "{} clients failed; {}",
        failures.len(),
        failures[..failures.len().min(3)].join("; ")
    );
    let time = started.elapsed();
    let settled = server.settle()?;
    known.check(&mut server.connect()?, 0).context("the request after the storm")?;
    server.sockets_fall_to(sockets, Duration::from_secs(10))?;
    let [_, middle, last] = resident_bytes;
    let room = middle + GROWTH_BYTES.max((middle as f64 * GROWTH) as u64);
    ensure!(
        last <= room,
        "resident memory grew from {middle} to {last} bytes in the last third of the storm"
    );
    let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    Ok(Figures {
        requests: storm.requests,
        cut_request: read(&counts.cut_request),
        cut_answer: read(&counts.cut_answer),
        whole: read(&counts.whole),
        time,
        settled,
        resident_bytes,
        sockets: [sockets, server.sockets()?],
    })
}

/// Takes requests until there are none.
fn client(server: &Server, known: &Known, storm: &Storm, counts: &Counts) -> Result<()> {
    let mut kept: Option<Connection> = None;
    loop {
        let number = counts.next.fetch_add(1, Ordering::Relaxed);
        if number >= storm.requests {
            return Ok(());
        }
        let random = mix(storm.seed.wrapping_add(number as u64));
        let case = (random >> 8) as usize % known.cases.len();
        let counter = match random % 4 {
            0 => {
                cut_request(server, known, case, random >> 32)?;
                &counts.cut_request
            }
            1 => {
                cut_answer(server, known, case, (random >> 32) % CUT_WITHIN)?;
                &counts.cut_answer
            }
            _ => {
                // Whole ones follow each other on one connection.
                let mut connection = kept.take().map_or_else(|| server.connect(), Ok)?;
                known.check(&mut connection, case)?;
                kept = Some(connection);
                &counts.whole
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends a part of a request, not its last byte, and goes.
fn cut_request(server: &Server, known: &Known, case: usize, random: u64) -> Result<()> {
    let request = post(server.address, COMPLETIONS, "", known.case(case).0);
    let length = random as usize % request.len();
    server.connect()?.send(&request[..length])
}

/// Sends a request, reads so many bytes of the answer, and goes; the answer may be shorter.
fn cut_answer(server: &Server, known: &Known, case: usize, length: u64) -> Result<()> {
    let mut connection = server.connect()?;
    // So the end of the answer is that of the connection.
    connection.send(&post(server.address, COMPLETIONS, "connection: close\r\n", known.case(case).0))?;
    let mut left = length;
    let mut bytes = [0; 4096];
    while left > 0 {
        let room = left.min(bytes.len() as u64) as usize;
        let found = connection.socket().read(&mut bytes[..room])?;
        if found == 0 {
            break;
        }
        left -= found as u64;
    }
    Ok(())
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.resident_bytes.map(|bytes| (bytes as f64 / f64::from(1 << 20)).round());
        write!(
            f,
            "{} requests in {:.0} s: {} cut while sent, {} cut while answered, {} whole and as they are alone; all \
             pages free after {:.0?}; resident {} / {} / {} MiB in the thirds; sockets {} before, {} after",
            self.requests,
            self.time.as_secs_f64(),
            self.cut_request,
            self.cut_answer,
            self.whole,
            self.settled,
            mib[0],
            mib[1],
            mib[2],
            self.sockets[0],
            self.sockets[1],
        )
    }
}
