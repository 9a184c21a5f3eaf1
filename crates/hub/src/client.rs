//! HTTP with the Hub: which requests there are, where they may be redirected, and what a refusal means.
//!
//! The token is sent to the endpoint and to nobody else. Redirects are followed here and not by the
//! library below, because the Hub's own answer, before it redirects, is what describes a file.

use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RANGE, RETRY_AFTER};
use ureq::http::uri::{Authority, PathAndQuery, Scheme};
use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Error as HttpError, Proxy, Timeout};

use crate::error::HubError;
use crate::fetch::Listener;
use crate::id::RepositoryId;
use crate::patience::Patience;
use crate::repository::Repository;
use crate::settings::Settings;
use crate::token::Token;

const USER_AGENT: &str = concat!("tercet/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Redirects from one request.
const REDIRECTS_MAX: usize = 6;
/// The longest list of files that is read.
const LIST_MAX_BYTES: u64 = 16 << 20;
/// Says which of several reasons a status has.
const ERROR_CODE: &str = "x-error-code";
const ERROR_MESSAGE: &str = "x-error-message";

/// A connection to the Hub or to a mirror of it.
pub struct Client {
    agent: Agent,
    endpoint: Uri,
    token: Option<Token>,
    pub(crate) retry_wait: Duration,
}

/// What is asked for, in the words of messages.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) id: &'a RepositoryId,
    /// The file; none for the list of all.
    pub(crate) file: Option<&'a str>,
    pub(crate) path: &'a str,
    /// The first byte that is wanted.
    pub(crate) start: u64,
    /// Whether only the headers are wanted, and those of the Hub.
    pub(crate) is_head: bool,
}

/// An answer that is no refusal.
pub(crate) struct Reply {
    /// The headers of the Hub's own answer, before it redirected elsewhere.
    pub(crate) hub: HeaderMap,
    pub(crate) response: Response<Body>,
    /// Host and port that answered.
    pub(crate) host: String,
}

impl Client {
    /// A client with these settings.
    ///
    /// # Errors
    /// [`HubError::Endpoint`] if the endpoint is no address, [`HubError::PlainToken`] if the token
    /// would travel where anybody can read it.
    pub fn new(settings: &Settings) -> Result<Self, HubError> {
        let endpoint: Uri = settings.endpoint.parse().map_err(|_| HubError::Endpoint)?;
        let is_private = endpoint.scheme() == Some(&Scheme::HTTPS) || is_this_machine(&endpoint);
        if settings.token.is_some() && !is_private {
            return Err(HubError::PlainToken { host: host_of(&endpoint) });
        }
        let authorities = rustls_native_certs::load_native_certs().certs;
        let authorities: Vec<Certificate<'static>> =
            authorities.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(authorities)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .user_agent(USER_AGENT)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(settings.read_timeout))
            .timeout_per_write(Some(settings.read_timeout));
        // A proxy knows no way to this machine.
        let proxy = if is_this_machine(&endpoint) { None } else { Proxy::try_from_env() };
        let agent = config.proxy(proxy).build().new_agent();
        Ok(Client { agent, endpoint, token: settings.token.clone(), retry_wait: settings.retry_wait })
    }

    /// What the repository holds at the revision.
    ///
    /// # Errors
    /// [`HubError`] if the Hub cannot be reached, has no such repository or revision, or answers nonsense.
    pub fn list(&self, id: &RepositoryId, listener: &mut Listener<'_>) -> Result<Repository, HubError> {
        let revision = percent_encoded(id.revision(), "");
        let path = format!("/api/{}/{}/revision/{revision}?blobs=true", id.kind(), id.name());
        let request = Request { id, file: None, path: &path, start: 0, is_head: false };
        let mut patience = Patience::new(self.retry_wait, false);
        loop {
            let read = self.send(&request).and_then(|reply| self.read_list(id, reply));
            match read {
                Ok(json) => return Repository::parse(id, &json),
                Err(error) => patience.after(error, listener)?,
            }
        }
    }

    fn read_list(&self, id: &RepositoryId, mut reply: Reply) -> Result<Vec<u8>, HubError> {
        let mut json = Vec::new();
        let mut body = reply.response.body_mut().as_reader().take(LIST_MAX_BYTES + 1);
        body.read_to_end(&mut json).map_err(|error| broken(&reply.host, &error))?;
        if json.len() as u64 > LIST_MAX_BYTES {
            let found = format!("more than {LIST_MAX_BYTES} bytes");
            return Err(HubError::Answer { id: id.to_string(), found, expected: "a list of files" });
        }
        Ok(json)
    }

    /// The address of a file, without the endpoint.
    pub(crate) fn file_path(repository: &Repository, file: &str) -> String {
        let (path, commit) = (repository.id().path(), repository.commit());
        format!("{path}/resolve/{commit}/{}", percent_encoded(file, "/"))
    }

    /// Sends a request and follows its redirects.
    pub(crate) fn send(&self, request: &Request<'_>) -> Result<Reply, HubError> {
        let redirect = |what| HubError::Redirect { id: request.id.to_string(), what };
        let mut uri = self.address(request.path)?;
        let mut hub = HeaderMap::new();
        for _ in 0..=REDIRECTS_MAX {
            let is_hub = is_same_origin(&uri, &self.endpoint);
            let host = host_of(&uri);
            let response = self.send_once(request, &uri, is_hub).map_err(|error| failed(&host, &error))?;
            if is_hub {
                hub.clone_from(response.headers());
            }
            let status = response.status();
            if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
                check_status(&response, request, &host, is_hub && self.token.is_some())?;
                return Ok(Reply { hub, response, host });
            }
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let next = next_address(&uri, location.unwrap_or_default()).ok_or_else(|| redirect("nowhere"))?;
            if uri.scheme() == Some(&Scheme::HTTPS) && next.scheme() != Some(&Scheme::HTTPS) {
                return Err(redirect("from `https` to an address that anybody can read"));
            }
            if request.is_head && !is_same_origin(&next, &self.endpoint) {
                return Ok(Reply { hub, response, host });
            }
            uri = next;
        }
        Err(redirect("in circles"))
    }

    fn send_once(&self, request: &Request<'_>, uri: &Uri, is_hub: bool) -> Result<Response<Body>, HttpError> {
        let mut builder = if request.is_head { self.agent.head(uri) } else { self.agent.get(uri) };
        builder = builder.header(ACCEPT_ENCODING, "identity");
        if let Some(token) = self.token.as_ref().filter(|_| is_hub) {
            builder = builder.header(AUTHORIZATION, token.header());
        }
        if request.start > 0 {
            builder = builder.header(RANGE, format!("bytes={}-", request.start));
        }
        builder.call()
    }

    /// The address of a path at the endpoint.
    fn address(&self, path: &str) -> Result<Uri, HubError> {
        let base = self.endpoint.path().trim_end_matches('/');
        let mut parts = self.endpoint.clone().into_parts();
        let path: PathAndQuery = format!("{base}{path}").parse().map_err(|_| HubError::Endpoint)?;
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(|_| HubError::Endpoint)
    }
}

