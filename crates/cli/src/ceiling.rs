//! The read bandwidth of this machine: probed once, then remembered in the user's cache folder.
//!
//! A decoded token reads every weight, so no run can be faster than this.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_kernels::{Pool, read_bandwidth};

use crate::machine;

/// Bytes that the probe reads: well above any last cache, and read in a fraction of a second.
const PROBE_BYTES: usize = 512 << 20;
/// Passes over them, of which the best counts.
const PROBE_PASSES: usize = 5;
/// A longer file is not one of ours.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Probes that are remembered.
const ENTRIES_MAX: usize = 64;

/// One probe, and what it is true of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    cpu: String,
    threads: usize,
    isa: String,
    version: String,
    bytes_per_second: f64,
}

/// Bytes a second that the workers of `pool` can read, as probed now or earlier.
pub(crate) fn recall_or_measure(pool: &Pool) -> f64 {
    recall(pool).unwrap_or_else(|| measure(pool))
}

/// What an earlier probe gave, if there was one.
pub(crate) fn recall(pool: &Pool) -> Option<f64> {
    let like = entry(pool, 0.0);
    let found = read_entries(&cache_file()?).into_iter().find(|entry| is_same(entry, &like));
    found.map(|entry| entry.bytes_per_second)
}

/// Probes now, and remembers it where that is possible.
pub(crate) fn measure(pool: &Pool) -> f64 {
    // Never so much that others are pushed out of memory.
    const SHARE_OF_AVAILABLE: u64 = 8;
    let room = machine::memory().map_or(u64::MAX, |memory| memory.available_bytes / SHARE_OF_AVAILABLE);
    let size_bytes = PROBE_BYTES.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1 << 20);
    let bytes_per_second = read_bandwidth(pool, size_bytes, PROBE_PASSES);
    if let Some(file) = cache_file() {
        // A cache that cannot be written costs the next run a probe and nothing else.
        let _ = remember(&file, entry(pool, bytes_per_second));
    }
    bytes_per_second
}

fn entry(pool: &Pool, bytes_per_second: f64) -> Entry {
    Entry {
        cpu: machine::cpu_name(),
        threads: pool.threads(),
        isa: pool.isa().name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        bytes_per_second,
    }
}

fn is_same(a: &Entry, b: &Entry) -> bool {
    (&a.cpu, a.threads, &a.isa, &a.version) == (&b.cpu, b.threads, &b.isa, &b.version)
}

fn cache_file() -> Option<PathBuf> {
    // The specification has relative paths ignored.
    let from_environment =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = from_environment.or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
    Some(folder.join("tercet").join("bandwidth.json"))
}

/// The entries of a file; a file that is missing or damaged has none.
fn read_entries(file: &Path) -> Vec<Entry> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(FILE_MAX_BYTES).read_to_end(&mut bytes));
    let entries: Vec<Entry> = read.ok().and_then(|_| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let is_possible = |entry: &Entry| entry.bytes_per_second.is_finite() && entry.bytes_per_second > 0.0;
    entries.into_iter().filter(is_possible).collect()
}

/// Puts an entry in the place of the one for the same machine.
fn remember(file: &Path, new: Entry) -> io::Result<()> {
    let mut entries = read_entries(file);
    entries.retain(|entry| !is_same(entry, &new));
    entries.truncate(ENTRIES_MAX - 1);
    entries.insert(0, new);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let sibling = file.with_extension(format!("{}.new", std::process::id()));
    fs::write(&sibling, serde_json::to_vec_pretty(&entries)?)?;
    fs::rename(&sibling, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(isa: &str, bytes_per_second: f64) -> Entry {
        Entry {
            cpu: "a CPU".to_owned(),
            threads: 2,
            isa: isa.to_owned(),
            version: "1".to_owned(),
            bytes_per_second,
        }
    }

    #[test]
    fn a_new_probe_takes_the_place_of_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/bandwidth.json");
        for (isa, bandwidth) in [("scalar", 1.0), ("avx2", 2.0), ("scalar", 3.0)] {
            remember(&file, sample(isa, bandwidth)).unwrap();
        }
        assert_eq!(read_entries(&file), [sample("scalar", 3.0), sample("avx2", 2.0)]);
        let files = fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "nothing is left beside it");
    }

    #[test]
    fn damaged_files_and_impossible_values_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bandwidth.json");
        assert_eq!(read_entries(&file), []);
        fs::write(&file, "[{").unwrap();
        assert_eq!(read_entries(&file), []);
        fs::write(&file, serde_json::to_vec(&[sample("a", -1.0), sample("b", 1.0)]).unwrap()).unwrap();
        assert_eq!(read_entries(&file), [sample("b", 1.0)]);
    }
}
