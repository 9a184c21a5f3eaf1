//! Clients who stream without a break, and for each request: when it began, who answered, and how it ended.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::load::client::Connection;
use crate::load::requests::{self, COMPLETIONS, Known, Times};

/// The header by which the proxy says who answered.
const SERVED_BY: &str = "x-served-by";
/// For something that must come to pass while clients ask.
const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(10);
/// A client whose request failed rests for as long, so that a proxy that is gone does not fill the record.
const REST: Duration = Duration::from_millis(20);

/// One request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) begun: Instant,
    /// The replica's name, once the head of an answer was here; none without a proxy.
    pub(super) served_by: Option<String>,
    pub(super) end: End,
}

/// How a request ended.
#[derive(Debug)]
pub(super) enum End {
    /// The answer is whole and the known one.
    Right(Times),
    /// The answer began, with 200, and broke off.
    Cut(String),
    /// No answer, a refusal, or another answer.
    Failed(String),
}

/// Clients at work.
pub(super) struct Clients<'a> {
    addresses: &'a [SocketAddr],
    known: &'a Known,
    is_over: AtomicBool,
    asked: Mutex<Vec<Asked>>,
}

impl<'a> Clients<'a> {
    /// Runs so many clients, spread over the addresses, for as long as `meanwhile` takes; it is told of them.
    ///
    /// # Errors
    /// Those of `meanwhile`.
    pub(super) fn run<T>(
        addresses: &'a [SocketAddr],
        known: &'a Known,
        count: usize,
        meanwhile: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<(Vec<Asked>, T)> {
        let clients = Clients { addresses, known, is_over: AtomicBool::new(false), asked: Mutex::default() };
        let outcome = thread::scope(|scope| {
            let threads: Vec<ScopedJoinHandle<'_, ()>> = (0..count)
                .map(|number| {
                    scope.spawn({
                        let clients = &clients;
                        move || clients.client(number)
                    })
                })
                .collect();
            let outcome = meanwhile(&clients);
            clients.is_over.store(true, Ordering::Release);
            for thread in threads {
                thread.join().expect("a client does not panic");
            }
            outcome
        })?;
        Ok((clients.asked.into_inner().expect("no holder panics"), outcome))
    }

    /// Asks until it is over. Half of the clients keep their connection, the others open one a request.
    fn client(&self, number: usize) {
        let address = self.addresses[number % self.addresses.len()];
        let mut kept = None;
        for at in 0.. {
            if self.is_over.load(Ordering::Acquire) {
                return;
            }
            // Each starts elsewhere, so that requests meet in ever other company.
            let asked = self.ask(address, &mut kept, number + at * (number % 3 + 1));
            let is_right = matches!(asked.end, End::Right(_));
            self.asked.lock().expect("no holder panics").push(asked);
            if !is_right {
                thread::sleep(REST);
            }
            if !is_right || number % 4 >= 2 {
                kept = None;
            }
        }
    }

    fn ask(&self, address: SocketAddr, kept: &mut Option<Connection>, case: usize) -> Asked {
        let begun = Instant::now();
        let mut served_by = None;
        let end = self.answer(address, kept, case, begun, &mut served_by);
        let end = end.unwrap_or_else(|error| End::Failed(format!("{error:#}")));
        Asked { begun, served_by, end }
    }

    fn answer(
        &self,
        address: SocketAddr,
        kept: &mut Option<Connection>,
        case: usize,
        begun: Instant,
        served_by: &mut Option<String>,
    ) -> Result<End> {
        let connection = match kept {
            Some(connection) => connection,
            None => kept.insert(Connection::open(address)?),
        };
        let (request, want) = self.known.case(case);
        let head = connection.post(COMPLETIONS, request)?;
        *served_by = head.header(SERVED_BY).map(str::to_owned);
        if head.status != 200 {
            let body = connection.body(&head)?;
            bail!("status {}: {}", head.status, String::from_utf8_lossy(&body));
        }
        Ok(match requests::read(connection, &head, begun) {
            Ok((found, times)) => {
                ensure!(found == *want, "request {request} got {found:?}, alone {want:?}");
                End::Right(times)
            }
            Err(error) => End::Cut(format!("{error:#}")),
        })
    }

    /// Waits until a request that began after `since` was answered by this replica.
    pub(super) fn wait_for(&self, replica: &str, since: Instant) -> Result<Duration> {
        let is_it = |asked: &Asked| {
            let by = asked.served_by.as_deref() == Some(replica);
            by && asked.begun >= since && matches!(asked.end, End::Right(_))
        };
        let started = Instant::now();
        while !self.asked.lock().expect("no holder panics").iter().rev().any(is_it) {
            ensure!(
                started.elapsed() < PATIENCE,
                "no request is answered by replica `{replica}` in {PATIENCE:?}"
            );
            thread::sleep(GLANCE);
        }
        Ok(since.elapsed())
    }
}

/// Wants every request to have got its answer.
///
/// # Errors
/// The first that did not.
pub(super) fn all_right(asked: &[Asked]) -> Result<()> {
    let wrong = asked.iter().filter_map(|asked| match &asked.end {
        End::Right(_) => None,
        End::Cut(how) | End::Failed(how) => Some((&asked.served_by, how)),
    });
    let wrong: Vec<_> = wrong.collect();
    let first = wrong.first().map(|(by, how)| format!("by {}: {how}", by.as_deref().unwrap_or("nobody")));
    match first {
        Some(first) => bail!("{} of {} requests failed, the first {first}", wrong.len(), asked.len()),
        None => Ok(()),
    }
}

/// The times of the right answers.
pub(super) fn times(asked: &[Asked]) -> impl Iterator<Item = &Times> {
    asked.iter().filter_map(|asked| match &asked.end {
        End::Right(times) => Some(times),
        End::Cut(_) | End::Failed(_) => None,
    })
}

/// How many were answered rightly by a replica.
pub(super) fn right_by(asked: &[Asked], replica: &str) -> usize {
    let by =
        |asked: &&Asked| asked.served_by.as_deref() == Some(replica) && matches!(asked.end, End::Right(_));
    asked.iter().filter(by).count()
}

/// What a kill did: the streams it cut, and the requests that began when the replica was dead.
pub(super) struct Killed {
    pub(super) cut: usize,
    pub(super) new: usize,
}

/// Wants a replica that was dead at `dead` to have cut its own streams, and nothing else to have failed.
///
/// # Errors
/// A request failed that began afterwards, or that another replica answered, or that no answer had begun for.
pub(super) fn only_its_own(asked: &[Asked], replica: &str, dead: Instant) -> Result<Killed> {
    let mut killed = Killed { cut: 0, new: 0 };
    for Asked { begun, served_by, end } in asked {
        let is_new = *begun >= dead;
        killed.new += usize::from(is_new);
        match end {
            End::Right(_) => {}
            End::Cut(_) if !is_new && served_by.as_deref() == Some(replica) => killed.cut += 1,
            End::Cut(how) | End::Failed(how) => {
                let by = served_by.as_deref().unwrap_or("nobody");
                let when = if is_new { "after" } else { "before" };
                bail!("a request that began {when} the kill of `{replica}` failed, answered by {by}: {how}");
            }
        }
    }
    Ok(killed)
}
