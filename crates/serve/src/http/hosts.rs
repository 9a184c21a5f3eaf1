//! Which names the server answers to, and which web pages may ask it.
//!
//! A page that a browser shows can send requests to any address, also to this machine's own. Two headers that pages
//! cannot forge tell them apart: `Host`, the name by which the browser found us, which stops names that an attacker
//! lets point here (DNS rebinding), and `Origin`, the page that asks.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method};

/// The browser says whether the page that asks is of the same site.
const SEC_FETCH_SITE: &str = "sec-fetch-site";
const SEC_FETCH_MODE: &str = "sec-fetch-mode";

/// The names that the server answers to.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// Lower case, without a port.
    names: Vec<String>,
    /// Whether any address in numbers is ours, for the server listens on all of them. No attacker can let a number
    /// point somewhere.
    takes_addresses: bool,
}

/// Why a request's host is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostError {
    /// There is none, or more than one, or it is malformed.
    Malformed,
    /// Another server is meant.
    Other,
}

impl Hosts {
    /// The names of a server that listens on an address: the address itself, `localhost`, and those allowed besides.
    pub fn new(bound: IpAddr, allowed: &[String]) -> Self {
        let mut names = vec!["localhost".to_owned(), in_brackets(bound)];
        if bound.is_loopback() {
            names.extend(["127.0.0.1".to_owned(), "[::1]".to_owned()]);
        }
        names.extend(allowed.iter().map(|name| plain(name)));
        Hosts { names, takes_addresses: bound.is_unspecified() }
    }

    /// Checks all places that name a host: the header `Host`, and the address itself where it is absolute, as that
    /// of a request to a proxy is. The port may be any: forwarding changes it.
    ///
    /// # Errors
    /// `HostError` if none names one, or any names another server.
    pub fn check(&self, request: &Parts) -> Result<(), HostError> {
        let header = host_header(&request.headers)?;
        let authority = request.uri.authority();
        if header.is_none() && authority.is_none() {
            return Err(HostError::Malformed);
        }
        for authority in header.iter().chain(authority) {
            if authority.as_str().contains('@') || authority.host().is_empty() {
                return Err(HostError::Malformed);
            }
            if !self.has(authority.host()) {
                return Err(HostError::Other);
            }
        }
        Ok(())
    }

    fn has(&self, host: &str) -> bool {
        let host = plain(host);
        let is_address = || host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        self.names.contains(&host) || self.takes_addresses && is_address()
    }
}

/// Lower case, and without the dot that a name may end in.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// An address as it stands in a URL.
fn in_brackets(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

fn host_header(headers: &HeaderMap) -> Result<Option<Authority>, HostError> {
    let mut values = headers.get_all(HOST).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let authority = Authority::try_from(value.as_bytes()).map_err(|_| HostError::Malformed)?;
            Ok(Some(authority))
        }
        (Some(_), Some(_)) => Err(HostError::Malformed),
    }
}

/// The web pages that may ask, beside the server's own.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    allowed: Vec<String>,
    any: bool,
}

/// What is wrong with an origin that was allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no origin, expected one such as `https://example.org`, without a path")]
pub struct OriginError {
    found: String,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Asker {
    /// No page, or one of this server's.
    Own,
    /// A page that was allowed; the origin to name in the answer.
    Allowed(HeaderValue),
    /// A page that was not.
    Foreign,
}

impl Origins {
    /// These origins; `*` for any.
    ///
    /// # Errors
    /// [`OriginError`] if one is none.
    pub fn new(allowed: &[String]) -> Result<Self, OriginError> {
        let mut origins = Origins::default();
        for found in allowed {
            if found == "*" {
                origins.any = true;
                continue;
            }
            let rest = found.strip_prefix("https://").or_else(|| found.strip_prefix("http://"));
            let authority = rest.and_then(|rest| rest.parse::<Authority>().ok());
            if authority.is_none_or(|authority| authority.as_str().contains('@')) {
                return Err(OriginError { found: found.clone() });
            }
            origins.allowed.push(found.to_ascii_lowercase());
        }
        Ok(origins)
    }

    /// Whether every page may ask.
    pub fn any(&self) -> bool {
        self.any
    }

    /// Who sends a request whose host was checked.
    pub fn asker(&self, request: &Parts) -> Asker {
        let mut values = request.headers.get_all(ORIGIN).iter();
        let origin = match (values.next(), values.next()) {
            (None, _) => return self.without_origin(request),
            (Some(value), None) => value,
            (Some(_), Some(_)) => return Asker::Foreign,
        };
        let Ok(text) = origin.to_str() else { return Asker::Foreign };
        let text = text.to_ascii_lowercase();
        if self.any {
            return Asker::Allowed(HeaderValue::from_static("*"));
        }
        if self.allowed.contains(&text) {
            return Asker::Allowed(origin.clone());
        }
        let own = host_header(&request.headers).ok().flatten().or_else(|| request.uri.authority().cloned());
        let is_own = own.is_some_and(|own| {
            let own = own.as_str().to_ascii_lowercase();
            text == format!("http://{own}") || text == format!("https://{own}")
        });
        if is_own { Asker::Own } else { Asker::Foreign }
    }

