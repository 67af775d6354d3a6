//! What is going on?
//!
//! Logging through `tracing` and the names of the metrics. The ground floor: everybody may use it, it uses nobody.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

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

/// Sends `tracing` to standard error. A second call changes nothing.
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
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
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
