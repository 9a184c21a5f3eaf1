//! Connections whose requests never come to an end: others are answered, and they are closed in time.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::percentile::percentile;
use super::server::Server;

/// Questions for `/health` meanwhile.
const QUESTIONS: usize = 50;
/// Beyond the time that a client has for the head of a request.
const SLACK: Duration = Duration::from_secs(20);

/// What came of it.
pub(crate) struct Figures {
    connections: usize,
    /// Times of `/health`, sorted.
    health: Vec<Duration>,
    /// From the last one's opening to the last one's end.
    closed: Duration,
    header_time: Duration,
}

/// Opens so many connections, each with a part of a request.
///
/// `header_time` is what the server says that a client has for the head of a request.
///
/// # Errors
/// `/health` does not answer, or one stays open.
pub(crate) fn run(server: &Server, connections: usize, header_time: Duration) -> Result<Figures> {
    let mut open = Vec::with_capacity(connections);
    for number in 0..connections {
        let mut connection = server.connect().with_context(|| format!("half-open connection {number}"))?;
        // One past the server's room may be closed before anything is sent.
        let _ = connection.send(b"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ");
        open.push(connection);
    }
    let opened = Instant::now();
    let mut health = Vec::with_capacity(QUESTIONS);
    for _ in 0..QUESTIONS {
        let asked = Instant::now();
        let (head, _) = server.connect()?.get("/health").context("/health beside half-open connections")?;
        ensure!(head.status == 200, "/health answered {} beside half-open connections", head.status);
        health.push(asked.elapsed());
    }
    health.sort_unstable();
    let deadline = opened + header_time + SLACK;
    for (number, connection) in open.iter_mut().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        connection.socket().set_read_timeout(Some(left))?;
        let mut answer = Vec::new();
        match connection.socket().read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => {
                let after = opened.elapsed().as_secs();
                bail!("half-open connection {number} of {connections} is open after {after} s: {error}");
            }
        }
        let is_refusal =
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 408") || answer.starts_with(b"HTTP/1.1 503");
        ensure!(is_refusal, "half-open connection {number} got {:?}", String::from_utf8_lossy(&answer));
    }
    Ok(Figures { connections, health, closed: opened.elapsed(), header_time })
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} half-open connections: /health answers in {:.1?} (p99 {:.1?}); all closed after {:.1} s, the head of a \
             request has {:.0} s",
            self.connections,
            percentile(&self.health, 50),
            percentile(&self.health, 99),
            self.closed.as_secs_f64(),
            self.header_time.as_secs_f64(),
        )
    }
}
