//! `tercet serve`: how it starts, what it refuses to do, and how it ends.

mod command;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use command::{command, outcome, tercet};

const KEY: &str = "Y2FuYXJ5IG9mIHRoZSBrZXkgb2YgdGVzdHM";
/// Longer than a start takes, on a machine that does much else.
const LONG: Duration = Duration::from_secs(120);
/// A story without an end, about as long as the small model's context.
const STORY: &str =
    r#"{"prompt": "Once upon a time", "max_tokens": 240, "ignore_eos": true, "stream": true}"#;

/// A server that runs; it is killed where a test fails.
struct Server {
    child: Child,
    stderr: BufReader<ChildStderr>,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The embedded model on a free port, ready.
fn server(arguments: &str) -> Server {
    let mut command = command();
    command.args(["serve", "--port", "0"]).args(arguments.split_whitespace());
    start(&mut command)
}

fn start(command: &mut Command) -> Server {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut address = None;
    let mut line = String::new();
    while line.trim_end() != "tercet: ready" {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it says that it is ready before it ends");
        if let Some(found) = line.strip_prefix("tercet: listening on http://") {
            address = Some(found.trim().parse().unwrap());
        }
    }
    Server { child, stderr, address: address.expect("it says where it listens before it is ready") }
}

impl Server {
    /// Sends a request; the rest of the connection is its answer.
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// The status of an answer, and all of it.
    fn answer(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let answer = rest(&mut self.send(method, path, headers, body));
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("no status in `{answer}`")), answer)
    }

    fn status(&self, method: &str, path: &str) -> u16 {
        self.answer(method, path, &[], "").0
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Its exit code and what it still said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

/// What comes until the other side closes.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is reset has ended, too.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until a stream has begun to tell its story.
fn begun(stream: &mut TcpStream) {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"data: {") {
        stream.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
}

#[test]
fn a_browser_finds_the_page_and_what_it_shows() {
    let server = server("");
    let (status, page) = server.answer("GET", "/", &[], "");
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
    assert!(page.contains("<!doctype html>"), "{page}");
    let (status, props) = server.answer("GET", "/props", &[], "");
    assert_eq!(status, 200, "{props}");
    // The model inside only joins messages.
    assert!(props.contains(r#""mode":"completion""#), "{props}");
    let (status, layers) = server.answer("GET", "/props/layers", &[], "");
    assert_eq!(status, 200, "{layers}");
    assert!(layers.contains(r#""name":"mlp.down_proj""#), "{layers}");
}

#[test]
fn it_answers_where_it_says() {
    let server = server("");
    assert_eq!(server.status("GET", "/health"), 200);
    assert_eq!(server.status("GET", "/ready"), 200);
    let body = r#"{"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}"#;
    let (status, answer) = server.answer("POST", "/v1/completions", &[], body);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("there was a little girl"), "{answer}");
    // The engine counts after it has answered.
    let counted = "tercet:generation_tokens_total{model_name=\"stories\"} 8";
    let started = Instant::now();
    while !server.answer("GET", "/metrics", &[], "").1.contains(counted) {
        assert!(started.elapsed() < Duration::from_secs(60), "8 tokens were generated");
    }
    let (_, models) = server.answer("GET", "/v1/models", &[], "");
    assert!(models.contains("\"stories\""), "{models}");
}

#[test]
fn it_does_not_start_where_everybody_could_come_in() {
    for host in ["0.0.0.0", "::"] {
        let refused = tercet(["serve", "--host", host, "--port", "0"]);
        assert_eq!(refused.failure(), Some(2));
        assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
        assert!(refused.stderr.contains("--api-key-file"), "{}", refused.stderr);
    }
    let refused = tercet(["serve", "--cors-origins", "*", "--port", "0"]);
    assert_eq!(refused.failure(), Some(2));
    let refused = tercet(["serve", "--cors-origins", "example.org", "--port", "0"]);
    assert_eq!(refused.failure(), Some(2));
}

#[test]
fn bytes_are_written_as_elsewhere_and_a_name_is_not_empty() {
    let large = tercet(["serve", "--port", "0", "--max-body-bytes", "8G"]);
    assert_eq!(large.failure(), Some(2));
    assert!(large.stderr.contains("8589934592 bytes, expected 1024 to 1073741824"), "{}", large.stderr);
    assert_eq!(tercet(["serve", "--port", "0", "--alias", ""]).failure(), Some(2));
    let mut server = command();
    server.args(["serve", "--port", "0", "--max-body-bytes", "1K", "--alias", "ours"]);
    let server = start(&mut server);
    let body = format!("{{\"prompt\": \"{}\"}}", "a".repeat(1024));
    assert_eq!(server.answer("POST", "/v1/completions", &[], &body).0, 413);
}

#[test]
fn weak_keys_and_empty_places_for_keys_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.txt");
    for keys in ["", "# none\n", "secret", "0123456789abcdef"] {
        std::fs::write(&file, keys).unwrap();
        let refused = tercet(["serve", "--port", "0", "--api-key-file", file.to_str().unwrap()]);
        assert_eq!(refused.failure(), Some(2), "`{keys}`");
        assert!(!refused.stderr.contains("secret"), "{}", refused.stderr);
    }
    assert_eq!(tercet(["serve", "--api-key-file", "/nowhere/keys"]).failure(), Some(3));
    for key in ["", "secret"] {
        let refused = outcome(command().args(["serve", "--port", "0"]).env("TERCET_API_KEY", key));
        assert_eq!(refused.failure(), Some(2), "`{key}`");
    }
    let mut by_flag = command();
    by_flag.args(["serve", "--port", "0", "--api-key", "secret"]);
    assert_eq!(outcome(&mut by_flag).code, Some(2));
}

#[test]
fn a_taken_port_and_a_missing_model_have_their_exit_codes() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = tercet(["serve", "--port", &port]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("--port 0"), "{}", refused.stderr);
    assert_eq!(tercet(["serve", "./nowhere", "--port", "0"]).failure(), Some(3));
    assert_eq!(tercet(["serve", "--cache-memory", "1K", "--port", "0"]).failure(), Some(2));
    assert_eq!(
        tercet(["serve", "--preset", "700m", "--cache-memory", "900T", "--port", "0"]).failure(),
        Some(5)
    );
}

#[test]
fn keys_are_asked_for_and_never_shown() {
    let mut command = command();
    let server = start(
        command
            .args(["serve", "--port", "0", "--log-json", "--log-level", "debug"])
            .env("TERCET_API_KEY", format!("{KEY}\n{KEY}2")),
    );
    let body = r#"{"prompt": "canary of the prompt", "max_tokens": 4}"#;
    let key = format!("Bearer {KEY}2");
    assert_eq!(server.status("GET", "/health"), 200);
    assert_eq!(server.status("GET", "/v1/models"), 401);
    assert_eq!(server.answer("POST", "/v1/completions", &[("authorization", "Bearer wrong")], body).0, 401);
    let (status, answer) = server.answer("POST", "/v1/completions", &[("authorization", &key)], body);
    assert_eq!(status, 200, "{answer}");
    let (status, metrics) = server.answer("GET", "/metrics", &[("authorization", &key)], "");
    assert_eq!(status, 200);
    server.signal("-TERM");
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains(r#""route":"/v1/completions""#), "{log}");
    for text in [&log, &metrics] {
        assert!(!text.contains(KEY), "a key is in {text}");
        assert!(!text.contains("canary"), "a prompt is in {text}");
    }
}

#[test]
fn a_signal_lets_what_is_in_work_finish() {
    let server = server("");
    let mut story = server.send("POST", "/v1/completions", &[], STORY);
    begun(&mut story);
    server.signal("-TERM");
    let told = rest(&mut story);
    assert!(told.contains("data: [DONE]"), "the story is told to its end: {told}");
    let (code, said) = server.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn nothing_new_is_taken_while_it_ends() {
    // Slow enough to be asked in the meantime.
    let server = server("--preset 125m -t 1 --parallel 2");
    let mut story = server.send("POST", "/v1/completions", &[], &STORY.replace("240", "2000"));
    begun(&mut story);
    server.signal("-TERM");
    let start = Instant::now();
    while server.status("GET", "/ready") != 503 {
        assert!(start.elapsed() < LONG, "it takes the signal in");
    }
    assert_eq!(server.status("GET", "/health"), 200, "it works on");
    let body = r#"{"prompt": "Once", "max_tokens": 1}"#;
    let (status, answer) = server.answer("POST", "/v1/completions", &[], body);
    assert_eq!(status, 503, "{answer}");
    assert!(answer.contains("retry-after"), "{answer}");
    server.signal("-TERM");
    assert_eq!(server.end().0, Some(143), "the second signal ends it at once");
}

#[test]
fn what_is_not_done_in_time_is_cut_off_and_that_is_said() {
    let server = server("--preset 125m -t 1 --parallel 2 --drain-timeout 0");
    let mut story = server.send("POST", "/v1/completions", &[], &STORY.replace("240", "2000"));
    begun(&mut story);
    server.signal("-INT");
    let told = rest(&mut story);
    assert!(told.contains("the server ended before the answer did"), "the stream says why it ends: {told}");
    let (code, said) = server.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("1 request was not done in time"), "{said}");
}
