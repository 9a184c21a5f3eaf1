//! The paragraphs of a text: what lies between empty lines, one after another.

use std::io::{BufRead, Read};

use super::PieceError;

/// A longer paragraph is none.
const PARAGRAPH_MAX_BYTES: usize = 64 << 20;

/// Reads paragraphs, without the end of their last line.
pub struct Paragraphs<R> {
    reader: R,
    done: u64,
}

impl<R: BufRead> Paragraphs<R> {
    /// Reads from `reader`.
    pub fn new(reader: R) -> Self {
        Paragraphs { reader, done: 0 }
    }

    /// Bytes that were read.
    pub fn bytes_read(&self) -> u64 {
        self.done
    }
}

impl<R: BufRead> Iterator for Paragraphs<R> {
    type Item = Result<String, PieceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut paragraph = Vec::new();
        let mut first = self.done;
        loop {
            let before = paragraph.len();
            let room = (PARAGRAPH_MAX_BYTES - before) as u64 + 1;
            match self.reader.by_ref().take(room).read_until(b'\n', &mut paragraph) {
                Ok(0) if paragraph.is_empty() => return None,
                Ok(0) => break,
                Ok(read) => self.done += read as u64,
                Err(error) => return Some(Err(error.into())),
            }
            if paragraph.len() > PARAGRAPH_MAX_BYTES {
                let bytes = paragraph.len();
                return Some(Err(PieceError::NoCut { at: first, bytes }));
            }
            if paragraph[before..].trim_ascii().is_empty() {
                paragraph.truncate(before);
                if !paragraph.is_empty() {
                    break;
                }
                first = self.done;
            }
        }
        while paragraph.pop_if(|byte| matches!(byte, b'\n' | b'\r')).is_some() {}
        Some(
            String::from_utf8(paragraph)
                .map_err(|error| PieceError::NotText { at: first + error.utf8_error().valid_up_to() as u64 }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paragraphs(text: &[u8]) -> Vec<Result<String, String>> {
        Paragraphs::new(text).map(|paragraph| paragraph.map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn empty_lines_part_paragraphs() {
        let found = paragraphs(b"\n\na\nb\r\n  \r\n\nc\n\n\xc3\xa9");
        assert_eq!(found, ["a\nb", "c", "\u{e9}"].map(|text| Ok(text.to_owned())));
        assert!(paragraphs(b"").is_empty());
        assert!(paragraphs(b"\n \n").is_empty());
    }

    #[test]
    fn what_is_no_text_is_named_with_its_place() {
        let found = paragraphs(b"a\n\nb\xff\n");
        assert_eq!(found[1], Err("byte 4 is not UTF-8, expected a text".to_owned()));
    }
}
