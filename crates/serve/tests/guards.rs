//! Nobody comes in who may not: every route of the router's own table, against what has opened other servers before.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, Version};
use axum::response::Response;
use axum::routing::{any, get, post};
use futures_util::stream;
use http_body_util::BodyExt;
use serde_json::Value;
use tercet_serve::api;
use tercet_serve::http::{Front, Hosts, Keys, OPEN_ROUTES, OWN_ROUTES, Origins, app};
use tercet_serve::limits::Limits;
use tercet_serve::metrics::Metrics;
use tercet_serve::page;
use tower::ServiceExt;

const KEY: &str = "c2VjcmV0IG9mIHRoZSBrZXkgY2FuYXJ5";
const INSIDE: &str = "inside";

/// The method of every route that wants a key, and an address that it matches.
fn keyed_routes() -> Vec<(&'static str, String)> {
    let own = OWN_ROUTES.iter().map(|path| ("GET", (*path).to_owned()));
    let address = |path: &str| path.replace("{*model}", "org/model");
    let of_api = api::table().into_iter().map(|route| (route.method, address(&route.path)));
    own.chain(of_api).collect()
}

/// Handlers that say that somebody came in, at every path of the API's table.
fn inside() -> Router {
    let router = Router::new()
        .route("/panics", get(async || -> Response { panic!("the handler panics") }))
        .route("/echo", post(async |body: Bytes| body));
    api::table().iter().fold(router, |router, route| router.route(&route.path, any(async || INSIDE)))
}

