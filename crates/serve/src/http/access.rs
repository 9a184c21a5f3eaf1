//! What every request gets, whoever answers it: a name, a line in the log, a count, and careful headers.
//!
//! The line has the route's pattern and never what the client wrote: no text, key or query comes into a log. Those of
//! a page or a monitor that were answered well are of the level debug, for they come by the second.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

use super::app::OPEN_ROUTES;
use super::front::{Front, InWork};
use crate::page;

/// The header with a request's name.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer name is replaced by one of ours.
const ID_MAX_BYTES: usize = 128;
/// What the log has as the status of a request whose client left before there was an answer, as nginx writes it.
const CLIENT_LEFT: u16 = 499;
/// The route of a request that has none.
const NO_ROUTE: &str = "none";
/// Routes that are asked again and again, besides those of health and of the page.
const POLLED_ROUTES: [&str; 2] = ["/metrics", "/props"];

/// What all choices of a request took together, for its line in the log; the handler that knows adds to it.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Tokens>);

#[derive(Debug, Default)]
struct Tokens {
    of_prompts: AtomicUsize,
    generated: AtomicUsize,
}

impl Tally {
    /// Adds tokens of prompts, and generated ones.
    pub fn add(&self, prompt_tokens: usize, completion_tokens: usize) {
        self.0.of_prompts.fetch_add(prompt_tokens, Ordering::Relaxed);
        self.0.generated.fetch_add(completion_tokens, Ordering::Relaxed);
    }
}

/// That of the request; one that nobody reads, where no log is kept.
impl<S: Sync> FromRequestParts<S> for Tally {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Tally>().cloned().unwrap_or_default())
    }
}

/// The outermost layer.
pub(super) async fn access(State(front): State<Arc<Front>>, mut request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| NO_ROUTE.to_owned(), |path| path.as_str().to_owned());
    let id = client_id(request.headers()).unwrap_or_else(new_id);
    let tally = Tally::default();
    request.extensions_mut().insert(tally.clone());
    // Probes of a server's health do not keep it from ending.
    let in_work = (!OPEN_ROUTES.contains(&route.as_str())).then(|| front.enter());
    let mut line = Line {
        id,
        method: method_name(request.method()),
        route,
        status: None,
        tally,
        start: Instant::now(),
        is_whole: false,
        _in_work: in_work,
    };

    let mut response = next.run(request).await;

    line.status = Some(response.status());
    front.metrics.answered(line.method, &line.route, response.status().as_u16());
    add_headers(response.headers_mut(), &line.id);
    response.map(|body| {
        line.is_whole = body.is_end_stream();
        Body::new(Followed { body, line })
    })
}

/// The name that a client gave its request.
fn client_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(X_REQUEST_ID)?.as_bytes();
    let is_fine = (1..=ID_MAX_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    if is_fine { String::from_utf8(id.to_vec()).ok() } else { None }
}

/// A name that no other request of any server has, as far as 64 random bits go.
fn new_id() -> String {
    static SERVER: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let server = SERVER.get_or_init(|| RandomState::new().build_hasher().finish());
    format!("req_{server:016x}{:08x}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A method's name; those that no route has share one, for clients may invent any number.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        _ => "OTHER",
    }
}

/// Nothing is kept by a cache, taken for another type, or shown inside another page; a route may say otherwise.
fn add_headers(headers: &mut HeaderMap, id: &str) {
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(X_REQUEST_ID, id);
    }
}

/// The line of one request, written when its answer is whole or nobody waits for it any more.
struct Line {
    id: String,
    method: &'static str,
    route: String,
    /// None where the client left before there was an answer.
    status: Option<StatusCode>,
    tally: Tally,
    start: Instant,
    is_whole: bool,
    _in_work: Option<InWork>,
}

impl Line {
    /// Whether it is one of the many that a page or a monitor asks for, and was answered well.
    fn is_routine(&self) -> bool {
        let route = self.route.as_str();
        let is_polled = OPEN_ROUTES.contains(&route) || POLLED_ROUTES.contains(&route);
        let is_well = |status: StatusCode| status.is_success() || status.is_redirection();
        self.status.is_some_and(is_well) && (is_polled || page::paths().any(|path| path == route))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    id = self.id,
                    method = self.method,
                    route = self.route,
                    status = self.status.map_or(CLIENT_LEFT, |status| status.as_u16()),
                    prompt_tokens = self.tally.0.of_prompts.load(Ordering::Relaxed),
                    completion_tokens = self.tally.0.generated.load(Ordering::Relaxed),
                    ms = self.start.elapsed().as_millis() as u64,
                    whole = self.is_whole,
                    "request"
                )
            };
        }
        if self.is_routine() {
            tell!(debug);
        } else {
            tell!(info);
        }
    }
}

/// A body that knows whether it was sent to its end.
struct Followed {
    body: Body,
    line: Line,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // Of a body whose length is known, the end is not asked for.
        self.line.is_whole |= matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_printable_names_are_taken_over() {
        let check = |id: &str, want: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(id).unwrap());
            assert_eq!(client_id(&headers).is_some(), want, "`{id}`");
        };
        check("a-1_é", false);
        check("trace:7f3a", true);
        check("", false);
        check("with space", false);
        check(&"x".repeat(ID_MAX_BYTES), true);
        check(&"x".repeat(ID_MAX_BYTES + 1), false);
        assert_eq!(client_id(&HeaderMap::new()), None);
    }

    #[test]
    fn pages_and_monitors_that_are_answered_are_routine() {
        for (route, status, want) in [
            ("/", Some(StatusCode::OK), true),
            ("/page/api.js", Some(StatusCode::NOT_MODIFIED), true),
            ("/health", Some(StatusCode::OK), true),
            ("/ready", Some(StatusCode::SERVICE_UNAVAILABLE), false),
            ("/metrics", Some(StatusCode::OK), true),
            ("/metrics", Some(StatusCode::UNAUTHORIZED), false),
            ("/props", Some(StatusCode::OK), true),
            ("/props", None, false),
            ("/v1/completions", Some(StatusCode::OK), false),
            (NO_ROUTE, Some(StatusCode::NOT_FOUND), false),
        ] {
            let line = Line {
                id: new_id(),
                method: "GET",
                route: route.to_owned(),
                status,
                tally: Tally::default(),
                start: Instant::now(),
                is_whole: true,
                _in_work: None,
            };
            assert_eq!(line.is_routine(), want, "{route} {status:?}");
        }
    }

    #[test]
    fn no_two_requests_share_a_name() {
        assert_ne!(new_id(), new_id());
    }
}
