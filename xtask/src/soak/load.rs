//! `tercet serve` under load, on the embedded model.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::load::requests::Known;
use crate::load::server::Server;
use crate::load::storm::Storm;
use crate::load::streams::Streams;
use crate::load::{burst, half_open, slow, storm, streams};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Minutes in all, about: half for the clients who stream, and 2,000 requests of the storm a minute.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Clients who stream at once.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Clients who come within one second.
    #[arg(long, default_value_t = 1000)]
    burst: usize,
    /// Requests of the storm, of which half are cut; by the minutes without.
    #[arg(long)]
    requests: Option<usize>,
    /// Connections whose request never ends.
    #[arg(long, default_value_t = 2000)]
    half_open: usize,
    /// Seeds requests and cuts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The binary to run; one is built without.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Scenarios to run: streams, burst, storm, slow, half-open; all without one.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

const SCENARIOS: [&str; 5] = ["streams", "burst", "storm", "slow", "half-open"];
/// Requests whose answers are known.
const CASES: usize = 64;
/// Clients of the storm.
const STORM_CLIENTS: usize = 32;
/// Clients beside the slow one.
const OTHERS: Streams = Streams { clients: 8, time: Duration::from_secs(10) };
/// What the server is told that a client has for the head of a request: its own default.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// And to take what was written: its own default.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// Open files that are not connections.
const OTHER_FILES: usize = 100;

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { minutes, clients, burst, half_open, seed, .. } = *arguments;
    ensure!(minutes > 0.0, "--minutes is {minutes}, expected more than 0");
    if let Some(unknown) = arguments.only.iter().find(|name| !SCENARIOS.contains(&name.as_str())) {
        bail!("there is no scenario `{unknown}`, expected {}", SCENARIOS.join(", "));
    }
    allow_files(half_open.max(burst).max(clients) + OTHER_FILES)?;
    let mut server = Server::start(Command::new(super::binary(arguments.binary.as_deref())?), &[])?;
    let known = Known::find(&server, CASES, seed)?;
    println!("{CASES} requests have an answer alone");
    let mut failures = Vec::new();
    let mut scenario = |name: &str, run: &mut dyn FnMut(&Server) -> Result<String>| {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|only| only == name) {
            return;
        }
        let started = Instant::now();
        let outcome = run(&server).and_then(|figures| server.is_sound().map(|()| figures));
        match outcome {
            Ok(figures) => println!("{name}: {figures} ({:.0} s)", started.elapsed().as_secs_f64()),
            Err(error) => {
                println!("{name}: FAILED: {error:#}");
                failures.push(name.to_owned());
            }
        }
    };
    let time = Duration::from_secs_f64(minutes * 30.0);
    scenario("streams", &mut |server| told(streams::run(server, &known, &Streams { clients, time })));
    scenario("burst", &mut |server| told(burst::run(server, burst)));
    let requests = arguments.requests.unwrap_or((minutes * 2000.0).ceil() as usize);
    let plan = Storm { clients: STORM_CLIENTS, requests, seed };
    scenario("storm", &mut |server| told(storm::run(server, &known, &plan)));
    scenario("slow", &mut |server| told(slow::run(server, &known, &OTHERS, WRITE_TIME)));
    scenario("half-open", &mut |server| told(half_open::run(server, half_open, HEADER_TIME)));
    println!("{} failed", failures.len());
    ensure!(failures.is_empty(), "failed: {}", failures.join(", "));
    Ok(())
}

fn told(figures: Result<impl Display>) -> Result<String> {
    figures.map(|figures| figures.to_string())
}

/// Lets this process, and the server that it starts, have so many files open.
fn allow_files(wanted: usize) -> Result<()> {
    let wanted = wanted as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= wanted),
        "{wanted} open files are wanted, and the system allows {:?} (ulimit -H -n)",
        limit.maximum
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })?;
    Ok(())
}
