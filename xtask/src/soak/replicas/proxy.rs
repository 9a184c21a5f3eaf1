//! haproxy as a process of its own, with the file that people are given: `deploy/haproxy/haproxy.cfg`.
//!
//! Addresses come to it by the variables that the file names.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::NamedTempFile;

use crate::load::client::Connection;
use crate::process;

/// From the project's root.
const CONFIGURATION: &str = "deploy/haproxy/haproxy.cfg";
/// For both replicas to be found.
const START: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(20);

/// A running haproxy; it is killed when it is dropped.
pub(super) struct Proxy {
    process: Child,
    pub(super) address: SocketAddr,
    log: NamedTempFile,
}

impl Proxy {
    /// Starts it before two replicas, and waits until it answers from one.
    ///
    /// # Errors
    /// haproxy is not installed, does not take the file, or finds no replica.
    pub(super) fn start(program: &str, address: SocketAddr, replicas: [SocketAddr; 2]) -> Result<Self> {
        let log = NamedTempFile::new()?;
        let writer = || -> Result<Stdio> { Ok(File::options().append(true).open(log.path())?.into()) };
        let mut command = process::command(program, &["-db", "-f", CONFIGURATION]);
        command.env("FRONT_ADDRESS", address.to_string());
        command.env("REPLICA_ONE", replicas[0].to_string()).env("REPLICA_TWO", replicas[1].to_string());
        command.stdin(Stdio::null()).stdout(writer()?).stderr(writer()?);
        let process = command.spawn().with_context(|| format!("cannot start `{program}`"))?;
        let mut proxy = Proxy { process, address, log };
        proxy.wait_until_ready()?;
        Ok(proxy)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            self.is_alive()?;
            let status = Connection::open(self.address).and_then(|mut connection| connection.get("/ready"));
            if matches!(status, Ok((head, _)) if head.status == 200) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "haproxy finds no replica in {START:?}: {}", self.said());
            thread::sleep(GLANCE);
        }
    }

    /// Wants it to run.
    pub(super) fn is_alive(&mut self) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            bail!("haproxy has ended, {status}: {}", self.said());
        }
        Ok(())
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Its first line about itself, such as `HAProxy version 2.6.12`.
///
/// # Errors
/// It cannot be started; with how to get it.
pub(super) fn version(program: &str) -> Result<String> {
    let output = Command::new(program).arg("-v").output().with_context(|| {
        format!("`{program}` cannot be started; on Debian `apt install haproxy` has it, and `--haproxy` names another")
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().next().with_context(|| format!("`{program} -v` says nothing"))?;
    Ok(line.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}
