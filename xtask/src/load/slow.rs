//! A client who reads a byte a second of a long stream: the others go on, and it is cut.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::json;

use super::client::Connection;
use super::requests::{COMPLETIONS, Known};
use super::server::Server;
use super::streams::{self, Streams};

/// How often it reads a byte.
const PACE: Duration = Duration::from_secs(1);
/// Of the connection, beyond the time that a client has to take what was written.
const SLACK: Duration = Duration::from_secs(30);
/// What its system holds for it. By itself Linux lets this grow to what a whole stream has, so that nobody
/// would notice.
const RECEIVE_BYTES: usize = 16 << 10;

/// What came of it.
pub(crate) struct Figures {
    without: streams::Figures,
    with: streams::Figures,
    cut: Duration,
    write_time: Duration,
}

/// Lets others stream without and with the slow one, who then must be cut.
///
/// `write_time` is what the server says that a client has to take what was written.
///
/// # Errors
/// Another's answer was not whole and its own, or the slow one is not cut.
pub(crate) fn run(server: &Server, known: &Known, others: &Streams, write_time: Duration) -> Result<Figures> {
    server.settle()?;
    let sockets = server.sockets_at_rest()?;
    let without = streams::run(server, known, others)?;
    server.sockets_fall_to(sockets, SLACK)?;
    // Megabytes, more than the sockets of both ends hold: sixteen texts, each token with twenty others.
    let request = json!({
        "prompt": ["Once upon a time", "The cat"], "n": 8, "max_tokens": 480, "ignore_eos": true, "seed": 1,
        "logprobs": 20, "stream": true,
    });
    let mut connection = server.connect()?;
    set_socket_recv_buffer_size(connection.socket(), RECEIVE_BYTES)?;
    let head = connection.post(COMPLETIONS, &request)?;
    ensure!(head.status == 200, "the slow reader got status {}", head.status);
    let is_over = AtomicBool::new(false);
    let (with, cut) = thread::scope(|scope| {
        let reader = scope.spawn(|| read_slowly(&mut connection, &is_over));
        let outcome = streams::run(server, known, others)
            .and_then(|with| Ok((with, server.sockets_fall_to(sockets, write_time + SLACK)?)));
        is_over.store(true, Ordering::Release);
        reader.join().expect("the reader does not panic")?;
        outcome
    })?;
    ensure!(
        !ends_whole(&mut connection)?,
        "the slow reader has got the whole stream, which is too short then"
    );
    server.settle()?;
    Ok(Figures { without, with, cut, write_time })
}

/// Reads a byte at a time until told to stop.
fn read_slowly(connection: &mut Connection, is_over: &AtomicBool) -> Result<()> {
    while !is_over.load(Ordering::Acquire) {
        match connection.socket().read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => thread::sleep(PACE),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => bail!("the slow reader: {error}"),
        }
    }
    Ok(())
}

/// Reads what is left, quickly; whether a stream ends in it as it should.
fn ends_whole(connection: &mut Connection) -> Result<bool> {
    let mut rest = Vec::new();
    match connection.socket().read_to_end(&mut rest) {
        Ok(_) => Ok(rest.ends_with(b"\r\n0\r\n\r\n")),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
        Err(error) => bail!("what is left for the slow reader: {error}"),
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "between pieces of the others {:.1?} without it, {:.1?} beside it; it was cut {:.0} s after them, and has \
             {:.0} s to take what was written",
            self.without.median_gap(),
            self.with.median_gap(),
            self.cut.as_secs_f64(),
            self.write_time.as_secs_f64(),
        )
    }
}
