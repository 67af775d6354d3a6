//! How does a command do its work when no server runs?
//!
//! It starts the instance's PostgreSQL as its own child, works, and stops it again. The instance's lock is held all the
//! while ([`instance_lock`]), so that `howdah up` and other commands wait for the end. PostgreSQL survives a command that is killed;
//! the next one finds the name of the dead in the lock, takes the server over and stops it when it is done. A server that
//! anybody else left running is used and left alone.
//!
//! An instance that was never made is not made here: that is `howdah up`, which says what it fetches and writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_plan::problem::Problem;
use tokio::sync::Mutex;

use super::declaration::Declaration;
use super::directory::InstanceDirectory;
use super::instance_lock::{self, Claim, Holder, InstanceLock, Use};
use super::local;
use super::server::{self, Server};
use crate::observe::progress::{Event, Progress};
use howdah_postgres::find;
use howdah_postgres::instance::{Layout, Patience, RunningServer, State};

/// Longest time a server that starts is waited for.
const STARTING: Duration = Duration::from_secs(60);
/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// A server that ends with the command.
#[derive(Debug)]
struct Own {
    running: Box<RunningServer>,
    _lock: InstanceLock,
}

/// What a command started for itself. Clones are one and the same.
#[derive(Debug, Clone, Default)]
pub struct Started {
    command: String,
    own: Arc<Mutex<Option<Own>>>,
}

/// What a person may want to know meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Another command works with the instance, and is waited for.
    Waiting(Holder),
    /// PostgreSQL is started for this command.
    Starting,
}

impl Started {
    /// Nothing yet, for the command of this name.
    pub fn by(command: &str) -> Self {
        Started { command: command.to_owned(), own: Arc::default() }
    }

    /// Sees to it that the instance's own PostgreSQL runs, where it is stopped. Does nothing where the declaration names
    /// another server, where one runs already, and where the instance was never made.
    ///
    /// # Errors
    /// `conflict` when another command works with the instance for long; what starting says.
    pub async fn ensure(&self, declaration: &Declaration, tell: impl Fn(Told)) -> Result<(), Problem> {
        let mut own = self.own.lock().await;
        if own.is_some() || find::declared(&declaration.spec.server)?.is_some() {
            return Ok(());
        }
        let home = local::home()?;
        let Some(directory) = InstanceDirectory::existing(declaration, &home.instances()) else {
            return Ok(());
        };
        let layout = Layout::new(&home, &directory.id, &declaration.spec.server);
        if directory.record().is_some() || layout.state() == State::Absent {
            return Ok(());
        }
        let Some(held) = self.hold(&directory, &tell).await? else { return Ok(()) };
        let of_the_dead = held.before.as_ref().is_some_and(Holder::is_command);
        if matches!(layout.state(), State::Running { .. }) && !of_the_dead {
            return Ok(());
        }
        tell(Told::Starting);
        if let Server::Own(_, running) = server::reach(declaration, &home, &directory, &Unseen).await? {
            *own = Some(Own { running, _lock: held });
        }
        Ok(())
    }

    /// The instance to ourselves; none where a server has it.
    async fn hold(
        &self,
        directory: &InstanceDirectory,
        tell: &impl Fn(Told),
    ) -> Result<Option<InstanceLock>, Problem> {
        let begun = Instant::now();
        loop {
            let waiting = |holder: &Holder| tell(Told::Waiting(holder.clone()));
            match instance_lock::wait(directory, Use::Command(&self.command), waiting).await? {
                Claim::Ours(held) => return Ok(Some(held)),
                Claim::Taken(holder) if holder.as_ref().is_some_and(Holder::is_command) => {
                    return Err(instance_lock::taken(directory, holder.as_ref()));
                }
                Claim::Taken(_) if directory.record().is_some() => return Ok(None),
                // A server that is about to be there. If it does not come, asking for it says why.
                Claim::Taken(_) if begun.elapsed() < STARTING => tokio::time::sleep(GLANCE).await,
                Claim::Taken(_) => return Ok(None),
            }
        }
    }

    /// Stops what was started.
    ///
    /// # Errors
    /// `timeout` when it does not stop.
    pub async fn end(&self) -> Result<(), Problem> {
        let Some(Own { running, _lock }) = self.own.lock().await.take() else { return Ok(()) };
        // Nobody else was promised this server: its clients are this command's.
        running.stop(Patience { smart: Duration::ZERO, ..Patience::default() }).await.map(|_| ())
    }
}

/// The steps of the start are not the answer that was asked for.
struct Unseen;

impl Progress for Unseen {
    fn tell(&self, event: Event) {
        tracing::debug!(?event, "start");
    }
}
