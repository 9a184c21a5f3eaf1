//! One file of the page: its type, its digest, and whether a client has it already.

use std::sync::OnceLock;

use axum::body::{Body, Bytes};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use sha2::{Digest, Sha256};
use tercet::digest::hex;

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const CSS: &str = "text/css; charset=utf-8";
pub(super) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const SVG: &str = "image/svg+xml";

/// The page reaches nobody but this server, runs nothing but its own files, and makes no markup of text: what a model
/// writes can do nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the page.
pub(super) struct Asset {
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    etag: OnceLock<HeaderValue>,
}

impl Asset {
    pub(super) const fn new(path: &'static str, media_type: &'static str, bytes: &'static [u8]) -> Self {
        Asset { path, media_type, bytes, etag: OnceLock::new() }
    }

    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// The file, or that the client has it. It asks every time, so a new server is never seen with the page of an old
    /// one.
    pub(super) fn answer(&self, request: &HeaderMap) -> Response {
        let is_known = request.get_all(IF_NONE_MATCH).iter().any(|known| names(known, self.etag()));
        let mut response = Response::new(Body::empty());
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = Body::from(Bytes::from_static(self.bytes));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        }
        response.headers_mut().insert(ETAG, self.etag().clone());
        response.headers_mut().extend(careful_headers());
        response
    }

    /// A strong one: the same for the same bytes, whichever server has them.
    fn etag(&self) -> &HeaderValue {
        self.etag.get_or_init(|| {
            let tag = hex(&Sha256::digest(self.bytes)[..16]);
            HeaderValue::from_str(&format!("\"{tag}\""))
                .expect("Asset::etag: hexadecimal digits stand in headers")
        })
    }
}

fn careful_headers() -> [(HeaderName, HeaderValue); 4] {
    [
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
}

/// Whether a value of `If-None-Match` names this tag. A proxy may have marked it weak, which says as much here.
fn names(value: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(value), Ok(etag)) = (value.to_str(), etag.to_str()) else { return false };
    let mut tags = value.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}