    /// An image or a script of a page comes without an origin; a link that somebody follows does so too.
    fn without_origin(&self, request: &Parts) -> Asker {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let is_of_other_site = matches!(header(SEC_FETCH_SITE), Some("cross-site" | "same-site"));
        let is_link = request.method == Method::GET && header(SEC_FETCH_MODE) == Some("navigate");
        if is_of_other_site && !is_link && !self.any { Asker::Foreign } else { Asker::Own }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_our_names_are_answered_to() {
        let loopback = Hosts::new("127.0.0.1".parse().unwrap(), &["Example.org".to_owned()]);
        let lan = Hosts::new("192.168.1.7".parse().unwrap(), &[]);
        let all = Hosts::new("0.0.0.0".parse().unwrap(), &[]);
        let other = Err(HostError::Other);
        let malformed = Err(HostError::Malformed);
        for (hosts, host, want) in [
            (&loopback, "localhost:8080", Ok(())),
            (&loopback, "LOCALHOST.", Ok(())),
            (&loopback, "127.0.0.1:1", Ok(())),
            (&loopback, "[::1]:8080", Ok(())),
            (&loopback, "example.org", Ok(())),
            (&loopback, "evil.example", other),
            (&loopback, "localhost.evil.example", other),
            (&loopback, "127.0.0.2", other),
            (&loopback, "localhost/?", malformed),
            (&loopback, "evil@localhost", malformed),
            (&loopback, "", malformed),
            (&lan, "192.168.1.7:8080", Ok(())),
            (&lan, "192.168.1.8:8080", other),
            (&all, "10.1.2.3:8080", Ok(())),
            (&all, "[fd00::1]:8080", Ok(())),
            (&all, "rebound.example", other),
        ] {
            assert_eq!(hosts.check(&parts("/", &[("host", host)])), want, "`{host}`");
        }
        assert_eq!(loopback.check(&parts("/", &[])), malformed);
        assert_eq!(loopback.check(&parts("/", &[("host", "localhost"), ("host", "localhost")])), malformed);
    }

    #[test]
    fn an_absolute_address_is_a_host_too() {
        let hosts = Hosts::new("127.0.0.1".parse().unwrap(), &[]);
        assert_eq!(hosts.check(&parts("http://localhost:1/v1/models", &[])), Ok(()));
        let evil = parts("http://evil.example/v1/models", &[]);
        assert_eq!(hosts.check(&evil), Err(HostError::Other));
        let both = parts("http://evil.example/v1/models", &[("host", "localhost")]);
        assert_eq!(hosts.check(&both), Err(HostError::Other));
        let both = parts("http://localhost/v1/models", &[("host", "evil.example")]);
        assert_eq!(hosts.check(&both), Err(HostError::Other));
    }

    #[test]
    fn pages_are_told_apart() {
        let host = ("host", "localhost:8080");
        let none = Origins::default();
        let one = Origins::new(&["https://Chat.example".to_owned()]).unwrap();
        let any = Origins::new(&["*".to_owned()]).unwrap();
        let check = |origins: &Origins, headers: &[(&str, &str)], want: Asker| {
            let headers: Vec<_> = headers.iter().copied().chain([host]).collect();
            assert_eq!(origins.asker(&parts("/", &headers)), want, "{headers:?}");
        };
        let chat = Asker::Allowed(HeaderValue::from_static("https://chat.example"));
        check(&none, &[], Asker::Own);
        check(&none, &[("origin", "http://localhost:8080")], Asker::Own);
        check(&none, &[("origin", "http://localhost:9090")], Asker::Foreign);
        check(&none, &[("origin", "https://chat.example")], Asker::Foreign);
        check(&none, &[("origin", "null")], Asker::Foreign);
        check(&none, &[("sec-fetch-site", "cross-site")], Asker::Foreign);
        check(&none, &[("sec-fetch-site", "same-origin")], Asker::Own);
        check(&none, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], Asker::Own);
        check(&one, &[("origin", "https://chat.example")], chat);
        check(&one, &[("origin", "http://chat.example")], Asker::Foreign);
        check(&one, &[("origin", "https://chat.example.evil")], Asker::Foreign);
        let star = Asker::Allowed(HeaderValue::from_static("*"));
        check(&any, &[("origin", "https://anything.example")], star);
        for wrong in
            ["chat.example", "https://chat.example/path", "ftp://chat.example", "https://", "https://a@b"]
        {
            assert!(Origins::new(&[wrong.to_owned()]).is_err(), "`{wrong}`");
        }
    }
}
