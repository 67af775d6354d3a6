//! What does Ctrl-C end?
//!
//! A command that only looks ends at once. Work that writes is told to stop, and the command waits for the end of the
//! transaction under way; a second Ctrl-C does not wait. SIGTERM is the same with an exit code of its own.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use howdah_plan::problem::{Kind, Problem};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a command that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;
/// Exit code of a command that SIGTERM ended.
pub const TERMINATED: u8 = 143;

/// Whether to stop, and whether somebody has to be waited for. Clones are one and the same.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    held: Arc<AtomicUsize>,
}

/// Work that ends in its own way, as long as this lives.
#[derive(Debug)]
pub struct Hold(Arc<AtomicUsize>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What became of work.
#[derive(Debug, PartialEq, Eq)]
pub enum End<T> {
    /// It came to its end.
    Own(T),
    /// It was told to stop, and came to its end then; the exit code of the signal.
    Told(T, u8),
    /// It was left; the exit code of the signal.
    Left(u8),
}

impl Stop {
    /// Cancelled by the first signal.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// From now on the first signal only asks.
    pub fn hold(&self) -> Hold {
        self.held.fetch_add(1, Ordering::AcqRel);
        Hold(self.held.clone())
    }

    /// Does `work` until it ends or a signal ends it. `tell` is called when the end is waited for.
    ///
    /// # Errors
    /// `machine` when signals cannot be listened to.
    pub async fn obeyed<T>(&self, work: impl Future<Output = T>, tell: impl Fn()) -> Result<End<T>, Problem> {
        let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
        tokio::pin!(work);
        let mut told = None;
        loop {
            let code = tokio::select! {
                outcome = &mut work => {
                    return Ok(match told {
                        Some(code) => End::Told(outcome, code),
                        None => End::Own(outcome),
                    });
                }
                _ = interrupt.recv() => INTERRUPTED,
                _ = terminate.recv() => TERMINATED,
            };
            self.token.cancel();
            if told.is_some() || self.held.load(Ordering::Acquire) == 0 {
                return Ok(End::Left(told.unwrap_or(code)));
            }
            told = Some(code);
            tell();
        }
    }
}

fn on(kind: SignalKind) -> Result<Signal, Problem> {
    signal(kind).map_err(|e| Problem::new(Kind::Machine, "cannot listen for signals").detail(e.to_string()))
}
