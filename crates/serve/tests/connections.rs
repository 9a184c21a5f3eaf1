//! Clients that say nothing, take nothing or leave keep nobody out and nothing busy, over real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::stream;
use tercet::embedded;
use tercet::model::Model;
use tercet_kernels::{Isa, KvType, Layout, Pool};
use tercet_serve::engine::{Engine, EngineSettings};
use tercet_serve::http::{self, Ended, Front, Hosts, Keys, Origins, Signals};
use tercet_serve::limits::Limits;
use tercet_serve::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// Longer than anything here should take, on a machine that does much else.
const LONG: Duration = Duration::from_secs(60);

/// Tells when it is dropped.
struct Tells(mpsc::UnboundedSender<()>);

impl Drop for Tells {
    fn drop(&mut self) {
        // The test may be over.
        let _ = self.0.send(());
    }
}

struct Server {
    address: SocketAddr,
    front: Arc<Front>,
    /// A message for each endless answer that was dropped.
    dropped: mpsc::UnboundedReceiver<()>,
    serving: tokio::task::JoinHandle<Ended>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// More than the system takes at once for a client that does not read.
const LARGE_BYTES: usize = 32 << 20;

/// A server with a route whose answer does not end, one whose answer is large, one that waits, and one that gives back
/// what it gets.
async fn server(limits: Limits) -> Server {
    let (sender, dropped) = mpsc::unbounded_channel();
    let waiting = sender.clone();
    let endless = async move || -> Response {
        let tells = Tells(sender.clone());
        let chunks = stream::repeat_with(move || {
            let _ = &tells;
            Ok::<_, Infallible>(Bytes::from(vec![b'x'; 4096]))
        });
        Response::new(Body::from_stream(chunks))
    };
    let waits = async move || {
        let _tells = Tells(waiting.clone());
        std::future::pending::<()>().await;
    };
    let api = Router::new()
        .route("/endless", get(endless))
        .route("/large", get(async || vec![b'x'; LARGE_BYTES]))
        .route("/waits", get(waits))
        .route("/echo", post(async |body: Bytes| body));
    let listener = http::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let hosts = Hosts::new(address.ip(), &[]);
    let metrics = Arc::new(Metrics::new("stories"));
    let front = Arc::new(Front::new(Keys::default(), hosts, Origins::default(), limits, metrics));
    let (routers, router) = watch::channel(http::app(Arc::clone(&front), Some(api)));
    let serving = {
        let front = Arc::clone(&front);
        tokio::spawn(async move {
            let _routers = routers;
            let mut signals = Signals::listen().unwrap();
            http::serve(listener, front, router, &mut signals).await
        })
    };
    Server { address, front, dropped, serving }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// The first line of the answer to a request.
    async fn status(&self, text: &str) -> String {
        let mut stream = self.send(text).await;
        read_all(&mut stream).await.lines().next().unwrap_or_default().to_owned()
    }

    async fn next_dropped(&mut self) {
        tokio::time::timeout(LONG, self.dropped.recv()).await.expect("an answer is dropped").unwrap();
    }
}

/// What comes until the other side closes.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut bytes)).await;
    // A connection that is reset has ended, too.
    let _ = read.expect("the server closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

const VERSION: &str = "GET /version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn half_open_connections_keep_nobody_out() {
    let server = server(Limits { connections: 4, ..Limits::default() }).await;
    let mut half_open = Vec::new();
    for number in 0..40 {
        let text = if number % 2 == 0 { "" } else { "GET /version HTTP/1.1\r\nhost:" };
        half_open.push(server.send(text).await);
    }
    let status = tokio::time::timeout(LONG, server.status(VERSION)).await.expect("it answers");
    assert_eq!(status, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let server = server(Limits { header_time: Duration::from_millis(500), ..Limits::default() }).await;
    let mut nothing = server.connect().await;
    assert_eq!(read_all(&mut nothing).await, "");
    let mut part = server.send("GET /version HTTP/1.1\r\nhost: loc").await;
    assert_eq!(read_all(&mut part).await, "");
    assert_eq!(server.status(VERSION).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = server(Limits::default()).await;
    let many: String = (0..100).map(|number| format!("h{number}: x\r\n")).collect();
    for headers in [format!("h: {}\r\n", "x".repeat(20 << 10)), many] {
        let status =
            server.status(&format!("GET /version HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await;
        assert!(status.starts_with("HTTP/1.1 431"), "`{status}`");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_work_at_once() {
    let mut server = server(Limits::default()).await;
    for path in ["/waits", "/endless"] {
        let mut stream = server.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        if path == "/endless" {
            let mut some = [0; 10_000];
            stream.read_exact(&mut some).await.unwrap();
        }
        drop(stream);
        server.next_dropped().await;
    }
    // Half of a connection is none.
    let mut stream = server.send("GET /waits HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    stream.shutdown().await.unwrap();
    server.next_dropped().await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let mut server = server(Limits { write_time: Duration::from_millis(100), ..Limits::default() }).await;
    let stream = server.send("GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    server.next_dropped().await;
    drop(stream);
}

#[tokio::test]
async fn an_answer_that_is_not_taken_yet_makes_no_place() {
    let server = server(Limits { connections: 1, ..Limits::default() }).await;
    let text = "GET /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut reader = server.send(text).await;
    let mut some = [0; 1000];
    reader.read_exact(&mut some).await.unwrap();
    // Longer than the time in which a connection without a request may not be displaced.
    let newcomer = tokio::time::timeout(Duration::from_secs(1), server.status(VERSION)).await;
    assert!(newcomer.is_err(), "the only place is at work");
    let rest = read_all(&mut reader).await;
    assert!(some.len() + rest.len() > LARGE_BYTES, "it was cut after {} bytes", some.len() + rest.len());
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_and_the_answer_read() {
    let server = server(Limits { body_bytes: 1000, ..Limits::default() }).await;
    let body = "x".repeat(1 << 20);
    let head = format!(
        "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let status = server.status(&(head + &body)).await;
    assert_eq!(status, "HTTP/1.1 413 Payload Too Large");
}

#[tokio::test]
async fn several_requests_go_over_one_connection() {
    let server = server(Limits::default()).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let read = tokio::time::timeout(LONG, stream.read_u8()).await;
            answer.push(read.expect("it answers").unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    }
}

#[tokio::test]
async fn the_engines_end_closes_what_waits_for_nothing() {
    let mut server = server(Limits::default()).await;
    let pool = Arc::new(Pool::new(Isa::best(), 1));
    let model = Model::load(&embedded::stories(), pool, Layout::TwoBit).unwrap();
    let settings = EngineSettings {
        context: 16,
        kv_type: KvType::F16,
        cache_positions: 16,
        max_sequences: 1,
        max_rows: 16,
        queue: 1,
        shares_prefixes: false,
    };
    let engine = Engine::start(model, None, settings).unwrap();
    server.front.loaded(engine.clone());
    let mut kept = server.send("GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut first = [0];
    kept.read_exact(&mut first).await.unwrap();
    engine.stop();
    let ended = tokio::time::timeout(LONG, &mut server.serving).await.expect("the server ends");
    assert_eq!(ended.unwrap(), Ended::EngineDied);
    assert!(read_all(&mut kept).await.contains("200 OK"));
}
