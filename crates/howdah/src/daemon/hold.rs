//! Who works with this instance right now?
//!
//! One at a time: the server that `howdah up` keeps, or a command that does its work itself because no server runs. Whoever
//! it is holds a lock that ends with its process, and writes into the locked file who it is. A command is waited for, a
//! server is not: it stays.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};

use howdah_plan::problem::{DoNow, Kind, Problem};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::place::{Place, cannot};
use super::process::Identity;

/// Longest time a command that works is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest time between taking the lock and having written who took it.
const WRITING: Duration = Duration::from_secs(1);
/// How often the lock is tried again.
const GLANCE: Duration = Duration::from_millis(50);

/// Who holds an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub process: Identity,
    /// The command that does its work itself (`ingest`); none for a server that stays.
    pub command: Option<String>,
}

impl Holder {
    /// Whether it is a command, which ends by itself.
    pub fn is_command(&self) -> bool {
        self.command.is_some()
    }
}

/// The lock of an instance. It ends with this value, or with the process.
#[derive(Debug)]
pub struct Held {
    file: Flock<File>,
    /// Who held it before and did not give it back: a process that was killed.
    pub before: Option<Holder>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Given back in order. A name that stays is only taken for that of a killed process.
        let _ = self.file.set_len(0);
    }
}

/// What came of asking for the lock.
#[derive(Debug)]
pub enum Claim {
    /// It is ours.
    Held(Held),
    /// Somebody has it; none when it is not written yet who.
    Taken(Option<Holder>),
}

impl Claim {
    /// The lock, or why not.
    ///
    /// # Errors
    /// `conflict`, naming who has it.
    pub fn held(self, place: &Place) -> Result<Held, Problem> {
        match self {
            Claim::Held(held) => Ok(held),
            Claim::Taken(holder) => Err(taken(place, holder.as_ref())),
        }
    }
}

/// Why the lock cannot be had.
pub fn taken(place: &Place, holder: Option<&Holder>) -> Problem {
    let path = place.lock_file();
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

impl Place {
    /// Asks for the lock that only one process has at a time: a server, or a `command` that works itself.
    ///
    /// # Errors
    /// `machine` when the file cannot be written.
    pub fn claim(&self, command: Option<&str>) -> Result<Claim, Problem> {
        let path = self.lock_file();
        let broken = |error: std::io::Error| cannot("write", &path, &error);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(broken)?;
        let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            return Ok(Claim::Taken(self.written_holder().filter(|holder| holder.process.is_alive())));
        };
        let held = Held { before: self.written_holder(), file };
        if let Some(process) = Identity::own() {
            let holder = Holder { process, command: command.map(str::to_owned) };
            held.file.set_len(0).map_err(broken)?;
            (&*held.file)
                .write_all(serde_json::to_string(&holder).unwrap_or_default().as_bytes())
                .map_err(broken)?;
        }
        Ok(Claim::Held(held))
    }

    /// The command that works with the instance by itself right now, if one does.
    pub fn working(&self) -> Option<Holder> {
        self.written_holder().filter(|holder| holder.is_command() && holder.process.is_alive())
    }

    fn written_holder(&self) -> Option<Holder> {
        serde_json::from_str(&fs::read_to_string(self.lock_file()).ok()?).ok()
    }
}

/// Asks for the lock, and waits while a command has it. `tell` hears once who is waited for.
///
/// # Errors
/// As [`Place::claim`].
pub async fn wait(
    place: &Place,
    command: Option<&str>,
    mut tell: impl FnMut(&Holder),
) -> Result<Claim, Problem> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        let holder = match place.claim(command)? {
            Claim::Held(held) => return Ok(Claim::Held(held)),
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn place(directory: &Path) -> Place {
        Place { id: "one".into(), directory: directory.to_owned() }
    }

    #[test]
    fn the_lock_is_for_one_and_says_for_whom() {
        let root = tempfile::tempdir().unwrap();
        let place = place(root.path());
        let held = place.claim(None).unwrap().held(&place).unwrap();
        let refused = place.claim(Some("search")).unwrap().held(&place).unwrap_err();
        assert_eq!(
            (refused.kind, refused.message.as_str()),
            (Kind::Conflict, "another howdah runs this instance already")
        );
        assert_eq!(place.working(), None, "a server is no command");
        drop(held);
        let held = place.claim(Some("ingest")).unwrap().held(&place).unwrap();
        assert_eq!(held.before, None, "who gave it back is forgotten");
        assert_eq!(place.working().unwrap().command.as_deref(), Some("ingest"));
        let refused = place.claim(None).unwrap().held(&place).unwrap_err();
        assert!(refused.message.starts_with("`howdah ingest` works"), "{refused}");
    }

    #[test]
    fn who_was_killed_with_it_is_remembered() {
        let root = tempfile::tempdir().unwrap();
        let place = place(root.path());
        let dead = Holder {
            process: Identity { pid: 1, started: "another boot:1".into() },
            command: Some("ingest".into()),
        };
        fs::write(place.lock_file(), serde_json::to_string(&dead).unwrap()).unwrap();
        assert_eq!(place.working(), None, "it is dead");
        let held = place.claim(Some("search")).unwrap().held(&place).unwrap();
        assert_eq!(held.before, Some(dead));
    }

    #[tokio::test]
    async fn a_command_is_waited_for_and_a_server_is_not() {
        let root = tempfile::tempdir().unwrap();
        let place = place(root.path());
        let server = place.claim(None).unwrap().held(&place).unwrap();
        assert!(matches!(
            wait(&place, None, |_| panic!("not waited for")).await.unwrap(),
            Claim::Taken(Some(_))
        ));
        drop(server);
        let command = place.claim(Some("ingest")).unwrap().held(&place).unwrap();
        let mut heard = Vec::new();
        let waiting = wait(&place, None, |holder| heard.push(holder.command.clone()));
        let ending = async {
            tokio::time::sleep(GLANCE * 3).await;
            drop(command);
        };
        let (claim, ()) = tokio::join!(waiting, ending);
        assert!(matches!(claim.unwrap(), Claim::Held(_)));
        assert_eq!(heard, [Some("ingest".to_owned())]);
    }
}
