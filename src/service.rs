//! The service manager: told when the collector is ready, what it does, and that it is alive; and its journal.
//!
//! Without one (no `NOTIFY_SOCKET`) nothing happens.

use std::os::fd::AsFd;
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

/// The configuration is being read again; [`ready`] ends it.
pub fn reloading() {
    tell(&[NotifyState::Reloading]);
}

/// Whether standard error goes to the journal: then `<4>` at the start of a line is its priority, and the journal has
/// the time.
#[must_use]
pub fn is_stderr_the_journal() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "a word of the service manager, not a setting of ours"
    )]
    let named = std::env::var("JOURNAL_STREAM");
    let (Ok(named), Ok(stderr)) = (named, rustix::fs::fstat(std::io::stderr().as_fd())) else {
        return false;
    };
    named == format!("{}:{}", stderr.st_dev, stderr.st_ino)
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
