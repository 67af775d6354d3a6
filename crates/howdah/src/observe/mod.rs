//! What is going on?
//!
//! Logging through `tracing` and the names of the metrics. Every module may use it; it imports none of them.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::log_file::LogFile;

pub mod log_file;
pub mod measure;
pub mod progress;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// A command: only warnings, unless `HOWDAH_LOG` or `RUST_LOG` says otherwise.
    Command,
    /// The server: everything from `info` up; JSON lines where standard error is not a terminal.
    Server,
}

/// The file that the log goes to instead of standard error, once there is one.
static FILE: OnceLock<Mutex<LogFile>> = OnceLock::new();

/// From now on the log goes to this file, and panics too; standard error is left to what cannot be caught.
///
/// # Errors
/// When the file cannot be written. The log stays where it was.
pub fn write_to(path: &Path) -> io::Result<()> {
    let file = LogFile::open(path, log_file::LARGE)?;
    if FILE.set(Mutex::new(file)).is_err() {
        return Ok(());
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("{panic}");
        usual(panic);
    }));
    Ok(())
}

/// Wherever the log goes now.
struct Destination;

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match FILE.get() {
            Some(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write(bytes),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match FILE.get() {
            Some(file) => file.lock().unwrap_or_else(PoisonError::into_inner).flush(),
            None => io::stderr().flush(),
        }
    }
}

/// Sends `tracing` to standard error, until [`write_to`] names a file. A second call changes nothing.
pub fn start(log: Log) {
    let default = match log {
        Log::Command => "off",
        Log::Server => "info,tokio_postgres=warn,hyper=warn",
    };
    let chosen = std::env::var("HOWDAH_LOG").or_else(|_| std::env::var("RUST_LOG")).ok();
    let filter =
        EnvFilter::try_new(chosen.as_deref().unwrap_or(default)).unwrap_or_else(|_| EnvFilter::new(default));
    let registry = tracing_subscriber::registry().with(filter);
    let terminal = std::io::stderr().is_terminal();
    let begun = if log == Log::Server && !terminal {
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(|| Destination);
        registry.with(lines).try_init()
    } else {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(colour)
            .with_target(false)
            .with_writer(std::io::stderr);
        registry.with(lines).try_init()
    };
    drop(begun);
}
