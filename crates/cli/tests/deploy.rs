//! What `deploy/` and `docs/deploy.md` say of the program is so: flags, variables, routes, metrics, and times that must
//! fit each other.

mod command;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};

use command::{command, tercet};

const PAGE: &str = "docs/deploy.md";
const BOARD: &str = "deploy/grafana/tercet.json";
const ALERTS: &str = "deploy/prometheus/alerts.yml";
const PROXY: &str = "deploy/haproxy/haproxy.cfg";
const UNIT: &str = "deploy/systemd/tercet.service";
const SETTINGS: &str = "deploy/systemd/tercet.env";
const COMPOSE: &str = "deploy/container/compose.yaml";
const KUBERNETES: &str = "deploy/kubernetes/tercet.yaml";
/// Seconds after the drain timeout.
const LAST_BYTES: u64 = tercet_serve::http::LAST_BYTES.as_secs();

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below a folder, by their paths from the root.
fn files(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// The words of a text that begin so, of letters, digits and these.
fn words<'a>(text: &'a str, start: &str, more: &str) -> BTreeSet<&'a str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    let ends = |text: &'a str| text.split(|c| !is_part(c)).next().unwrap_or_default();
    let begins = |at: usize| !text[..at].chars().next_back().is_some_and(is_part);
    text.match_indices(start).filter(|(at, _)| begins(*at)).map(|(at, _)| ends(&text[at..])).collect()
}

/// Without the lines that are comments, which name other programs.
fn without_comments(text: &str) -> String {
    let is_comment = |line: &&str| line.trim_start().starts_with('#');
    text.lines().filter(|line| !is_comment(line)).collect::<Vec<_>>().join("\n")
}

/// The number after the first place where this stands.
#[track_caller]
fn number(path: &str, before: &str) -> u64 {
    let text = text(path);
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{path} has no `{before}`"));
    let rest = rest.trim_start_matches('"');
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("{path}: `{before}` is followed by `{}`", rest.lines().next().unwrap()))
}

/// The default that `tercet serve --help` gives a flag.
fn default_of(flag: &str) -> u64 {
    let help = tercet(["serve", "--help"]).success().stdout;
    let (_, rest) =
        help.split_once(&format!("{flag} <")).unwrap_or_else(|| panic!("`{flag}` is not in\n{help}"));
    let (_, rest) = rest.split_once("[default: ").expect("it has a default");
    rest.split_once(']').unwrap().0.parse().unwrap()
}

#[test]
fn flags_are_those_of_the_program() {
    let help = tercet(["serve", "--help"]).success().stdout + &tercet(["pull", "--help"]).success().stdout;
    let known = words(&help, "--", "-");
    let mut found = 0;
    for path in [UNIT, SETTINGS, COMPOSE, KUBERNETES] {
        let text = without_comments(&text(path));
        for flag in words(&text, "--", "-").into_iter().filter(|flag| flag.len() > 3) {
            assert!(known.contains(flag), "{path}: `{flag}` is no flag of `tercet serve`");
            found += 1;
        }
    }
    // On the page those that stand in backquotes.
    let page = text(PAGE);
    for flag in page.split('`').filter(|code| code.starts_with("--") && !code.contains('\n')) {
        let flag = flag.split([' ', '=']).next().unwrap();
        assert!(known.contains(flag), "{PAGE}: `{flag}` is no flag of `tercet serve`");
        found += 1;
    }
    assert!(found > 10, "only {found} flags were found");
}

#[test]
fn variables_are_those_of_the_program() {
    let help = tercet(["serve", "--help"]).success().stdout;
    let of_hub = text("docs/hub.md");
    let known: BTreeSet<&str> =
        words(&help, "TERCET_", "_").into_iter().chain(words(&of_hub, "HF_", "_")).collect();
    let mut found = 0;
    for path in files("deploy").into_iter().chain([PAGE.to_owned()]) {
        let text = text(&path);
        for variable in words(&text, "TERCET_", "_").into_iter().chain(words(&text, "HF_", "_")) {
            assert!(
                known.contains(variable),
                "{path}: no `{variable}` in `tercet serve --help` or docs/hub.md"
            );
            found += 1;
        }
    }
    assert!(found > 10, "only {found} variables were found");
}

#[test]
fn supervisors_wait_longer_than_a_drain_takes() {
    let drain = default_of("--drain-timeout");
    let unit = number(UNIT, "\nTimeoutStopSec=");
    assert!(unit > number(SETTINGS, "\nTERCET_DRAIN_TIMEOUT=") + LAST_BYTES, "{UNIT}: {unit} s");
    let compose = number(COMPOSE, "stop_grace_period: ");
    assert!(compose > drain + LAST_BYTES, "{COMPOSE}: {compose} s");
    let pause = number(KUBERNETES, "command: [sleep, ");
    let grace = number(KUBERNETES, "terminationGracePeriodSeconds: ");
    let drain = number(KUBERNETES, "name: TERCET_DRAIN_TIMEOUT, value: ");
    assert!(grace > pause + drain + LAST_BYTES, "{KUBERNETES}: {grace} s");
}

