//! What this machine is: its CPU's name, and memory that may be used.
//!
//! Linux says it in files; elsewhere little is known, and nothing is guessed.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Memory of the machine, or of the control group that limits this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    pub(crate) total_bytes: u64,
    /// What can be taken without pushing anything out.
    pub(crate) available_bytes: u64,
}

/// Where programs keep what they can make again: a folder of our own in `$XDG_CACHE_HOME`.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    // The specification has relative paths ignored.
    let from_environment =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = from_environment.or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
    Some(folder.join("tercet"))
}

/// The CPU's name, as the system calls it.
pub(crate) fn cpu_name() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpu_name_of(&cpuinfo).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The name in `/proc/cpuinfo`; that of aarch64 has numbers only.
fn cpu_name_of(cpuinfo: &str) -> Option<String> {
    let field = |name: &str| {
        let line =
            cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    field("model name").or_else(|| {
        let (implementer, part) = (field("CPU implementer")?, field("CPU part")?);
        Some(format!("aarch64 implementer {implementer} part {part}"))
    })
}

/// The memory this process may use; `None` where the system does not say.
pub(crate) fn memory() -> Option<Memory> {
    let mut memory = memory_of(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for limit in control_group_limits(&groups, Path::new("/sys/fs/cgroup")) {
        memory.total_bytes = memory.total_bytes.min(limit.total_bytes);
        memory.available_bytes = memory.available_bytes.min(limit.available_bytes);
    }
    Some(memory)
}

/// Memory that this process has resident now, mapped files included; `None` where the system does
/// not say.
pub(crate) fn resident_bytes() -> Option<u64> {
    resident_bytes_of(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Reads `/proc/self/status`.
fn resident_bytes_of(status: &str) -> Option<u64> {
    bytes_field(status, "VmRSS:")
}

/// A field of a file in `/proc` that counts memory in kibibytes.
fn bytes_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Reads `/proc/meminfo`.
fn memory_of(meminfo: &str) -> Option<Memory> {
    let field = |name: &str| bytes_field(meminfo, name);
    Some(Memory { total_bytes: field("MemTotal:")?, available_bytes: field("MemAvailable:")? })
}

/// The limits of this process' control groups and of those above them, in both versions.
fn control_group_limits(groups: &str, root: &Path) -> Vec<Memory> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (base, limit, usage) = match controllers {
            "" => (root.to_path_buf(), "memory.max", "memory.current"),
            controllers if controllers.split(',').any(|controller| controller == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")
            }
            _ => continue,
        };
        // A container may see its own group as the root, while its path is that outside.
        let relative = path.trim_start_matches('/');
        let groups = Path::new(relative).ancestors().map(|group| base.join(group));
        limits.extend(groups.filter_map(|group| limit_of(&group, limit, usage)));
    }
    limits
}

/// The limit of one control group, where it has one.
fn limit_of(group: &Path, limit: &str, usage: &str) -> Option<Memory> {
    let number = |file: PathBuf| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let total_bytes = number(group.join(limit))?;
    let used_bytes = number(group.join(usage))?;
    // Pages of files count as used and are given back when memory runs short.
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let file_bytes = |name: &str| {
        let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
    };
    let reclaimable_bytes = file_bytes("inactive_file") + file_bytes("active_file");
    let available_bytes = total_bytes.saturating_sub(used_bytes.saturating_sub(reclaimable_bytes));
    Some(Memory { total_bytes, available_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_named_in_both_manners() {
        let x86 = "processor\t: 0\nmodel\t\t: 2\nmodel name\t: Some CPU @ 2.0 GHz\n";
        assert_eq!(cpu_name_of(x86).unwrap(), "Some CPU @ 2.0 GHz");
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(cpu_name_of(arm).unwrap(), "aarch64 implementer 0x41 part 0xd0c");
        assert_eq!(cpu_name_of(""), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let meminfo = "MemTotal:       16 kB\nMemFree: 1 kB\nMemAvailable:    8 kB\n";
        assert_eq!(memory_of(meminfo), Some(Memory { total_bytes: 16_384, available_bytes: 8192 }));
        assert_eq!(memory_of("MemTotal: 16 kB\n"), None);
        assert_eq!(resident_bytes_of("VmPeak:\t 9 kB\nVmRSS:\t 3 kB\n"), Some(3072));
    }

    #[test]
    fn the_narrowest_control_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/memory.max", "1000\n");
        write("a/memory.current", "600\n");
        write("a/memory.stat", "anon 300\nactive_file 100\ninactive_file 200\n");
        write("a/b/memory.max", "max\n");
        write("a/b/memory.current", "1\n");
        write("memory/c/memory.limit_in_bytes", "500\n");
        write("memory/c/memory.usage_in_bytes", "100\n");
        let limits = control_group_limits("4:cpu,memory:/c\n0::/a/b\n", root.path());
        let want = [(500, 400), (1000, 700)];
        let want = want.map(|(total_bytes, available_bytes)| Memory { total_bytes, available_bytes });
        assert_eq!(limits, want);
    }
}