struct Server {
    router: Router,
    front: Arc<Front>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

fn server_with(keys: &str, origins: &[&str], limits: Limits) -> Server {
    let keys = if keys.is_empty() { Keys::default() } else { Keys::read(keys).unwrap() };
    let hosts = Hosts::new("127.0.0.1".parse().unwrap(), &["llm.example".to_owned()]);
    let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let origins = Origins::new(&origins).unwrap();
    let front = Arc::new(Front::new(keys, hosts, origins, limits, Arc::new(Metrics::new("stories"))));
    Server { router: app(Arc::clone(&front), Some(inside())), front }
}

fn server() -> Server {
    server_with(KEY, &[], Limits::default())
}

impl Server {
    async fn answer(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The code of an error, whose shape is OpenAI's.
    #[track_caller]
    fn code(&self) -> String {
        let body: Value =
            serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body));
        let error = &body["error"];
        for field in ["message", "type", "param", "code"] {
            assert!(error.get(field).is_some(), "`{field}` is not in {body}");
        }
        assert_eq!(self.header("content-type"), Some("application/json"));
        error["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A request as a client of ours sends it; a header of the same name replaces one, an empty one takes it away.
fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let key = format!("Bearer {KEY}");
    let usual = [("host", "localhost:8080"), ("authorization", &key), ("content-type", "application/json")];
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in usual.iter().filter(|(name, _)| !headers.iter().any(|(other, _)| other == name)) {
        request = request.header(*name, *value);
    }
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    let body = if method == "POST" { Body::from("{}") } else { Body::empty() };
    request.body(body).unwrap()
}

#[tokio::test]
async fn the_right_key_opens_every_route() {
    let server = server();
    let routes = keyed_routes();
    assert!(routes.len() > 10, "{routes:?}");
    for (method, path) in routes {
        for key in [format!("Bearer {KEY}"), format!("bearer {KEY}")] {
            let found = server.answer(request(method, &path, &[("authorization", &key)])).await;
            assert_eq!(found.status, StatusCode::OK, "{method} {path}: {}", found.body);
        }
    }
}

#[tokio::test]
async fn no_route_opens_without_the_whole_key() {
    let server = server();
    let wrong = [
        String::new(),
        KEY.to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {}", &KEY[..KEY.len() - 1]),
        format!("Bearer {KEY} "),
        format!("Bearer {KEY}x"),
        format!("Bearer  {KEY}"),
        format!("Bearer {}", KEY.to_lowercase()),
        format!("bearer {}", KEY.to_uppercase()),
        format!("Basic {KEY}"),
        format!("Bearer {KEY}, Bearer {KEY}"),
    ];
    let unknown = [
        ("GET", "/nowhere".to_owned()),
        ("POST", "/v1/nowhere".to_owned()),
        ("GET", "/page".to_owned()),
        ("GET", "/page/nowhere.js".to_owned()),
    ];
    for (method, path) in keyed_routes().into_iter().chain(unknown) {
        for key in &wrong {
            for method in [method, "HEAD", "OPTIONS", "PUT"] {
                let found = server.answer(request(method, &path, &[("authorization", key)])).await;
                assert_eq!(found.status, StatusCode::UNAUTHORIZED, "{method} {path} `{key}`");
                assert_eq!(found.header("www-authenticate"), Some("Bearer"));
                assert!(!found.body.contains(INSIDE));
                if method != "HEAD" {
                    assert_eq!(found.code(), "invalid_api_key");
                }
            }
        }
    }
}

#[tokio::test]
async fn no_spelling_of_an_address_leads_around_the_key() {
    let server = server();
    for (method, path) in keyed_routes() {
        let spellings = [
            format!("/{path}"),
            format!("//v1{path}"),
            format!("/health{path}"),
            format!("/health/..{path}"),
            format!("/health/%2e%2e{path}"),
            format!("/%2e%2e{path}"),
            format!("/%2e{path}"),
            format!("/v1/%2e%2e{path}"),
            format!("{path}/%2e%2e/%2e%2e/health"),
            format!("{path}?/health"),
            format!("/ready%2f..{path}"),
            format!("/page{path}"),
            format!("/page/..{path}"),
            format!("/page/app.js/..{path}"),
            format!("/page/%2e%2e{path}"),
            format!("{path};/health"),
            path.to_uppercase(),
            format!("http://localhost{path}"),
        ];
        for spelling in spellings {
            let without = server.answer(request(method, &spelling, &[("authorization", "")])).await;
            assert_eq!(without.status, StatusCode::UNAUTHORIZED, "{method} {spelling}");
            // Below `/models/` anything is a name of a model, and a query or our own host change no route.
            let is_route = path.contains("models") || spelling.contains('?') || spelling.starts_with("http:");
            if !is_route {
                let with = server.answer(request(method, &spelling, &[])).await;
                assert_eq!(with.status, StatusCode::NOT_FOUND, "{method} {spelling}");
            }
        }
    }
}

#[tokio::test]
async fn other_hosts_are_refused_on_every_route_however_they_are_named() {
    let server = server();
    let open = OPEN_ROUTES.into_iter().chain(page::paths()).map(|path| ("GET", path.to_owned()));
    for (method, path) in keyed_routes().into_iter().chain(open) {
        for (host, want) in [
            ("evil.example", StatusCode::MISDIRECTED_REQUEST),
            ("localhost.evil.example:8080", StatusCode::MISDIRECTED_REQUEST),
            ("169.254.169.254", StatusCode::MISDIRECTED_REQUEST),
            ("x/?", StatusCode::BAD_REQUEST),
            ("localhost@evil.example", StatusCode::BAD_REQUEST),
            ("", StatusCode::BAD_REQUEST),
        ] {
            let found = server.answer(request(method, &path, &[("host", host)])).await;
            assert_eq!(found.status, want, "{method} {path} `{host}`");
            assert!(["invalid_host", "unknown_host"].contains(&found.code().as_str()));
        }
        // The absolute form of HTTP/1.1, with a host that is ours besides; and `:authority` of HTTP/2.
        let absolute = format!("http://evil.example{path}");
        let found = server.answer(request(method, &absolute, &[])).await;
        assert_eq!(found.status, StatusCode::MISDIRECTED_REQUEST, "{method} {absolute}");
        for (authority, is_ours) in [("evil.example", false), ("llm.example", true)] {
            let mut request = request(method, &format!("https://{authority}{path}"), &[("host", "")]);
            *request.version_mut() = Version::HTTP_2;
            let found = server.answer(request).await;
            assert_eq!(found.status != StatusCode::MISDIRECTED_REQUEST, is_ours, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn health_needs_no_key_and_tells_that_nothing_is_loaded() {
    let server = server();
    for path in OPEN_ROUTES {
        let found = server.answer(request("GET", path, &[("authorization", "")])).await;
        assert_eq!(found.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(found.body.contains("Loading model"), "{path}: {}", found.body);
        assert!(found.header("retry-after").is_some());
        let found = server.answer(request("POST", path, &[("authorization", "")])).await;
        assert_eq!(found.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(found.header("allow"), Some("GET,HEAD"));
        assert_eq!(found.code(), "method_not_allowed");
    }
    let loading = Server { router: app(Arc::clone(&server.front), None), front: server.front };
    for (method, path) in keyed_routes() {
        let found = loading.answer(request(method, &path, &[("authorization", "")])).await;
        assert_eq!(found.status, StatusCode::UNAUTHORIZED, "{path}");
        let found = loading.answer(request(method, &path, &[])).await;
        let want = if OWN_ROUTES.contains(&path.as_str()) { 200 } else { 503 };
        assert_eq!(found.status.as_u16(), want, "{path}");
    }
}

#[tokio::test]
async fn the_page_needs_no_key_and_reaches_nobody_else() {
    let server = server();
    let loading = Server { router: app(Arc::clone(&server.front), None), front: Arc::clone(&server.front) };
    let bare = ("authorization", "");
    for path in page::paths() {
        let found = server.answer(request("GET", path, &[bare])).await;
        assert_eq!(found.status, StatusCode::OK, "{path}");
        assert!(!found.body.is_empty() && !found.body.contains(KEY), "{path}");
        let expected = match path.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(found.header("content-type"), Some(expected), "{path}");
        assert_eq!(found.header("cache-control"), Some("no-cache"), "{path}");
        assert_eq!(found.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(found.header("referrer-policy"), Some("no-referrer"), "{path}");
        let policy: Vec<&str> =
            found.header("content-security-policy").unwrap().split(';').map(str::trim).collect();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(&part), "{path}: `{part}` is not in {policy:?}");
        }
        assert!(!policy.iter().any(|part| part.contains("unsafe")), "{policy:?}");
        assert!(found.header("x-request-id").is_some());

        let early = loading.answer(request("GET", path, &[bare])).await;
        assert_eq!((early.status, &early.body), (StatusCode::OK, &found.body), "{path} while it loads");
        let head = server.answer(request("HEAD", path, &[bare])).await;
        assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""), "{path}");
        assert_eq!(head.header("content-length"), Some(found.body.len().to_string().as_str()), "{path}");
        let post = server.answer(request("POST", path, &[bare])).await;
        assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!((post.header("allow"), post.code().as_str()), (Some("GET,HEAD"), "method_not_allowed"));
        let foreign = server.answer(request("GET", path, &[bare, ("origin", "https://evil.example")])).await;
        assert_eq!(foreign.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn what_a_browser_has_of_the_page_is_not_sent_again() {
    let server = server();
    let mut tags = Vec::new();
    for path in page::paths() {
        let found = server.answer(request("GET", path, &[])).await;
        let tag = found.header("etag").unwrap().to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 20, "{tag}");
        for (known, status) in [
            (tag.clone(), 304),
            (format!("W/{tag}"), 304),
            (format!("\"other\", {tag}"), 304),
            ("*".to_owned(), 304),
            ("\"other\"".to_owned(), 200),
            (tag.trim_matches('"').to_owned(), 200),
        ] {
            let again = server.answer(request("GET", path, &[("if-none-match", &known)])).await;
            assert_eq!(again.status.as_u16(), status, "{path} {known}");
            assert_eq!(again.body.is_empty(), status == 304, "{path} {known}");
            assert_eq!(again.header("etag"), Some(tag.as_str()));
            assert_eq!(again.header("cache-control"), Some("no-cache"));
        }
        tags.push(tag);
    }
    let count = tags.len();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), count, "each file has its own");
}

#[tokio::test]
async fn a_server_without_keys_is_open_to_programs_and_not_to_pages() {
    let server = server_with("", &[], Limits::default());
    let bare = ("authorization", "");
    for (method, path) in keyed_routes() {
        let found = server.answer(request(method, &path, &[bare])).await;
        assert_eq!(found.status, StatusCode::OK, "{method} {path}");
        let found = server.answer(request(method, &path, &[bare, ("origin", "http://localhost:8080")])).await;
        assert_eq!(found.status, StatusCode::OK, "{method} {path}: a page of its own");
        for page in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
        {
            let found = server.answer(request(method, &path, &[bare, page])).await;
            assert_eq!(found.status, StatusCode::FORBIDDEN, "{method} {path} {page:?}");
            assert_eq!(found.code(), "foreign_origin");
            assert_eq!(found.header("access-control-allow-origin"), None);
        }
    }
    let form = [bare, ("content-type", "text/plain")];
    let found = server.answer(request("POST", "/v1/completions", &form)).await;
    assert_eq!(found.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "what a page may send unasked is not read");
    assert_eq!(found.code(), "unsupported_media_type");
}

#[tokio::test]
async fn a_page_that_is_allowed_may_ask_and_read() {
    let page = "https://chat.example";
    let server = server_with(KEY, &[page], Limits::default());
    let preflight = [
        ("authorization", ""),
        ("content-type", ""),
        ("origin", page),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization, content-type, x-stainless-lang"),
    ];
    let found = server.answer(request("OPTIONS", "/v1/chat/completions", &preflight)).await;
    assert_eq!(found.status, StatusCode::NO_CONTENT);
    assert_eq!(found.header("access-control-allow-origin"), Some(page));
    assert!(found.header("access-control-allow-headers").unwrap().contains("authorization"));
    assert_eq!(found.header("access-control-allow-credentials"), None);
    let found = server.answer(request("POST", "/v1/chat/completions", &[("origin", page)])).await;
    assert_eq!((found.status, found.body.as_str()), (StatusCode::OK, INSIDE));
    assert_eq!(found.header("access-control-allow-origin"), Some(page));
    assert_eq!(found.header("vary"), Some("origin"));
    let without = [("origin", page), ("authorization", "")];
    let found = server.answer(request("POST", "/v1/chat/completions", &without)).await;
    assert_eq!(found.status, StatusCode::UNAUTHORIZED);
    assert_eq!(found.header("access-control-allow-origin"), Some(page), "the page may read why");
    let others = [("origin", "https://other.example"), ("access-control-request-method", "POST")];
    let found = server.answer(request("OPTIONS", "/v1/chat/completions", &others)).await;
    assert_eq!(found.status, StatusCode::FORBIDDEN);
    let any_page = server_with(KEY, &["*"], Limits::default());
    let found = any_page.answer(request("GET", "/v1/models", &[("origin", "https://other.example")])).await;
    assert_eq!(found.header("access-control-allow-origin"), Some("*"));
    assert_eq!(found.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn bodies_are_bounded_in_length_and_time() {
    let limits = Limits { body_bytes: 1000, body_time: Duration::from_millis(20), ..Limits::default() };
    let server = server_with(KEY, &[], limits);
    let with_body = |body: Body| {
        let mut post = request("POST", "/echo", &[]);
        *post.body_mut() = body;
        server.answer(post)
    };
    let found = with_body(Body::from("x".repeat(1000))).await;
    assert_eq!((found.status, found.body.len()), (StatusCode::OK, 1000));
    let found = with_body(Body::from("x".repeat(1001))).await;
    assert_eq!(found.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(found.code(), "body_too_large");
    let chunks = stream::iter(vec![Ok::<_, Infallible>("x".repeat(600)); 2]);
    let found = with_body(Body::from_stream(chunks)).await;
    assert_eq!(found.status, StatusCode::PAYLOAD_TOO_LARGE, "without a length given first");
    assert_eq!(found.header("connection"), Some("close"));
    let never = stream::pending::<Result<Bytes, Infallible>>();
    let found = with_body(Body::from_stream(never)).await;
    assert_eq!(found.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(found.code(), "body_timeout");
    let broken = stream::iter([Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset))]);
    assert_eq!(with_body(Body::from_stream(broken)).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_panic_is_one_requests_500() {
    let server = server();
    let (panicked, other) = tokio::join!(
        server.answer(request("GET", "/panics", &[])),
        server.answer(request("GET", "/v1/models", &[])),
    );
    assert_eq!(panicked.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(panicked.code(), "internal_error");
    assert!(!panicked.body.contains("the handler panics"));
    assert_eq!(other.status, StatusCode::OK);
    assert_eq!(server.answer(request("GET", "/v1/models", &[])).await.status, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_has_a_name_and_careful_headers() {
    let server = server();
    for (method, path, headers) in [
        ("GET", "/v1/models", vec![]),
        ("GET", "/nowhere", vec![]),
        ("GET", "/health", vec![("host", "evil.example")]),
        ("POST", "/v1/completions", vec![("authorization", "")]),
        ("GET", "/panics", vec![]),
    ] {
        let found = server.answer(request(method, path, &headers)).await;
        assert!(found.header("x-request-id").unwrap().starts_with("req_"), "{path}");
        assert_eq!(found.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(found.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(found.header("server"), None);
        let headers: Vec<_> = headers.into_iter().chain([("x-request-id", "trace-7")]).collect();
        let found = server.answer(request(method, path, &headers)).await;
        assert_eq!(found.header("x-request-id"), Some("trace-7"), "{path}");
    }
    let long = "x".repeat(200);
    let found = server.answer(request("GET", "/v1/models", &[("x-request-id", &long)])).await;
    assert_ne!(found.header("x-request-id"), Some(long.as_str()));
}

/// What is logged while a test runs on its one thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_prompt_key_or_address_comes_into_logs_metrics_or_errors() {
    const IN_PROMPT: &str = "canary-of-the-prompt";
    const IN_ADDRESS: &str = "canary-of-the-address";
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // While there is one subscriber alone, a thread without any that comes to a line of the log first makes `tracing`
    // take that line for silent everywhere. The other tests are such threads.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());

    let server = server();
    let wrong_key = format!("Bearer {KEY}-and-more");
    let mut errors = String::new();
    for (path, key) in [
        ("/v1/completions", None),
        ("/v1/completions", Some(wrong_key.as_str())),
        ("/v1/models/canary-of-the-address", Some("")),
        ("/canary-of-the-address", None),
        ("/panics", None),
    ] {
        let headers: Vec<_> = key.map(|value| ("authorization", value)).into_iter().collect();
        let mut post = request("POST", &format!("{path}?prompt={IN_ADDRESS}"), &headers);
        *post.body_mut() = Body::from(format!(r#"{{"prompt": "{IN_PROMPT}"}}"#));
        errors += &server.answer(post).await.body;
        errors += &server.answer(request("GET", path, &headers)).await.body;
    }
    let metrics = server.answer(request("GET", "/metrics", &[])).await;
    assert!(metrics.body.contains("/v1/completions"), "{}", metrics.body);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("/v1/completions"), "{log}");
    for (text, name) in [(&log, "the log"), (&metrics.body, "the metrics"), (&errors, "the errors")] {
        assert!(!text.contains(KEY), "a key is in {name}");
        assert!(!text.contains(IN_PROMPT), "a prompt is in {name}: {text}");
        let is_clients_own = name == "the errors";
        assert!(is_clients_own || !text.contains(IN_ADDRESS), "an address is in {name}: {text}");
    }
}

#[tokio::test]
async fn methods_that_clients_invent_are_one_in_the_metrics() {
    let server = server();
    for number in 0..50 {
        let mut request = request("GET", "/v1/models", &[("authorization", "")]);
        *request.method_mut() = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
        server.answer(request).await;
    }
    let metrics = server.answer(request("GET", "/metrics", &[])).await;
    let lines = metrics.body.lines().filter(|line| line.starts_with("tercet:http_requests_total{"));
    assert_eq!(lines.count(), 1, "{}", metrics.body);
}
