//! Two replicas of `tercet serve` behind haproxy, on the embedded model: one is killed, one is told to end.
//!
//! ```text
//! clients ──▶ haproxy, with deploy/haproxy/haproxy.cfg ──▶ one
//!                                                      ──▶ two
//! ```
//!
//! Counts are wanted, times are only told.

mod clients;
mod pace;
mod proxy;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::load::percentile::percentile;
use crate::load::requests::Known;
use crate::load::server::Server;
use clients::{Asked, Clients};
use pace::Pace;
use proxy::Proxy;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Minutes in all, about.
    #[arg(long, default_value_t = 4.0)]
    minutes: f64,
    /// Clients who stream at once.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Seeds requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The binary to run; one is built without.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// The proxy to run.
    #[arg(long, default_value = "haproxy")]
    haproxy: String,
}

/// What haproxy calls the replicas.
const ONE: &str = "one";
const TWO: &str = "two";
/// Requests whose answers are known.
const CASES: usize = 64;
/// Ports that no system gives to connections that go out. One that it does may be taken while its replica is dead.
const PORTS: std::ops::Range<u16> = 18_100..32_000;
/// For a replica to end: its own default for what is in work, and more.
const DRAIN: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(20);

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { minutes, clients, seed, ref haproxy, .. } = *arguments;
    ensure!(minutes > 0.0, "--minutes is {minutes}, expected more than 0");
    ensure!(clients >= 4, "--clients is {clients}, expected at least 4");
    let version = proxy::version(haproxy)?;
    let binary = super::binary(arguments.binary.as_deref())?;
    let [front, at_one, at_two] = free_addresses()?;
    let mut one = start(&binary, at_one)?;
    let two = start(&binary, at_two)?;
    let known = Known::find(&one, CASES, seed)?;
    println!("{CASES} requests have an answer alone");
    let mut proxy = Proxy::start(haproxy, front, [at_one, at_two])?;
    println!("two replicas behind {version}");
    let phase = Duration::from_secs_f64(minutes * 60.0 / 4.0);

    let pace = [Pace::of(at_one)?, Pace::of(front)?];
    pace[1].is_that_of(&pace[0])?;
    let [direct, through] = pace;
    println!(
        "streams of {} events come in {} pieces, through haproxy in {}",
        direct.events, direct.reads, through.reads
    );
    let generated = pace::leave(front, [&one, &two])?;
    println!("a client that leaves takes its request along, after {generated} tokens of it");

    let rest = |_: &Clients<'_>| {
        thread::sleep(phase);
        Ok(())
    };
    for (name, addresses) in [("direct", &[at_one, at_two][..]), ("through haproxy", &[front])] {
        let (asked, ()) = Clients::run(addresses, &known, clients, rest)?;
        clients::all_right(&asked).context(name)?;
        println!("{name}: {clients} clients, {}", Figures::of(&asked));
    }

    let (asked, (dead, two, back)) = Clients::run(&[front], &known, clients, |running| {
        under_load(running, &two, TWO, phase / 3)?;
        // SIGKILL, and it is waited for.
        drop(two);
        let dead = Instant::now();
        thread::sleep(phase / 3);
        proxy.is_alive()?;
        let two = start(&binary, at_two)?;
        let back = running.wait_for(TWO, Instant::now())?;
        thread::sleep(phase / 3);
        Ok((dead, two, back))
    })?;
    let killed = clients::only_its_own(&asked, TWO, dead).context("kill")?;
    ensure!(killed.cut > 0, "kill: no stream was cut, so it was not under load; --clients gives more");
    println!(
        "kill of `{TWO}`: {} of its streams were cut, all of {} requests that began afterwards were answered rightly; \
         it was started again and answered {:.1} s after it was ready",
        killed.cut,
        killed.new,
        back.as_secs_f64(),
    );

    let (asked, (one, drained)) = Clients::run(&[front], &known, clients, |running| {
        under_load(running, &one, ONE, phase / 3)?;
        let told = Instant::now();
        kill_process(Pid::from_child(&one.process), Signal::TERM)?;
        let status = wait(&mut one)?;
        ensure!(status.success(), "a replica that was told to end did so with {status}: {}", one.said());
        let drained = told.elapsed();
        thread::sleep(phase / 3);
        proxy.is_alive()?;
        let one = start(&binary, at_one)?;
        running.wait_for(ONE, Instant::now())?;
        thread::sleep(phase / 3);
        Ok((one, drained))
    })?;
    clients::all_right(&asked).context("drain")?;
    println!(
        "drain of `{ONE}`: it ended after {:.1} s; no stream was cut and no request failed of {}: {} by `{ONE}`, {} by \
         `{TWO}`",
        drained.as_secs_f64(),
        asked.len(),
        clients::right_by(&asked, ONE),
        clients::right_by(&asked, TWO),
    );
    for mut server in [one, two] {
        server.is_sound()?;
    }
    Ok(())
}

/// Starts a replica with half of the cores.
fn start(binary: &Path, address: SocketAddr) -> Result<Server> {
    let threads = thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
    let (port, threads) = (address.port().to_string(), threads.to_string());
    Server::start(Command::new(binary), &["--port", &port, "--threads", &threads])
}

/// Waits until both replicas answer, then as long as is asked, then until this one is at work.
fn under_load(running: &Clients<'_>, server: &Server, name: &str, time: Duration) -> Result<()> {
    let started = Instant::now();
    for replica in [ONE, TWO] {
        running.wait_for(replica, started)?;
    }
    thread::sleep(time.saturating_sub(started.elapsed()));
    let deadline = Instant::now() + DRAIN;
    while server.metric("num_requests_running")? < 1.0 {
        ensure!(Instant::now() < deadline, "replica `{name}` has nothing to do");
    }
    Ok(())
}

/// Waits for the end of a replica that was told to end.
fn wait(server: &mut Server) -> Result<ExitStatus> {
    let deadline = Instant::now() + DRAIN;
    loop {
        if let Some(status) = server.process.try_wait()? {
            return Ok(status);
        }
        ensure!(
            Instant::now() < deadline,
            "a replica that was told to end runs after {DRAIN:?}: {}",
            server.said()
        );
        thread::sleep(GLANCE);
    }
}

/// Addresses of this machine that nobody listens on: the proxy's and the replicas'.
fn free_addresses() -> Result<[SocketAddr; 3]> {
    let bound = PORTS.filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()).take(3);
    let free: Vec<SocketAddr> = bound.map(|listener| listener.local_addr()).collect::<Result<_, _>>()?;
    free.try_into().ok().with_context(|| format!("no three of the ports {PORTS:?} are free"))
}

/// How answers came.
struct Figures {
    answers: usize,
    /// Sorted.
    first: Vec<Duration>,
    /// Sorted.
    gaps: Vec<Duration>,
}

impl Figures {
    fn of(asked: &[Asked]) -> Self {
        let mut first: Vec<Duration> = clients::times(asked).map(|times| times.first).collect();
        let mut gaps: Vec<Duration> =
            clients::times(asked).flat_map(|times| times.gaps.iter().copied()).collect();
        first.sort_unstable();
        gaps.sort_unstable();
        Figures { answers: first.len(), first, gaps }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} answers, each as it is alone; first piece {:.1?} (p99 {:.1?}), between pieces {:.2?} (p99 {:.1?})",
            self.answers,
            percentile(&self.first, 50),
            percentile(&self.first, 99),
            percentile(&self.gaps, 50),
            percentile(&self.gaps, 99),
        )
    }
}
