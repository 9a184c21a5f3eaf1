//! One client alone: whether a stream comes piece by piece, and whether it ends when its client leaves.
//!
//! Readings of the socket and tokens are counted. Times are only compared with each other.

use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::load::client::{Connection, post};
use crate::load::requests::COMPLETIONS;
use crate::load::server::Server;

/// Streams whose readings are counted.
const STREAMS: usize = 6;
/// Tokens of one of them.
const TOKENS: usize = 240;
/// A quarter of the readings without a proxy must be left with one: on a busy machine pieces meet on their way. A proxy
/// that holds an answer back until its buffer is full, or the answer whole, leaves a handful.
const READS_SHARE: usize = 4;
/// Texts, and tokens of each, of the answer whose client leaves.
const LEFT_TEXTS: usize = 8;
const LEFT_TOKENS: usize = 480;

/// How streams came.
#[derive(Default)]
pub(super) struct Pace {
    /// Readings of the socket that gave something, from the first event on.
    pub(super) reads: usize,
    pub(super) events: usize,
    /// To the first event, and from there to the end, of all together.
    before: Duration,
    after: Duration,
}

impl Pace {
    /// Asks for some streams, one after the other.
    ///
    /// # Errors
    /// One is not whole.
    pub(super) fn of(address: SocketAddr) -> Result<Self> {
        let mut pace = Pace::default();
        for seed in 0..STREAMS {
            let request = json!({
                "prompt": "Once upon a time", "max_tokens": TOKENS, "seed": seed, "ignore_eos": true, "stream": true,
            });
            pace.add(address, &request)?;
        }
        Ok(pace)
    }

    fn add(&mut self, address: SocketAddr, request: &Value) -> Result<()> {
        let begun = Instant::now();
        let mut connection = Connection::open(address)?;
        // So the end of the answer is that of the connection.
        connection.send(&post(address, COMPLETIONS, "connection: close\r\n", request))?;
        let (mut answer, mut bytes, mut first) = (Vec::new(), vec![0; 64 << 10], None);
        loop {
            let found = connection.socket().read(&mut bytes).context("the answer was cut")?;
            if found == 0 {
                break;
            }
            answer.extend_from_slice(&bytes[..found]);
            if first.is_none() && events(&answer) > 0 {
                first = Some(begun.elapsed());
            }
            self.reads += usize::from(first.is_some());
        }
        let text = String::from_utf8_lossy(&answer);
        ensure!(text.starts_with("HTTP/1.1 200"), "a stream begins with {:?}", text.lines().next());
        ensure!(text.ends_with("\r\n0\r\n\r\n"), "a stream was cut after {} bytes", answer.len());
        let first = first.context("a stream has no event")?;
        self.events += events(&answer);
        self.before += first;
        self.after += begun.elapsed() - first;
        Ok(())
    }

    /// Wants streams to come through a proxy as they come without.
    ///
    /// # Errors
    /// They come in fewer pieces, or late.
    pub(super) fn is_that_of(&self, direct: &Pace) -> Result<()> {
        ensure!(
            self.reads * READS_SHARE >= direct.reads,
            "streams come in {} pieces through the proxy, in {} without: it holds them back",
            self.reads,
            direct.reads
        );
        ensure!(
            self.before < self.after,
            "through the proxy the first event comes after {:.1?}, the rest within {:.1?}: it holds streams back",
            self.before,
            self.after
        );
        Ok(())
    }
}

/// Events in what was read.
fn events(bytes: &[u8]) -> usize {
    bytes.windows(7).filter(|window| window == b"data: {").count()
}

/// Leaves a long answer at its first event; how many of its tokens were generated.
///
/// # Errors
/// Most were, though nobody read them.
pub(super) fn leave(address: SocketAddr, replicas: [&Server; 2]) -> Result<usize> {
    let generated = || -> Result<f64> {
        let [one, two] = replicas.map(|server| server.metric("generation_tokens_total"));
        Ok(one? + two?)
    };
    let settle = || replicas.iter().try_for_each(|server| server.settle().map(drop));
    settle()?;
    let before = generated()?;
    let mut connection = Connection::open(address)?;
    let request = json!({
        "prompt": "Once upon a time", "n": LEFT_TEXTS, "max_tokens": LEFT_TOKENS, "seed": 1, "ignore_eos": true,
        "stream": true,
    });
    let head = connection.post(COMPLETIONS, &request)?;
    ensure!(head.status == 200, "the client that leaves got status {}", head.status);
    connection.events(&head)?.next()?.context("the stream that is left has no event")?;
    drop(connection);
    settle()?;
    let found = (generated()? - before) as usize;
    let all = LEFT_TEXTS * LEFT_TOKENS;
    ensure!(found < all / 2, "{found} of {all} tokens were generated for a client that left at the first");
    Ok(found)
}
