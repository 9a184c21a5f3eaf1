//! `tercet serve` as a process of its own: started, asked how it is, and always ended.
//!
//! What it holds is read from its `/metrics` and, on Linux, from `/proc`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::client::Connection;

/// The line that names its address.
const LISTENING: &str = "listening on http://";
/// To start, and to load a small model.
const START: Duration = Duration::from_secs(120);
/// How often something is looked at that will come.
const GLANCE: Duration = Duration::from_millis(20);
/// For everything to be given back after the last client has gone.
const SETTLE: Duration = Duration::from_secs(10);
/// For connections whose clients have gone to be closed.
const REST: Duration = Duration::from_secs(1);

/// A running server.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
    /// What it has written to stderr.
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts it, on a free port if the arguments name none: `tercet serve` with these arguments.
    ///
    /// # Errors
    /// It ended, or was not ready in time; with what it said.
    pub(crate) fn start(tercet: Command, arguments: &[&str]) -> Result<Self> {
        let mut command = tercet;
        // A line a request would be much of what is measured.
        command.arg("serve").args(arguments).args(["--log-level", "error"]).env("TERCET_PORT", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().context("cannot start tercet")?;
        let stderr = process.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (sender, address) = mpsc::channel();
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let named = line.split_once(LISTENING).and_then(|(_, address)| address.trim().parse().ok());
                lines.lock().expect("no holder panics").push(line);
                if let Some(address) = named {
                    // Nobody listens any more where the start has failed.
                    let _ = sender.send(address);
                }
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { process, address: unknown, log };
        let told = address.recv_timeout(START);
        server.address = told.with_context(|| format!("tercet serve named no address: {}", server.said()))?;
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        while Connection::open(self.address)?.get("/ready")?.0.status != 200 {
            ensure!(Instant::now() < deadline, "it is not ready after {START:?}: {}", self.said());
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// What it said on stderr.
    pub(crate) fn said(&self) -> String {
        self.log.lock().expect("no holder panics").join("\n")
    }

    /// A connection of its own.
    pub(crate) fn connect(&self) -> Result<Connection> {
        Connection::open(self.address)
    }

    /// One number of its `/metrics`, by the part of the name after `tercet:`.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let (head, body) = self.connect()?.get("/metrics")?;
        ensure!(head.status == 200, "/metrics answered {}", head.status);
        let text = String::from_utf8(body)?;
        let is_it = |line: &&str| {
            let rest = line.strip_prefix("tercet:").and_then(|line| line.strip_prefix(name));
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        let line = text.lines().find(is_it).with_context(|| format!("/metrics has no `tercet:{name}`"))?;
        let number = line.rsplit(' ').next().unwrap_or_default();
        number.parse().with_context(|| format!("/metrics has the line {line:?}"))
    }

    /// Waits until no request and no page of the cache is held; how long that took.
    pub(crate) fn settle(&self) -> Result<Duration> {
        const HELD: [&str; 3] = ["num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"];
        let started = Instant::now();
        loop {
            let held = HELD.map(|name| self.metric(name));
            let [running, waiting, usage] = held;
            let held = [running?, waiting?, usage?];
            if held == [0.0; 3] {
                return Ok(started.elapsed());
            }
            if started.elapsed() > SETTLE {
                bail!("{SETTLE:?} after the last client has gone, {HELD:?} are {held:?}");
            }
            thread::sleep(GLANCE);
        }
    }

    /// Bytes of memory that it has.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let text = fs::read_to_string(&path).context("resident memory is read from Linux's /proc")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS in /proc")?;
        Ok(kib.trim().parse::<u64>()? * 1024)
    }

    /// Sockets that it has open without any client: the fewest within a while, since those of clients who have
    /// just gone close late on a busy machine.
    pub(crate) fn sockets_at_rest(&self) -> Result<usize> {
        let started = Instant::now();
        let mut fewest = self.sockets()?;
        while started.elapsed() < REST {
            thread::sleep(GLANCE);
            fewest = fewest.min(self.sockets()?);
        }
        Ok(fewest)
    }

    /// Sockets that it has open.
    pub(crate) fn sockets(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.process.id());
        let entries = fs::read_dir(&folder).context("open files are read from Linux's /proc")?;
        // One that closes meanwhile has no target any more.
        let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        Ok(targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count())
    }

    /// Waits until it has at most so many sockets open; how long that took.
    pub(crate) fn sockets_fall_to(&self, expected: usize, patience: Duration) -> Result<Duration> {
        let started = Instant::now();
        loop {
            let found = self.sockets()?;
            if found <= expected {
                return Ok(started.elapsed());
            }
            if started.elapsed() > patience {
                bail!("{found} sockets are open after {patience:?}, expected {expected}");
            }
            thread::sleep(GLANCE);
        }
    }

    /// Wants it to live, and nothing in it to have panicked.
    pub(crate) fn is_sound(&mut self) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            bail!("the server has ended, {status}: {}", self.said());
        }
        let said = self.said();
        ensure!(!said.contains("panicked"), "something in the server panicked: {said}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
