//! What is systemd told (`Type=notify`, `Type=notify-reload`, `WatchdogSec=`)?
//!
//! Nothing where it did not ask. That it could not be told is a line in the log, never a failure.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service is up.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The service ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The declaration is read again; [`ready`] says when that is done.
pub fn reloading() {
    // systemd compares the moment with that of its own signal, and takes none without it.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd could not be told of the reload: no clock"),
    }
}

/// Says that this process lives, twice in the time that the watchdog allows, for as long as the future is polled. Never
/// ends; without a watchdog it does nothing.
pub async fn pings() {
    let Some(allowed) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut ticks = tokio::time::interval((allowed / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, ?state, "systemd could not be told");
    }
}
