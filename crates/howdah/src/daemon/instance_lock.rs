//! Who works with this instance right now?
//!
//! One at a time: the server that `howdah up` keeps, or a command that does its work itself because no server runs. Whoever
//! it is holds a lock that ends with its process, and writes into the locked file who it is. A command is waited for, a
//! server is not: it stays.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use howdah_plan::problem::{DoNow, Kind, Problem};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::directory::{InstanceDirectory, cannot};
use crate::runtime::process::Identity;

/// Longest time a command that works is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest time between taking the lock and having written who took it.
const WRITING: Duration = Duration::from_secs(10);
/// How often the lock is tried again.
const GLANCE: Duration = Duration::from_millis(50);

/// Who holds an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub process: Identity,
    /// The command that does its work itself (`ingest`); none for a server that stays.
    pub command: Option<String>,
    /// The file with the steps of the server's start, where it tells them to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<PathBuf>,
}

/// What somebody wants the instance for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use<'a> {
    /// A command of this name that does its work itself.
    Command(&'a str),
    /// A server that stays, and tells its steps to this file.
    Server(Option<&'a Path>),
}

impl Use<'_> {
    fn by(self, process: Identity) -> Holder {
        match self {
            Use::Command(name) => Holder { process, command: Some(name.to_owned()), steps: None },
            Use::Server(steps) => Holder { process, command: None, steps: steps.map(Path::to_owned) },
        }
    }
}

impl Holder {
    /// Whether it is a command, which ends by itself.
    pub fn is_command(&self) -> bool {
        self.command.is_some()
    }
}

/// The lock of an instance. It ends with this value, or with the process.
#[derive(Debug)]
pub struct InstanceLock {
    file: Flock<File>,
    /// Who held it before and did not give it back: a process that was killed.
    pub before: Option<Holder>,
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        // Given back in order. A name that stays is only taken for that of a killed process.
        let _ = self.file.set_len(0);
    }
}

/// What came of asking for the lock.
#[derive(Debug)]
pub enum Claim {
    /// It is ours.
    Ours(InstanceLock),
    /// Somebody has it; none when it is not written yet who.
    Taken(Option<Holder>),
}

impl Claim {
    /// The lock, or why not.
    ///
    /// # Errors
    /// `conflict`, naming who has it.
    pub fn held(self, directory: &InstanceDirectory) -> Result<InstanceLock, Problem> {
        match self {
            Claim::Ours(held) => Ok(held),
            Claim::Taken(holder) => Err(taken(directory, holder.as_ref())),
        }
    }
}

/// Why the lock cannot be had.
pub fn taken(directory: &InstanceDirectory, holder: Option<&Holder>) -> Problem {
    let path = directory.lock_file();
    let who = holder.map_or(String::new(), |holder| format!("process {} ", holder.process.pid));
    let detail = format!("{who}holds `{}`", path.display());
    match holder.and_then(|holder| holder.command.as_deref()) {
        Some(command) => {
            Problem::new(Kind::Conflict, format!("`howdah {command}` works with this instance by itself"))
                .detail(detail)
                .hint("Wait until it is done. With `howdah up` running, commands work side by side.")
                .do_now(DoNow::Retry)
        }
        None => Problem::new(Kind::Conflict, "another howdah runs this instance already")
            .detail(detail)
            .hint("Look with `howdah status`, or stop it with `howdah down`."),
    }
}

impl InstanceDirectory {
    /// Asks for the lock that only one process has at a time: a server, or a command that works itself.
    ///
    /// # Errors
    /// `machine` when the file cannot be written.
    pub fn claim(&self, wanted: Use<'_>) -> Result<Claim, Problem> {
        let path = self.lock_file();
        let broken = |error: std::io::Error| cannot("write", &path, &error);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(broken)?;
        let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            return Ok(Claim::Taken(self.holder()));
        };
        let held = InstanceLock { before: self.written_holder(), file };
        if let Some(process) = Identity::own() {
            let holder = wanted.by(process);
            held.file.set_len(0).map_err(broken)?;
            (&*held.file)
                .write_all(serde_json::to_string(&holder).unwrap_or_default().as_bytes())
                .map_err(broken)?;
        }
        Ok(Claim::Ours(held))
    }

    /// Who has the instance right now, if somebody does.
    pub fn holder(&self) -> Option<Holder> {
        self.written_holder().filter(|holder| holder.process.is_alive())
    }

    fn written_holder(&self) -> Option<Holder> {
        serde_json::from_str(&fs::read_to_string(self.lock_file()).ok()?).ok()
    }
}

