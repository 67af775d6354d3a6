//! Is the process I wrote down still that process?
//!
//! A pid alone is a number that the system gives out again. Together with the time the process started and the boot it
//! started in it names one process for ever, so that a stale file never leads to somebody else's process being ended.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How often a process that is waited for is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// One process, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: i32,
    /// When it started, in the system's own words; compared, never read.
    pub started: String,
}

impl Identity {
    /// This process.
    pub fn own() -> Option<Self> {
        Identity::of(i32::try_from(std::process::id()).ok()?)
    }

    /// The process that has this number now.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Identity { pid, started: started(pid)? })
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        Identity::of(self.pid).as_ref() == Some(self)
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            // It may end between the two: then there is nobody to tell.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Asks it to end, and waits up to `patience`. Says whether it ended.
    pub async fn stop(&self, signal: Signal, patience: Duration) -> bool {
        if !self.is_alive() {
            return true;
        }
        self.signal(signal);
        self.ended(patience).await
    }

    /// Waits up to `patience` for its end. Says whether it ended.
    pub async fn ended(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        loop {
            if !self.is_alive() {
                return true;
            }
            if begun.elapsed() >= patience {
                return false;
            }
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// Boot and start time in clock ticks since then. A zombie has ended.
#[cfg(target_os = "linux")]
fn started(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
    let after_name = &stat[stat.rfind(')')? + 2..];
    let mut fields = after_name.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let ticks = fields.nth(18)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{}:{ticks}", boot.trim()))
}

/// What `ps` says, on systems without `/proc`.
#[cfg(not(target_os = "linux"))]
fn started(pid: i32) -> Option<String> {
    let output = std::process::Command::new("ps")
        .args(["-o", "state=,lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, since) = text.trim().split_once(' ')?;
    (!state.starts_with('Z')).then(|| since.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn this_process_is_alive_and_another_start_time_is_another_process() {
        let own = Identity::own().unwrap();
        assert!(own.is_alive());
        let stale = Identity { started: "another boot:1".into(), ..own };
        assert!(!stale.is_alive());
        assert!(
            stale.stop(Signal::SIGKILL, Duration::ZERO).await,
            "a stale number is left alone: this test lives"
        );
    }

    #[tokio::test]
    async fn a_process_is_ended_even_as_a_zombie() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let identity = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(identity.stop(Signal::SIGTERM, Duration::from_secs(5)).await);
        child.wait().unwrap();
        assert!(!identity.is_alive());
    }
}