/// Bytes of letters, digits and `-_.~` as they are, and those of `also`; others as `%XX`.
fn percent_encoded(text: &str, also: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also.as_bytes().contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Where a redirect leads; `None` if that is no address of HTTP.
fn next_address(from: &Uri, location: &str) -> Option<Uri> {
    let mut parts = from.clone().into_parts();
    if let Some(rest) = location.strip_prefix("//") {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        parts.authority = Some(authority.parse::<Authority>().ok()?);
        parts.path_and_query = Some(if path.is_empty() { "/" } else { path }.parse().ok()?);
    } else if location.starts_with('/') {
        parts.path_and_query = Some(location.parse().ok()?);
    } else {
        let uri: Uri = location.parse().ok()?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        return (is_http && uri.host().is_some()).then_some(uri);
    }
    Uri::from_parts(parts).ok()
}

/// Whether two addresses have scheme, host and port in common.
fn is_same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let host = |uri: &Uri| uri.host().unwrap_or_default().to_ascii_lowercase();
    a.scheme() == b.scheme() && host(a) == host(b) && port(a) == port(b)
}

fn is_this_machine(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn host_of(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    uri.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// What it means that there is no answer.
fn failed(host: &str, error: &HttpError) -> HubError {
    use ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, InvalidData, TimedOut, UnexpectedEof,
        WouldBlock,
    };
    const BROKEN: [ErrorKind; 7] =
        [BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, TimedOut, UnexpectedEof, WouldBlock];
    let host = host.to_owned();
    match error {
        HttpError::Tls(_) | HttpError::Rustls(_) => HubError::NotSecure { host, reason: error.to_string() },
        HttpError::Io(error) if error.kind() == InvalidData => {
            HubError::NotSecure { host, reason: error.to_string() }
        }
        HttpError::Io(error) if BROKEN.contains(&error.kind()) => broken(&host, error),
        // Refused, no way there, no such name.
        HttpError::Io(error) => HubError::NoConnection { host, reason: error.to_string() },
        HttpError::Timeout(Timeout::Resolve | Timeout::Connect)
        | HttpError::HostNotFound
        | HttpError::ConnectionFailed
        | HttpError::ConnectProxyFailed(_) => HubError::NoConnection { host, reason: error.to_string() },
        _ => HubError::Broken { host, reason: error.to_string() },
    }
}

/// A body that ended early.
pub(crate) fn broken(host: &str, error: &io::Error) -> HubError {
    HubError::Broken { host: host.to_owned(), reason: error.to_string() }
}

/// Tells the reasons of a refusal apart.
fn check_status(
    response: &Response<Body>,
    request: &Request<'_>,
    host: &str,
    has_token: bool,
) -> Result<(), HubError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let id = request.id.name().to_owned();
    let host = host.to_owned();
    let no_file = |file: &str| HubError::NoFile { id: id.clone(), file: file.to_owned() };
    Err(match (status.as_u16(), header(ERROR_CODE)) {
        (_, Some("GatedRepo")) => HubError::Gated { id, has_token },
        (_, Some("RevisionNotFound")) => {
            HubError::NoRevision { id, revision: request.id.revision().to_owned() }
        }
        (_, Some("EntryNotFound")) => no_file(request.file.unwrap_or_default()),
        (_, Some("RepoNotFound")) => HubError::NoRepository { id, has_token },
        // All of 5xx: what stands before a server has numbers of its own, as 520.
        (408 | 429 | 500..=599, _) => {
            let seconds = header(RETRY_AFTER.as_str()).and_then(|value| value.trim().parse().ok());
            HubError::Busy { host, status: status.as_u16(), retry_after: seconds.map(Duration::from_secs) }
        }
        (401, _) if has_token && header(ERROR_MESSAGE).is_some_and(|m| m.contains("nvalid credentials")) => {
            HubError::TokenRefused { id }
        }
        // Without a reason, this is what the Hub says to whoever may not know that a repository exists.
        (401 | 404, _) if request.file.is_none() => HubError::NoRepository { id, has_token },
        (403, _) if request.file.is_none() => HubError::Gated { id, has_token },
        (404, _) => no_file(request.file.unwrap_or_default()),
        (status, _) => {
            let what = request.file.map_or_else(|| id.clone(), |file| format!("`{file}` of {id}"));
            HubError::Status { host, status, what }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn redirects_lead_to_addresses_of_http() {
        let from = uri("https://hub.example:8443/a/b?c");
        for (location, want) in [
            ("https://cdn.example/x?y=z", Some("https://cdn.example/x?y=z")),
            ("/x?y", Some("https://hub.example:8443/x?y")),
            ("//cdn.example/x", Some("https://cdn.example/x")),
            ("//cdn.example", Some("https://cdn.example/")),
            ("http://plain.example/", Some("http://plain.example/")),
            ("", None),
            ("x", None),
            ("file:///etc/passwd", None),
            ("ftp://a/b", None),
        ] {
            assert_eq!(next_address(&from, location), want.map(uri), "{location}");
        }
    }

    #[test]
    fn the_origin_is_scheme_host_and_port() {
        let hub = uri("https://hub.example");
        assert!(is_same_origin(&uri("https://HUB.example:443/x"), &hub));
        for other in
            ["http://hub.example", "https://hub.example:444", "https://hub.example.evil", "https://x"]
        {
            assert!(!is_same_origin(&uri(other), &hub), "{other}");
        }
    }

    #[test]
    fn no_connection_is_told_from_a_broken_one() {
        let check = |error: HttpError, is_right: fn(&HubError) -> bool| {
            let found = failed("a.example", &error);
            assert!(is_right(&found), "{error:?}: {found:?}");
        };
        let no_connection = |found: &HubError| matches!(found, HubError::NoConnection { .. });
        let broken = |found: &HubError| matches!(found, HubError::Broken { .. });
        // As the resolver fails: with no kind of its own.
        check(io::Error::other("failed to lookup address information").into(), no_connection);
        check(io::Error::from(ErrorKind::ConnectionRefused).into(), no_connection);
        check(HttpError::Timeout(Timeout::Connect), no_connection);
        check(io::Error::from(ErrorKind::ConnectionReset).into(), broken);
        check(HttpError::Timeout(Timeout::RecvResponse), broken);
        let not_secure = |found: &HubError| matches!(found, HubError::NotSecure { .. });
        check(io::Error::from(ErrorKind::InvalidData).into(), not_secure);
    }

    #[test]
    fn a_token_needs_https_but_on_this_machine() {
        let with_token = |endpoint: &str| {
            let variable = |name: &str| match name {
                "HF_HOME" => Some("/nowhere".into()),
                "HF_TOKEN" => Some("hf_x".into()),
                "HF_ENDPOINT" => Some(endpoint.into()),
                _ => None,
            };
            Client::new(&Settings::from_variables(variable, None).unwrap())
        };
        for endpoint in ["https://a.example", "http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"] {
            assert!(with_token(endpoint).is_ok(), "{endpoint}");
        }
        for endpoint in ["http://a.example", "http://127.0.0.1.example", "http://localhost.example"] {
            assert!(matches!(with_token(endpoint), Err(HubError::PlainToken { .. })), "{endpoint}");
        }
    }

    #[test]
    fn names_are_encoded_for_an_address() {
        assert_eq!(percent_encoded("refs/pr/1", ""), "refs%2Fpr%2F1");
        assert_eq!(percent_encoded("a/b c#?.json", "/"), "a/b%20c%23%3F.json");
        assert_eq!(percent_encoded("ü", "/"), "%C3%BC");
    }
}
