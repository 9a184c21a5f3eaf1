//! A tarball as a function of its files: the same bytes whoever makes it, and when.
//!
//! ```text
//! ustar   512 bytes of header, the file, zeros up to the next 512; two blocks of zeros at the end
//! gzip    without a name and a time
//! ```
//!
//! Entries are sorted, and their owner is number 0. It knows nothing of what is in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compression, GzBuilder};

const BLOCK_BYTES: usize = 512;
/// The longest path that fits into a header.
const NAME_MAX_BYTES: usize = 100;
/// The longest file whose length fits into eleven octal digits.
const FILE_MAX_BYTES: u64 = (1 << 33) - 1;

/// A file of an archive.
pub(crate) struct File {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Whether it can be run.
    pub(crate) is_program: bool,
}

/// The files of an archive by their paths, with `/` between the parts.
#[derive(Default)]
pub(crate) struct Archive(BTreeMap<String, File>);

impl Archive {
    /// Adds a file.
    pub(crate) fn add(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.insert(path.into(), File { bytes: bytes.into(), is_program: false });
    }

    /// Adds a file that can be run.
    pub(crate) fn add_program(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.insert(path.into(), File { bytes: bytes.into(), is_program: true });
    }

    /// Adds a file of the disk.
    pub(crate) fn add_file(&mut self, path: impl Into<String>, from: &Path) -> Result<()> {
        let bytes = std::fs::read(from).with_context(|| format!("{}: cannot be read", from.display()))?;
        self.add(path, bytes);
        Ok(())
    }

    fn insert(&mut self, path: String, file: File) {
        let earlier = self.0.insert(path, file);
        assert!(earlier.is_none(), "Archive: each path is there once");
    }

    /// The gzipped tarball, everything under the folder `top`; times are `mtime` seconds since 1970.
    pub(crate) fn tar_gz(&self, top: &str, mtime: u64) -> Result<Vec<u8>> {
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        for folder in self.folders(top) {
            gzip.write_all(&header(&format!("{folder}/"), b'5', 0o755, 0, mtime)?)?;
        }
        for (path, file) in &self.0 {
            let mode = if file.is_program { 0o755 } else { 0o644 };
            let length = file.bytes.len() as u64;
            gzip.write_all(&header(&format!("{top}/{path}"), b'0', mode, length, mtime)?)?;
            gzip.write_all(&file.bytes)?;
            gzip.write_all(
                &[0; BLOCK_BYTES][..file.bytes.len().next_multiple_of(BLOCK_BYTES) - file.bytes.len()],
            )?;
        }
        gzip.write_all(&[0; 2 * BLOCK_BYTES])?;
        Ok(gzip.finish()?)
    }

    /// All folders, each after the one that it is in.
    fn folders(&self, top: &str) -> BTreeSet<String> {
        let mut folders = BTreeSet::from([top.to_owned()]);
        for path in self.0.keys() {
            for (end, _) in path.match_indices('/') {
                folders.insert(format!("{top}/{}", &path[..end]));
            }
        }
        folders
    }
}

/// The header of an entry: kind `0` for a file, `5` for a folder.
fn header(path: &str, kind: u8, mode: u64, length: u64, mtime: u64) -> Result<[u8; BLOCK_BYTES]> {
    if path.len() > NAME_MAX_BYTES {
        bail!("`{path}` has {} bytes, expected at most {NAME_MAX_BYTES} in an archive", path.len());
    }
    ensure!(length <= FILE_MAX_BYTES, "`{path}` has {length} bytes, expected at most {FILE_MAX_BYTES}");
    let mut header = [0; BLOCK_BYTES];
    header[..path.len()].copy_from_slice(path.as_bytes());
    let numbers = [(100, 8, mode), (108, 8, 0), (116, 8, 0), (124, 12, length), (136, 12, mtime)];
    for (at, width, number) in numbers {
        octal(&mut header[at..at + width], number);
    }
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    // The sum of all bytes, its own place counted as spaces.
    header[148..156].fill(b' ');
    let sum = header.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut header[148..155], sum);
    Ok(header)
}

