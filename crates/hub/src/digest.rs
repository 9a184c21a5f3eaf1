//! What the Hub calls a file's contents: SHA-256 for large files, git's SHA-1 for small ones.

use std::fmt;

use sha2::Digest as _;

/// The digest of a file, which is also the name of its blob in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Digest {
    /// Of a file in large-file storage: the SHA-256 of its bytes.
    Sha256([u8; 32]),
    /// Of a file in git: the SHA-1 of `blob LENGTH\0` and its bytes.
    Git([u8; 20]),
}

impl Digest {
    /// The digest that a text of 64 or 40 hexadecimal digits names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text.len() {
            64 => Self::Sha256(bytes_of(text)?),
            40 => Self::Git(bytes_of(text)?),
            _ => return None,
        })
    }

    /// The digest in an `ETag`: `"…"` or `W/"…"`, or without quotes.
    pub(crate) fn parse_etag(etag: &str) -> Option<Self> {
        let etag = etag.trim();
        Self::parse(etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"'))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Self::Sha256(bytes) => bytes,
            Self::Git(bytes) => bytes,
        };
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bytes of lower-case hexadecimal digits.
fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().as_chunks().0) {
        let [high, low] = *digits;
        *byte = 16 * digit(high)? + digit(low)?;
    }
    Some(bytes)
}

/// Computes the digest of a file whose bytes come one after the other.
pub(crate) enum Hasher {
    Sha256(sha2::Sha256),
    Git(sha1::Sha1),
}

impl Hasher {
    /// For a digest of the kind of `like`, of a file of `size` bytes.
    pub(crate) fn new(like: Digest, size: u64) -> Self {
        match like {
            Digest::Sha256(_) => Self::Sha256(sha2::Sha256::new()),
            Digest::Git(_) => {
                let mut hasher = sha1::Sha1::new();
                hasher.update(format!("blob {size}\0"));
                Self::Git(hasher)
            }
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Git(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::Sha256(hasher.finalize().into()),
            Self::Git(hasher) => Digest::Git(hasher.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_git_and_sha256sum() {
        for (name, bytes) in [
            // `printf hello | git hash-object --stdin` and `printf hello | sha256sum`.
            ("b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0", &b"hello"[..]),
            ("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", b"hello"),
            ("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", b""),
        ] {
            let want = Digest::parse(name).unwrap();
            let mut hasher = Hasher::new(want, bytes.len() as u64);
            bytes.iter().for_each(|byte| hasher.update(&[*byte]));
            assert_eq!(hasher.finish(), want);
            assert_eq!(want.to_string(), name);
        }
    }

    #[test]
    fn only_whole_digests_are_digests() {
        let name = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        for etag in [format!("\"{name}\""), format!("W/\"{name}\""), name.to_owned()] {
            assert_eq!(Digest::parse_etag(&etag), Digest::parse(name), "{etag}");
        }
        let upper = name.to_uppercase();
        for bad in ["", "\"abc\"", "../../etc/passwd", &name[1..], &upper, &format!("{name}-gzip")] {
            assert_eq!(Digest::parse_etag(bad), None, "{bad}");
        }
    }
}
