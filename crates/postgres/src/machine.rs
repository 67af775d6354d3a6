//! What machine is this?
//!
//! Facts for the tuning rules: what this process may use, which in a container is less than what the machine has.

use std::fs;
use std::path::Path;
use std::process::Command;

use howdah_plan::spec::Disk;
use howdah_plan::tune::Machine;

/// Reads the facts. `data` is where the data directory is or will be; the nearest directory above it that exists is
/// asked for its disk.
pub fn read(data: &Path) -> Machine {
    let total = total_memory();
    let limit = cgroup_memory();
    Machine {
        memory_bytes: limit.into_iter().chain(total).min().unwrap_or(2 << 30),
        cores: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        arch: std::env::consts::ARCH.into(),
        os: std::env::consts::OS.into(),
        disk: disk_kind(data).unwrap_or_default(),
        disk_free_bytes: disk_free(data),
        container: in_container(),
        shm_bytes: disk_size(Path::new("/dev/shm")),
        huge_pages_bytes: huge_pages(),
    }
}

/// The machine in words, for a report: processor, cores, memory.
pub fn described() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split(':').nth(1)).map_or("unknown", str::trim).to_owned()
    };
    let facts = read(Path::new("/"));
    format!(
        "{} (family {}, model {}), {} cores, {} GiB, {} {}",
        field("model name"),
        field("cpu family"),
        field("model"),
        facts.cores,
        facts.memory_bytes >> 30,
        facts.os,
        facts.arch
    )
}

/// Bytes that an ordinary user may still write on the disk of `path` or the nearest directory above it that exists.
#[allow(clippy::unnecessary_cast)] // The types are narrower on macOS.
pub fn disk_free(path: &Path) -> Option<u64> {
    let stat = statvfs(path)?;
    Some(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

#[allow(clippy::unnecessary_cast)] // The types are narrower on macOS.
fn disk_size(path: &Path) -> Option<u64> {
    let stat = path.is_dir().then(|| statvfs(path))??;
    Some(stat.blocks() as u64 * stat.fragment_size() as u64)
}

fn statvfs(path: &Path) -> Option<nix::sys::statvfs::Statvfs> {
    let there = path.ancestors().find(|dir| dir.exists())?;
    nix::sys::statvfs::statvfs(there).ok()
}

fn total_memory() -> Option<u64> {
    if cfg!(target_os = "macos") {
        let output = Command::new("sysctl").args(["-n", "hw.memsize"]).output().ok()?;
        return String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    }
    meminfo(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:").map(|kib| kib * 1024)
}

fn huge_pages() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    Some(meminfo(&info, "HugePages_Total:")? * meminfo(&info, "Hugepagesize:")? * 1024)
}

fn meminfo(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// The smallest memory limit of this process's control group and those above it, version 2 or 1.
fn cgroup_memory() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    cgroup_files(&own)
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        // "max" in version 2, a number near 2^63 in version 1, mean no limit.
        .filter_map(|text| text.trim().parse::<u64>().ok().filter(|bytes| *bytes < 1 << 60))
        .min()
}

fn cgroup_files(own: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for group in Path::new(path).ancestors() {
            let group = group.to_string_lossy();
            files.push(format!("{root}{}/{file}", group.trim_end_matches('/')));
        }
    }
    files
}

pub(super) fn in_container() -> bool {
    Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
        || std::env::var_os("container").is_some()
}

/// The kind of the disk that `path` is on, where the kernel says it.
fn disk_kind(path: &Path) -> Option<Disk> {
    use std::os::unix::fs::MetadataExt;
    let there = path.ancestors().find(|dir| dir.exists())?;
    let device = fs::metadata(there).ok()?.dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let block = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    // A partition has no queue of its own; its disk is the folder above.
    let disk = block.ancestors().find(|dir| dir.join("queue/rotational").is_file())?;
    if disk.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mmcblk")) {
        return Some(Disk::SdCard);
    }
    let rotational = fs::read_to_string(disk.join("queue/rotational")).ok()?;
    let name = disk.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // A virtual disk says "rotational" whatever is below it.
    let tells = !name.starts_with("vd") && !name.starts_with("xvd");
    Some(if tells && rotational.trim() == "1" { Disk::Hdd } else { Disk::Ssd })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_read() {
        let machine = read(Path::new("/tmp/not/there/yet"));
        assert!(machine.memory_bytes > 64 << 20 && machine.cores >= 1, "{machine:?}");
        assert!(machine.disk_free_bytes.is_some());
    }

    #[test]
    fn limits_are_looked_for_in_every_group_above() {
        assert_eq!(
            cgroup_files("0::/a/b\n"),
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(
            cgroup_files("5:cpu,memory:/x\n3:pids:/y\n"),
            ["/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
    }

    #[test]
    fn meminfo_is_read_by_name() {
        let text = "MemTotal:        2048 kB\nHugePages_Total:       3\n";
        assert_eq!(meminfo(text, "MemTotal:"), Some(2048));
        assert_eq!(meminfo(text, "HugePages_Total:"), Some(3));
        assert_eq!(meminfo(text, "Nothing:"), None);
    }
}