/// Asks for the lock, and waits while a command has it. `tell` is called once with who is waited for.
///
/// # Errors
/// As [`InstanceDirectory::claim`].
pub async fn wait(
    directory: &InstanceDirectory,
    wanted: Use<'_>,
    mut tell: impl FnMut(&Holder),
) -> Result<Claim, Problem> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        let holder = match directory.claim(wanted)? {
            Claim::Ours(held) => return Ok(Claim::Ours(held)),
            Claim::Taken(holder) => holder,
        };
        let patience = match &holder {
            Some(holder) if holder.is_command() => {
                if !told {
                    tell(holder);
                }
                told = true;
                PATIENCE
            }
            Some(_) => Duration::ZERO,
            None => WRITING,
        };
        if begun.elapsed() >= patience {
            return Ok(Claim::Taken(holder));
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// The lock of a part of the work that commands do one after the other, beside a server. It ends with this value.
#[derive(Debug)]
pub struct Turn {
    _file: Flock<File>,
}

impl InstanceDirectory {
    /// Waits up to `patience` until it is this process's turn to do what `name` stands for. `tell` is called
    /// once when it waits.
    ///
    /// # Errors
    /// `machine` when the file cannot be written, `timeout` when others take too long.
    pub async fn turn(
        &self,
        name: &str,
        patience: Duration,
        mut tell: impl FnMut(),
    ) -> Result<Turn, Problem> {
        let path = self.path.join(format!("{name}.lock"));
        let begun = Instant::now();
        let mut told = false;
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(|error| cannot("write", &path, &error))?;
            if let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                return Ok(Turn { _file: file });
            }
            if begun.elapsed() >= patience {
                return Err(Problem::new(
                    Kind::Timeout,
                    format!("another `howdah {name}` has not ended within {} s", patience.as_secs()),
                )
                .detail(format!("it holds `{}`", path.display())));
            }
            if !std::mem::replace(&mut told, true) {
                tell();
            }
            tokio::time::sleep(GLANCE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(path: &Path) -> InstanceDirectory {
        InstanceDirectory { id: "one".into(), path: path.to_owned() }
    }

    #[test]
    fn the_lock_is_for_one_and_says_for_whom() {
        let root = tempfile::tempdir().unwrap();
        let directory = instance(root.path());
        let held = directory.claim(Use::Server(None)).unwrap().held(&directory).unwrap();
        let refused = directory.claim(Use::Command("search")).unwrap().held(&directory).unwrap_err();
        assert_eq!(
            (refused.kind, refused.message.as_str()),
            (Kind::Conflict, "another howdah runs this instance already")
        );
        assert_eq!(directory.holder().unwrap().command, None, "a server is no command");
        drop(held);
        let held = directory.claim(Use::Command("ingest")).unwrap().held(&directory).unwrap();
        assert_eq!(held.before, None, "who gave it back is forgotten");
        assert_eq!(directory.holder().unwrap().command.as_deref(), Some("ingest"));
        let refused = directory.claim(Use::Server(None)).unwrap().held(&directory).unwrap_err();
        assert!(refused.message.starts_with("`howdah ingest` works"), "{refused}");
    }

    #[test]
    fn who_was_killed_with_it_is_remembered() {
        let root = tempfile::tempdir().unwrap();
        let directory = instance(root.path());
        let dead = Holder {
            process: Identity { pid: 1, started: "another boot:1".into() },
            command: Some("ingest".into()),
            steps: None,
        };
        fs::write(directory.lock_file(), serde_json::to_string(&dead).unwrap()).unwrap();
        assert_eq!(directory.holder(), None, "it is dead");
        let held = directory.claim(Use::Command("search")).unwrap().held(&directory).unwrap();
        assert_eq!(held.before, Some(dead));
    }

    #[tokio::test]
    async fn a_command_is_waited_for_and_a_server_is_not() {
        let root = tempfile::tempdir().unwrap();
        let directory = instance(root.path());
        let server = directory.claim(Use::Server(None)).unwrap().held(&directory).unwrap();
        assert!(matches!(
            wait(&directory, Use::Server(None), |_| panic!("not waited for")).await.unwrap(),
            Claim::Taken(Some(_))
        ));
        drop(server);
        let command = directory.claim(Use::Command("ingest")).unwrap().held(&directory).unwrap();
        let mut heard = Vec::new();
        let waiting = wait(&directory, Use::Server(None), |holder| heard.push(holder.command.clone()));
        let ending = async {
            tokio::time::sleep(GLANCE * 3).await;
            drop(command);
        };
        let (claim, ()) = tokio::join!(waiting, ending);
        assert!(matches!(claim.unwrap(), Claim::Ours(_)));
        assert_eq!(heard, [Some("ingest".to_owned())]);
    }
}
