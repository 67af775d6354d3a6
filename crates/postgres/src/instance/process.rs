//! Which processes belong to an instance, and who has a port?
//!
//! A process id alone proves nothing: the process may be dead and not yet waited for, or the number may be somebody
//! else's by now. A postmaster works in its data directory, so the working directory tells. Linux says all of this in
//! `/proc`; elsewhere `ps` is asked and less is known.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;

/// What a postmaster writes into `postmaster.pid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PidFile {
    pub pid: i32,
    pub port: u16,
    /// What it does, in its own words; nothing before it has got that far.
    pub phase: Option<Phase>,
}

/// What a postmaster says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It starts, or recovers from a crash.
    Starting,
    /// It takes connections.
    Ready,
    /// It ends.
    Stopping,
}

impl PidFile {
    pub(super) fn read(data: &Path) -> Option<PidFile> {
        Self::parse(&fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<PidFile> {
        let mut lines = text.lines();
        // A standalone backend writes its id negated.
        let pid = lines.next()?.trim().parse::<i32>().ok()?.abs();
        let port = lines.nth(2).and_then(|line| line.trim().parse().ok()).unwrap_or(0);
        let phase = lines.nth(3).and_then(|line| match line.trim() {
            "starting" => Some(Phase::Starting),
            "ready" | "standby" => Some(Phase::Ready),
            "stopping" => Some(Phase::Stopping),
            _ => None,
        });
        Some(PidFile { pid, port, phase })
    }
}

/// Whether `pid` is a live server process of the data directory.
pub(super) fn is_server_of(pid: i32, data: &Path) -> bool {
    is_alive(pid) && works_in(pid, data)
}

/// Whether a process runs. One that is dead and only waits to be collected does not.
pub fn is_alive(pid: i32) -> bool {
    if pid <= 0 {
        return false;
    }
    match process_state(pid) {
        Some(state) => !matches!(state, 'Z' | 'X'),
        None => false,
    }
}

fn process_state(pid: i32) -> Option<char> {
    if cfg!(target_os = "linux") {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the state follows the last one.
        return stat.rsplit(')').next()?.trim().chars().next();
    }
    kill(Pid::from_raw(pid), None).is_ok().then_some(())?;
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().chars().next()
}

fn works_in(pid: i32, data: &Path) -> bool {
    if cfg!(target_os = "linux") {
        let Ok(data) = fs::canonicalize(data) else { return false };
        return match fs::read_link(format!("/proc/{pid}/cwd")) {
            Ok(cwd) => cwd == data,
            // Another user's process: its name is all that may be seen.
            Err(_) => name_of(pid).is_some_and(|name| name.starts_with("postgres")),
        };
    }
    let output = Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("postgres"))
}

fn name_of(pid: i32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

/// Live processes that work in the data directory, such as those a killed postmaster left behind.
pub(super) fn servers_of(data: &Path) -> Vec<i32> {
    let Ok(data) = fs::canonicalize(data) else { return Vec::new() };
    processes()
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data) && is_alive(*pid)
        })
        .collect()
}

fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
}

/// Whether the loopback port can be listened on.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> Option<u16> {
    Some(TcpListener::bind(("127.0.0.1", 0)).ok()?.local_addr().ok()?.port())
}

/// Who listens on a TCP port, as far as this user may know: "`nginx` (process 123)".
pub(super) fn listener_on(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let holds = |pid: &i32| {
        fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().any(|entry| {
            fs::read_link(entry.path())
                .is_ok_and(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
        })
    };
    if inodes.is_empty() {
        return None;
    }
    let pid = processes().find(holds)?;
    Some(format!("`{}` (process {pid})", name_of(pid)?))
}

fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| row.len() > 9 && row[1].ends_with(&suffix) && row[3] == LISTEN)
        .map(|row| row[9].to_owned())
        .collect()
}

/// The processes that a process has started and that are its own still; only Linux says.
pub(super) fn children(pid: i32) -> Vec<i32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Time of a process, of its children that ended, and of those that run.
pub(super) fn tree_cpu(pid: i32) -> Option<Duration> {
    let ticks = |pid: i32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name in brackets: state is field 3, parent 4, the four times 14 to 17.
        let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
        (11..15).map(|at| fields.get(at)?.parse::<u64>().ok()).sum()
    };
    // A child may have ended since it was listed.
    let total = ticks(pid)? + children(pid).into_iter().filter_map(ticks).sum::<u64>();
    // A tick is a hundredth of a second on every Linux that programs can see.
    Some(Duration::from_millis(10 * total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_a_processor() {
        if cfg!(target_os = "linux") {
            let begin = std::time::Instant::now();
            while begin.elapsed() < Duration::from_millis(60) {
                std::hint::spin_loop();
            }
            let pid = i32::try_from(std::process::id()).unwrap();
            assert!(tree_cpu(pid).unwrap() > Duration::ZERO);
        }
        assert_eq!(tree_cpu(-1), None);
    }

    #[test]
    fn a_pid_file_is_read_even_when_it_is_short() {
        let whole = "4711\n/data\n1700000000\n5433\n/run\n127.0.0.1\n  123 456\nready\n";
        assert_eq!(PidFile::parse(whole), Some(PidFile { pid: 4711, port: 5433, phase: Some(Phase::Ready) }));
        let starting = PidFile::parse(&whole.replace("ready", "starting")).unwrap();
        assert_eq!(starting.phase, Some(Phase::Starting));
        assert_eq!(PidFile::parse("-12\n/data\n"), Some(PidFile { pid: 12, port: 0, phase: None }));
        assert_eq!(PidFile::parse(""), None);
        assert_eq!(PidFile::parse("garbage\n"), None);
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        for _ in 0..500 {
            if !is_alive(pid) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        // Not waited for yet: the process table still has it, and `kill -0` calls it alive.
        assert!(kill(Pid::from_raw(pid), None).is_ok());
        assert!(!is_alive(pid));
        child.wait().unwrap();
    }

    #[test]
    fn the_holder_of_a_port_is_named() {
        if !cfg!(target_os = "linux") {
            eprintln!("skipped: needs /proc");
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        let who = listener_on(port).unwrap();
        assert!(who.contains(&format!("process {}", std::process::id())), "{who}");
    }
}
