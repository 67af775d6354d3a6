//! Keeping a server up.

use std::time::Duration;

use howdah_plan::problem::Problem;
use tokio::sync::{mpsc, watch};

use super::{Begun, Instance, Patience, RunningServer, Stopped};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A server that ran this long is started again after the shortest pause.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

/// What happens to a supervised server.
#[derive(Debug, Clone)]
pub enum ServerEvent {
    /// It ended without being asked to. It is started again after the pause.
    Died {
        /// Why, as far as its log says.
        problem: Problem,
        /// The pause.
        pause: Duration,
    },
    /// A start failed. It is tried again after the pause.
    StartFailed {
        /// Why.
        problem: Problem,
        /// The pause.
        pause: Duration,
    },
    /// It is up again.
    Up {
        /// Process id of the postmaster.
        pid: i32,
        /// Port it listens on; another than before when that was taken.
        port: u16,
        /// What a person should know, in words.
        notes: Vec<String>,
    },
}

/// Watches a running server and starts it again whenever it dies, with growing pauses, until `stop` turns true; then
/// stops it. `events` may be dropped by the receiver.
///
/// # Errors
/// `timeout` when the server does not stop in the end.
pub async fn supervise(
    instance: &Instance,
    mut running: RunningServer,
    mut stop: watch::Receiver<bool>,
    events: mpsc::UnboundedSender<ServerEvent>,
    patience: Patience,
) -> Result<Stopped, Problem> {
    let mut pause = FIRST_PAUSE;
    loop {
        let died = tokio::select! {
            problem = running.died() => problem,
            () = asked(&mut stop) => return running.stop(patience).await,
        };
        if running.since.elapsed() > LONG_ENOUGH {
            pause = FIRST_PAUSE;
        }
        // Frees the lock, so that the next start can take it.
        drop(running);
        tracing::error!(problem = %died, detail = ?died.detail, "PostgreSQL ended");
        let _ = events.send(ServerEvent::Died { problem: died, pause });
        running = loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = asked(&mut stop) => return Ok(Stopped::WasNotRunning),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            // A server that died may recover for long: whoever wants it stopped does not wait for that.
            match instance.start_unless(asked(&mut stop)).await {
                Ok(Begun::Ready(running)) => break *running,
                Ok(Begun::BrokenOff(how)) => return Ok(how),
                Err(_) if *stop.borrow() => return instance.layout.stop(patience).await,
                Err(problem) => {
                    tracing::error!(%problem, detail = ?problem.detail, "PostgreSQL does not start");
                    let _ = events.send(ServerEvent::StartFailed { problem, pause });
                }
            }
        };
        tracing::info!(pid = running.pid, "PostgreSQL is up again");
        let (pid, port, notes) = (running.pid, running.target.port, running.notes.clone());
        let _ = events.send(ServerEvent::Up { pid, port, notes });
    }
}

/// Waits until the stop is asked for; a sender that is gone asks for it too.
async fn asked(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