/// A number in octal digits that fill a field but for a zero byte at its end.
fn octal(field: &mut [u8], number: u64) {
    let digits = format!("{number:0width$o}", width = field.len() - 1);
    assert!(digits.len() < field.len(), "octal: {number} fits into its field");
    field[..digits.len()].copy_from_slice(digits.as_bytes());
    field[digits.len()..].fill(0);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    const MTIME: u64 = 1_700_000_000;

    fn archive(paths: &[&str]) -> Archive {
        let mut archive = Archive::default();
        for path in paths {
            archive.add(*path, format!("text of {path}"));
        }
        archive.add_program("bin/tercet", vec![7; 1000]);
        archive
    }

    fn unzipped(bytes: &[u8]) -> Vec<u8> {
        let mut tar = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut tar).unwrap();
        tar
    }

    /// Path, kind, mode and length of each entry, as its header has them, whose sum is checked.
    fn entries(tar: &[u8]) -> Vec<(String, u8, u64, u64)> {
        let (blocks, rest) = tar.as_chunks::<BLOCK_BYTES>();
        assert!(rest.is_empty() && blocks.ends_with(&[[0; BLOCK_BYTES]; 2]));
        let text = |field: &[u8]| {
            String::from_utf8(field.to_vec()).unwrap().trim_end_matches(['\0', ' ']).to_owned()
        };
        let number = |field: &[u8]| u64::from_str_radix(&text(field), 8).unwrap();
        let mut found = Vec::new();
        let mut at = 0;
        while blocks[at] != [0; BLOCK_BYTES] {
            let header = &blocks[at];
            let bytes = header.iter().enumerate();
            let sum: u64 =
                bytes.map(|(i, byte)| u64::from(if (148..156).contains(&i) { b' ' } else { *byte })).sum();
            assert_eq!(number(&header[148..156]), sum);
            assert_eq!((number(&header[108..116]), number(&header[116..124])), (0, 0), "owner and group");
            assert_eq!(number(&header[136..148]), MTIME);
            let length = number(&header[124..136]);
            found.push((text(&header[..100]), header[156], number(&header[100..108]), length));
            at += 1 + (length as usize).div_ceil(BLOCK_BYTES);
        }
        assert_eq!(at + 2, blocks.len());
        found
    }

    #[test]
    fn the_order_of_adding_changes_no_byte() {
        let one = archive(&["README.md", "share/man/man1/a.1", "share/b"]).tar_gz("top-1", MTIME).unwrap();
        let other = archive(&["share/b", "README.md", "share/man/man1/a.1"]).tar_gz("top-1", MTIME).unwrap();
        assert_eq!(one, other);
        assert_eq!(one[4..8], [0; 4], "gzip has no time");
    }

    #[test]
    fn headers_say_what_follows() {
        let tar = unzipped(&archive(&["README.md", "share/man/a.1"]).tar_gz("top-1", MTIME).unwrap());
        let folder = |path: &str| (path.to_owned(), b'5', 0o755, 0);
        let want = vec![
            folder("top-1/"),
            folder("top-1/bin/"),
            folder("top-1/share/"),
            folder("top-1/share/man/"),
            ("top-1/README.md".to_owned(), b'0', 0o644, 17),
            ("top-1/bin/tercet".to_owned(), b'0', 0o755, 1000),
            ("top-1/share/man/a.1".to_owned(), b'0', 0o644, 21),
        ];
        assert_eq!(entries(&tar), want);
    }

    #[test]
    fn a_path_that_no_header_holds_is_an_error() {
        let long = "x".repeat(95);
        let error = archive(&[long.as_str()]).tar_gz("top-1", MTIME).unwrap_err();
        assert!(error.to_string().contains("expected at most 100"), "{error}");
    }
}
