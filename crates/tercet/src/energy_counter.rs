//! Joules that the processor says it has used (RAPL), where Linux lets this user read them.

use std::fs;
use std::path::{Path, PathBuf};

/// Where Linux has the counters.
const POWERCAP: &str = "/sys/class/powercap";
const MICROJOULES: f64 = 1e-6;

/// The counters of all processor packages, as they stood at one moment.
#[derive(Debug)]
pub struct EnergyCounter {
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    counter: PathBuf,
    /// Where the counter starts again from 0.
    range_uj: u64,
    start_uj: u64,
}

impl EnergyCounter {
    /// Starts counting; `None` where there is no counter, or it cannot be read.
    pub fn start() -> Option<Self> {
        Self::start_in(Path::new(POWERCAP))
    }

    fn start_in(folder: &Path) -> Option<Self> {
        // A package is `intel-rapl:0`, on AMD too; `intel-rapl:0:0` is a part of one.
        let is_package = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.strip_prefix("intel-rapl:").is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let folders = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).filter(is_package);
        let packages: Vec<_> = folders.map(|folder| Package::start(&folder)).collect::<Option<_>>()?;
        (!packages.is_empty()).then_some(EnergyCounter { packages })
    }

    /// Joules since the start.
    pub fn joules(&self) -> Option<f64> {
        self.packages.iter().map(Package::joules).sum()
    }
}

impl Package {
    fn start(folder: &Path) -> Option<Self> {
        let counter = folder.join("energy_uj");
        let range_uj = number(&folder.join("max_energy_range_uj"))?;
        Some(Package { start_uj: number(&counter)?, counter, range_uj })
    }

    fn joules(&self) -> Option<f64> {
        let now_uj = number(&self.counter)?;
        let used_uj = match now_uj >= self.start_uj {
            true => now_uj - self.start_uj,
            false => self.range_uj.saturating_sub(self.start_uj) + now_uj,
        };
        Some(used_uj as f64 * MICROJOULES)
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_summed_and_a_counter_may_wrap() {
        let root = tempfile::tempdir().unwrap();
        assert!(EnergyCounter::start_in(root.path()).is_none());
        let write = |package: &str, file: &str, value: u64| {
            let folder = root.path().join(package);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), format!("{value}\n")).unwrap();
        };
        for (package, start) in [("intel-rapl:0", 100), ("intel-rapl:1", 9_999_000), ("intel-rapl:0:0", 5)] {
            write(package, "max_energy_range_uj", 10_000_000);
            write(package, "energy_uj", start);
        }
        let counter = EnergyCounter::start_in(root.path()).unwrap();
        write("intel-rapl:0", "energy_uj", 1_000_100);
        write("intel-rapl:1", "energy_uj", 499_000);
        write("intel-rapl:0:0", "energy_uj", 9_000_000);
        assert_eq!(counter.joules(), Some(1.5));
    }
}
