//! What can an ingest be asked?

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use howdah_plan::problem::Problem;
use howdah_plan::spec::{Chunking, Collection};
use tokio::sync::Notify;

use crate::knowledge::read::{Format, Input, Limits};

/// One ingest.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where the documents come from, in order.
    pub inputs: Vec<Input>,
    /// Directory from which documents below it are named, however their paths are given: the working directory, unless
    /// set otherwise.
    pub base: Option<PathBuf>,
    /// Format of every input; told from the file name when absent (JSON Lines for standard input).
    pub format: Option<Format>,
    /// Whether bad records are counted and skipped. Without it the first one ends the ingest.
    pub skip_bad: bool,
    /// Whether documents of the given directories that are gone from there are removed from the collection.
    pub prune: bool,
    /// Longest line, largest file.
    pub limits: Limits,
    /// How documents are cut.
    pub chunking: Chunking,
    /// Rows in one transaction, about.
    pub batch_rows: usize,
    /// Ends the ingest early, after the transaction that is running.
    pub stop: Stop,
}

impl Request {
    /// An ingest of `inputs` into a declared collection, everything else as usual.
    pub fn new(inputs: Vec<Input>, collection: &Collection) -> Self {
        Request {
            inputs,
            base: std::env::current_dir().ok(),
            format: None,
            skip_bad: false,
            prune: false,
            limits: Limits::default(),
            chunking: collection.chunking.clone(),
            batch_rows: 5_000,
            stop: Stop::default(),
        }
    }

    /// An ingest of paths.
    pub fn paths<P: Into<String>>(paths: impl IntoIterator<Item = P>, collection: &Collection) -> Self {
        Request::new(paths.into_iter().map(|path| Input::Path(path.into())).collect(), collection)
    }
}

/// Asks a running ingest to end after the transaction that is running. Clones are one and the same.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    requested: AtomicBool,
    changed: Notify,
}

impl Stop {
    /// Asks.
    pub fn request(&self) {
        self.inner.requested.store(true, Ordering::SeqCst);
        self.inner.changed.notify_waiters();
    }

    /// Whether it was asked for.
    pub fn requested(&self) -> bool {
        self.inner.requested.load(Ordering::SeqCst)
    }

    /// Waits until it is asked for.
    pub async fn wait(&self) {
        loop {
            let changed = self.inner.changed.notified();
            if self.requested() {
                return;
            }
            changed.await;
        }
    }

    /// Asks at the first Ctrl-C or SIGTERM; a second one ends the process at once, with the exit code of an interrupt.
    ///
    /// # Errors
    /// `machine` when the signal cannot be listened to.
    pub fn on_interrupt(&self) -> Result<(), Problem> {
        use howdah_plan::problem::Kind;
        use tokio::signal::unix::{SignalKind, signal};
        let on = |kind| {
            signal(kind)
                .map_err(|e| Problem::new(Kind::Machine, "cannot listen to Ctrl-C").detail(e.to_string()))
        };
        let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
        let stop = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if stop.requested() {
                    std::process::exit(130);
                }
                stop.request();
            }
        });
        Ok(())
    }
}
