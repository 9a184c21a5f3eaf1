//! Who may come in: keys, known by their digests only, and the rule for the strength of one.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Fewer characters than this cannot hold 128 bits as base64.
const SHORTEST: usize = 22;
/// Fewer than this cannot hold them as hexadecimal digits.
const SHORTEST_HEX: usize = 32;
/// A key with fewer different characters was not drawn at random.
const FEWEST_DIFFERENT: usize = 8;

/// The keys of a server; with none of them everything is open.
#[derive(Clone, Default)]
pub struct Keys {
    digests: Vec<[u8; 32]>,
}

/// What is wrong with a key. It never shows the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is too short to be hard to guess.
    #[error(
        "key {number} has {found} characters, expected at least {SHORTEST}, or {SHORTEST_HEX} where all are \
         hexadecimal digits: so many hold 128 bits"
    )]
    Short {
        /// Its place, from 1.
        number: usize,
        /// Its characters.
        found: usize,
    },
    /// It repeats itself.
    #[error("key {number} has {found} different characters, expected at least {FEWEST_DIFFERENT}")]
    Repeats {
        /// Its place, from 1.
        number: usize,
        /// Its different characters.
        found: usize,
    },
    /// It cannot stand in a header.
    #[error("key {number} has a character that no header takes, expected printable ASCII without spaces")]
    Character {
        /// Its place, from 1.
        number: usize,
    },
    /// There is none.
    #[error("found no key, expected one a line")]
    None,
}

impl Keys {
    /// The keys of a text, one a line; empty lines and such that begin with `#` are none.
    ///
    /// # Errors
    /// [`KeyError`] if there is none, or one is weak or can never be sent.
    pub fn read(text: &str) -> Result<Self, KeyError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut digests = Vec::new();
        for (at, key) in lines.enumerate() {
            check(key, at + 1)?;
            digests.push(digest(key.as_bytes()));
        }
        if digests.is_empty() { Err(KeyError::None) } else { Ok(Keys { digests }) }
    }

    /// Whether everything is open.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// These keys and others.
    pub fn and(mut self, others: Keys) -> Self {
        self.digests.extend(others.digests);
        self
    }

    /// Whether a request brings one of the keys: `Authorization: Bearer KEY`, once, with one space between. The word
    /// `Bearer` may be written in any case (RFC 9110, 11.1), the key may not.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        if self.is_empty() {
            return true;
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let value = value.as_bytes();
        const SCHEME: &[u8] = b"Bearer ";
        match value.split_at_checked(SCHEME.len()) {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case(SCHEME) => self.has(key),
            _ => false,
        }
    }

    /// Digests are compared, all of them to the last byte, so the time tells nothing of any key.
    fn has(&self, key: &[u8]) -> bool {
        let found = digest(key);
        let mut is_known = Choice::from(0);
        for known in &self.digests {
            is_known |= known.ct_eq(&found);
        }
        is_known.into()
    }
}

/// A key, and a digest of one, are shown to nobody.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.digests.len())
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

fn check(key: &str, number: usize) -> Result<(), KeyError> {
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(KeyError::Character { number });
    }
    let found = key.len();
    let is_hex = key.bytes().all(|byte| byte.is_ascii_hexdigit());
    if found < if is_hex { SHORTEST_HEX } else { SHORTEST } {
        return Err(KeyError::Short { number, found });
    }
    let mut different = key.as_bytes().to_vec();
    different.sort_unstable();
    different.dedup();
    if different.len() < FEWEST_DIFFERENT {
        return Err(KeyError::Repeats { number, found: different.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "Zm9vYmFyIGJheiBxdXV4IQ";

    #[test]
    fn weak_keys_are_refused_and_not_shown() {
        let short = KeyError::Short { number: 1, found: 6 };
        for (text, want) in [
            ("secret", short),
            ("0123456789abcdef", KeyError::Short { number: 1, found: 16 }),
            ("gggggggggggggggggggggggggggg", KeyError::Repeats { number: 1, found: 1 }),
            ("with a space in the middle of it", KeyError::Character { number: 1 }),
            ("# a comment\n\n", KeyError::None),
        ] {
            assert_eq!(Keys::read(text).unwrap_err(), want, "`{text}`");
        }
        assert!(!short.to_string().contains("secret"));
        let second = Keys::read(&format!("{KEY}\nshort")).unwrap_err();
        assert_eq!(second, KeyError::Short { number: 2, found: 5 });
    }

    #[test]
    fn only_a_whole_key_after_the_word_comes_in() {
        let keys = Keys::read(&format!("# first\n{KEY}\n\n  {OTHER}\r\n")).unwrap();
        let admits = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            keys.admit(&headers)
        };
        for key in [KEY, OTHER] {
            assert!(admits(&[&format!("Bearer {key}")]));
            assert!(admits(&[&format!("bearer {key}")]), "the word is written in any case");
            for wrong in [
                key.to_owned(),
                format!("Bearer {}", &key[..key.len() - 1]),
                format!("Bearer {key} "),
                format!("Bearer  {key}"),
                format!("Bearer {key}{key}"),
                format!("Basic {key}"),
                "Bearer ".to_owned(),
                "Bearer".to_owned(),
            ] {
                assert!(!admits(&[&wrong]), "`{wrong}`");
            }
            let twice = format!("Bearer {key}");
            assert!(!admits(&[&twice, &twice]), "two headers are not one");
        }
        assert!(!admits(&[]));
        assert!(!admits(&[&format!("Bearer {}", KEY.to_uppercase())]));
        assert!(Keys::default().admit(&HeaderMap::new()), "without keys everything is open");
        assert_eq!(format!("{keys:?}"), "2 keys");
    }
}
