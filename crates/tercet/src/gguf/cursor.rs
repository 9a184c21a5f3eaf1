//! Reading numbers and strings of a file that may end too early. It knows no layout.

use std::ops::Range;

use super::error::GgufError;
use crate::json::shown;

/// The longest string read, in bytes.
const STRING_MAX_BYTES: u64 = 16 << 20;

/// A place in a file.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    file: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a str, bytes: &'a [u8], at: usize) -> Self {
        Self { file, bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn left_bytes(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `len` bytes, which are `what`.
    pub(super) fn take(&mut self, len: u64, what: &str) -> Result<Range<usize>, GgufError> {
        match usize::try_from(len).ok().filter(|len| *len <= self.left_bytes()) {
            Some(len) => {
                let start = self.at;
                self.at += len;
                Ok(start..self.at)
            }
            None => Err(GgufError::BeyondEnd {
                file: self.file.to_owned(),
                what: what.to_owned(),
                expected_bytes: len,
                left_bytes: self.left_bytes(),
            }),
        }
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let range = self.take(N as u64, what)?;
        Ok(std::array::from_fn(|i| self.bytes[range.start + i]))
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A string: its length and its bytes, which must be UTF-8.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a str, GgufError> {
        let len = self.u64(&format!("length of {what}"))?;
        if len > STRING_MAX_BYTES {
            return Err(GgufError::StringLength {
                file: self.file.to_owned(),
                what: what.to_owned(),
                found_bytes: len,
                limit_bytes: STRING_MAX_BYTES,
            });
        }
        let range = self.take(len, what)?;
        std::str::from_utf8(&self.bytes[range]).map_err(|error| GgufError::Utf8 {
            file: self.file.to_owned(),
            what: what.to_owned(),
            valid_bytes: error.valid_up_to(),
        })
    }

    /// A count of things, at most `limit`, that take at least `least_bytes` each.
    pub(super) fn count(
        &self,
        found: u64,
        limit: u64,
        least_bytes: u64,
        what: &str,
    ) -> Result<u64, GgufError> {
        let (file, what) = (self.file.to_owned(), shown(what));
        if found > limit {
            return Err(GgufError::Count { file, what, found, limit });
        }
        let expected_bytes = found * least_bytes;
        if expected_bytes > self.left_bytes() as u64 {
            let what = format!("{found} {what}");
            return Err(GgufError::BeyondEnd { file, what, expected_bytes, left_bytes: self.left_bytes() });
        }
        Ok(found)
    }
}
