//! What this machine can do at best: probed, and the best that it has shown remembered in the user's
//! cache folder.
//!
//! A decoded token reads every weight, so no run can be faster than the bandwidth; a prompt is bound
//! by arithmetic. Other programs make a probe slower and none makes it faster, so the best counts.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_kernels::{Ceilings, Pool};

use crate::{figures, machine};

/// Bytes that the probe reads: well above any last cache, and read in a fraction of a second.
const PROBE_BYTES: usize = 512 << 20;
/// Those of a probe between two measurements.
const GLANCE_BYTES: usize = 256 << 20;
/// A longer file is not one of ours.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Probes that are remembered.
const ENTRIES_MAX: usize = 64;

/// The rates of a [`Ceilings`], as they are written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rates {
    pub(crate) read_bytes_per_s: f64,
    pub(crate) int8_ops_per_s: f64,
    pub(crate) bf16_ops_per_s: Option<f64>,
    pub(crate) f32_ops_per_s: f64,
}

impl Rates {
    /// The better of two probes, rate by rate.
    pub(crate) fn max(self, other: Rates) -> Rates {
        Rates {
            read_bytes_per_s: self.read_bytes_per_s.max(other.read_bytes_per_s),
            int8_ops_per_s: self.int8_ops_per_s.max(other.int8_ops_per_s),
            bf16_ops_per_s: self.bf16_ops_per_s.zip(other.bf16_ops_per_s).map(|(a, b)| a.max(b)),
            f32_ops_per_s: self.f32_ops_per_s.max(other.f32_ops_per_s),
        }
    }

    /// `1.94 Tops/s of int8, 930 Gops/s of bf16, 510 Gops/s of f32`.
    pub(crate) fn arithmetic(&self) -> String {
        let rate = |name, rate| format!("{} of {name}", figures::operations_per_second(rate));
        let rates = [
            Some(rate("int8", self.int8_ops_per_s)),
            self.bf16_ops_per_s.map(|bf16| rate("bf16", bf16)),
            Some(rate("f32", self.f32_ops_per_s)),
        ];
        rates.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn is_possible(&self) -> bool {
        let Rates { read_bytes_per_s, int8_ops_per_s, bf16_ops_per_s, f32_ops_per_s } = *self;
        let rates = [read_bytes_per_s, int8_ops_per_s, bf16_ops_per_s.unwrap_or(1.0), f32_ops_per_s];
        rates.iter().all(|rate| rate.is_finite() && *rate > 0.0)
    }
}

impl From<Ceilings> for Rates {
    fn from(ceilings: Ceilings) -> Self {
        let Ceilings { read_bytes_per_s, int8_ops_per_s, bf16_ops_per_s, f32_ops_per_s } = ceilings;
        Rates { read_bytes_per_s, int8_ops_per_s, bf16_ops_per_s, f32_ops_per_s }
    }
}

/// A probe of this run, and the best one of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) now: Rates,
    pub(crate) best: Rates,
}

/// The best probes of one machine, and what they are true of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    cpu: String,
    threads: usize,
    isa: String,
    version: String,
    best: Rates,
}

/// Bytes a second that the workers of `pool` can read, as probed now or earlier.
pub(crate) fn recall_or_measure_bandwidth(pool: &Pool) -> f64 {
    recall_bandwidth(pool).unwrap_or_else(|| measure(pool).best.read_bytes_per_s)
}

/// The bandwidth that earlier probes gave, if there was one.
pub(crate) fn recall_bandwidth(pool: &Pool) -> Option<f64> {
    Some(recall(&cache_file()?, pool)?.read_bytes_per_s)
}

/// Probes now, and remembers it where that is possible.
pub(crate) fn measure(pool: &Pool) -> Measured {
    let now = Rates::from(Ceilings::measure(pool, size_at_most(PROBE_BYTES)));
    let Some(file) = cache_file() else { return Measured { now, best: now } };
    let best = recall(&file, pool).map_or(now, |earlier| earlier.max(now));
    // A cache that cannot be written costs the next run a probe and nothing else.
    let _ = remember(&file, entry(pool, best));
    Measured { now, best }
}

/// Probes in a fifth of a second, and remembers nothing.
pub(crate) fn glance(pool: &Pool) -> Rates {
    Ceilings::glance(pool, size_at_most(GLANCE_BYTES)).into()
}

/// Never so much that others are pushed out of memory.
fn size_at_most(bytes: usize) -> usize {
    const SHARE_OF_AVAILABLE: u64 = 8;
    let room = machine::memory().map_or(u64::MAX, |memory| memory.available_bytes / SHARE_OF_AVAILABLE);
    bytes.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1 << 20)
}

fn recall(file: &Path, pool: &Pool) -> Option<Rates> {
    let is_of_pool = |entry: &Entry| is_same(entry, &self::entry(pool, entry.best));
    Some(read_entries(file).into_iter().find(is_of_pool)?.best)
}

fn entry(pool: &Pool, best: Rates) -> Entry {
    Entry {
        cpu: machine::cpu_name(),
        threads: pool.threads(),
        isa: pool.isa().name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        best,
    }
}

fn is_same(a: &Entry, b: &Entry) -> bool {
    (&a.cpu, a.threads, &a.isa, &a.version) == (&b.cpu, b.threads, &b.isa, &b.version)
}

fn cache_file() -> Option<PathBuf> {
    Some(machine::cache_folder()?.join("ceilings.json"))
}

/// The entries of a file; a file that is missing or damaged has none.
fn read_entries(file: &Path) -> Vec<Entry> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(FILE_MAX_BYTES).read_to_end(&mut bytes));
    let entries: Vec<Entry> = read.ok().and_then(|_| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    entries.into_iter().filter(|entry| entry.best.is_possible()).collect()
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

    fn rates(read_bytes_per_s: f64, bf16_ops_per_s: Option<f64>) -> Rates {
        Rates { read_bytes_per_s, int8_ops_per_s: 1.0, bf16_ops_per_s, f32_ops_per_s: 1.0 }
    }

    fn sample(isa: &str, read_bytes_per_s: f64) -> Entry {
        Entry {
            cpu: "a CPU".to_owned(),
            threads: 2,
            isa: isa.to_owned(),
            version: "1".to_owned(),
            best: rates(read_bytes_per_s, None),
        }
    }

    #[test]
    fn the_best_is_taken_rate_by_rate() {
        let better = Rates { int8_ops_per_s: 0.5, ..rates(2.0, Some(3.0)) };
        assert_eq!(better.max(rates(1.0, Some(4.0))), rates(2.0, Some(4.0)));
        assert_eq!(better.max(rates(1.0, None)).bf16_ops_per_s, None);
    }

    #[test]
    fn a_new_probe_takes_the_place_of_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/ceilings.json");
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
        let file = folder.path().join("ceilings.json");
        assert_eq!(read_entries(&file), []);
        fs::write(&file, "[{").unwrap();
        assert_eq!(read_entries(&file), []);
        fs::write(&file, serde_json::to_vec(&[sample("a", -1.0), sample("b", 1.0)]).unwrap()).unwrap();
        assert_eq!(read_entries(&file), [sample("b", 1.0)]);
    }
}
