//! JSON that is written as it is made, up to a length: nothing holds a tree of what a file says.
//!
//! It knows no file's fields.

use std::io::{self, Write};

use serde::ser::{Serialize, Serializer};

/// A list whose elements are made while it is written.
pub(super) struct List<F>(pub(super) F);

impl<F, I> Serialize for List<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// An object whose fields are made while it is written.
pub(super) struct Object<F>(pub(super) F);

impl<F, I, K, V> Serialize for Object<F>
where
    F: Fn() -> I,
    I: Iterator<Item = (K, V)>,
    K: Serialize,
    V: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

/// Bytes of a value's text; nothing if they are more than `limit_bytes`.
pub(super) fn json_bytes(limit_bytes: usize, value: &impl Serialize) -> Option<usize> {
    let mut counted = Counted { bytes: 0, limit_bytes };
    serde_json::to_writer(&mut counted, value).ok().map(|()| counted.bytes)
}

/// The text of a value; nothing if it has more than `limit_bytes`.
///
/// It is written twice, first to be counted, so that it never takes more memory than it has bytes.
pub(super) fn json_text(limit_bytes: usize, value: &impl Serialize) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(json_bytes(limit_bytes, value)?);
    serde_json::to_writer(&mut text, value).ok().map(|()| text)
}

/// A number of bytes up to a limit.
struct Counted {
    bytes: usize,
    limit_bytes: usize,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        if self.bytes > self.limit_bytes {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_objects_are_written_up_to_a_length() {
        let value = (List(|| 0..3), Object(|| [("a", "\u{1}"), ("b", "ä")].into_iter()));
        let want = r#"[[0,1,2],{"a":"\u0001","b":"ä"}]"#;
        assert_eq!(json_text(want.len(), &value).unwrap(), want.as_bytes());
        assert_eq!(json_text(want.len() - 1, &value), None);
    }
}