#[test]
fn the_proxy_leaves_connections_free() {
    let (at_work, idle) = (number(PROXY, "rise 1 maxconn "), number(PROXY, " pool-max-conn "));
    let all = default_of("--max-connections");
    assert!(at_work + idle < all, "{at_work} at work and {idle} idle, the server has {all}");
}

/// The embedded model on a free port, ready; with a key if one is given. It is killed where a test fails.
struct Server {
    child: Child,
    address: SocketAddr,
    /// Open for as long as it may say something.
    _stderr: BufReader<ChildStderr>,
}

impl Server {
    fn start(arguments: &[&str], key: Option<&str>) -> Self {
        let mut command = command();
        command.args(["serve", "--port", "0", "--log-level", "error"]).args(arguments);
        command.envs(key.map(|key| ("TERCET_API_KEY", key)));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (mut line, mut address) = (String::new(), None);
        while line.trim_end() != "tercet: ready" {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it is ready before it ends");
            if let Some((_, found)) = line.split_once("listening on http://") {
                address = Some(found.trim().parse().unwrap());
            }
        }
        Server { child, address: address.expect("it says where it listens"), _stderr: stderr }
    }

    /// Sends a request; the rest of the connection is its answer.
    fn send(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let (host, length) = (self.address, body.len());
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        let kind = format!("content-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{kind}{body}").as_bytes()).unwrap();
        stream
    }

    /// The status of an answer, and all of it.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut answer = String::new();
        self.send(method, path, body).read_to_string(&mut answer).unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn probes_ask_for_routes_that_need_no_key() {
    let server = Server::start(&[], Some("Y2FuYXJ5IG9mIHRoZSBrZXkgb2YgdGVzdHM"));
    let mut found = 0;
    for (path, before) in [
        (PROXY, "meth GET uri "),
        (KUBERNETES, "httpGet: {path: "),
        ("deploy/container/healthcheck", "'GET "),
    ] {
        let text = text(path);
        for (at, _) in text.match_indices(before) {
            let rest = &text[at + before.len()..];
            let route = rest.split([' ', ',']).next().unwrap();
            let (status, answer) = server.ask("GET", route, "");
            assert_eq!(status, 200, "{path}: {route} answers {answer}");
            found += 1;
        }
    }
    assert_eq!(found, 5, "probes");
    assert_eq!(server.ask("GET", "/metrics", "").0, 401, "metrics need a key, as the pages say");
}

#[test]
fn metrics_are_those_of_the_program() {
    let server = Server::start(&["--parallel", "1", "--max-queue", "1"], None);
    // Some appear with the first request that they count: one that is done, and one that is refused, for others wait.
    let short = r#"{"prompt": "Once upon a time", "max_tokens": 4}"#;
    assert_eq!(server.ask("POST", "/v1/completions", short).0, 200);
    let long =
        r#"{"prompt": "Once upon a time", "max_tokens": 400, "n": 2, "ignore_eos": true, "stream": true}"#;
    // One is worked on and one waits, so of many at once most are refused.
    let streams: Vec<TcpStream> = (0..16).map(|_| server.send("POST", "/v1/completions", long)).collect();
    let refused = streams.into_iter().filter(|mut stream| {
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        &status == b"HTTP/1.1 429"
    });
    assert!(refused.count() > 0, "nobody was refused");
    let (_, metrics) = server.ask("GET", "/metrics", "");
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    let known: BTreeSet<&str> = lines.filter_map(|line| line.split(['{', ' ']).next()).collect();

    let board: serde_json::Value = serde_json::from_str(&text(BOARD)).unwrap();
    assert_eq!(board["__inputs"][0]["name"], "DS_PROMETHEUS", "whoever imports it chooses the data source");
    let panels = board["panels"].as_array().unwrap();
    let targets = || panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    assert!(targets().all(|target| target["datasource"]["uid"] == "${DS_PROMETHEUS}"));
    let queries: Vec<&str> = targets().map(|target| target["expr"].as_str().unwrap()).collect();
    let variables = board["templating"]["list"].as_array().unwrap();
    let definitions = variables.iter().map(|variable| variable["definition"].as_str().unwrap());
    let asked = queries.into_iter().chain(definitions).collect::<Vec<_>>().join("\n");
    let rules = text(ALERTS);
    for (path, text) in [(BOARD, &asked), (ALERTS, &without_comments(&rules))] {
        let names: Vec<&str> =
            words(text, "tercet:", ":_").into_iter().chain(words(text, "process_", "_")).collect();
        assert!(names.len() > 4, "{path}: only {names:?}");
        for name in names {
            assert!(known.contains(name), "{path}: `{name}` is not in\n{metrics}");
        }
    }
}
