//! The service manager: told when the collector is ready, what it does, and that it is alive.
//!
//! Without one (no `NOTIFY_SOCKET`) nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// The database is open and the directories are watched.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// One line on what the collector is doing.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// The stop has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// A sign of life.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often the manager wants a sign of life, if it does.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(states: &[NotifyState<'_>]) {
    // The manager may be restarting; the next message reaches it.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not reached");
    }
}
