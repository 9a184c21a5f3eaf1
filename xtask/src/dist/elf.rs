//! What a program for Linux says of itself: whether it is static, how large its parts are, and which C library it
//! wants.
//!
//! It reads ELF files of 64 bits, least byte first, which all targets of a release are.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::process;

/// The segment that names the program that loads this one.
const PT_INTERP: u32 = 3;

/// A program.
pub(crate) struct Elf<'a>(&'a [u8]);

impl<'a> Elf<'a> {
    /// Takes the bytes of a file.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self> {
        let is_elf = bytes.starts_with(b"\x7fELF\x02\x01");
        ensure!(is_elf, "found no ELF file of 64 bits, least byte first");
        Ok(Elf(bytes))
    }

    /// What loads the program, which has then to be on the machine: none, where the program is static.
    pub(crate) fn interpreter(&self) -> Result<Option<String>> {
        let table = Table { start: self.u64(32)?, entry_bytes: self.u16(54)?, entries: self.u16(56)? };
        for at in table.offsets()? {
            if self.u32(at)? == PT_INTERP {
                let name = self.bytes(self.u64(at + 8)?, self.u64(at + 32)?)?;
                return Ok(Some(text(name)));
            }
        }
        Ok(None)
    }

    /// The sections that are loaded, largest first, each with its bytes in memory.
    pub(crate) fn sections(&self) -> Result<Vec<(String, u64)>> {
        const SHF_ALLOC: u64 = 2;
        let table = Table { start: self.u64(40)?, entry_bytes: self.u16(58)?, entries: self.u16(60)? };
        let headers = table.offsets()?;
        let names = *headers.get(usize::from(self.u16(62)?)).context("the section of names is missing")?;
        let names = self.bytes(self.u64(names + 24)?, self.u64(names + 32)?)?;
        let mut sections = Vec::new();
        for at in headers {
            if self.u64(at + 8)? & SHF_ALLOC != 0 {
                let name = names.get(self.u32(at)? as usize..).context("a section's name is cut off")?;
                sections.push((text(name), self.u64(at + 32)?));
            }
        }
        sections.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(sections)
    }

    fn bytes(&self, start: u64, length: u64) -> Result<&'a [u8]> {
        let range = || {
            let start = usize::try_from(start).ok()?;
            self.0.get(start..start.checked_add(usize::try_from(length).ok()?)?)
        };
        range().with_context(|| format!("the file is cut off before {length} bytes at {start}"))
    }

    fn array<const N: usize>(&self, at: u64) -> Result<[u8; N]> {
        let bytes = self.bytes(at, N as u64)?;
        Ok(bytes.try_into().expect("array: as many bytes as were asked for"))
    }

    fn u16(&self, at: u64) -> Result<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: u64) -> Result<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: u64) -> Result<u64> {
        self.array(at).map(u64::from_le_bytes)
    }
}

/// Where a table of headers lies.
struct Table {
    start: u64,
    entry_bytes: u16,
    entries: u16,
}

impl Table {
    fn offsets(&self) -> Result<Vec<u64>> {
        let offset = |i| self.start.checked_add(u64::from(i) * u64::from(self.entry_bytes));
        // Fields are read up to 40 bytes on.
        let offsets = (0..self.entries).map(offset).map(|at| at.filter(|at| *at < u64::MAX - 64));
        offsets.collect::<Option<_>>().context("a table of headers lies beyond the end")
    }
}

/// A text up to its zero byte.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The oldest glibc that has all symbols the program wants, as binutils' `readelf` tells; none where that is not
/// installed.
pub(crate) fn oldest_glibc(program: &Path) -> Result<Option<String>> {
    if !process::exists("readelf") {
        return Ok(None);
    }
    let mut readelf = process::command("readelf", &["--version-info", "--wide"]);
    let output = readelf.arg(program).stderr(Stdio::null()).output().context("cannot start `readelf`")?;
    Ok(newest_version(&String::from_utf8_lossy(&output.stdout)))
}

/// The newest of the versions `GLIBC_…` in a text.
fn newest_version(text: &str) -> Option<String> {
    let versions = text.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let version = rest[..end].trim_end_matches('.');
        let numbers: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
        Some((numbers?, version.to_owned()))
    });
    Some(versions.max()?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one segment of a kind and two sections, `.text` of 100 bytes and the names.
    fn file(segment: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56 + 3 * 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let mut put = |at: usize, value: u64, width: usize| {
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        };
        let (segments, sections, names) = (64, 120, 312);
        for (at, value, width) in [
            (32, segments, 8),
            (40, sections, 8),
            (54, 56, 2),
            (56, 1, 2),
            (58, 64, 2),
            (60, 3, 2),
            (62, 2, 2),
            (64, u64::from(segment), 4),
            (64 + 8, names + 17, 8),
            (64 + 32, 6, 8),
            // `.text`, which is loaded.
            (184, 1, 4),
            (184 + 8, 2, 8),
            (184 + 32, 100, 8),
            // The names, which are not.
            (248, 7, 4),
            (248 + 24, names, 8),
            (248 + 32, 17, 8),
        ] {
            put(at, value, width);
        }
        bytes.extend_from_slice(b"\0.text\0.shstrtab\0/ld.so\0");
        bytes
    }

    #[test]
    fn a_program_without_a_loader_is_static() {
        let bytes = file(1);
        let elf = Elf::new(&bytes).unwrap();
        assert_eq!(elf.interpreter().unwrap(), None);
        assert_eq!(elf.sections().unwrap(), [(".text".to_owned(), 100)]);
        let bytes = file(PT_INTERP);
        assert_eq!(Elf::new(&bytes).unwrap().interpreter().unwrap().as_deref(), Some("/ld.so"));
    }

    #[test]
    fn this_test_has_a_loader_and_code() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            let elf = Elf::new(&bytes).unwrap();
            assert!(elf.interpreter().unwrap().unwrap().contains("ld-linux"));
            assert!(elf.sections().unwrap().iter().any(|(name, bytes)| name == ".text" && *bytes > 10_000));
        }
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let bytes = file(PT_INTERP);
        for length in 6..bytes.len() {
            let elf = Elf::new(&bytes[..length]).unwrap();
            assert!(elf.interpreter().is_err() || elf.sections().is_err() || length >= 335, "{length}");
        }
        assert!(Elf::new(b"#!/bin/sh").is_err());
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let text = "Name: GLIBC_2.9  Flags: none\n Name: GLIBC_2.34\n Name: GLIBC_2.4\n Name: GLIBC_PRIVATE";
        assert_eq!(newest_version(text).as_deref(), Some("2.34"));
        assert_eq!(newest_version("no version here"), None);
    }
}
